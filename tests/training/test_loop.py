import math
from collections import Counter

import pytest
import torch
from colours import NAMES, TRAIN, VAL, spec
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.errors import Diverged, MethodError
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective, Penalty
from tunescope.results.metric import TRAINING
from tunescope.study.component import Component
from tunescope.study.run import RunSpec
from tunescope.training.loop import History, train
from tunescope.training.order import order


def run(encoder: Encoder, said: RunSpec, on_step=None) -> tuple[History, dict[str, Tensor]]:
    """What happened, and everything that was trained."""
    from tunescope.methods.method import Method

    assert isinstance(said.adapt, Method)
    assert isinstance(said.objective, Objective)
    head = said.objective.build_head(encoder, NAMES, TRAIN.templates)
    torch.manual_seed(said.seed)
    installed = said.adapt.install(encoder)
    torch.seed()  # from here on, only the loop's own seed may count
    history = train(encoder, installed, head, said, TRAIN, VAL, on_step=on_step)
    return history, installed.state_dict() | {
        f"head.{name}": v.clone() for name, v in head.state_dict().items()
    }


def values(history: History, metric: str) -> list[float]:
    return [row.value for row in history.rows if row.metric == f"training.{metric}"]


def reference(encoder: Encoder, said: RunSpec, full: bool) -> dict[str, Tensor]:
    """A plain loop: everything or the head alone, AdamW, cosine with a warm-up of a tenth, clipped at 1."""
    model, head = encoder.model, nn.Linear(encoder.feature_dim, 3)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    trained = {**dict(model.named_parameters())} if full else {}
    trained |= {f"head.linear.{name}": p for name, p in head.named_parameters()}
    model.requires_grad_(full)
    flat = lambda p: p.ndim == 1 or (p.ndim == 3 and p.shape[:2] == (1, 1))  # noqa: E731
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained.values() if flat(p)], "weight_decay": 0.0},
            {"params": [p for p in trained.values() if not flat(p)], "weight_decay": 0.01},
        ],
        lr=said.lr,
    )
    steps, warm = said.train.epochs * 3, round(0.1 * said.train.epochs * 3)
    step = 0
    for epoch in range(said.train.epochs):
        shuffled = order(said.seed, epoch, 22)
        for batch in (shuffled[:8], shuffled[8:16], shuffled[16:]):
            rate = (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2
            if step < warm:
                rate = (step + 1) / (warm + 1)
            for group in optimizer.param_groups:
                group["lr"] = said.lr * rate
            features = encoder.features(TRAIN.inputs[batch])
            loss = nn.functional.cross_entropy(head(features), torch.tensor(TRAIN.labels[batch]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(list(trained.values()), 1.0)
            optimizer.step()
            step += 1
    return {name: p.detach() for name, p in trained.items()}


@pytest.mark.parametrize("kind", ["full", "linear_probe"])
def test_against_a_plain_loop(tiny, kind):
    said = spec(kind, lr=3e-3, seed=4, epochs=3)
    _, found = run(tiny("vit"), said)
    expected = reference(tiny("vit"), said, full=kind == "full")
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=2e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    "adapt", ["full", {"kind": "lora", "rank": 4}, {"kind": "freeze", "blocks": 1}, "linear_probe"]
)
def test_it_learns(tiny, adapt):
    history, _ = run(tiny("dinov2"), spec(adapt, lr=1e-2, epochs=4))
    assert values(history, "loss")[0] == pytest.approx(math.log(3), abs=1e-6)  # the head starts at zero
    assert values(history, "loss")[-1] < 0.5
    assert values(history, "val_acc1")[-1] > 0.8


DROPOUT = {"kind": "lora", "rank": 4, "dropout": 0.3}


def test_the_same_run_twice_gives_the_same_weights_bit_for_bit(tiny):
    said = spec(DROPOUT, augment="crop_flip", penalties=[{"kind": "entropy_floor", "fraction": 1.0}])
    first_history, first = run(tiny("clip"), said)
    second_history, second = run(tiny("clip"), said)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert values(first_history, "loss") == values(second_history, "loss")


def test_dropout_acts_while_training(tiny):
    _, dropped = run(tiny("clip"), spec(DROPOUT, epochs=1))
    _, plain = run(tiny("clip"), spec(DROPOUT | {"dropout": 0.0}, epochs=1))
    assert not torch.equal(dropped["head.linear.weight"], plain["head.linear.weight"])


def test_the_callers_random_numbers_are_left_alone(tiny):
    encoder = tiny("vit")
    said = spec("full", epochs=1)
    assert isinstance(said.objective, Objective)
    installed = said.adapt.install(encoder)  # pyright: ignore[reportAttributeAccessIssue]
    head = said.objective.build_head(encoder, NAMES, ())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(encoder, installed, head, said, TRAIN, VAL)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"augment": "crop_flip"},
        {"schedule": "constant"},
        {"clip_norm": 0.01},
        {"optimizer": "sgd"},
    ],
)
def test_every_setting_counts(tiny, change):
    _, plain = run(tiny("vit"), spec("full", epochs=1))
    _, other = run(tiny("vit"), spec("full", epochs=1, **change))
    assert not torch.equal(plain["head.linear.weight"], other["head.linear.weight"])


