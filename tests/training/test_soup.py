"""Soups against averages that are made by hand, in float64, of plain models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from colours import TRAIN, VAL, spec
from torch import Tensor

from tunescope.errors import MethodError
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead
from tunescope.results.metric import AFTER
from tunescope.study.component import resolve
from tunescope.training.greedy_soup import GreedySoup
from tunescope.training.model_mean import ModelMean
from tunescope.training.score import Score
from tunescope.training.soup import Ingredient, IngredientDiverged, Soup
from tunescope.training.uniform_soup import UniformSoup

METHODS: dict[str, Any] = {
    "full": "full",
    "lora": {"kind": "lora", "rank": 2},
    "pissa": {"kind": "pissa", "rank": 2},
    "dora": {"kind": "dora", "rank": 2},
    "ia3": "ia3",
    "vera": {"kind": "vera", "rank": 4},
    "two towers": {"kind": "per_tower", "vision": {"kind": "lora", "rank": 2}, "text": "bitfit"},
}


def install(adapt: Any, encoder: Encoder) -> Installed:
    method = resolve("adapt", adapt)
    assert isinstance(method, Method)
    torch.manual_seed(0)
    return method.install(encoder)


class Soups:
    """A mean, and runs that differ at random in all that their method trains and in the head."""

    def __init__(self, adapt: Any, tiny, count: int, noise: float = 0.1):
        self.base = tiny("clip")
        merged = install(adapt, tiny("clip"))
        merged.merge()
        weights = {name: merged.encoder.model.get_parameter(name) for name in merged.weights()}
        self.model = Installed(merged.encoder, "vision", weights)
        self.head = LinearHead(24, 3)
        self.said = spec(adapt)
        parts = install(adapt, tiny("clip"))
        self.runs: list[dict[str, Tensor]] = []
        self.plain: list[dict[str, Tensor]] = []  # the effective weights of each, float64
        generator = torch.Generator().manual_seed(1)
        start = parts.state_dict()
        for _ in range(count):
            parts.load_state_dict(start)
            for value in parts.trainable.values():
                value.data += noise * torch.randn(value.shape, generator=generator)
            head = {
                f"head.linear.{name}": torch.randn(shape, generator=generator)
                for name, shape in (("weight", (3, 24)), ("bias", (3,)))
            }
            self.runs.append({f"encoder.{name}": v for name, v in parts.state_dict().items()} | head)
            self.plain.append({name: v.detach().double() for name, v in parts.weights().items()} | head)
        self.mean = ModelMean(
            self.model, self.model if parts.trainable.keys() == weights.keys() else parts, self.head
        )

    def ingredients(self, order: Sequence[int] | None = None) -> list[Ingredient]:
        places = range(len(self.runs)) if order is None else order
        return [Ingredient(f"run {place}", lambda place=place: self.runs[place]) for place in places]

    def average(self, places: Sequence[int]) -> dict[str, Tensor]:
        chosen = [self.plain[place] for place in places]
        return {name: torch.stack([one[name].double() for one in chosen]).mean(0) for name in chosen[0]}

    @torch.no_grad()
    def outputs(self, places: Sequence[int], inputs: np.ndarray) -> Tensor:
        """Of an ordinary model whose weights are the mean of those of the runs at `places`."""
        head = LinearHead(24, 3)
        for name, value in self.average(places).items():
            owner, inside = (head, name.removeprefix("head.")) if "head." in name else (self.base.model, name)
            owner.get_parameter(inside).copy_(value)
        return head(self.base.features(inputs))

    def average_by(self, soup: Soup, ingredients: Sequence[Ingredient], val=VAL):
        lines: list[dict[str, Any]] = []
        rows = soup.average(
            self.mean, ingredients, Score(self.model, self.head, self.said, val), lines.append
        )
        assert {row.metric for row in rows} <= {metric.name for metric in AFTER}
        return rows, lines

    def check(self, places: Sequence[int]) -> None:
        """The mean model and the head are the average of the runs at `places`, to rounding."""
        found = {name: value.detach() for name, value in self.model.trainable.items()}
        found |= {f"head.{name}": value for name, value in self.head.state_dict().items()}
        expected = self.average(places)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value.double(), expected[name], atol=1e-6, rtol=2e-6, msg=name)
        with torch.no_grad():
            logits = self.head(self.model.encoder.features(VAL.inputs))
        torch.testing.assert_close(logits, self.outputs(places, VAL.inputs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_uniform_soup_is_the_mean_of_merged_models(tiny, name):
    runs = Soups(METHODS[name], tiny, 3)
    plain = {name for name, _ in tiny("clip").model.named_parameters()}
    rows, lines = runs.average_by(UniformSoup(seeds=(0, 1, 2)), runs.ingredients())
    runs.check([0, 1, 2])
    assert {name for name, _ in runs.model.encoder.model.named_parameters()} == plain
    assert runs.model.without() is None
    right = (runs.outputs([0, 1, 2], VAL.inputs).argmax(-1).numpy() == VAL.labels).mean()
    assert [(row.metric, row.value, row.split) for row in rows] == [
        ("after.ingredients", 3, None),
        ("after.val_acc1", pytest.approx(right), "val"),
    ]
    assert [line.get("ingredient") for line in lines] == ["run 0", "run 1", "run 2", None]
    assert all(line["in"] for line in lines[:-1])
    saved = runs.model.state_dict()  # and it is loadable, as plain weights
    for name, value in saved.items():
        runs.base.model.get_parameter(name).data.copy_(value)
    assert torch.equal(runs.base.features(VAL.inputs), runs.model.encoder.features(VAL.inputs))


def test_the_mean_of_the_changes_is_not_the_change_of_the_means(tiny):
    """Averaging LoRA's A and B apart would give another model: mean(B)·mean(A) ≠ mean(B·A)."""
    runs = Soups(METHODS["lora"], tiny, 3)
    runs.average_by(UniformSoup(seeds=(0, 1, 2)), runs.ingredients())
    apart = install(METHODS["lora"], tiny("clip"))
    names = apart.state_dict()
    apart.load_state_dict(
        {name: torch.stack([run[f"encoder.{name}"] for run in runs.runs]).mean(0) for name in names}
    )
    off = max(
        (value - runs.model.trainable[name]).abs().max().item() for name, value in apart.weights().items()
    )
    assert off > 1e-2


