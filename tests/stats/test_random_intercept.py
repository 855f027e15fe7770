# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
import numpy as np
import pytest
from scipy import optimize
from statsmodels.regression.mixed_linear_model import MixedLM

from tunescope.stats.random_intercept import random_intercept

# Davies (1947), Statistical Methods in Research and Production, table 6.2: yields of dyestuff, 6 batches of 5
DYESTUFF = [
    [1545, 1440, 1440, 1520, 1580],
    [1540, 1555, 1490, 1560, 1495],
    [1595, 1550, 1605, 1510, 1560],
    [1445, 1440, 1595, 1465, 1545],
    [1595, 1630, 1515, 1635, 1625],
    [1520, 1455, 1450, 1480, 1445],
]


@pytest.fixture(scope="module")
def ragged() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    runs = np.repeat(np.arange(8.0), [3, 9, 5, 11, 4, 7, 2, 6])
    x = np.column_stack([runs % 2 == 0, runs % 2 == 1, rng.normal(size=len(runs))]).astype(float)
    return rng.normal(size=8)[runs.astype(int)] + x @ [1, 2, 3] + rng.normal(size=len(runs)), x, runs


def test_dyestuff_as_published():
    found = random_intercept(
        np.array(DYESTUFF, float).ravel(), np.ones((30, 1)), np.repeat(np.arange(6.0), 5)
    )
    assert found.between == pytest.approx(1764.05, abs=1e-8)
    assert found.residual == pytest.approx(2451.25, abs=1e-8)
    assert found.beta[0] == pytest.approx(1527.5, abs=1e-8)
    assert found.correlation == pytest.approx(1764.05 / (1764.05 + 2451.25), abs=1e-8)


def test_it_is_the_maximum_of_the_restricted_likelihood_written_out(ragged):
    y, x, runs = ragged
    same = (runs[:, None] == runs[None, :]).astype(float)

    def at(log: float) -> tuple[float, np.ndarray, np.ndarray]:
        v = np.eye(len(y)) + np.exp(log) * same
        inverse = np.linalg.inv(x.T @ np.linalg.solve(v, x))
        beta = inverse @ x.T @ np.linalg.solve(v, y)
        rest = y - x @ beta
        s2 = rest @ np.linalg.solve(v, rest) / (len(y) - 3)
        likelihood = np.linalg.slogdet(v)[1] - np.linalg.slogdet(inverse)[1] + (len(y) - 3) * np.log(s2)
        return likelihood, beta, inverse * s2

    best = optimize.minimize_scalar(
        lambda log: at(log)[0], bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}
    )
    found = random_intercept(y, x, runs)
    assert found.between / found.residual == pytest.approx(np.exp(best.x), rel=1e-6)
    assert found.beta == pytest.approx(at(best.x)[1], abs=1e-8)
    assert found.covariance == pytest.approx(at(best.x)[2], abs=1e-7)


def test_statsmodels_agrees_as_far_as_it_goes(ragged):
    y, x, runs = ragged
    found = random_intercept(y, x, runs)
    wanted = MixedLM(y, x, groups=runs).fit(reml=True, method=["powell"])
    assert found.beta == pytest.approx(wanted.fe_params, abs=1e-5)
    assert found.between == pytest.approx(float(np.asarray(wanted.cov_re)[0, 0]), abs=1e-3)
    assert found.residual == pytest.approx(wanted.scale, abs=1e-4)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx(wanted.bse_fe, abs=1e-3)


def test_runs_that_are_too_much_alike_have_a_correlation_below_zero():
    y = np.array([[0.0, 2.0, 4.0], [4.0, 0.0, 2.1], [2.0, 4.1, 0.0], [0.1, 4.0, 2.0]])
    found = random_intercept(y.ravel(), np.ones((12, 1)), np.repeat(np.arange(4.0), 3))
    between, within = 3 * y.mean(1).var(ddof=1), y.var(axis=1, ddof=1).mean()
    assert found.between == pytest.approx((between - within) / 3, abs=1e-8)
    assert -0.5 < found.correlation < 0
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(y.mean(1).std(ddof=1) / 2, abs=1e-8)
    least = random_intercept(y.ravel(), np.ones((12, 1)), np.repeat(np.arange(4.0), 3), below_zero=False)
    assert (least.between, least.correlation) == (0, 0)
    assert np.sqrt(least.covariance[0, 0]) == pytest.approx(y.std(ddof=1) / np.sqrt(12), abs=1e-8)


def test_size_of_the_numbers_does_not_matter(ragged):
    y, x, runs = ragged
    plain, small = random_intercept(y, x, runs), random_intercept(1e-150 * y, x, runs)
    assert small.beta * 1e150 == pytest.approx(plain.beta, abs=1e-8)
    assert small.correlation == pytest.approx(plain.correlation, abs=1e-8)


def test_what_cannot_be_told_apart():
    runs = np.repeat(np.arange(3.0), 2)
    one = np.ones((6, 1))
    assert random_intercept(np.ones(6), one, runs) is None
    assert random_intercept(np.array([1.0, 1, 2, 2, 4, 4]), one, runs) is None
    assert random_intercept(np.array([1.0, 3, 0, 4, 2, 2]), one, runs) is None
    assert random_intercept(np.arange(6.0), one, np.arange(6.0)) is None
    assert random_intercept(np.arange(6.0) ** 2, np.ones((6, 2)), runs) is None
