"""Straggler sparsity against models that are edited by hand."""

from copy import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from colours import TRAIN, VAL, spec
from torch import Tensor, nn

from tunescope.errors import MethodError
from tunescope.methods.method import Installed, Method
from tunescope.models.load import load
from tunescope.objectives.objective import Objective
from tunescope.results.metric import AFTER
from tunescope.study.component import resolve
from tunescope.training.loop import train
from tunescope.training.score import Score
from tunescope.training.straggler_sparsity import StragglerSparsity

LORA = {"kind": "lora", "rank": 4, "targets": ("q", "v", "fc1")}


class Edited:
    """A tiny CLIP, tuned in a few steps and merged, which is edited again and again."""

    def __init__(self, folder, adapt: Any):
        self.said = spec(adapt, lr=3e-2, epochs=1).model_copy(update={"model": str(folder)})
        self.encoder, self.base = load(folder), load(folder)
        assert isinstance(self.said.adapt, Method)
        assert isinstance(self.said.objective, Objective)
        self.head = self.said.objective.build_head(self.encoder, TRAIN.class_names, TRAIN.templates)
        torch.manual_seed(0)
        installed = self.said.adapt.install(self.encoder)
        self.begun = StragglerSparsity().begin(installed, self.head)
        train(self.encoder, installed, self.head, self.said, TRAIN, VAL)
        installed.merge()
        self.names = list(installed.weights())
        self.tuned = self.state()
        self.head_tuned = {name: value.clone() for name, value in self.head.state_dict().items()}

    def edit(self, after: dict[str, Any], seed: int = 0) -> "Edited":
        """Once more, from what was tuned."""
        edit = resolve("after", {"kind": "straggler_sparsity"} | after)
        assert isinstance(edit, StragglerSparsity)
        self.put(self.tuned)
        self.head.load_state_dict(self.head_tuned)
        self.lines: list[dict[str, Any]] = []
        plain = {name: self.encoder.model.get_parameter(name) for name in self.names}
        said = self.said.model_copy(update={"seed": seed})
        score = Score(Installed(self.encoder, "vision", plain), self.head, said, VAL)
        self.rows = {row.metric: row for row in edit.finish(self.begun, score, self.lines.append)}
        assert self.rows.keys() <= {metric.name for metric in AFTER}
        return self

    @torch.no_grad()
    def put(self, weights: dict[str, Tensor]) -> None:
        for name, value in weights.items():
            self.encoder.model.get_parameter(name).copy_(value)

    def state(self) -> dict[str, Tensor]:
        return {name: self.encoder.model.get_parameter(name).detach().clone() for name in self.names}

    def start(self) -> dict[str, Tensor]:
        return {name: self.base.model.get_parameter(name).detach() for name in self.names}

    def block(self, layer: int) -> list[str]:
        path = self.encoder.map.tower("vision").blocks[layer].path
        return [name for name in self.names if name.startswith(f"{path}.")]

    def flat(self, weights: dict[str, Tensor], layer: int) -> np.ndarray:
        return np.concatenate([weights[name].double().numpy().ravel() for name in self.block(layer)])

    @torch.no_grad()
    def accuracy(self) -> float:
        outputs = self.head(self.encoder.features(VAL.inputs))
        return float((outputs.argmax(-1).numpy() == VAL.labels).mean())


@pytest.fixture(scope="module")
def tuned(tiny_folder):
    return cache(lambda adapt: Edited(tiny_folder("clip"), adapt if isinstance(adapt, str) else dict(adapt)))


@pytest.fixture
def edited(tuned):
    return lambda after, adapt="full", **said: tuned(
        adapt if isinstance(adapt, str) else tuple(adapt.items())
    ).edit(after, **said)


