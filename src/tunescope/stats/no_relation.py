"""That one number of the runs does not predict another, to within a margin that was declared."""

import math
from dataclasses import replace

from scipy import stats

from tunescope.stats.finding import Finding
from tunescope.stats.intervals import CONSTANT
from tunescope.stats.words import number, p_value


def against_margin(found: Finding, n: int, margin: float, place: str) -> Finding:
    """Hold ρ against ± the margin instead of 0.

    Args:
        found: with ρ as its effect, and the p of "there is no relation at all".
        n: effective number of runs.
        margin: below 1.
        place: what is held fixed, in words.
    """
    assert found.effect is not None
    assert found.p is not None
    alone = f"that there is no relation at all: {p_value(found.p)}, by exchanging runs"
    both = margin_p(found.effect.value, n, margin)
    if both is None:
        none = "so few runs, or a perfect order, leave no error to weigh against the margin"
        return replace(found, p=None, test="", why="", warnings=(none, *found.warnings))
    below, above = both
    return replace(
        found,
        p=min(both),
        supports=below <= above,
        test=f"Spearman's rho against ±{number(margin)}{place}",
        why="yes where the whole 95 % interval lies within the margin, no where it lies beyond, "
        "by Fisher's z with Bonett and Wright's error",
        beside=(alone, *found.beside),
    )


def margin_p(rho: float, n: int, margin: float) -> tuple[float, float] | None:
    """The p of "|ρ| is below the margin" and that of "|ρ| is above it", by Fisher's z = atanh ρ.

    p = 2·Φ(−|atanh m − atanh |ρ|| / √((1 + ρ²/2)/(n − 3))) on the side where ρ lies, 1 on the other: the
    doubled p of two one-sided tests, below .05 just where the whole 95 % interval lies on its side. Only one
    of the two claims can be wrong, so that looking at both costs nothing. None below four pairs and where
    |ρ| = 1.

    Source: Schuirmann (1987), two one-sided tests; Goeman, Solari & Stijnen (2010), Statistics in Medicine
    29, for the two claims together; the error of z is Bonett & Wright's (2000), Psychometrika 65.

    >>> below, above = margin_p(0.05, 200, 0.3)
    >>> round(below, 5), above
    (0.00027, 1.0)
    """
    if n < 4 or abs(rho) >= 1 - CONSTANT:
        return None
    error = math.sqrt((1 + rho**2 / 2) / (n - 3))
    short = (math.atanh(margin) - math.atanh(abs(rho))) / error
    below, above = (min(1.0, 2 * float(stats.norm.sf(side))) for side in (short, -short))
    return below, above
