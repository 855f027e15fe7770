import itertools
import math

import numpy as np
import pytest
from scipy import integrate, special

from tunescope.stats.effects import (
    cliffs_delta,
    cohens_d,
    hedges_g,
    hedges_g_paired,
    noncentral_t,
    omega_squared,
)


def noncentral_t_cdf(t: float, df: int, delta: float) -> float:
    """P(T ≤ t), T = (Z + δ)/√(V/ν): the normal's distribution function averaged over V, by quadrature."""

    def weighted(v: float) -> float:
        density = math.exp((df / 2 - 1) * math.log(v) - v / 2 - df / 2 * math.log(2) - math.lgamma(df / 2))
        return 0.5 * math.erfc((delta - t * math.sqrt(v / df)) / math.sqrt(2)) * density

    knee = df * (delta / t) ** 2 if t else df
    edges = [0.0, *sorted({1e-3, 0.5 * df, knee, df, 3.0 * df, 40.0 + 3 * df}), 400.0 + 3 * df]
    return sum(
        integrate.quad(weighted, a, b, epsabs=1e-13, limit=500)[0] for a, b in itertools.pairwise(edges)
    )


def test_interval_of_noncentrality_by_quadrature():
    for t, df in ((0.5, 2), (3.0, 4), (-2.2, 9), (12.0, 3), (40.0, 2)):
        low, high = noncentral_t(t, df)
        assert noncentral_t_cdf(t, df, low) == pytest.approx(0.975, abs=1e-8)
        assert noncentral_t_cdf(t, df, high) == pytest.approx(0.025, abs=1e-8)


def test_interval_of_noncentrality_is_continuous_where_the_limit_takes_over():
    below, above = noncentral_t(999.9, 4), noncentral_t(1000.1, 4)
    assert above == pytest.approx([end * 1000.1 / 999.9 for end in below], rel=1e-7)
    assert all(math.isfinite(end) for end in noncentral_t(1e9, 2))


def test_d_and_g_by_hand():
    a, b = [2.0, 4.0, 7.0], [1.0, 1.5, 2.0, 3.0]
    ss_a = sum((x - sum(a) / 3) ** 2 for x in a)
    ss_b = sum((x - sum(b) / 4) ** 2 for x in b)
    d = (sum(a) / 3 - sum(b) / 4) / math.sqrt((ss_a + ss_b) / 5)
    j = math.gamma(5 / 2) / (math.sqrt(5 / 2) * math.gamma(4 / 2))
    found_d, found_g = cohens_d(a, b), hedges_g(a, b)
    assert found_d is not None
    assert found_g is not None
    assert found_d.value == pytest.approx(d, abs=1e-12)
    assert found_g.value == pytest.approx(j * d, abs=1e-12)
    assert (found_g.low, found_g.high) == (found_d.low, found_d.high)
    root = math.sqrt(3 * 4 / 7)
    assert found_d.low is not None
    assert noncentral_t_cdf(d * root, 5, found_d.low * root) == pytest.approx(0.975, abs=1e-8)


def test_paired_g_by_hand():
    a, b = [2.0, 4.0, 7.0, 5.0], [1.0, 1.5, 2.0, 3.0]
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean = sum(differences) / 4
    dz = mean / math.sqrt(sum((x - mean) ** 2 for x in differences) / 3)
    j = math.gamma(3 / 2) / (math.sqrt(3 / 2) * math.gamma(1))
    found = hedges_g_paired(a, b)
    assert found is not None
    assert found.high is not None
    assert found.value == pytest.approx(j * dz, abs=1e-12)
    assert noncentral_t_cdf(dz * 2, 3, found.high * 2) == pytest.approx(0.025, abs=1e-8)


def test_no_spread_no_standardised_effect():
    assert cohens_d([1.0, 1.0], [2.0, 2.0]) is None
    assert hedges_g([0.3, 0.1 + 0.2], [0.3, 0.3]) is None
    assert hedges_g_paired([1.0, 2.0, 3.0], [0.5, 1.5, 2.5]) is None


def test_interval_of_hedges_g_covers_the_truth_95_times_in_100():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2_000):
        found = hedges_g(rng.normal(0.8, 1, 4), rng.normal(0, 1, 6))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.8 <= found.high
    assert 0.935 <= hits / 2_000 <= 0.965


def test_hedges_g_is_unbiased_where_cohens_d_is_not():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, (40_000, 4)), rng.normal(0, 1, (40_000, 4))
    d = (a.mean(1) - b.mean(1)) / np.sqrt((a.var(1, ddof=1) + b.var(1, ddof=1)) / 2)
    found_d, found_g = cohens_d(a[0], b[0]), hedges_g(a[0], b[0])
    assert found_d is not None
    assert found_g is not None
    assert d.mean() > 1.1
    assert (d * found_g.value / found_d.value).mean() == pytest.approx(1, abs=0.02)


def test_cliffs_delta_by_counting():
    a, b = [1.0, 5.0, 5.0], [0.0, 5.0]
    pairs = [(x > y) - (x < y) for x in a for y in b]
    assert cliffs_delta(a, b) == pytest.approx(sum(pairs) / len(pairs))
    assert cliffs_delta(b, a) == -cliffs_delta(a, b)


def noncentral_f_cdf(f: float, d1: float, d2: float, noncentrality: float) -> float:
    """The Poisson mixture of incomplete beta functions, summed term by term."""
    x = d1 * f / (d1 * f + d2)
    half = noncentrality / 2
    return sum(
        math.exp(-half + j * math.log(half) - math.lgamma(j + 1)) * special.betainc(d1 / 2 + j, d2 / 2, x)
        for j in range(2_000)
    )


def test_omega_squared_by_hand_and_by_the_poisson_mixture():
    f, d1, d2, n = 9.3, 2.0, 7.4, 15
    found = omega_squared(f, d1, d2, n)
    assert found.value == pytest.approx(d1 * (f - 1) / (d1 * (f - 1) + n), abs=1e-12)
    for end, share in ((found.low, 0.975), (found.high, 0.025)):
        assert end is not None
        assert noncentral_f_cdf(f, d1, d2, n * end / (1 - end)) == pytest.approx(share, abs=1e-8)


def test_omega_squared_of_nothing_is_zero():
    found = omega_squared(0.4, 2, 9, 12)
    assert (found.value, found.low) == (0, 0)
