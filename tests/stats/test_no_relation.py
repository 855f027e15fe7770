import numpy as np
from scipy import stats

from tunescope.stats.no_relation import margin_p


def test_the_margin_is_kept_where_it_is_the_truth():
    """Runs whose rho is the margin: neither claim is true, and each is made in at most 6 of 100 studies."""
    rng = np.random.default_rng(7)
    margin = 6 / np.pi * np.arcsin(0.2)  # of a normal pair correlated by 0.4
    wrong = np.zeros((2_000, 2))
    x, noise = rng.normal(size=(2, 2_000, 120))
    y = 0.4 * x + np.sqrt(1 - 0.16) * noise
    u, v = (stats.rankdata(values, axis=1) - 60.5 for values in (x, y))
    found = (u * v).sum(1) / np.sqrt((u * u).sum(1) * (v * v).sum(1))
    for study, value in enumerate(found):
        p = margin_p(float(value), 120, margin)
        assert p is not None
        wrong[study] = np.array(p) < 0.05
    assert wrong.mean(0).max() <= 0.06
    assert wrong.mean(0).min() > 0.005
