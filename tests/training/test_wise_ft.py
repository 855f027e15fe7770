"""WiSE-FT against plain models whose weights are interpolated by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from colours import NAMES, TRAIN, VAL, spec
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.errors import MethodError
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective
from tunescope.results.metric import AFTER
from tunescope.results.row import Row
from tunescope.study.component import resolve
from tunescope.study.run import RunSpec
from tunescope.training.loop import train
from tunescope.training.score import Score
from tunescope.training.wise_ft import WiseFT

TEXT_HEAD = {"kind": "cross_entropy", "head": "text"}


class Walk:
    """A model that was tuned in a few steps, to be walked back; and both ends as plain weights, float64."""

    def __init__(self, encoder: Encoder, base: Encoder, said: RunSpec, examples: Examples = TRAIN):
        assert isinstance(said.adapt, Method)
        assert isinstance(said.objective, Objective)
        self.encoder, self.base, self.said = encoder, base, said
        self.head = said.objective.build_head(encoder, examples.class_names, examples.templates)
        torch.manual_seed(said.seed)
        self.installed: Installed = said.adapt.install(encoder, examples.tower)
        self.begun = WiseFT().begin(self.installed, self.head)
        head_start = {name: value.double() for name, value in self.head.state_dict().items()}
        train(encoder, self.installed, self.head, said, examples, examples)
        self.tuned = self.state()
        plain = {name: value.detach().double() for name, value in self.installed.weights().items()}
        start = {name: base.model.get_parameter(name).detach().double() for name in plain}
        head_end = {name: value.double() for name, value in self.head.state_dict().items()}
        self.ends = (start, plain), (head_start, head_end)

    def state(self) -> dict[str, Tensor]:
        return self.installed.state_dict() | {
            f"head {name}": value.clone() for name, value in self.head.state_dict().items()
        }

    @torch.no_grad()
    def outputs(self, alpha: float, inputs: np.ndarray) -> Tensor:
        """Of an ordinary model whose weights are (1 − α)·θ₀ + α·θ₁."""
        (start, end), (head_start, head_end) = self.ends
        for name, weight in end.items():
            self.base.model.get_parameter(name).copy_((1 - alpha) * start[name] + alpha * weight)
        assert isinstance(self.said.objective, Objective)
        head = self.said.objective.build_head(self.base, NAMES, TRAIN.templates)
        head.load_state_dict(
            {name: (1 - alpha) * head_start[name] + alpha * head_end[name] for name in head_end}
        )
        return head(self.base.features(inputs))

    def finish(self, after: WiseFT, val: Examples = VAL) -> tuple[list[Row], list[dict[str, Any]]]:
        lines: list[dict[str, Any]] = []
        score = Score(self.installed, self.head, self.said, val)
        rows = after.finish(self.begun, score, lines.append)
        assert {row.metric for row in rows} <= {metric.name for metric in AFTER}
        return rows, lines


@pytest.fixture
def walk(tiny):
    return lambda family, said, *examples: Walk(tiny(family), tiny(family), said, *examples)


def outputs(walk: Walk, inputs: np.ndarray) -> Tensor:
    with torch.no_grad():
        return walk.head(walk.encoder.features(inputs))


@pytest.mark.parametrize(
    ("adapt", "objective", "ema"),
    [
        ("full", TEXT_HEAD, 0.5),
        ({"kind": "lora", "rank": 2}, "cross_entropy", None),
        ({"kind": "lp_ft", "epochs": 1, "then": "ia3"}, "cross_entropy", None),
        ("linear_probe", TEXT_HEAD, None),
        ({"kind": "per_tower", "vision": {"kind": "lora", "rank": 2}, "text": "bitfit"}, "flyp", None),
    ],
    ids=["full", "lora", "lp_ft", "linear_probe", "flyp"],
)
def test_at_each_alpha_the_model_is_what_it_should_be(walk, adapt, objective, ema):
    found: Walk = walk("clip", spec(adapt, lr=1e-2, objective=objective, epochs=1, ema=ema))
    start, end = found.outputs(0.0, VAL.inputs), outputs(found, VAL.inputs)
    assert (start - end).abs().max() > 0.05
    for alpha in (0.0, 0.5, 1.0):
        rows, lines = found.finish(WiseFT(alpha=alpha))
        expected = found.outputs(alpha, VAL.inputs)
        torch.testing.assert_close(outputs(found, VAL.inputs), expected, atol=2e-5, rtol=1e-4)
        right = (expected.argmax(-1).numpy() == VAL.labels).mean()
        assert [(row.metric, row.value, row.split, row.n) for row in rows] == [
            ("after.alpha", alpha, None, None),
            ("after.val_acc1", pytest.approx(right), "val", 9),
        ]
        assert lines == [{"after": "wise_ft", "alpha": alpha, "val_acc1": rows[1].value}]
        # each time from α = 1, where it is what training returned, bit for bit
        found.begun.installed.load_state_dict(
            {name: value for name, value in found.tuned.items() if not name.startswith("head ")}
        )
        found.head.load_state_dict(
            {name.removeprefix("head "): v for name, v in found.tuned.items() if name.startswith("head ")}
        )
        assert torch.equal(outputs(found, VAL.inputs), end)


def test_the_ends_are_the_base_and_the_tuned_model_bit_for_bit(walk, tiny):
    found: Walk = walk("clip", spec("full", lr=1e-2, objective=TEXT_HEAD, epochs=1))
    found.finish(WiseFT(alpha=1.0))
    assert all(torch.equal(value, found.tuned[name]) for name, value in found.state().items())
    found.finish(WiseFT(alpha=0.0))
    base = tiny("clip")
    zero_shot = resolve("objective", TEXT_HEAD)
    assert isinstance(zero_shot, Objective)
    head = zero_shot.build_head(base, NAMES, TRAIN.templates)
    with torch.no_grad():
        assert torch.equal(outputs(found, VAL.inputs), head(base.features(VAL.inputs)))
    assert all(
        torch.equal(value, base.model.state_dict()[name])
        for name, value in found.installed.state_dict().items()
    )


def texts(count: int) -> Examples:
    labels = np.arange(count, dtype=np.int64) % 3
    words = np.array([f"{NAMES[label]} {index}" for index, label in enumerate(labels)], dtype=object)
    return Examples(words, labels, tuple(words), NAMES, ("a {} square.",), "val")


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_val_takes_the_best_alpha_of_an_independent_loop(walk, tower):
    """The validation labels are what the model at α = 0.4 says: it is right there, and less so further on."""
    train = TRAIN if tower == "vision" else texts(24)
    found: Walk = walk(
        "clip", spec({"kind": "lora", "rank": 4}, lr=3e-2, objective=TEXT_HEAD, epochs=2), train
    )
    val = texts(40)
    if tower == "vision":
        noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
        val = replace(val, inputs=noise)
    val = replace(val, labels=found.outputs(0.4, val.inputs).argmax(-1).numpy())
    alphas = (0.9, 0.0, 0.4, 0.2, 0.6, 1.0)
    right = {
        alpha: (found.outputs(alpha, val.inputs).argmax(-1).numpy() == val.labels).mean() for alpha in alphas
    }
    best = max(alpha for alpha in alphas if right[alpha] == max(right.values()))
    assert right[best] == 1 > right[1.0]
    rows, lines = found.finish(WiseFT(alpha="val", alphas=alphas), val)
    assert [row.value for row in rows] == [best, 1.0]
    assert [(line["alpha"], line["val_acc1"]) for line in lines] == [
        (alpha, pytest.approx(right[alpha])) for alpha in sorted(alphas)
    ]
    expected = found.outputs(best, val.inputs)
    torch.testing.assert_close(outputs(found, val.inputs), expected, atol=2e-5, rtol=1e-4)


def test_where_numbers_are_predicted_the_smallest_loss_is_the_best(walk):
    points = np.linspace(0, 1, len(TRAIN))
    numbers = replace(TRAIN, labels=points, class_names=())
    found: Walk = walk("vit", spec("full", lr=1e-2, objective="squared_error", epochs=1), numbers)
    val = replace(numbers, labels=found.outputs(0.3, TRAIN.inputs)[:, 0].double().numpy(), split="val")
    rows, lines = found.finish(WiseFT(alpha="val"), val)
    assert (rows[0].value, rows[1].metric) == (0.3, "after.val_loss")
    assert rows[1].value == pytest.approx(0, abs=1e-9)
    for line in lines:
        off = found.outputs(line["alpha"], TRAIN.inputs)[:, 0].double().numpy() - val.labels
        assert line["val_loss"] == pytest.approx((off**2).mean(), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "tower", "reason"),
    [
        ("dora", "vision", "divides by the norm"),
        ("vpt_deep", "vision", "cannot be folded"),
        ("prompt", "text", "cannot be folded"),
    ],
)
def test_a_method_without_a_line_is_refused_before_the_first_step(tiny, kind, tower, reason):
    method = resolve("adapt", kind)
    assert isinstance(method, Method)
    installed = method.install(tiny("clip"), tower)
    with pytest.raises(MethodError, match=reason):
        WiseFT().begin(installed, nn.Identity())
    with pytest.raises(MethodError, match=reason):
        WiseFT().check(installed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "less than or equal to 1"),
        ({"alpha": "test"}, "'val'"),
        ({"alpha": 0.3, "alphas": [0, 1]}, "drop one"),
        ({"alpha": "val", "alphas": [0.5]}, "at least 2"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve("after", {"kind": "wise_ft"} | settings)
    chosen = WiseFT(alpha="val", alphas=(0.0, 0.5))
    assert resolve("after", chosen.model_dump(mode="json")) == chosen
