import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from tunescope.probes.mean_interval import mean_intervals, reach


def test_ends_are_those_of_scipy():
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(size=60), rng.lognormal(size=60), -rng.lognormal(size=60)])
    found = mean_intervals(values)
    for row, ends in zip(values, found, strict=True):
        level = 2 * norm.cdf(reach(60)) - 1  # theirs takes z for t
        options = {"confidence_level": level, "rng": np.random.default_rng(1)}
        expected = bootstrap((row,), np.mean, **options).confidence_interval
        np.testing.assert_allclose(ends, expected, atol=0.05 * row.std() / np.sqrt(60) * 2)


@pytest.mark.parametrize("n", [32, 64, 128, 256])
def test_coverage_on_simulated_losses(n):
    """Differences of losses: most near nothing, a few large, on either side; the mean is known."""
    rng = np.random.default_rng(n)
    draws = 1000
    simulated = [
        rng.lognormal(0, 0.5, (draws, n)) - np.exp(0.125),
        np.exp(0.125) - rng.lognormal(0, 0.5, (draws, n)),
        rng.gamma(2.0, 1.0, (draws, n)) - 2.0,
        rng.standard_t(5, (draws, n)),
    ]
    for values in simulated:
        ends = mean_intervals(values, 1000)
        covered = ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean()
        assert 0.93 <= covered < 0.975


def test_shapes_ties_and_a_single_example():
    values = np.zeros((2, 3, 4))
    values[0, 0] = [0, 0, 0, 1]
    found = mean_intervals(values)
    assert found.shape == (2, 3, 2)
    assert found[0, 0, 0] <= 0.25 <= found[0, 0, 1]
    assert (found[1] == 0).all()
    assert mean_intervals(np.array([3.0])).tolist() == [3.0, 3.0]
    np.testing.assert_array_equal(mean_intervals(values, seed=1), mean_intervals(values, seed=1))
