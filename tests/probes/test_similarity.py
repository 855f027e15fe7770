"""Every number against loops over its definition, and the invariances that make it worth having."""

import math
from itertools import permutations
from statistics import median

import numpy as np
import pytest

from tunescope.probes.similarity import cka, drift, effective_rank, norm_outliers

RNG = np.random.default_rng(3)


def hsic(x, y):
    """The U-statistic of Song et al. 2012: the mean of its kernel over all ordered quadruples."""
    n = len(x)
    k = [[float(sum(a * b for a, b in zip(x[i], x[j], strict=True))) for j in range(n)] for i in range(n)]
    m = [[float(sum(a * b for a, b in zip(y[i], y[j], strict=True))) for j in range(n)] for i in range(n)]
    terms = [
        k[i][j] * (m[i][j] + m[q][r] - 2 * m[i][q])  # symmetrised by the loop over all orders
        for i, j, q, r in permutations(range(n), 4)
    ]
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("n", "d", "e"), [(5, 3, 2), (6, 9, 4), (7, 1, 12)])
def test_cka_against_the_u_statistic(n, d, e):
    x, y = RNG.normal(2, 1, (n, d)), RNG.normal(-1, 3, (n, e))
    y[:, 0] += 2 * x[:, 0]
    expected = hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y))
    assert cka(x, y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "d"), [(300, 5), (20, 200)])  # in feature space, and by Gram matrices
def test_cka_is_one_for_what_rotation_scale_and_shift_make_of_it(n, d):
    x = RNG.normal(0, 1, (n, d)).astype(np.float32)
    rotation = np.linalg.qr(RNG.normal(0, 1, (d, d)))[0]
    assert cka(x, x) == cka(x, x.copy()) == 1.0
    assert cka(x, 7 * x.astype(float) @ rotation + RNG.normal(0, 1, d)) == pytest.approx(1, abs=1e-10)
    other = x + RNG.normal(0, 1, (n, d))
    assert cka(x, other) == pytest.approx(cka(other, x), abs=1e-12)
    assert cka(3 * x @ rotation + 1, other) == pytest.approx(cka(x, other), abs=1e-6)


def test_feature_space_and_gram_matrices_agree():
    x, y = RNG.normal(0, 1, (30, 12)), RNG.normal(0, 1, (30, 12))
    y += x
    wide = np.concatenate([y, np.zeros((30, 400))], 1)  # the same Gram matrix, the other way to it
    assert cka(x, wide) == pytest.approx(cka(x, y), abs=1e-12)


def test_cka_of_unrelated_representations_is_near_zero_however_many_dimensions():
    found = [cka(RNG.normal(0, 1, (40, 500)), RNG.normal(0, 1, (40, 500))) for _ in range(100)]
    assert abs(np.mean(found)) < 0.01
    assert min(found) < 0 < max(found)


def test_cka_is_not_a_number_where_there_is_nothing_to_compare():
    x = RNG.normal(0, 1, (6, 3))
    same = np.tile(np.array([0.1, 0.7, 0.3], np.float32), (6, 1))
    assert math.isnan(cka(x, same))
    assert math.isnan(cka(same, same))
    assert math.isnan(cka(x, np.where(x == x[0, 0], np.inf, x)))
    with pytest.raises(ValueError, match="not defined for 3 examples"):
        cka(x[:3], x[:3])


def test_drift_against_the_cosine():
    x, y = RNG.normal(0, 1, (8, 5)), RNG.normal(0, 1, (8, 5))
    for found, a, b in zip(drift(x, y), x, y, strict=True):
        cosine = sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
        assert found == pytest.approx(1 - cosine, abs=1e-12)
    assert drift(x, x).tolist() == [0] * 8
    assert drift(x, 5 * x) == pytest.approx(np.zeros(8), abs=1e-15)
    assert drift(x, x * [1, 1, 1, 1, 1 + 1e-9]).max() < 1e-17  # 1 − cos itself would round to 1e-16
    assert np.isnan(drift(np.zeros((1, 2)), np.ones((1, 2)))).all()


def test_effective_rank_against_a_plain_sum():
    x = RNG.normal(5, 1, (9, 4)) * [1, 2, 0.1, 0.01]
    around = x - x.mean(0)
    sigma = [math.sqrt(value) for value in np.linalg.eigvalsh(around.T @ around)]
    p = [s / sum(sigma) for s in sigma]
    assert effective_rank(x) == pytest.approx(math.exp(-sum(q * math.log(q) for q in p)), abs=1e-9)


def test_effective_rank_of_known_shapes():
    square = np.kron(np.eye(3), [[1.0], [-1.0]])  # three directions, equally long
    assert effective_rank(square) == pytest.approx(3)
    assert effective_rank(square @ np.linalg.qr(RNG.normal(0, 1, (3, 3)))[0] * 9 + 4) == pytest.approx(3)
    assert effective_rank(np.outer(RNG.normal(0, 1, 7), RNG.normal(0, 1, 5))) == pytest.approx(1, abs=1e-9)
    assert effective_rank(np.tile(np.array([0.1, 0.7], np.float32), (6, 1))) == 0
    assert math.isnan(effective_rank(np.array([[1.0], [np.nan]])))


def test_norm_outliers_against_plain_medians():
    norms = np.abs(RNG.standard_cauchy((20, 30)))  # a heavy tail: many lie above the cut-off
    flat = norms.ravel().tolist()
    middle = median(flat)
    cutoff = middle + 6 * 1.4826 * median(abs(value - middle) for value in flat)
    expected = [sum(value > cutoff for value in row) / 30 for row in norms.tolist()]
    assert norm_outliers(norms).tolist() == pytest.approx(expected)
    assert norm_outliers(1000 * norms).tolist() == pytest.approx(expected)
    assert 0 < max(expected) < 0.5


def test_norms_without_a_tail_have_no_outliers():
    norms = RNG.normal(10, 1, (20, 50))
    assert norm_outliers(norms).tolist() == [0] * 20
    norms[3, :5] = 100
    assert norm_outliers(norms).tolist() == [0] * 3 + [0.1] + [0] * 16
    norms[0, 0] = np.nan
    assert np.isnan(norm_outliers(norms)).all()
