from dataclasses import replace

import numpy as np
import pytest

from tunescope.errors import MethodError
from tunescope.federated.factors import Factors
from tunescope.federated.ranks import fitted, from_svd, grow, merge, shrink

RANDOM = np.random.default_rng(0)
FACTORS = Factors(RANDOM.standard_normal((3, 8)), RANDOM.standard_normal((5, 3)), scale=4.0)


def test_growing_moves_nothing_and_every_new_direction_can_learn():
    grown = grow(FACTORS, 6, seed=1)
    assert np.array_equal(grown.a[:3], FACTORS.a)
    assert np.array_equal(grown.b[:, :3], FACTORS.b)
    assert not grown.b[:, 3:].any()
    assert np.array_equal(grown.product(), 4.0 * grown.b @ grown.a)
    assert np.allclose(grown.product(), FACTORS.product(), atol=1e-14)
    new = grown.a[3:]
    assert np.abs(new @ FACTORS.a.T).max() < 1e-12
    length = np.linalg.norm(FACTORS.a, axis=1).mean()
    assert np.allclose(new @ new.T, length**2 * np.eye(3), atol=1e-12)
    assert np.array_equal(grow(FACTORS, 6, seed=1).a, grown.a)
    assert not np.array_equal(grow(FACTORS, 6, seed=2).a, grown.a)
    wide = grow(FACTORS, 10, seed=1)  # more rows than inputs: the last ones cannot be orthogonal
    assert np.linalg.matrix_rank(wide.a) == 8
    assert np.linalg.norm(wide.a[3:], axis=1) == pytest.approx(length)
    assert grow(replace(FACTORS, a=np.zeros((3, 8))), 4).a[3] @ np.ones(8) != 0
    small = replace(FACTORS, a=FACTORS.a.astype(np.float32), b=FACTORS.b.astype(np.float32))
    assert grow(small, 4).a.dtype == grow(small, 4).b.dtype == np.float32
    with pytest.raises(MethodError, match="below the present 3; use shrink"):
        grow(FACTORS, 2)
    with pytest.raises(MethodError, match="core R"):
        grow(replace(FACTORS, core=np.eye(3)), 4)


def test_shrinking_keeps_the_best_product_in_balanced_factors():
    u, sigma, vt = np.linalg.svd(FACTORS.product())
    for factors in (FACTORS, replace(FACTORS, core=np.eye(3))):
        less = shrink(factors, 2)
        assert np.allclose(less.product(), u[:, :2] @ np.diag(sigma[:2]) @ vt[:2], atol=1e-12)
        assert np.allclose(less.b.T @ less.b, less.a @ less.a.T, atol=1e-12)
        assert less.scale == 4.0
        assert np.linalg.norm(less.product() - FACTORS.product()) == pytest.approx(sigma[2], rel=1e-10)
    assert np.allclose(shrink(FACTORS, 3).product(), FACTORS.product(), atol=1e-12)
    assert np.allclose(shrink(grow(FACTORS, 6), 3).product(), FACTORS.product(), atol=1e-12)
    for rank in (0, 4):
        with pytest.raises(MethodError, match="expected 1 to the present 3"):
            shrink(FACTORS, rank)
    with pytest.raises(MethodError, match="more than 0"):
        shrink(replace(FACTORS, scale=0.0), 2)


def test_a_client_gets_its_own_rank_and_scale():
    for rank, scale in ((2, 4.0), (3, 1.0), (5, 0.5)):
        sent = fitted(FACTORS, rank, scale)
        kept = min(rank, 3)
        assert (sent.rank, sent.scale) == (rank, scale)
        assert np.allclose(sent.product(), 4.0 * FACTORS.b[:, :kept] @ FACTORS.a[:kept], atol=1e-12)
    assert fitted(FACTORS, 3, 4.0) is FACTORS
    with pytest.raises(MethodError, match="scale 0"):
        fitted(FACTORS, 2, 0.0)
    padded = from_svd(np.eye(3)[:, :1], np.array([4.0]), np.eye(3)[:1], 1.0, 2, np.dtype(np.float32))
    assert padded.a.tolist() == [[2, 0, 0], [0, 0, 0]]


def test_merging_is_the_sum():
    weight = RANDOM.standard_normal((5, 8)).astype(np.float32)
    merged = merge(weight, FACTORS)
    assert merged.dtype == np.float32
    assert np.allclose(merged, weight + 4.0 * FACTORS.b @ FACTORS.a, atol=1e-5)
    assert np.array_equal(merge(weight, FACTORS.product()), merged)  # in whichever form the change comes
    with pytest.raises(MethodError, match=r"the weight is \[8, 5\]"):
        merge(weight.T, FACTORS)
