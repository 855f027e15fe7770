"""Our strategies behind the common face: what travels, and what model every client has by it."""

import numpy as np
import pytest

from tunescope.federated.chosen import chosen
from tunescope.federated.combining import Answer
from tunescope.federated.factors import Factors
from tunescope.federated.fed_sb import FedSB
from tunescope.federated.fedex_lora import FedExLoRA
from tunescope.federated.ffa_lora import FFALoRA
from tunescope.federated.flexlora import FlexLoRA
from tunescope.federated.flora import FLoRA
from tunescope.federated.naive import Naive
from tunescope.federated.of_factors import added_of, factors_of, packed
from tunescope.federated.rolora import RoLoRA

CLIENTS = {"ada": 10, "bob": 30, "cyd": 20}
OUT, IN, RANK, SCALE = 5, 4, 2, 1.5


def start(core):
    random = np.random.default_rng(0)
    b = random.standard_normal((OUT, RANK)) if core else np.zeros((OUT, RANK))
    factors = Factors(random.standard_normal((RANK, IN)), b, SCALE, np.zeros((RANK, RANK)) if core else None)
    return packed({"q": factors}, {}, {"head": np.zeros(3)})


def product(arrays):
    """What the model of whoever holds these arrays has more than W₀."""
    parts = [*factors_of(arrays).values(), *added_of(arrays).values()]
    return sum((part.product() for part in parts), np.zeros((OUT, IN)))


def a_round(combining, arrays, round):
    """The clients' answers, and the mean of their models."""
    given, ideal, total = [], np.zeros((OUT, IN)), sum(CLIENTS.values())
    for number, (client, n) in enumerate(CLIENTS.items()):
        random = np.random.default_rng([round, number])
        sent = combining.sends(round, arrays, client)
        wanted = combining.expects(round, sent)
        back = {name: array + random.standard_normal(array.shape) for name, array in wanted.items()}
        given.append(Answer(client, back, {}, n))
        ideal += n / total * product({**sent, **back})
    return given, ideal


@pytest.mark.parametrize("rule", [FFALoRA(), RoLoRA(), FedExLoRA(), FLoRA(), FedSB()])
def test_exact_strategies_send_the_mean_of_the_clients_models_round_after_round(rule):
    combining = chosen(rule, len(CLIENTS), seed=1)
    arrays = start(core=rule.kind == "fed_sb")
    given = []
    for round in range(1, 5):
        given, ideal = a_round(combining, arrays, round)
        parts = {name.rsplit("/", 1)[1] for name in given[0].arrays if name.startswith("factors/")}
        assert parts == set(rule.trained(round))
        assert "head" in given[0].arrays
        arrays, told = combining.combine(round, arrays, given)
        np.testing.assert_allclose(product(arrays), ideal, atol=1e-12)
        assert told["aggregation_error"] < 1e-12
    assert all(of.rank <= min(OUT, IN) for of in added_of(arrays).values())  # it does not grow for ever
    weights = [n / sum(CLIENTS.values()) for n in CLIENTS.values()]
    heads = [answer.arrays["head"] for answer in given]
    np.testing.assert_allclose(arrays["head"], np.tensordot(weights, heads, 1))


def test_naive_averaging_misses_it_and_says_by_how_much():
    combining = chosen(Naive(), len(CLIENTS))
    arrays = start(core=False)
    given, ideal = a_round(combining, arrays, 1)
    arrays, told = combining.combine(1, arrays, given)
    missed = np.linalg.norm(product(arrays) - ideal) / np.linalg.norm(ideal)
    assert told["aggregation_error"] == pytest.approx(missed)
    assert missed > 0.05


def test_factors_that_begin_anew_change_nothing_and_are_drawn_from_seed_and_round():
    def after(seed, round):
        combining = chosen(FLoRA(), len(CLIENTS), seed=seed)
        arrays = start(core=False)
        return factors_of(combining.combine(round, arrays, a_round(combining, arrays, round)[0])[0])["q"]

    fresh = after(seed=1, round=1)
    assert fresh.norm() == 0
    assert fresh.a.shape == (RANK, IN)
    np.testing.assert_array_equal(fresh.a, after(seed=1, round=1).a)
    for other in (after(seed=2, round=1), after(seed=1, round=2)):
        assert not np.array_equal(fresh.a, other.a)


def test_each_client_is_sent_its_own_rank_and_scale():
    ranks = {"ada": (1, 8.0), "bob": (2, 4.0), "cyd": (3, 8 / 3)}
    combining = chosen(FlexLoRA(), len(CLIENTS), fit=lambda client, target: ranks[client])
    arrays = start(core=False)
    for round in (1, 2):
        given, ideal = a_round(combining, arrays, round)
        for answer in given:
            sent = factors_of(combining.sends(round, arrays, answer.client))["q"]
            assert (sent.rank, sent.scale) == ranks[answer.client]
            assert answer.arrays["factors/q/a"].shape == (ranks[answer.client][0], IN)
        arrays, _ = combining.combine(round, arrays, given)
        widest = product(combining.sends(round + 1, arrays, "cyd"))
        u, sigma, vt = np.linalg.svd(ideal)
        np.testing.assert_allclose(widest, (u[:, :3] * sigma[:3]) @ vt[:3], atol=1e-10)
