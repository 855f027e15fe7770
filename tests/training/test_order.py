import numpy as np
import pytest

from tunescope.training.order import draws, order


@pytest.mark.parametrize("count", [1, 2, 17, 1000])
def test_an_epoch_visits_every_example_once(count):
    assert sorted(order(3, 5, count).tolist()) == list(range(count))


def test_seed_epoch_and_purpose_all_count():
    orders = {tuple(order(seed, epoch, 20).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    tables = {draws(seed, epoch, 4, 2).tobytes() for seed in range(3) for epoch in range(3)}
    assert len(tables) == 9


def test_pinned_so_that_published_runs_can_be_repeated():
    assert order(0, 0, 8).tolist() == [3, 6, 4, 0, 7, 5, 2, 1]
    np.testing.assert_array_equal(
        draws(0, 0, 2, 2),
        [[0.9645594021303441, 0.38009964438079247], [0.7398519961848009, 0.9973248079525804]],
    )


def test_an_example_draws_the_same_whatever_the_number_of_examples():
    table = draws(1, 2, 50, 5)
    for i in (0, 7, 49):
        np.testing.assert_array_equal(draws(1, 2, i + 1, 5)[i], table[i])


def test_draws_are_uniform():
    table = draws(0, 0, 20_000, 1)
    assert table.min() >= 0
    assert table.max() < 1
    assert abs(table.mean() - 0.5) < 4 * (1 / 12 / 20_000) ** 0.5
