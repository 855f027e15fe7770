import itertools

import numpy as np
import pytest

from tunescope.stats.orders import counted, orders


def test_all_orders_of_all_blocks_are_counted():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=3), rng.normal(size=2)
    columns = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
    wanted = sorted(
        tuple(float(np.array(a) @ columns[0][:, k] + np.array(b) @ columns[1][:, k]) for k in (0, 1))
        for a, b in itertools.product(itertools.permutations(first), itertools.permutations(second))
    )
    found = sorted(map(tuple, orders([first, second], columns).tolist()))
    assert len(found) == 12
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=1e-12)


def test_more_than_that_are_drawn_and_drawn_alike():
    values, column = np.arange(9.0), np.eye(9)[:, :2]
    drawn = orders([values], [column])
    assert not counted([9])
    assert drawn.shape == (9_999, 2)
    assert np.array_equal(drawn, orders([values], [column]))
    # the first two places of every order: two different values, each as often in either
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert np.bincount(drawn[:, 0].astype(int)) == pytest.approx([1111] * 9, rel=0.1)