def reference(runs: Soups, order: list[int], val) -> tuple[list[int], list[float]]:
    """The greedy recipe, slowly: every candidate is averaged anew, as a plain model, from all that are in."""

    def accuracy(places: list[int]) -> float:
        return float((runs.outputs(places, val.inputs).argmax(-1).numpy() == val.labels).mean())

    alone = {place: accuracy([place]) for place in order}
    inside: list[int] = []
    best, found = -1.0, []
    for place in sorted(order, key=lambda place: (-alone[place], order.index(place))):
        with_it = accuracy([*inside, place])
        found.append(with_it)
        if with_it >= best:
            inside, best = [*inside, place], with_it
    return inside, found


@pytest.mark.parametrize(("name", "order"), [("full", [0, 1, 2, 3, 4]), ("lora", [4, 2, 3, 1, 0])])
def test_a_greedy_soup_takes_what_the_slow_recipe_takes(tiny, name, order):
    runs = Soups(METHODS[name], tiny, 5, noise=0.05)
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    labels = runs.outputs([1, 3], noise).argmax(-1).numpy()  # these two together are never wrong
    labels[::4] = 0  # or seldom
    val = replace(TRAIN, inputs=noise, labels=labels, ids=tuple(map(str, range(40))), split="val")
    inside, found = reference(runs, order, val)
    assert 1 < len(inside) < 5
    rows, lines = runs.average_by(GreedySoup(seeds=(0, 1, 2, 3, 4)), runs.ingredients(order), val)
    runs.check(inside)
    assert [int(line["ingredient"][-1]) for line in lines if line.get("in")] == inside
    assert [line["val_acc1"] for line in lines[:-1]] == pytest.approx(found)
    assert rows[0].value == len(inside)
    assert rows[1].value == pytest.approx(max(found[i] for i, line in enumerate(lines[:-1]) if line["in"]))


def test_what_diverged_is_an_error_of_a_uniform_soup_and_is_left_out_of_a_greedy_one(tiny):
    runs = Soups("bitfit", tiny, 2)
    parts = [Ingredient("lr=9 seed=0", None, "diverged at step 7"), *runs.ingredients([0])]
    with pytest.raises(IngredientDiverged, match=r"ingredient lr=9 seed=0 diverged at step 7.*greedy"):
        runs.average_by(UniformSoup(seeds=(0, 1)), parts)
    rows, lines = runs.average_by(GreedySoup(seeds=(0, 1)), parts)
    runs.check([0])
    assert rows[0].value == 1
    assert lines[0] == {
        "after": "greedy_soup",
        "ingredient": "lr=9 seed=0",
        "in": False,
        "because": "diverged at step 7",
    }
    with pytest.raises(IngredientDiverged, match="all ingredients diverged"):
        runs.average_by(GreedySoup(seeds=(0, 1)), parts[:1])


@pytest.mark.parametrize("kind", ["uniform_soup", "greedy_soup"])
def test_ingredients_are_every_combination_without_after(kind):
    soup = resolve("after", {"kind": kind, "lr": [1e-3, 1e-4], "seeds": [3, 4]})
    assert isinstance(soup, Soup)
    said = spec("full", lr=0.5, seed=9).model_copy(update={"after": soup})
    plain = spec("full", lr=0.5, seed=9)
    assert soup.ingredients(said) == {
        f"lr={lr} seed={seed}": plain.model_copy(update={"lr": lr, "seed": seed})
        for lr in (1e-3, 1e-4)
        for seed in (3, 4)
    }
    for given, left in (({"lr": (1.0, 2.0)}, {"seed": 9}), ({"seeds": (1, 2)}, {"lr": 0.5})):
        part = type(soup).model_validate(given).ingredients(said).values()
        assert all(getattr(run, name) == value for run in part for name, value in left.items())
        assert len(part) == 2
    assert resolve("after", soup.model_dump(mode="json")) == soup
    for wrong, message in (({}, "two ingredients"), ({"seeds": [1, 1]}, "twice"), ({"lr": [0.1]}, "two")):
        with pytest.raises(ValueError, match=message):
            resolve("after", {"kind": kind} | wrong)


@pytest.mark.parametrize("kind", ["houlsby", "vpt_deep", "prefix"])
def test_what_cannot_be_merged_is_no_ingredient(tiny, kind):
    with pytest.raises(MethodError, match=f"uniform_soup averages merged weights: {kind} cannot be merged"):
        UniformSoup(seeds=(0, 1)).check(install(kind, tiny("clip")))