def test_what_the_history_holds(tiny):
    steps: list[tuple[int, int]] = []
    encoder = tiny("vit")
    total = sum(p.numel() for p in encoder.model.parameters()) + 3 * 32 + 3
    history, trained = run(encoder, spec("full"), on_step=lambda step, of: steps.append((step, of)))
    assert steps == [(step, 6) for step in range(1, 7)]
    counts = Counter(row.metric for row in history.rows)
    assert counts == {
        "training.loss": 6,
        "training.lr": 6,
        "training.val_acc1": 2,
        "training.seconds": 1,
        "training.memory": 1,
        "training.trainable": 1,
        "training.total": 1,
        "training.share": 1,
    }
    assert counts.keys() <= {metric.name for metric in TRAINING}
    assert len({(row.metric, row.key) for row in history.rows}) == len(history.rows)
    assert [row.step for row in history.rows if row.metric == "training.val_acc1"] == [3, 6]
    assert values(history, "trainable") == values(history, "total") == [total]
    assert values(history, "share") == [1.0]
    assert (
        values(history, "memory")[0] > 4 * 4 * total / 2**20
    )  # weights, gradients, two moments, activations
    assert values(history, "trainable") == [sum(value.numel() for value in trained.values())]
    assert max(values(history, "lr")) == 1e-3
    assert [line["step"] for line in history.log if "loss" in line] == list(range(1, 7))
    assert all(line["grad_norm"] > 0 for line in history.log if "loss" in line)
    assert not encoder.model.training
    assert all(p.grad is None for p in encoder.model.parameters())


def test_validation_accuracy_is_the_heads_own(tiny):
    encoder = tiny("vit")
    history, trained = run(encoder, spec("full", lr=1e-2))
    with torch.no_grad():
        features = encoder.features(VAL.inputs)
        guesses = (features @ trained["head.linear.weight"].T + trained["head.linear.bias"]).argmax(1)
    right = sum(int(a) == int(b) for a, b in zip(guesses, VAL.labels, strict=True))
    assert values(history, "val_acc1")[-1] == right / 9


def test_a_probe_passes_every_example_through_the_encoder_once(tiny):
    encoder = tiny("vit")
    seen = 0

    def count(module: nn.Module, args: tuple, output: Tensor) -> None:
        nonlocal seen
        seen += len(output)

    handle = encoder.model.get_submodule("embeddings").register_forward_hook(count)
    run(encoder, spec("linear_probe", epochs=3))
    assert seen == 22 + 9
    seen = 0
    run(encoder, spec("linear_probe", epochs=3, augment="crop_flip"))
    assert seen == 3 * 22 + 9
    handle.remove()


def test_a_text_head_starts_at_zero_shot_and_moves(tiny):
    encoder = tiny("clip")
    said = spec("linear_probe", objective={"kind": "cross_entropy", "head": "text"}, epochs=1)
    assert isinstance(said.objective, Objective)
    before = said.objective.build_head(encoder, NAMES, TRAIN.templates).state_dict()
    history, trained = run(encoder, said)
    assert values(history, "loss")[0] != pytest.approx(math.log(3), abs=1e-3)
    assert not torch.equal(trained["head.weight"], before["weight"])
    assert torch.equal(trained["head.scale"], before["scale"])


PENALTIES = ["attention_kl", "entropy_floor", "ewc", "l2_sp"]


