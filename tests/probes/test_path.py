"""The path, against plain loops that load a whole state dict of float64 mixtures for every α."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from colours import NAMES, examples
from torch import nn

from tunescope.data.examples import Examples
from tunescope.data.sample import few
from tunescope.engine import work
from tunescope.engine.change import weight_change
from tunescope.errors import MethodError
from tunescope.methods.line import Line
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead, text_head
from tunescope.objectives.flyp import FLYP
from tunescope.probes.path import PathProbe
from tunescope.probes.probe import Measurement, Subject
from tunescope.probes.transfer import TransferProbe
from tunescope.results.row import Row
from tunescope.study.component import resolve
from tunescope.study.run import RunSpec

POINTS = 5
SIZES = {"val": 9, "test": 6, "shift:a": 6, "shift:b": 7, "zero_shot:c": 5, "probe": 4}
SETS = {split: examples(count, split) for split, count in SIZES.items()}


def texts(regression: bool = False) -> dict[str, Examples]:
    words = np.array(["a red square", "blue", "two green ones", "red and blue"] * 2, dtype=object)
    labels = np.arange(8, dtype=np.int64) % 3
    if regression:
        labels = labels.astype(np.float64) - 0.5
    ids = tuple(map(str, range(8)))
    return {
        split: Examples(words, labels, ids, () if regression else NAMES, (), split)
        for split in ("val", "test", "shift:a")
    }


def installed(encoder: Encoder, adapt: Any, tower: str = "vision", amount: float = 0.05) -> Installed:
    """Installed, and everything that is trained then moved."""
    method = resolve("adapt", adapt)
    assert isinstance(method, Method)
    found = method.install(encoder, tower)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in found.trainable.values():
            p.add_(amount * torch.randn(p.shape, generator=generator))
    return found


def tuned_head(head: nn.Module) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A head, moved from where it began."""
    origin = {name: value.detach().clone() for name, value in head.named_parameters()}
    with torch.no_grad():
        for p in head.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(4)))
    return head, origin


def subject(base: Encoder, found: Installed, head, origin, sets) -> Subject:
    return Subject(
        found.encoder,
        head,
        found.tower,
        sets,
        batch_size=4,
        change=lambda: weight_change(base, found),
        head_origin=origin,
    )


def rows(measured: Measurement) -> dict[tuple, Row]:
    found = {
        (row.metric.removeprefix("landscape."), row.component, row.split, row.point): row
        for row in measured.rows
    }
    assert len(found) == len(measured.rows)
    return found


def reference(encoder: Encoder, head: nn.Module, split: Examples) -> tuple[float, float]:
    """Mean loss and accuracy, example by example."""
    losses, right = [], []
    for i in range(len(split)):
        with torch.no_grad():
            logits = head(encoder.features(split.inputs[i : i + 1]))[0].double().tolist()
        if split.regression:
            losses.append((logits[0] - split.labels[i]) ** 2)
            continue
        label = int(split.labels[i])
        losses.append(math.log(sum(math.exp(z) for z in logits)) - logits[label])
        right.append(logits.index(max(logits)) == label)
    return sum(losses) / len(losses), sum(right) / max(1, len(right))