@pytest.mark.parametrize("adapt", ["full", LORA], ids=["full", "lora"])
def test_a_share_of_one_layers_change_is_taken_back_and_nothing_else(edited, adapt):
    found: Edited = edited({"layers": [1], "share": 0.75, "rescale": True}, adapt)
    now, start = found.state(), found.start()
    change, before = (found.flat(w, 1) - found.flat(start, 1) for w in (now, found.tuned))
    kept = change != 0
    count = len(change) - round(0.75 * len(change))
    assert count - (before == 0).sum() <= kept.sum() <= count
    np.testing.assert_allclose(change[kept], before[kept] * len(change) / count, rtol=2e-3, atol=1e-6)
    elsewhere = now.keys() - set(found.block(1))
    assert elsewhere
    assert all(torch.equal(now[name], found.tuned[name]) for name in elsewhere)
    assert all(torch.equal(v, found.head_tuned[k]) for k, v in found.head.state_dict().items())
    rows = {name: (row.value, row.split) for name, row in found.rows.items()}
    assert rows == {
        "after.sparsity": (0.75, None),
        "after.stragglers": (1, None),
        "after.alpha": (1.0, None),
        "after.val_acc1": (pytest.approx(found.accuracy()), "val"),
    }


def test_zeros_are_counted(edited):
    found: Edited = edited({"layers": [0, 1], "share": 0.3, "to": "zero", "of": "weight", "by": "magnitude"})
    for layer in (0, 1):
        now = found.state()
        matrices = [now[name] for name in found.block(layer) if now[name].dim() > 1]
        assert sum(int((w == 0).sum()) for w in matrices) == round(0.3 * sum(w.numel() for w in matrices))


def test_none_is_nothing_and_all_is_the_layer_rewound_bit_for_bit(edited):
    none: Edited = edited({"layers": [0, 1], "share": 0.0, "rescale": True})
    assert all(torch.equal(value, none.tuned[name]) for name, value in none.state().items())
    every: Edited = edited({"layers": [1], "share": 1.0, "rescale": True})
    now, start = every.state(), every.start()
    for name, value in now.items():
        assert torch.equal(value, (start if name in every.block(1) else every.tuned)[name])


def test_the_runs_seed_draws(edited):
    def moved(seed: int) -> list[np.ndarray]:
        found: Edited = edited({"layers": [0, 1], "share": 0.5}, seed=seed)
        return [found.flat(found.state(), layer) != found.flat(found.tuned, layer) for layer in (0, 1)]

    one, again, other = moved(0), moved(0), moved(1)
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert all((a != b).any() for a, b in zip(one, other, strict=True))
    assert (one[0] != one[1]).any()


@torch.no_grad()
def barriers(found: Edited, points: int) -> list[float]:
    """By setting one block's weights on the tuned model, in float64 mixtures, and running it whole."""
    start, now, heights = found.start(), found.state(), []
    for layer in range(len(found.encoder.map.tower("vision").blocks)):
        losses = []
        for alpha in np.linspace(0, 1, points):
            mixed = {n: (1 - alpha) * start[n].double() + alpha * found.tuned[n] for n in found.block(layer)}
            found.put(found.tuned | mixed)
            logits = found.head(found.encoder.features(VAL.inputs)).double()
            losses.append(nn.functional.cross_entropy(logits, torch.from_numpy(VAL.labels)).item())
        at = np.linspace(0, 1, points)
        heights.append(float(max(np.array(losses) - (1 - at) * losses[0] - at * losses[-1])))
    found.put(now)
    return heights


def test_stragglers_are_the_layers_of_the_largest_barriers(tuned):
    found: Edited = copy(tuned("full"))
    noise = torch.Generator().manual_seed(1)
    found.tuned = {  # a few steps of tuning leave no barriers
        name: value + 0.5 * torch.randn(value.shape, generator=noise) for name, value in found.tuned.items()
    }
    found.edit({"top": 2, "share": 1.0, "points": 5})
    expected = barriers(found, 5)
    assert sorted(expected)[-2] > 0.01
    first, *_ = found.lines
    assert first["barriers"] == pytest.approx(expected, abs=1e-5)
    largest = sorted(np.argsort(expected)[-2:].tolist())
    assert first["stragglers"] == largest
    inside = [name for layer in largest for name in found.block(layer)]
    now, start = found.state(), found.start()
    for name, value in now.items():
        assert torch.equal(value, (start if name in inside else found.tuned)[name])


def test_the_score_may_be_what_rewinding_a_layer_costs(tuned):
    found: Edited = copy(tuned("full"))
    found.edit({"top": 1, "share": 1.0, "score": "rewind"})
    first, *_ = found.lines
    assert len(first["rewinds"]) == len(found.encoder.map.tower("vision").blocks)
    assert first["stragglers"] == ([int(np.argmax(first["rewinds"]))] if max(first["rewinds"]) > 0 else [])


