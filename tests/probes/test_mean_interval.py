import numpy as np
from scipy.stats import bootstrap

from tunescope.probes.mean_interval import mean_intervals


def test_ends_are_those_of_scipy():
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(size=60), rng.lognormal(size=60), -rng.lognormal(size=60)])
    found = mean_intervals(values)
    for row, ends in zip(values, found, strict=True):
        expected = bootstrap((row,), np.mean, rng=np.random.default_rng(1)).confidence_interval
        np.testing.assert_allclose(ends, expected, atol=0.05 * row.std() / np.sqrt(60) * 2)


def test_coverage_on_simulated_losses():
    """Differences of losses: most near nothing, a few large. The mean of lognormal(0, 0.8) is e^0.32."""
    rng = np.random.default_rng(0)
    simulated = rng.lognormal(0, 0.8, (600, 100)) - np.exp(0.32)
    ends = mean_intervals(simulated, 2000)
    covered = ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean()
    assert 0.91 < covered < 0.975  # 0.95, less what skewness takes at n = 100


def test_shapes_ties_and_a_single_example():
    values = np.zeros((2, 3, 4))
    values[0, 0] = [0, 0, 0, 1]
    found = mean_intervals(values)
    assert found.shape == (2, 3, 2)
    assert found[0, 0, 0] <= 0.25 <= found[0, 0, 1]
    assert (found[1] == 0).all()
    assert mean_intervals(np.array([3.0])).tolist() == [3.0, 3.0]
    np.testing.assert_array_equal(mean_intervals(values, seed=1), mean_intervals(values, seed=1))
