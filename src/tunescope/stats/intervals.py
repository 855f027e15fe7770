"""95 % intervals: of a mean, of a difference of means, of a correlation, and by the bootstrap."""

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import stdtrit  # stats.t.ppf is the same, and takes thirty times as long

from tunescope.stats.finding import Effect

LEVEL = 0.95
RESAMPLES = 10_000
CONSTANT = 1e-12  # a spread below this share of the values' size is rounding, not variation

Floats = NDArray[np.float64]
Values = Sequence[float] | Floats


def constant(values: Values, scale: float = 0.0) -> bool:
    """Whether values differ by rounding alone, measured by their size or `scale`, whichever is larger.

    >>> constant([0.1 + 0.2, 0.3]), constant([0.3, 0.3001])
    (True, False)
    """
    x = np.asarray(values, float)
    return float(np.ptp(x)) <= CONSTANT * max(float(np.abs(x).max()), scale)


def variance(values: Values, scale: float = 0.0) -> float:
    """Sample variance (n − 1), exactly 0 where the values differ by rounding alone.

    Args:
        values: at least two numbers.
        scale: size of the numbers that the values were computed from, where that is larger than theirs.

    >>> variance([1.0, 2.0, 3.0]), variance([0.1 + 0.2, 0.3])
    (1.0, 0.0)
    """
    return 0.0 if constant(values, scale) else float(np.var(values, ddof=1))


def mean_interval(values: Values) -> tuple[float, float] | None:
    """Student's interval of a mean, x̄ ± t₍.₉₇₅, n−1₎·s/√n; None below two values.

    >>> [round(end, 3) for end in mean_interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    x = np.asarray(values, float)
    if x.size < 2:
        return None
    half = _t(x.size - 1) * math.sqrt(variance(x) / x.size)
    return float(x.mean()) - half, float(x.mean()) + half


def welch(a: Values, b: Values) -> tuple[float, float, float]:
    """Difference of means a − b, its standard error √(s²ₐ/nₐ + s²_b/n_b), Welch–Satterthwaite's ν.

    Where neither sample varies the error is 0 and ν is not a number.

    >>> difference, error, df = welch([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    >>> difference, round(error, 4), df
    (0.0, 0.5774, 2.0)
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    va, vb = variance(x) / x.size, variance(y) / y.size
    total = va + vb
    if total == 0:
        return float(x.mean() - y.mean()), 0.0, math.nan
    share = va / total
    df = 1 / (share**2 / (x.size - 1) + (1 - share) ** 2 / (y.size - 1))
    return float(x.mean() - y.mean()), math.sqrt(total), df


def student(a: Values, b: Values) -> tuple[float, float, float]:
    """Difference of means a − b, its standard error with one spread for both, nₐ + n_b − 2.

    >>> difference, error, df = student([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    >>> difference, round(error, 4), df
    (0.0, 0.5774, 4)
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    df = x.size + y.size - 2
    pooled = ((x.size - 1) * variance(x) + (y.size - 1) * variance(y)) / df
    return float(x.mean() - y.mean()), math.sqrt(pooled * (1 / x.size + 1 / y.size)), df


def welch_difference(a: Values, b: Values, level: float = LEVEL) -> Effect:
    """Welch's interval of mean(a) − mean(b); a point where neither sample varies.

    Source: Welch (1947), Biometrika 34.
    """
    return t_interval(*welch(a, b), level)


def paired_difference(a: Values, b: Values, level: float = LEVEL) -> Effect:
    """Student's interval of the mean of aᵢ − bᵢ; a point where the differences do not vary."""
    return t_interval(*paired(a, b), level)


def t_interval(difference: float, error: float, df: float, level: float = LEVEL) -> Effect:
    """A difference ± t·error; a point where the error is 0.

    >>> found = t_interval(1.0, 0.5, 10)
    >>> round(found.low, 3), round(found.high, 3)
    (-0.114, 2.114)
    """
    half = _t(df, level) * error if error > 0 else 0.0
    return Effect("difference", difference, difference - half, difference + half)


def paired(a: Values, b: Values) -> tuple[float, float, float]:
    """Mean of aᵢ − bᵢ, its standard error s/√n, and n − 1."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    d = x - y
    spread = variance(d, float(max(np.abs(x).max(), np.abs(y).max())))
    return float(d.mean()), math.sqrt(spread / d.size), d.size - 1


def spearman_interval(rho: float, n: int) -> tuple[float, float] | None:
    """Bonett and Wright's interval of Spearman's ρ: tanh(atanh ρ ± 1.96·√((1 + ρ²/2)/(n − 3))).

    None below four pairs, and where |ρ| = 1: a perfect order says nothing about its own error.

    Source: Bonett & Wright (2000), Psychometrika 65.

    >>> [round(end, 3) for end in spearman_interval(0.5, 28)]
    [0.133, 0.747]
    """
    return _fisher(rho, (1 + rho**2 / 2), n)


def pearson_interval(r: float, n: int) -> tuple[float, float] | None:
    """Fisher's interval of Pearson's r: tanh(atanh r ± 1.96/√(n − 3)).

    None below four pairs and where |r| = 1.

    Source: Fisher (1921), Metron 1.

    >>> [round(end, 3) for end in pearson_interval(0.5, 28)]
    [0.156, 0.736]
    """
    return _fisher(r, 1.0, n)


def bca(
    samples: Sequence[Values], statistic: Callable[..., Floats], seed: int = 0, paired: bool = False
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval, 10,000 seeded resamples.

    Args:
        samples: one sequence of numbers for each argument of `statistic`; they are resampled apart.
        statistic: takes the samples and `axis=`, as NumPy's reductions do.
        seed: of the resampling; the same seed gives the same interval.
        paired: the samples are numbers of the same things, which are resampled together.

    Returns:
        Lower and upper end; twice the statistic where no sample varies; not numbers where the resamples do
        not spread around the statistic.

    Source: Efron (1987), JASA 82; `scipy.stats.bootstrap`.

    >>> bca([[2.0, 2.0, 2.0]], np.mean)
    (2.0, 2.0)
    """
    arrays = [np.asarray(sample, float) for sample in samples]
    if all(variance(array) == 0 for array in arrays):
        value = float(statistic(*arrays, axis=-1))
        return value, value
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # the ends are then not numbers
        found = stats.bootstrap(
            arrays,
            statistic,
            paired=paired,
            n_resamples=RESAMPLES,
            confidence_level=LEVEL,
            method="BCa",
            vectorized=True,
            batch=1_000,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


def _t(df: float, level: float = LEVEL) -> float:
    return float(stdtrit(df, (1 + level) / 2))


def _fisher(r: float, factor: float, n: int) -> tuple[float, float] | None:
    if n < 4 or abs(r) >= 1 - CONSTANT:
        return None
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(factor / (n - 3))
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
