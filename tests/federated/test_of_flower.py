"""Flower's strategies behind the common face, against their formulas in float64, and privacy."""

import numpy as np
import pytest

from tunescope.errors import MethodError, StudyError
from tunescope.federated import local
from tunescope.federated.chosen import chosen
from tunescope.federated.clipping import CLIPPING, FILL, clip
from tunescope.federated.combining import Answer
from tunescope.federated.fedex_lora import FedExLoRA
from tunescope.federated.ffa_lora import FFALoRA
from tunescope.federated.flower import ConfigRecord, Message, RecordDict
from tunescope.federated.flower_rules import (
    PROXIMAL,
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
)
from tunescope.federated.iid import IID
from tunescope.federated.records import array_record, arrays_of, metric_record
from tunescope.study.federated import Privacy

EXAMPLES = (10, 30, 20, 40, 25)
START = np.array([[0.5, -1.0, 2.0]], np.float32)


def answers(round=1, examples=EXAMPLES, bits=None):
    random = np.random.default_rng(round)
    sent = [START + random.standard_normal(START.shape).astype(np.float32) for _ in examples]
    return [
        Answer(f"c{k}", {"w": w, "n": np.array(3)}, {} if bits is None else {"norm_bit": bits[k]}, n)
        for k, (w, n) in enumerate(zip(sent, examples, strict=True))
    ]


def combined(rule, rounds=1, **settings):
    """What comes of some rounds, and all answers as [round, client, …] in float64."""
    combining = chosen(rule, len(EXAMPLES), **settings)
    arrays, told, seen = {"w": START, "n": np.array(0)}, [], []
    with local.speaking_as_server():
        for round in range(1, rounds + 1):
            told.append(combining.tells(round, arrays))
            given = answers(round)
            arrays, _ = combining.combine(round, arrays, given)
            seen.append([answer.arrays["w"].astype(np.float64) for answer in given])
    assert arrays["w"].dtype == np.float32
    assert arrays["n"] == 3
    return arrays["w"], np.array(seen), told


def test_means_and_what_withstands_liars():
    shares = np.array(EXAMPLES) / sum(EXAMPLES)
    made, seen, told = combined(FedAvg())
    np.testing.assert_allclose(made, np.tensordot(shares, seen[0], 1), atol=1e-6)
    assert told == [{}]
    made, _, told = combined(FedProx(mu=0.3))
    np.testing.assert_allclose(made, np.tensordot(shares, seen[0], 1), atol=1e-6)
    assert told == [{PROXIMAL: 0.3}]
    np.testing.assert_allclose(combined(FedMedian())[0], np.median(seen[0], axis=0), atol=1e-6)
    trimmed = np.sort(seen[0], axis=0)[1:-1].mean(axis=0)
    np.testing.assert_allclose(combined(FedTrimmedAvg(beta=0.2))[0], trimmed, atol=1e-6)
    scores = []
    for one in seen[0]:
        distances = sorted(np.square(one - other).sum() for other in seen[0])
        scores.append(sum(distances[1:3]))  # K − f − 2 = 2 neighbours, itself left out
    np.testing.assert_array_equal(
        combined(Krum(malicious=1))[0], seen[0][int(np.argmin(scores))].astype(np.float32)
    )


@pytest.mark.parametrize("rule", [FedAdam(eta=0.1), FedYogi(eta=0.1)])
def test_adaptive_steps_of_the_server(rule):
    made, seen, _ = combined(rule, rounds=3)
    shares = np.array(EXAMPLES) / sum(EXAMPLES)
    theta, m, v = START.astype(np.float64), 0.0, 0.0
    for t, sent in enumerate(seen, start=1):
        step = np.tensordot(shares, sent, 1) - theta
        m = 0.9 * m + 0.1 * step
        adam = 0.99 * v + 0.01 * step**2
        v = adam if rule.kind == "fedadam" else v - 0.01 * step**2 * np.sign(v - step**2)
        rate = 0.1
        if rule.kind == "fedadam":
            rate *= np.sqrt(1 - 0.99 ** (t + 1)) / (1 - 0.9 ** (t + 1))
        theta = theta + rate * m / (np.sqrt(v) + 1e-3)
    np.testing.assert_allclose(made, theta, atol=1e-5)