def test_blocks_that_were_left_frozen_are_no_stragglers(edited):
    found: Edited = edited({"top": 2, "points": 3, "share": 1.0}, {"kind": "last_k", "blocks": 1})
    assert found.lines[0]["barriers"][:-1] == [0.0] * (len(found.lines[0]["barriers"]) - 1)


def test_where_no_layer_stands_out_none_is_changed(edited):
    found: Edited = edited({"threshold": 1e6, "points": 3})
    assert found.rows["after.stragglers"].value == 0
    assert found.lines[0]["stragglers"] == []
    assert all(torch.equal(value, found.tuned[name]) for name, value in found.state().items())


def test_share_and_alpha_are_chosen_on_validation_the_closest_to_what_was_tuned_among_equals(edited):
    said = {"layers": [0, 1], "share": "val", "shares": [0, 0.5, 1], "alpha": "val", "alphas": [0, 0.5, 1]}
    found: Edited = edited(said)
    tried = [(line["share"], line["alpha"], line["val_acc1"]) for line in found.lines]
    assert [pair[:2] for pair in tried] == [(s, a) for s in (1, 0.5, 0) for a in (0, 0.5, 1)]
    highest = max(value for *_, value in tried)
    share, alpha, _ = max((one for one in tried if one[2] == highest), key=lambda one: (-one[0], one[1]))
    assert (found.rows["after.sparsity"].value, found.rows["after.alpha"].value) == (share, alpha)
    assert found.rows["after.val_acc1"].value == highest == pytest.approx(found.accuracy())


def test_the_sparse_model_walks_back_with_its_head(edited):
    there: Edited = edited({"layers": [1], "share": 0.5, "by": "magnitude"})
    start, end = there.start(), there.state()
    half: Edited = edited({"layers": [1], "share": 0.5, "by": "magnitude", "alpha": 0.25})
    for name, value in half.state().items():
        torch.testing.assert_close(
            value.double(), 0.75 * start[name].double() + 0.25 * end[name].double(), atol=1e-6, rtol=1e-5
        )
    for name, value in half.head.state_dict().items():  # a linear head begins at zeros
        torch.testing.assert_close(value, 0.25 * half.head_tuned[name], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(
    ("adapt", "after", "message"),
    [
        ("vpt_deep", {}, "edits merged weights: vpt_deep cannot be merged"),
        ({"kind": "per_tower", "vision": "full", "text": "prompt"}, {}, "prompt cannot be merged"),
        ("linear_probe", {}, "changes no weights of the vision tower's blocks.*full or lora"),
        ("bitfit", {"to": "zero", "of": "weight", "by": "magnitude"}, "changes no matrices"),
        ("full", {"layers": [9]}, r"layers: 9, but the vision tower of .* has \d, counted from 0"),
    ],
)
def test_what_cannot_be_made_sparse_is_refused_before_the_first_step(tiny, adapt, after, message):
    edit, method = resolve("after", {"kind": "straggler_sparsity"} | after), resolve("adapt", adapt)
    assert isinstance(edit, StragglerSparsity)
    assert isinstance(method, Method)
    installed = method.install(tiny("clip"))
    for refusing in (lambda: edit.begin(installed, nn.Identity()), lambda: edit.check(installed)):
        with pytest.raises(MethodError, match=message):
            refusing()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.5}, "less than or equal to 1"),
        ({"shares": [0.1, 0.2]}, "shares are chosen from with share: val"),
        ({"alphas": [0.1, 0.2]}, "alphas are chosen from with alpha: val"),
        ({"layers": [1], "top": 1}, "layers says which layers, and so does top"),
        ({"top": 1, "threshold": 3.0}, "top says which layers, and so does threshold"),
        ({"layers": [1, 1]}, "one stands twice"),
        ({"of": "weight"}, "by is random"),
        ({"by": "magnitude", "to": "zero"}, "say of: weight"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve("after", {"kind": "straggler_sparsity"} | settings)
    chosen = StragglerSparsity(share="val", shares=(0.0, 0.5), by="magnitude", of="weight", to="zero")
    assert resolve("after", chosen.model_dump(mode="json")) == chosen
