import numpy as np
import pytest

from tunescope.stats.clusters import at_runs, clusters, differences
from tunescope.stats.finding import GroupSummary
from tunescope.stats.intervals import mean_interval


def group(name: str, values: dict[int, list[float]], heads: int = 1) -> GroupSummary:
    """Values of each seed, layer by layer, and head by head where there are several."""
    rows = [
        (
            {"seed": seed, "layer": i // heads} | ({"head": i % heads} if heads > 1 else {}),
            f"{name}{seed}",
            value,
        )
        for seed, own in values.items()
        for i, value in enumerate(own)
    ]
    factors, runs, numbers = zip(*sorted(rows, key=lambda row: row[0]["layer"]), strict=True)
    mean = float(np.mean(numbers))
    return GroupSummary(name, len(rows), mean, None, None, numbers, factors, runs, {"lr": 0.1})


def test_rows_of_runs_that_stand_among_each_other():
    found = clusters(group("a", {0: [1, 2, 3], 1: [4, 5, 6]}))
    assert (found.n, found.unit, found.complete) == (2, "layer", True)
    assert found.sums.tolist() == [6, 15]
    assert found.sizes.tolist() == [3, 3]
    ragged = clusters(group("a", {0: [1, 2], 1: [4, 5, 6, 7]}, heads=2))
    assert (ragged.n, ragged.unit, ragged.complete) == (2, "head", False)
    assert set(ragged.places) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_group_at_its_runs():
    found = at_runs(group("a", {0: [1, 2, 3], 1: [4, 5, 6], 2: [9, 9]}))
    assert (found.n, found.values, found.runs) == (3, (2, 5, 9), ("a0", "a1", "a2"))
    assert found.factors == ({"seed": 0}, {"seed": 1}, {"seed": 2})
    assert found.mean == pytest.approx(16 / 3)
    assert (found.low, found.high) == mean_interval([2, 5, 9])
    assert found.chosen == {"lr": 0.1}
    nothing = GroupSummary("b", 0, None, None, None, (), (), (), {})
    assert at_runs(nothing) == nothing


def test_partners_differ_at_the_places_that_both_have():
    first, second = group("a", {0: [1, 2, 3], 1: [4, 5, 6]}), group("b", {1: [0, 1], 0: [5, 5, 5]})
    found = differences(first, second, [1, 0])
    assert found is not None
    assert sorted(zip(found.runs, found.places, found.values, strict=True)) == [
        (0, (0,), -4),
        (0, (1,), -3),
        (0, (2,), -2),
        (1, (0,), 4),
        (1, (1,), 4),
    ]
    assert differences(first, group("c", {0: [1.0] * 2, 1: [2.0] * 2}, heads=2), [0, 1]) is None
