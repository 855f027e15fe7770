"""ε against the divergence of two Gaussians by quadrature, and against Rényi's bound."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from tunescope.federated.epsilon import epsilon, epsilon_of
from tunescope.study.federated import Federated


def delta_by_quadrature(noise, rounds, at):
    """∫ max(0, p − e^ε·q) of the R sums' likelihoods along the line on which they differ."""
    apart, spread = math.sqrt(rounds), noise
    crossing = apart / 2 + spread**2 * at / apart
    value, _ = integrate.quad(
        lambda x: stats.norm.pdf(x, apart, spread) - math.exp(at) * stats.norm.pdf(x, 0.0, spread),
        crossing,
        crossing + 40 * spread,
        epsabs=1e-14,
        limit=500,
    )
    return value


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize(("noise", "rounds"), [(1.0, 1), (0.7, 3), (4.0, 10), (30.0, 100)])
def test_delta_at_epsilon_is_delta(noise, rounds, delta):
    found = epsilon(noise, rounds, delta)
    assert delta_by_quadrature(noise, rounds, found) == pytest.approx(delta, rel=1e-4)


@pytest.mark.parametrize(("noise", "rounds"), [(0.05, 10), (0.5, 1), (1.0, 10), (8.0, 40)])
def test_it_is_below_renyis_bound_and_not_by_much(noise, rounds):
    orders = 1 + np.geomspace(1e-4, 1e5, 20_000)
    renyi = (rounds * orders / (2 * noise**2) + math.log(1e5) / (orders - 1)).min()
    assert 0.6 * renyi < epsilon(noise, rounds) < renyi


def test_many_rounds_cost_what_less_noise_does_and_little_costs_nothing():
    assert epsilon(3.0, 9) == pytest.approx(epsilon(1.0, 1))
    assert epsilon(1e6, 1) == 0.0
    assert epsilon(2.0, 10) > epsilon(2.0, 5) > epsilon(4.0, 5) > 0


def test_of_a_run_only_where_it_holds():
    def of(**privacy):
        return epsilon_of(Federated(rounds=4, privacy=privacy))  # pyright: ignore[reportArgumentType]

    assert of(noise=2.0) == epsilon(2.0, 4)
    assert epsilon_of(Federated()) is of(noise=0.0) is None
    assert of(noise=2.0, noise_seed=1) is of(noise=2.0, adaptive=True) is None