@pytest.mark.parametrize(
    ("family", "adapt", "kind"),
    [
        ("clip", "full", "prompts"),
        ("clip", {"kind": "lora", "rank": 2}, "linear"),
        ("clip", {"kind": "per_tower", "vision": "full", "text": "full"}, "captions"),
        ("siglip", "full", "prompts"),
        ("vit", "ia3", "linear"),
        ("dinov2", {"kind": "dora", "rank": 2}, "linear"),
        ("bert", "full", "linear"),
        ("deberta", {"kind": "lora", "rank": 2}, "numbers"),
    ],
    ids=str,
)
def test_every_row_is_a_plain_loop(tiny, family, adapt, kind):
    base, encoder = tiny(family), tiny(family)
    words = "vision" not in base.map.towers
    sets = texts(kind == "numbers") if words else dict(SETS)
    if not base.joint:
        sets.pop("zero_shot:c", None)
    build = {
        "prompts": lambda: text_head(encoder, NAMES, sets["val"].templates),
        "linear": lambda: LinearHead(base.feature_dim, 3),
        "numbers": lambda: LinearHead(base.feature_dim, 1),
        "captions": lambda: FLYP().build_head(encoder, NAMES, sets["val"].templates),
    }
    head, origin = tuned_head(build[kind]())
    found = installed(encoder, adapt, "text" if words else "vision")
    told = []
    looked = replace(
        subject(base, found, head, origin, sets), progress=lambda what, done, of: told.append((done, of))
    )
    got = rows(PathProbe(points=POINTS).measure(looked))
    assert told == [(done, POINTS) for done in range(POINTS + 1)]
    zero, alphas = kind in ("linear", "numbers"), [i / (POINTS - 1) for i in range(POINTS)]
    ended = dict(head.named_parameters())
    found.merge()
    start = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    end = {name: p.detach() for name, p in encoder.model.named_parameters()}
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for alpha in alphas:
        weights = {n: ((1 - alpha) * start[n].double() + alpha * end[n].double()).float() for n in start}
        base.model.load_state_dict(base.model.state_dict() | weights)
        state = {n: (1 - alpha) * origin[n] + alpha * ended[n].detach() for n in origin}
        own = build[kind]() if kind != "captions" else FLYP().build_head(base, NAMES, sets["val"].templates)
        own.load_state_dict(own.state_dict() | state)
        for split, part in sets.items():
            if split == "probe":
                continue
            if not split.startswith("zero"):
                curves.setdefault(("trained", split), []).append(reference(base, own.eval(), part))
            if base.joint:
                prompts = text_head(base, part.class_names, part.templates)
                curves.setdefault(("text", split), []).append(reference(base, prompts, part))
    expected: dict[tuple, float] = {}
    for component in {component for component, _ in curves}:
        blank = zero and component == "trained"
        own = {split: curve for (c, split), curve in curves.items() if c == component}
        for split, curve in own.items():
            for alpha, (loss, acc) in zip(alphas, curve, strict=True):
                expected["path_loss", component, split, alpha] = loss
                if kind != "numbers" and not (blank and alpha == 0):
                    expected["path_acc1", component, split, alpha] = acc
            low, high = curve[0][0], curve[-1][0]
            rises = [
                loss - ((1 - alpha) * low + alpha * high)
                for alpha, (loss, _) in zip(alphas, curve, strict=True)
            ]
            expected["barrier", component, split, None] = max(0.0, *rises[1:-1])
        val = own.pop("val")
        best = 0
        for i in range(POINTS):
            merit = [-loss if kind == "numbers" else acc for loss, acc in val]
            if merit[i] >= merit[best] or (best == 0 and blank and kind != "numbers"):
                best = i
        expected["best_alpha", component, "val", None] = alphas[best]
        expected |= {("best_loss", component, split, None): curve[best][0] for split, curve in own.items()}
        accs = {split: [acc for _, acc in curve] for split, curve in own.items()}
        shifts = [curve for split, curve in accs.items() if split.startswith("shift")]
        accs["shift:mean"] = [sum(each) / len(each) for each in zip(*shifts, strict=True)]
        for split, curve in accs.items() if kind != "numbers" else ():
            expected["best_acc1", component, split, None] = curve[best]
            if not blank:
                expected["gain", component, split, None] = curve[best] - curve[0]
                expected["tuned_gain", component, split, None] = curve[-1] - curve[0]
                if split.startswith("shift"):
                    beaten = any(acc > curve[0] for acc in curve[1:])
                    expected["failure", component, split, None] = 0.0 if beaten else 1.0
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key].value == pytest.approx(value, rel=1e-4, abs=1e-5), key
    assert {row.tower for row in got.values()} == {found.tower}
    declared = {metric.name: metric for metric in PathProbe.metrics}
    for (name, *_), row in got.items():
        metric = declared[f"landscape.{name}"]
        filled = {d for d in ("tower", "layer", "component", "split", "point") if getattr(row, d) is not None}
        assert filled == set(metric.dims)
        low, high = metric.range
        assert low is None or row.value >= low
        assert high is None or row.value <= high