def test_penalties_combine_and_each_is_told_by_itself(tiny):
    weighted = [{"kind": kind, "weight": 0.1} for kind in PENALTIES]
    history, _ = run(tiny("clip"), spec({"kind": "lora", "rank": 2}, lr=1e-2, penalties=weighted))
    told = [line["penalties"] for line in history.log if "penalties" in line]
    assert all(sorted(parts) == PENALTIES for parts in told)
    assert told[0]["attention_kl"] == pytest.approx(0, abs=1e-6)  # it starts as the base
    assert told[-1]["attention_kl"] > 0
    assert told[-1]["l2_sp"] > 0


def test_what_holds_images_to_themselves_is_refused_with_augmentation(tiny):
    with pytest.raises(MethodError, match=r"attention_kl.*augment: none"):
        run(tiny("clip"), spec("full", penalties=["attention_kl"], augment="crop_flip"))


def test_a_floor_that_acts_keeps_entropy_up_and_says_so(tiny):
    from tunescope.objectives.entropy_floor import EntropyFloor

    ends = {}
    for weight in (1e-6, 3.0):
        encoder = tiny("vit")
        base = EntropyFloor(fraction=1.0).prepare(encoder, "vision", TRAIN).height.mean(1)
        penalty = {"kind": "entropy_floor", "weight": weight, "fraction": 1.2}
        history, _ = run(encoder, spec("full", lr=3e-3, penalties=[penalty]))
        ends[weight] = (
            EntropyFloor(fraction=1.0).prepare(encoder, "vision", TRAIN).height.mean(1) - base
        ).mean()
        assert len(values(history, "penalty")) == 6
        assert values(history, "penalty")[0] == pytest.approx(weight * 0.2 * base.mean().item(), rel=0.1)
        first = next(row for row in history.rows if row.metric == "training.penalty")
        assert (first.component, first.step) == ("entropy_floor", 1)
        assert values(history, "loss")[0] == pytest.approx(
            math.log(3) + values(history, "penalty")[0], abs=1e-5
        )
        assert history.log[1]["penalties"] == {"entropy_floor": values(history, "penalty")[0]}
    assert ends[3.0] > ends[1e-6] + 0.02


def test_two_penalties_of_a_kind_are_one_row(tiny):
    penalty = {"kind": "entropy_floor", "fraction": 1.5}
    one, _ = run(tiny("vit"), spec("full", penalties=[penalty], epochs=1))
    two, _ = run(tiny("vit"), spec("full", penalties=[penalty, penalty], epochs=1))
    assert len(values(two, "penalty")) == 3
    assert values(two, "penalty")[0] == pytest.approx(2 * values(one, "penalty")[0])


def test_bfloat16_trains_float32_weights(tiny):
    history, trained = run(tiny("clip"), spec("full", lr=1e-2, epochs=4, precision="bfloat16"))
    assert all(value.dtype == torch.float32 for value in trained.values())
    plain, _ = run(tiny("clip"), spec("full", lr=1e-2, epochs=4))
    assert values(history, "loss") != values(plain, "loss")
    assert values(history, "loss")[-1] < 0.5


def finite(encoder: Encoder) -> bool:
    return all(bool(p.isfinite().all()) for p in encoder.model.parameters())


def test_a_loss_that_is_not_finite_ends_the_run_before_it_reaches_the_weights(tiny):
    encoder = tiny("vit")
    with pytest.raises(Diverged, match="diverged at step 2") as caught:
        run(encoder, spec("full", lr=1e30, optimizer="sgd", warmup=0, clip_norm=None))
    assert caught.value.step == 2
    assert finite(encoder)


class Cliff(Penalty):
    """Worth 1 with a gradient that is not a number."""

    kind: str = "cliff"
    weight: float = 1.0

    def prepare(self, encoder: Encoder, tower: str, examples: Examples) -> Tensor:
        return next(encoder.model.parameters())

    def value(self, state: Tensor, shown: object, indices: object) -> Tensor:
        return 1 + (0 * state).abs().sqrt().sum()


def test_a_gradient_that_is_not_finite_ends_the_run_too(tiny):
    encoder = tiny("vit")
    said = spec("full").model_copy(update={"penalties": (Cliff(),)})
    assert isinstance(said.penalties[0], Component)
    with pytest.raises(Diverged, match="diverged at step 1"):
        run(encoder, said)
    assert finite(encoder)


def test_logits_that_are_not_finite_after_the_last_step_end_the_run_too(tiny):
    with pytest.raises(Diverged, match="diverged at step 1"):
        run(
            tiny("vit"),
            spec("full", lr=1e38, optimizer="sgd", warmup=0, clip_norm=None, epochs=1, batch_size=22),
        )
