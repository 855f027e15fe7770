# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOperatorIssue=false
# pyright: reportArgumentType=false
import itertools

import numpy as np
import pytest

from tunescope.stats.claim import Claim
from tunescope.stats.cluster_bootstrap import RESAMPLED, bootstrap_groups, bootstrapped
from tunescope.stats.clusters import Clusters
from tunescope.stats.finding import GroupSummary

CLAIM = Claim("a is higher", 1, "nats")
LAYERS = 12


def rows(values: np.ndarray) -> Clusters:
    """Layers of runs, of shape (runs, layers)."""
    runs = np.repeat(np.arange(float(len(values))), values.shape[1])
    return Clusters(values.ravel(), runs, tuple((i,) for i in range(values.shape[1])) * len(values))


def group(name: str, values: np.ndarray, first: int = 0) -> GroupSummary:
    found = rows(values)
    factors = tuple(
        {"seed": first + int(run), "layer": layer[0]}
        for run, layer in zip(found.runs, found.places, strict=True)
    )
    names = tuple(f"{name}{run:g}" for run in found.runs)
    numbers = tuple(found.values.tolist())
    return GroupSummary(name, len(numbers), float(values.mean()), None, None, numbers, factors, names, {})


def studies(n: int, runs: int, groups: int, seed: int) -> np.ndarray:
    """Layers of one run share its luck, and nothing else differs; the second group spreads less."""
    rng = np.random.default_rng(seed)
    spread = np.array([1.0, 0.4, 1.0])[:groups, None, None]
    values = rng.normal(size=(n, groups, runs, 1)) + rng.normal(size=(n, groups, runs, LAYERS))
    return spread * values


@pytest.mark.parametrize("runs", [4, 5])
def test_null_studies_are_rejected_and_covered_as_promised(runs):
    found = []
    for study in studies(300, runs, 2, seed=runs):
        (contrast,) = bootstrapped([rows(own) for own in study])
        low, high = contrast.interval(contrast.by_chance)
        found.append((low <= 0 <= high, np.mean(contrast.by_chance >= contrast.t) < 0.05))
    covers, rejects = np.mean(found, axis=0)
    assert covers >= 0.93
    assert rejects <= 0.06


def test_pairs_and_three_groups_are_rejected_no_more_than_promised():
    paired = [bootstrapped([rows(a - b)])[0] for a, b in studies(200, 5, 2, seed=6)]
    assert np.mean([np.mean(one.by_chance >= one.t) < 0.05 for one in paired]) <= 0.06
    wrong = []
    for study in studies(150, 5, 3, seed=7):
        pairs = bootstrapped([rows(own) for own in study])
        largest = np.max([one.by_chance for one in pairs], axis=0)
        wrong.append(np.mean(largest >= max(one.t for one in pairs)) < 0.05)
    assert np.mean(wrong) <= 0.06


def test_every_resample_counted_by_hand():
    values = [np.array([1.0, 2.0, 4.5]), np.array([0.0, 0.5, 0.25])]

    def t(a: np.ndarray, b: np.ndarray, gap: float) -> float:
        error = np.sqrt(a.var(ddof=1) / 3 + b.var(ddof=1) / 3)
        return float(abs(a.mean() - b.mean() - gap) / error) if error > 0 else np.inf

    gap = values[0].mean() - values[1].mean()
    draws = [list(itertools.product(own, repeat=3)) for own in values]
    every = np.array([t(np.array(a), np.array(b), gap) for a, b in itertools.product(*draws)])
    (found,) = bootstrapped([rows(own[:, None] * np.ones(4)) for own in values])
    assert (found.value, found.t) == pytest.approx((gap, t(values[0], values[1], 0.0)), abs=1e-8)
    for share in (0.5, 0.8, 0.9):
        middle = np.quantile(every, share)
        assert np.mean(found.by_chance > middle) == pytest.approx(np.mean(every > middle), abs=0.02)


def test_two_groups_in_an_answer():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, LAYERS)) + np.array([3.0, 0.0])[:, None, None]
    found = bootstrap_groups([group("a", a), group("b", b, first=50)], CLAIM)
    assert found.p < 0.05
    assert found.effect.low < a.mean() - b.mean() < found.effect.high
    assert (found.effect.unit, found.supports, found.ranking) == ("nats", True, ("a", "b"))
    assert found.test == "cluster bootstrap of t"
    assert "layers of one run share its luck: 8 runs are the clusters" in found.why
    assert found.beside[0].startswith("intraclass correlation")
    assert found.standardised.name == "Hedges' g"
    again = bootstrap_groups([group("a", a), group("b", b, first=50)], CLAIM)
    assert again == found
    together = bootstrap_groups([group("a", a), group("b", b)], CLAIM)
    assert together.pairing == "paired by seed"
    assert "4 pairs are the clusters" in together.why
    assert together.standardised.name == "Hedges' g of the pairs"


def test_three_groups_in_an_answer():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 5, LAYERS)) + np.array([0.0, 2.0, 0.1])[:, None, None]
    found = bootstrap_groups(
        [group(name, own, 10 * i) for i, (name, own) in enumerate(zip("abc", values, strict=True))], CLAIM
    )
    assert found.effect.name in ("difference b − a", "difference b − c")
    assert 0 < found.effect.low < found.effect.value < found.effect.high
    assert found.ranking[0] == "b"
    assert found.p == min(pair.p_corrected for pair in found.pairs)
    assert all(pair.p <= pair.p_corrected for pair in found.pairs)
    assert [pair.p_corrected < 0.05 for pair in found.pairs] == [True, False, True]


def test_runs_so_few_that_a_resample_is_one_of_them():
    rng = np.random.default_rng(2)
    found = bootstrap_groups([group(name, rng.normal(size=(3, 4))) for name in "ab"], CLAIM)
    assert found.pairing
    assert found.p > 1 / 9 - 0.02
    assert (found.effect.low, found.effect.high) == (None, None)
    assert "p cannot be smaller than that" in found.warnings[0]
    still = bootstrap_groups([group(name, np.ones((3, 4)), 9 * i) for i, name in enumerate("ab")], CLAIM)
    assert (still.p, still.warnings) == (None, ("the runs do not vary: there is nothing to test",))
    assert RESAMPLED == 9_999
