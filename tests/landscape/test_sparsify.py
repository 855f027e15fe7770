import itertools
import math

import numpy as np
import pytest
import torch

from tunescope.landscape.sparsify import sparsify

SHAPES = {"a.weight": (6, 5), "a.bias": (6,), "b.weight": (4, 6), "norm.weight": (6,)}
TOTAL = 66
MATRICES = 54


@pytest.fixture
def ends() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    tuned, base = ({name: torch.randn(s, generator=generator) for name, s in SHAPES.items()} for _ in "ab")
    return tuned, base


def flat(weights, names=SHAPES) -> np.ndarray:
    return np.concatenate([weights[name].double().numpy().ravel() for name in names])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.77])
@pytest.mark.parametrize(
    ("of", "by"), [("change", "random"), ("change", "magnitude"), ("weight", "magnitude")]
)
def test_so_many_entries_are_the_bases_and_no_other_has_moved(ends, share, of, by):
    tuned, base = ends
    found = flat(sparsify(tuned, base, share, of=of, by=by, seed=3))
    before, start = flat(tuned), flat(base)
    back = found == start
    assert back.sum() == round(share * TOTAL)
    assert (found[~back] == before[~back]).all()
    if by == "magnitude":
        size = np.abs(before - start) if of == "change" else np.abs(before)
        assert size[back].max() < size[~back].min()


@pytest.mark.parametrize("by", ["random", "magnitude"])
def test_zeros_are_counted_in_matrices_and_vectors_stay(ends, by):
    tuned, base = ends
    found = sparsify(tuned, base, 0.4, of="weight", to="zero", by=by)
    zero = flat(found, ["a.weight", "b.weight"]) == 0
    assert zero.sum() == round(0.4 * MATRICES)
    before = flat(tuned, ["a.weight", "b.weight"])
    assert (flat(found, ["a.weight", "b.weight"])[~zero] == before[~zero]).all()
    assert found["a.bias"] is tuned["a.bias"]
    assert found["norm.weight"] is tuned["norm.weight"]
    if by == "magnitude":
        assert np.abs(before[zero]).max() < np.abs(before[~zero]).min()


def test_rescaled_changes_are_larger_by_what_was_dropped(ends):
    tuned, base = ends
    found = flat(sparsify(tuned, base, 0.7, rescale=True))
    change, before = found - flat(base), flat(tuned) - flat(base)
    kept = change != 0
    assert kept.sum() == TOTAL - round(0.7 * TOTAL) == 20
    np.testing.assert_allclose(change[kept], before[kept] * TOTAL / 20, rtol=1e-4, atol=1e-6)
    # over many drawings the change is that before
    many = np.mean([flat(sparsify(tuned, base, 0.7, rescale=True, seed=s)) for s in range(3000)], axis=0)
    np.testing.assert_allclose(
        many - flat(base), before, atol=5 * np.abs(before).max() * 1.6 / math.sqrt(3000)
    )


def test_rescaled_weights_keep_the_norm_of_every_matrix(ends):
    tuned, base = ends
    plain = sparsify(tuned, base, 0.5, of="weight", to="zero", by="magnitude")
    found = sparsify(tuned, base, 0.5, of="weight", to="zero", by="magnitude", rescale=True)
    for name in ("a.weight", "b.weight"):
        assert found[name].norm().item() == pytest.approx(tuned[name].norm().item(), rel=1e-6)
        assert torch.equal(found[name] == 0, plain[name] == 0)
        left = plain[name] != 0
        ratio = (found[name][left] / tuned[name][left]).double()
        assert ratio.min() == pytest.approx(ratio.max().item(), rel=1e-5)


def test_none_is_nothing_and_all_is_the_base_bit_for_bit(ends):
    tuned, base = ends
    copies = {name: value.clone() for name, value in tuned.items()}
    for of, to, by, rescale in itertools.product(
        ("change", "weight"), ("base", "zero"), ("random", "magnitude"), (False, True)
    ):
        said = {"of": of, "to": to, "by": by, "rescale": rescale}
        none = sparsify(tuned, base, 0.0, **said)
        every = sparsify(tuned, base, 1.0, **said)
        for name, value in tuned.items():
            assert none[name] is value
            wanted = base[name] if to == "base" else value if value.dim() == 1 else torch.zeros_like(value)
            assert torch.equal(every[name], wanted)
    assert all(torch.equal(tuned[name], value) for name, value in copies.items())


def test_the_seed_decides_and_a_larger_share_takes_the_same_and_more(ends):
    tuned, base = ends
    one, again, other = (flat(sparsify(tuned, base, 0.5, seed=seed)) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    more = flat(sparsify(tuned, base, 0.6, seed=1))
    assert ((one == flat(base)) <= (more == flat(base))).all()


def test_equal_magnitudes_are_taken_in_order():
    tuned, base = {"w": torch.ones(2, 4)}, {"w": torch.zeros(2, 4)}
    assert sparsify(tuned, base, 0.375, by="magnitude")["w"].tolist() == [[0, 0, 0, 1], [1, 1, 1, 1]]
