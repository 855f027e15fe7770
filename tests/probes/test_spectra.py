"""Ranks and intruders: matrices with known answers, and random ones against plain numpy in float64."""

import math

import numpy as np
import pytest
import torch

from tunescope.probes.similarity import entropy_rank
from tunescope.probes.spectra import Spectrum, stable_rank


def orthogonal(size: int, seed: int) -> torch.Tensor:
    normal = np.random.default_rng(seed).normal(size=(size, size))
    return torch.from_numpy(np.linalg.qr(normal)[0]).float()


def matrix(sigma: list[float], rows: int = 12, columns: int = 12) -> torch.Tensor:
    """Of these singular values; the same vectors every time."""
    left, right = orthogonal(rows, 0)[:, : len(sigma)], orthogonal(columns, 1)[:, : len(sigma)]
    return left @ torch.diag(torch.tensor(sigma)) @ right.T


@pytest.mark.parametrize(
    ("sigma", "stable", "effective"),
    [
        ([0.3], 1, 1),
        ([2.0] * 5, 5, 5),
        ([1e-6] * 12, 12, 12),
        ([2.0, 1.0, 1.0], 1.5, math.exp(0.5 * math.log(2) + 2 * 0.25 * math.log(4))),
    ],
)
@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (12, 40), (40, 12)])
def test_ranks_of_known_spectra(sigma, stable, effective, rows, columns):
    update = matrix(sigma, rows, columns)
    found = Spectrum(torch.eye(rows, columns)).values(update)
    assert len(found) == len(sigma)
    assert stable_rank(found) == pytest.approx(stable, rel=1e-5)
    assert entropy_rank(found) == pytest.approx(effective, rel=1e-5)


def test_the_rounding_of_merging_is_no_direction():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 96, generator=generator)
    low = 1e-6 * torch.randn(96, 3, generator=generator) @ torch.randn(3, 96, generator=generator)
    merged = (weight + low) - weight
    exact = np.linalg.svd(low.double().numpy(), compute_uv=False)
    everything = np.linalg.svd(merged.double().numpy(), compute_uv=False)
    assert entropy_rank(everything) > 4  # it would count
    found = Spectrum(weight).values(merged)
    assert len(found) == 3
    assert entropy_rank(found) == pytest.approx(entropy_rank(exact), rel=1e-2)
    assert len(Spectrum(weight).values(torch.full((96, 96), 1e-9))) == 0


@pytest.mark.parametrize("size", [0.05, 0.5, 2.0, 10.0])
def test_intruders_are_leading_directions_that_the_weight_had_not(size):
    """Of W = Σ σᵢ uᵢ vᵢᵀ, i ≤ 10: one new direction of the given size, at its place in the order."""
    sigma = [float(s) for s in np.linspace(5, 1, 10)]
    weight = matrix(sigma)
    new = size * torch.outer(orthogonal(12, 0)[:, 10], orthogonal(12, 1)[:, 10])
    spectrum = Spectrum(weight)
    for top in (1, 5, 10, 20):
        before_it = sum(s > size for s in sigma)
        assert spectrum.intruders(new, top, 0.5) == (1 if before_it < top else 0)
    inside = torch.outer(weight @ orthogonal(12, 1)[:, 0], orthogonal(12, 1)[:, 0])
    assert spectrum.intruders(3 * inside, 10, 0.5) == 0  # an old direction, stronger
    assert spectrum.intruders(-weight, 10, 0.5) == 0  # nothing is left that could be new


@pytest.mark.parametrize("degrees", [50.0, 70.0])
def test_how_far_is_new(degrees):
    """A weight of one direction, turned by an angle within a plane that it did not span."""
    u, v = orthogonal(8, 0), orthogonal(8, 1)
    angle = math.radians(degrees)
    before = torch.outer(u[:, 0], v[:, 0])
    after = torch.outer(math.cos(angle) * u[:, 0] + math.sin(angle) * u[:, 1], v[:, 0])
    spectrum = Spectrum(before)
    assert spectrum.intruders(after - before, 10, 0.5) == (1 if degrees > 60 else 0)
    assert spectrum.intruders(after - before, 10, math.cos(angle) - 0.01) == 0
    assert spectrum.intruders(after - before, 10, math.cos(angle) + 0.01) == 1


def test_a_weight_of_zero_has_no_directions():
    assert Spectrum(torch.zeros(6, 4)).intruders(matrix([1.0, 2.0], 6, 4), 10, 0.5) == 2


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (64, 16), (16, 64)])
def test_against_plain_loops_in_float64(rows, columns):
    generator = np.random.default_rng(3)
    before, update = generator.normal(size=(2, rows, columns)) * [[[1.0]], [[0.7]]]
    old = np.linalg.svd(before, full_matrices=False)[0]
    new = np.linalg.svd(before + update, full_matrices=False)[0]
    spectrum = Spectrum(torch.from_numpy(before).float())
    counts = []
    for threshold in (0.4, 0.5, 0.6, 0.8):
        count = 0
        for j in range(10):
            best = max(abs(float(old[:, i] @ new[:, j])) for i in range(old.shape[1]))
            count += best < threshold
        assert spectrum.intruders(torch.from_numpy(update).float(), 10, threshold) == count
        counts.append(count)
    assert max(counts) > 0
    assert len(set(counts)) > 1
    sigma = np.linalg.svd(update, compute_uv=False)
    found = spectrum.values(torch.from_numpy(update).float())
    assert found == pytest.approx(sigma, rel=1e-4)
    assert stable_rank(found) == pytest.approx((update**2).sum() / sigma[0] ** 2, rel=1e-5)
