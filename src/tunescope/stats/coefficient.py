"""The correlations that a question may ask for, each with what its p and its interval come from."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy import stats

from tunescope.stats import partial
from tunescope.stats.intervals import CONSTANT, pearson_interval, spearman_interval
from tunescope.stats.kendall import kendall_interval, kendall_p, tau
from tunescope.stats.orders import SHUFFLES, counted
from tunescope.stats.partial import Held
from tunescope.study.chosen_test import Test

Ends = tuple[float, float] | None
Tested = tuple[float, float, str]


@dataclass(frozen=True)
class Coefficient:
    """One kind of correlation of two numbers of runs, whatever is held fixed between them.

    Args:
        whose: such as `Spearman's`.
        letter: such as `rho`.
        test: what its test is called after whose it is.
        shape: what it asks of the relation.
        interval: what its 95 % interval is called after.
        ranks: whether it looks at the order of the numbers alone.
        value: the coefficient; None where nothing that could be compared varies.
        tested: its two-sided p, the smallest p that these runs could give, and what p comes from.
        ends: its 95 % interval.
    """

    whose: str
    letter: str
    test: str
    shape: str
    interval: str
    ranks: bool
    value: Callable[[Held], float | None]
    tested: Callable[[Held], Tested | None]
    ends: Callable[[Held], Ends]

    @property
    def name(self) -> str:
        """Such as `Spearman's rho`."""
        return f"{self.whose} {self.letter}"


def coefficient(asked: Test | None) -> Coefficient:
    """The one that a question asks for; Spearman's where it asks for none.

    >>> coefficient(None).name, coefficient("kendall").name
    ("Spearman's rho", "Kendall's tau-b")
    """
    return {"pearson": PEARSON, "kendall": KENDALL}.get(asked or "", SPEARMAN)


def _spearman(held: Held) -> Tested | None:
    found = partial.permuted(held)
    return None if found is None else (*found, _orders(held, counted(held.sizes)))


def _kendall(held: Held) -> Tested | None:
    found = kendall_p(held)
    return None if found is None else (*found[:2], _orders(held, found[2]))


def _orders(held: Held, every: bool) -> str:
    of = "the runs that are compared" if len(held.sizes) > 1 else "the runs"
    return f"p from {'all' if every else f'{SHUFFLES:,} random'} orders of {of}"


def _r(held: Held) -> float | None:
    return partial.rho(replace(held, linear=True))


def _pearson(held: Held) -> Tested | None:
    """By t = r·√(ν/(1 − r²)), ν the effective runs less two."""
    r, df = _r(held), held.effective - 2
    if r is None or df < 1:
        return None
    t = math.inf if abs(r) >= 1 - CONSTANT else abs(r) * math.sqrt(df / (1 - r**2))
    return 2 * float(stats.t.sf(t, df)), 0.0, f"p from t with {df} degree{'' if df == 1 else 's'} of freedom"


def _fisher(held: Held) -> Ends:
    r = _r(held)
    return None if r is None else pearson_interval(r, held.effective)


def _bonett_wright(held: Held) -> Ends:
    rho = partial.rho(held)
    return None if rho is None else spearman_interval(rho, held.effective)


SPEARMAN = Coefficient(
    "Spearman's",
    "rho",
    "rank correlation",
    "the relation need not be straight",
    "Bonett and Wright",
    True,
    partial.rho,
    _spearman,
    _bonett_wright,
)
PEARSON = Coefficient(
    "Pearson's",
    "r",
    "correlation",
    "the question asks for it; the relation is taken for a straight line",
    "Fisher",
    False,
    _r,
    _pearson,
    _fisher,
)
KENDALL = Coefficient(
    "Kendall's",
    "tau-b",
    "rank correlation",
    "the question asks for it; the relation need not be straight",
    "Bonett and Wright",
    True,
    tau,
    _kendall,
    kendall_interval,
)
