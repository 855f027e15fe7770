"""Every statistic of a row against plain loops in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunescope.errors import ModelError
from tunescope.models import rows as on


def loop_entropy(row):
    return -sum(a * math.log(a) for a in row if a > 0)


def loop_erf(row, share=0.95):
    total, k = 0.0, 0
    for a in sorted(row, reverse=True):
        total, k = total + a, k + 1
        if total >= share:
            return k / len(row)
    raise AssertionError(f"{row} never reaches {share}")


def loop_gini(row):
    n = len(row)
    weighted = sum(i * x for i, x in enumerate(sorted(row), start=1))
    return 2 * weighted / (n * sum(row)) - (n + 1) / n


def loop_diversity(heads):
    cosines = []
    for i, one in enumerate(heads):
        for other in heads[i + 1 :]:
            dot = sum(a * b for a, b in zip(one, other, strict=True))
            cosines.append(dot / math.dist(one, [0] * len(one)) / math.dist(other, [0] * len(one)))
    return 1 - sum(cosines) / len(cosines)


def some_rows(*shape, dtype=torch.float64, seed=0):
    return (3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)).softmax(-1)


@pytest.mark.parametrize(
    ("ours", "loop"),
    [
        (on.entropy, loop_entropy),
        (on.entropy_normalised, lambda row: loop_entropy(row) / math.log(len(row))),
        (on.erf, loop_erf),
        (on.gini, loop_gini),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_of_one_row(ours, loop, dtype):
    rows = some_rows(4, 3, 37)
    found = ours(rows.to(dtype))
    assert found.dtype == dtype
    for index in np.ndindex(4, 3):
        assert float(found[index]) == pytest.approx(loop(rows[index].tolist()), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12), st.integers(0, 4))
def test_a_mask_is_the_same_as_a_shorter_row(counts, padding):
    if not sum(counts):
        counts[0] = 1
    row = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    padded = torch.cat([row, torch.zeros(padding, dtype=torch.float64)])
    mask = torch.arange(len(padded)) < len(row)
    norms = torch.arange(1.0, len(padded) + 1, dtype=torch.float64)
    for statistic in (on.entropy, on.entropy_normalised, on.gini):
        torch.testing.assert_close(statistic(padded, mask), statistic(row))
    torch.testing.assert_close(on.erf(padded, 0.95, mask), on.erf(row))
    weighted = on.value_weighted_entropy(padded, norms, mask)
    torch.testing.assert_close(weighted, on.value_weighted_entropy(row, norms[: len(row)]))
    assert 0 <= float(on.gini(row)) <= 1 - 1 / len(row) + 1e-12
    assert -1e-12 <= float(on.entropy(row)) <= math.log(len(row)) + 1e-12


@pytest.mark.parametrize("n", [2, 20, 100, 196, 576])
def test_uniform_and_one_hot_in_float32(n):
    uniform, one_hot = torch.full((n,), 1 / n), torch.nn.functional.one_hot(torch.tensor(1), n).float()
    assert float(on.entropy(uniform)) == pytest.approx(math.log(n), abs=1e-5)
    assert float(on.gini(uniform)) == pytest.approx(0, abs=1e-6)
    assert float(on.erf(uniform)) == pytest.approx(math.ceil(round(0.95 * n, 6)) / n)
    assert float(on.entropy(one_hot)) == 0
    assert float(on.gini(one_hot)) == pytest.approx(1 - 1 / n)
    assert float(on.erf(one_hot)) == pytest.approx(1 / n)


def test_entropy_s_gradient_is_finite_at_zero_and_right_elsewhere():
    logits = torch.tensor([1.0, -torch.inf, 0.5, -200.0], requires_grad=True)
    on.entropy(logits.softmax(-1)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    row = some_rows(2, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(on.entropy(row).sum(), row)
    torch.testing.assert_close(gradient, -row.detach().log() - 1)
    mask = torch.tensor([True, True, True, True, False])
    for statistic in (on.entropy, on.entropy_normalised):
        logits = some_rows(2, 5).log().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, f=statistic: f(x.softmax(-1), mask), logits)


@pytest.mark.parametrize("row", [[0.2, 0.2], [math.nan, 1.0], [0.0, 0.0]])
def test_a_row_that_never_reaches_its_share_is_an_error(row):
    with pytest.raises(ModelError, match=r"1 of 2 rows of attention never reach 0\.95"):
        on.erf(torch.tensor([row, [0.5, 0.5]]))


def test_a_not_a_number_shows():
    assert on.entropy(torch.tensor([math.nan, 0.5])).isnan()


def test_degenerate_rows_are_errors():
    with pytest.raises(ModelError, match="over 1 key"):
        on.entropy_normalised(torch.ones(3, 1))
    with pytest.raises(ModelError, match="over 1 key"):
        on.entropy_normalised(torch.tensor([[1.0, 0.0]]), torch.tensor([[True, False]]))
    with pytest.raises(ModelError, match="1 head"):
        on.head_diversity(torch.ones(1, 1))
    with pytest.raises(ModelError, match="rollout of no layers"):
        on.rollout([])
    with pytest.raises(ModelError, match="grid of 2 × 2"):
        on.distance(torch.ones(3, 3), (2, 2), 8)


def test_patches_and_sink_mass():
    rows = some_rows(3, 4, 9)
    kept, mass = on.patches(rows, 2)
    for index in np.ndindex(3, 4):
        row = rows[index].tolist()
        assert float(mass[index]) == pytest.approx(row[0] + row[1])
        assert kept[index].tolist() == pytest.approx([a / sum(row[2:]) for a in row[2:]])


def test_patches_of_logits_survive_a_collapse_onto_the_sink():
    logits = 3 * torch.randn(4, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for found, expected in zip(
        on.patches_of_logits(logits, 2), on.patches(logits.softmax(-1), 2), strict=True
    ):
        torch.testing.assert_close(found, expected)
    collapsed = logits + torch.tensor([2000.0] + [0.0] * 8)
    kept, mass = on.patches_of_logits(collapsed, 1)
    torch.testing.assert_close(kept, logits[:, 1:].softmax(-1))
    assert (mass == 1).all()


def test_head_diversity():
    rows = some_rows(5, 4, 9, seed=1)
    found = on.head_diversity(rows)
    for example in range(5):
        assert float(found[example]) == pytest.approx(loop_diversity(rows[example].tolist()))
    mean = [[sum(rows[b, h, j].item() for b in range(5)) / 5 for j in range(9)] for h in range(4)]
    assert float(on.head_diversity_pooled(rows)) == pytest.approx(loop_diversity(mean))


def test_distance_on_a_grid_that_is_not_square():
    down, across, size = 2, 3, 16
    rows = some_rows(2, 4, 6, 6, seed=2)
    found = on.distance(rows, (down, across), size)
    for b, h, q in np.ndindex(2, 4, 6):
        expected = 0.0
        for j in range(6):
            apart = math.dist(
                (q // across * size, q % across * size), (j // across * size, j % across * size)
            )
            expected += rows[b, h, q, j].item() * apart
        assert float(found[b, h, q]) == pytest.approx(expected)


def test_value_weighted_entropy():
    rows, norms = some_rows(3, 4, 9), torch.rand(3, 4, 9, dtype=torch.float64) + 0.1
    found = on.value_weighted_entropy(rows, norms)
    for index in np.ndindex(3, 4):
        weighted = [a * v for a, v in zip(rows[index].tolist(), norms[index].tolist(), strict=True)]
        assert float(found[index]) == pytest.approx(loop_entropy([w / sum(weighted) for w in weighted]))


def test_rollout():
    layers = [some_rows(2, 3, 5, 5, seed=seed) for seed in range(4)]
    found, dropped = on.rollout(layers), on.rollout(layers, 2)
    for example in range(2):
        reached = np.eye(5)
        for layer in layers:
            mixed = np.zeros((5, 5))
            for head in range(3):
                mixed += layer[example, head].numpy() / 3
            mixed += np.eye(5)
            mixed /= mixed.sum(1, keepdims=True)
            reached = mixed @ reached
        np.testing.assert_allclose(found[example].numpy(), reached)
        np.testing.assert_allclose(
            dropped[example].numpy(), reached[:, 2:] / reached[:, 2:].sum(1, keepdims=True)
        )