def test_its_ends_are_what_transfer_says(tiny):
    base, encoder = tiny("clip"), tiny("clip")
    head, origin = tuned_head(LinearHead(24, 3))
    plain = Subject(base, None, "vision", SETS, batch_size=4)
    before = {(r.metric, r.component, r.split): r for r in TransferProbe().measure(plain).rows}
    found = subject(base, installed(encoder, "full"), head, origin, SETS)
    after = {(r.metric, r.component, r.split): r for r in TransferProbe().measure(found).rows}
    got = rows(PathProbe(points=3).measure(found))
    compared = 0
    for (name, component, split, point), row in got.items():
        if name not in ("path_loss", "path_acc1") or point == 0.5 or (component, point) == ("trained", 0.0):
            continue
        said = (after if point else before)[name.replace("path_", "transfer."), component, split]
        assert (row.value, row.std, row.n) == pytest.approx((said.value, said.std, said.n), rel=1e-12)
        compared += 1
    assert compared == 2 * (4 + 5 + 5)


def test_what_has_no_path_has_no_rows(tiny):
    base = tiny("clip")
    assert PathProbe().measure(Subject(base, None, "vision", SETS)).rows == []
    for adapt in ("houlsby", {"kind": "per_tower", "vision": "full", "text": "houlsby"}):
        assert PathProbe().measure(subject(base, installed(tiny("clip"), adapt), None, None, SETS)).rows == []


def test_what_is_not_told_is_left_out(tiny):
    base, found = tiny("clip"), installed(tiny("clip"), "full")
    head = LinearHead(24, 3)
    without = {split: SETS[split] for split in ("test", "shift:a")}
    looked = subject(base, found, head, None, without)
    got = rows(PathProbe(points=3, subset=2).measure(looked))
    assert {component for _, component, *_ in got} == {"text"}  # nobody said where the head began
    assert {name for name, *_ in got} == {
        "path_loss",
        "path_acc1",
        "barrier",
    }  # and no α is chosen without val
    assert {row.n for row in got.values()} == {2}
    asked = []

    def kept(key, make):
        asked.append(key)
        return looked.kept(key, lambda: pytest.fail("it was measured before"))

    again = PathProbe(points=3, subset=2).measure(replace(looked, kept=kept))
    assert again.rows == list(got.values())
    assert len(set(asked)) == 3


def test_another_heads_origin_is_refused(tiny):
    looked = subject(
        tiny("vit"), installed(tiny("vit"), "full"), LinearHead(32, 3), {"w": torch.zeros(1)}, SETS
    )
    with pytest.raises(
        MethodError, match=r"the head's origin does not fit: 'linear.bias' is on one side only"
    ):
        PathProbe(points=3).measure(looked)


def test_a_run_is_where_wise_ft_would_leave_it():
    """What a run measures half-way is what its own line leaves there, in the adapter and in the head."""
    said = {
        "model": "emoji-clip",
        "task": {
            "data": "emoji/openmoji",
            "label": "group",
            "split": {"train": 0.05, "val": 0.05, "probe": 0.02, "test": 0.88},
        },
        "adapt": {"kind": "lora", "rank": 2},
        "lr": 1e-2,
        "seed": 0,
        "train": {"epochs": 1, "batch_size": 32},
        "probes": [{"kind": "path", "points": 3, "subset": 40}],
    }
    tuned = work.tune(RunSpec.parse(said, "test"))
    got = rows(work.measure(tuned))
    assert not any(value.any() for value in tuned.head_origin.values())
    assert ("path_acc1", "trained", "val", 0.0) not in got
    assert got["path_loss", "trained", "val", 0.0].value == pytest.approx(math.log(8))
    val = {"val": few(tuned.examples["val"], 40)}
    lines = [
        tuned.installed.line(tuned.installed.origin()),
        Line(dict(tuned.head.named_parameters()), tuned.head_origin),
    ]
    for alpha in (0.5, 1.0):
        for line in lines:
            line.at(alpha)
        for row in TransferProbe().measure(Subject(tuned.encoder, tuned.head, "vision", val)).rows:
            if row.metric in ("transfer.acc1", "transfer.loss"):
                name = row.metric.replace("transfer.", "path_")
                assert got[name, row.component, "val", alpha].value == pytest.approx(row.value, rel=1e-4)
