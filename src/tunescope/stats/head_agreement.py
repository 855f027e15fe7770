"""Whether different ways of tuning, or different tasks, rank the heads alike, and how far seeds of one do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tunescope.results.runs import Factor
from tunescope.stats.finding import Effect
from tunescope.stats.headwise import RunHeads
from tunescope.stats.intervals import LEVEL
from tunescope.stats.rank_bootstrap import FEWEST_PAIRS, KENDALL, SPEARMAN
from tunescope.stats.run_mean import run_mean
from tunescope.stats.twogroup import FEWEST

Floats = NDArray[np.float64]
Ranked = tuple[float, float]  # Spearman's ρ, Kendall's τ-b


@dataclass(frozen=True)
class PairAgreement:
    """How alike two settings rank the heads.

    Args:
        first: a setting.
        second: another, or the same.
        seeds: how many seeds it speaks of: those that both settings have; of one setting, its own.
        spearman: mean ρ over pairs of runs, with a 95 % interval over seeds from three on.
        kendall: the same of τ-b.
        across: mean τ-b over pairs of runs of *different* seeds, with a jackknife interval over seeds: what
            may be held against a setting's agreement with itself; None where the two share but one seed.
    """

    first: str
    second: str
    seeds: int
    spearman: Effect
    kendall: Effect
    across: Effect | None


@dataclass(frozen=True)
class Agreement:
    """How alike the settings rank the heads by one quantity.

    Two settings are compared run by run at the same seed. Beside them stands each setting with itself, over
    pairs of different seeds: how much of a ranking comes back at another seed at all. Two settings at the
    same seed share its order of examples and the first values of the head, so they can agree more than that;
    `PairAgreement.across` does not share them.

    Args:
        quantity: as in `RunHeads.values`.
        tower: of the heads.
        component: under which head of the model the losses were read.
        settings: in the order of the runs; those without the quantity are not among them.
        pairs: the pairs of settings that could be compared, a setting with itself first. Settings whose
            models differ in shape, or that share no seed, have none.
    """

    quantity: str
    tower: str
    component: str
    settings: tuple[str, ...]
    pairs: tuple[PairAgreement, ...]

    def of(self, first: str, second: str) -> PairAgreement | None:
        """The agreement of two settings, in either order; None where they could not be compared."""
        wanted = {first, second}
        return next((pair for pair in self.pairs if {pair.first, pair.second} == wanted), None)

    def matrix(self, statistic: Literal["kendall", "spearman", "across"] = "kendall") -> Floats:
        """Every two settings, [settings, settings]; not a number where they could not be compared.

        Args:
            statistic: `kendall`, `spearman` or `across`.
        """

        def value(first: str, second: str) -> float:
            found: Effect | None = getattr(self.of(first, second), statistic, None)
            return math.nan if found is None else found.value

        return np.array([[value(first, second) for second in self.settings] for first in self.settings])


def agreements(runs: Sequence[RunHeads], quantity: str) -> list[Agreement]:
    """The agreement on one quantity, for each tower and each head that losses were read under.

    The interval between two settings is Student's over shared seeds. Within one setting every run is in
    several pairs: its interval is Arvesen's jackknife over seeds, which takes one run out at a time.

    Args:
        runs: of `headwise`.
        quantity: as in `RunHeads.values`.

    Source: Arvesen (1969), Annals of Mathematical Statistics 40, for the jackknife of U-statistics.

    >>> def run(setting, seed, values):
    ...     own = {"update": np.array([values])}
    ...     return RunHeads("", setting, "", setting, {"seed": seed}, "vision", "text", own, {})
    >>> runs = [run("full", 0, [1.0, 2, 3, 4]), run("lora", 0, [1.0, 2, 4, 3])]
    >>> found = agreements(runs, "update")[0].of("lora", "full")
    >>> round(found.spearman.value, 3), round(found.kendall.value, 3), found.seeds
    (0.8, 0.667, 1)
    """
    known = [run for run in runs if quantity in run.values]
    found: list[Agreement] = []
    for tower, component in dict.fromkeys((run.tower, run.component) for run in known):
        mine = [run for run in known if (run.tower, run.component) == (tower, component)]
        settings = tuple(dict.fromkeys(run.setting for run in mine))
        of = {name: _by_seed([run for run in mine if run.setting == name], quantity) for name in settings}
        both = [(name, name) for name in settings] + list(combinations(settings, 2))
        pairs = (_pair(of, first, second) for first, second in both)
        found.append(
            Agreement(quantity, tower, component, settings, tuple(pair for pair in pairs if pair is not None))
        )
    return found


BySeed = Mapping[Factor | None, Floats]  # the quantity, by seed


def _by_seed(runs: Sequence[RunHeads], quantity: str) -> BySeed:
    return {run.seed: run.values[quantity] for run in reversed(runs)}


def _pair(of: Mapping[str, BySeed], first: str, second: str) -> PairAgreement | None:
    if first == second:
        return _within(first, of[first])
    shared = [seed for seed in of[first] if seed in of[second]]
    places = range(len(shared))
    found = {(i, j): _ranked(of[first][shared[i]], of[second][shared[j]]) for i, j in product(places, places)}
    known = {pair: ranked for pair, ranked in found.items() if ranked is not None}
    rho, tau = (
        run_mean(name, [ranked[at] for (i, j), ranked in known.items() if i == j], (-1.0, 1.0))
        for at, name in enumerate((SPEARMAN, KENDALL))
    )
    if rho is None or tau is None:
        return None
    apart = {(i, j): ranked[1] for (i, j), ranked in known.items() if i != j}
    seeds = sum(i == j for i, j in known)
    return PairAgreement(first, second, seeds, rho, tau, jackknife(KENDALL, apart) if apart else None)


def _within(setting: str, runs: BySeed) -> PairAgreement | None:
    """A setting with itself, over pairs of different seeds."""
    values = list(runs.values())
    places = range(len(values))
    found = {(i, j): _ranked(values[i], values[j]) for i, j in combinations(places, 2)}
    known = {pair: ranked for pair, ranked in found.items() if ranked is not None}
    if not known:
        return None
    rho, tau = (
        jackknife(name, {pair: ranked[at] for pair, ranked in known.items()})
        for at, name in enumerate((SPEARMAN, KENDALL))
    )
    return PairAgreement(setting, setting, len({i for pair in known for i in pair}), rho, tau, tau)


def jackknife(name: str, pairs: Mapping[tuple[int, int], float]) -> Effect:
    """Mean over pairs of n runs; interval θ ± t·√((n − 1)/n·Σ(θ₍₋ᵢ₎ − θ̄₍₋₎)²), θ₍₋ᵢ₎ without run i's pairs.

    Args:
        name: of the statistic.
        pairs: two runs' numbers → the statistic of the two, within −1…1.

    Returns:
        without an interval below three runs.

    >>> jackknife("tau", {(0, 1): 0.5})
    Effect(name='tau', value=0.5, low=None, high=None, unit='')
    """
    theta = math.fsum(pairs.values()) / len(pairs)
    runs = sorted({run for pair in pairs for run in pair})
    left = [[value for pair, value in pairs.items() if run not in pair] for run in runs]
    if len(runs) < FEWEST or not all(left):
        return Effect(name, theta)
    means = np.array([math.fsum(values) / len(values) for values in left])
    n = len(runs)
    error = math.sqrt((n - 1) / n * ((means - means.mean()) ** 2).sum())
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    return Effect(name, theta, max(theta - half, -1.0), min(theta + half, 1.0))


def _ranked(a: Floats, b: Floats) -> Ranked | None:
    """ρ and τ of two runs' heads; None where the models differ in shape, or one of the two does not vary."""
    if a.shape != b.shape:
        return None
    known = np.isfinite(a) & np.isfinite(b)
    x, y = a[known], b[known]
    if len(x) < FEWEST_PAIRS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    rho: Any = stats.spearmanr(x, y)
    tau: Any = stats.kendalltau(x, y)
    return float(rho.statistic), float(tau.statistic)