def test_clients_clip_and_the_server_adds_noise():
    """The whole way: Flower's mod around a client, equal weights, and noise of z·C/n from the seed."""
    privacy = Privacy(noise=0.0, clip=0.5, noise_seed=3)
    combining = chosen(FedAvg(), 5, privacy=privacy)
    arrays = {"w": np.zeros((40, 50), np.float32)}
    combining.check(arrays)
    with local.speaking_as_server():
        told = combining.tells(1, arrays)
        assert told == {"clipping_norm": 0.5, CLIPPING: "fixed", FILL: True}
        content = RecordDict({"arrays": array_record(arrays), "config": ConfigRecord(dict(told))})
        message = Message(content, 2, "train")
        steps = [np.full((40, 50), size, np.float32) for size in (1.0, 1e-4)]

        def client(step):
            return lambda message, context: Message(
                RecordDict({"arrays": array_record({"w": step}), "metrics": metric_record({}, 9)}),
                reply_to=message,
            )

        replies = [clip(message, None, client(step)) for step in steps]  # pyright: ignore[reportArgumentType]
        sent = [arrays_of(reply.content["arrays"])["w"] for reply in replies]  # pyright: ignore[reportArgumentType]
        np.testing.assert_allclose(
            [float(np.linalg.norm(one)) for one in sent], [0.5, 1e-4 * 2000**0.5], rtol=1e-5
        )
        given = [Answer("a", {"w": sent[0]}, {}, 1), Answer("b", {"w": sent[1]}, {}, 1000)]
        made, _ = combining.combine(1, arrays, given)
        np.testing.assert_allclose(made["w"], (sent[0] + sent[1]) / 2, rtol=1e-6)
        noisy = chosen(FedAvg(), 5, privacy=privacy.model_copy(update={"noise": 1.2}))
        first, again, next_round = (noisy.combine(r, arrays, given)[0]["w"] for r in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    noise = first - made["w"]
    assert noise.std() == pytest.approx(1.2 * 0.5 / 2, rel=0.1)  # of the two that answered, not of the five
    assert 0.5 * (1 + 1e-5) < (combining.most() or 0) < 0.51  # a clipped step is sound, whatever the others'
    assert chosen(FedAvg(), 5).most() is None
    assert abs(np.corrcoef(noise.ravel(), (next_round - made["w"]).ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(("bits", "direction"), [((1, 1, 1, 1, 1), 1), ((0, 0, 0, 0, 0), -1)])
def test_an_adaptive_norm_moves_towards_its_quantile(bits, direction):
    """Up where every step was clipped, down where none was."""
    combining = chosen(FedAvg(), 5, privacy=Privacy(noise=0.0, clip=0.5, adaptive=True))
    arrays = {"w": START}
    with local.speaking_as_server():
        combining.combine(1, arrays, [a._replace(arrays={"w": a.arrays["w"]}) for a in answers(bits=bits)])
        norm = combining.tells(2, arrays)["clipping_norm"]
    assert norm == pytest.approx(0.5 * np.exp(0.2 * 0.5 * direction))


def test_under_privacy_a_lora_strategy_keeps_what_is_frozen():
    combining = chosen(FFALoRA(), 2, privacy=Privacy(noise=1.0, noise_seed=0))
    names = ("factors/q/a", "factors/q/b", "scale/q", "head")
    arrays = {name: np.ones((1,) if name == "scale/q" else (2, 2)) for name in names}
    with local.speaking_as_server():
        assert combining.expects(1, arrays).keys() == arrays.keys()  # Flower's mod compares all of them
        made, _ = combining.combine(1, arrays, [Answer("a", arrays, {}, 1), Answer("b", arrays, {}, 1)])
    assert {name for name in names if not np.array_equal(made[name], arrays[name])} == {"factors/q/b", "head"}


def test_what_cannot_be_private_is_refused():
    privacy = Privacy(noise=1.0)
    for rule in (FedAdam(), Krum(), FedExLoRA()):
        with pytest.raises(StudyError, match=f"strategy '{rule.kind}' takes no such mean"):
            chosen(rule, 4, privacy=privacy)
    with pytest.raises(StudyError, match="ranks of their own"):
        chosen(FFALoRA(), 4, fit=lambda client, target: (4, 1.0), privacy=privacy)
    with pytest.raises(StudyError, match="noise=1 with an adaptive norm and 10 clients a round"):
        chosen(FedAvg(), 10, privacy=Privacy(noise=1.0, adaptive=True))
    for array in (np.array(3), np.zeros(4, np.int64), np.array(0.5)):
        with pytest.raises(MethodError, match=r"'x' is .* cannot be clipped"):
            chosen(FedAvg(), 4, privacy=privacy).check({"x": array})
    with pytest.raises(StudyError, match="'iid' is no strategy"):
        chosen(IID(clients=2), 2)
    seeds = {chosen(FedAvg(), 4, privacy=privacy).noise_seed for _ in range(2)}  # pyright: ignore[reportAttributeAccessIssue]
    assert len(seeds) == 2
