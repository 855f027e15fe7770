import statistics

import numpy as np
import pytest

from tunescope.probes.running import Running


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 1, 7), (40,)])
def test_batches_far_from_zero(sizes):
    rng = np.random.default_rng(0)
    batches = [1e9 + rng.normal(size=(size, 2)) for size in sizes]
    running = Running()
    for batch in batches:
        running.add(batch)
    together = np.concatenate(batches)
    assert running.n == len(together)
    for column in range(2):
        values = together[:, column].tolist()
        assert running.mean[column] == pytest.approx(statistics.fmean(values), rel=1e-15)
        assert running.std[column] == pytest.approx(statistics.stdev(values), rel=1e-6)


def test_one_value_has_no_deviation():
    running = Running()
    running.add(np.array([[2.0]], dtype=np.float32))
    assert running.mean.tolist() == [2]
    assert np.isnan(running.std).all()
