"""The Hessian's top eigenvalue and trace against the whole matrix, written out by autograd."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from tunescope.errors import ModelError
from tunescope.landscape.hessian import top_eigenvalue, trace


def attention(seed=0):
    """One layer of attention and a linear head, 3 of whose weights are frozen."""
    torch.manual_seed(seed)

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.norm, self.head = nn.Linear(4, 12), nn.LayerNorm(4), nn.Linear(4, 3)
            self.unused = nn.Linear(2, 2)

        def forward(self, x):
            q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return self.head(nn.functional.gelu(x + mixed).mean(1))

    model = Tiny()
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    x, y = torch.randn(6, 5, 4), torch.arange(6) % 3
    return model, x, y


def whole(model, x, y, names, adaptive):
    """∂²L/∂w² in float64."""
    state = {name: p.detach().double() for name, p in model.named_parameters()}
    shapes = [state[name].shape for name in names]
    sizes = [state[name].numel() for name in names]

    def loss(vector):
        own = dict(
            zip(names, (p.view(s) for p, s in zip(vector.split(sizes), shapes, strict=True)), strict=True)
        )
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            logits = functional_call(model.double(), state | own, (x.double(),))
        return nn.functional.cross_entropy(logits, y)

    start = torch.cat([state[name].flatten() for name in names])
    found = np.asarray(torch.autograd.functional.hessian(loss, start))
    model.float()
    scale = start.abs().numpy() if adaptive else np.ones(len(start))
    return scale[:, None] * found * scale


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("prefix", ["", "qkv", "norm", "unused"])
def test_against_the_whole_matrix(prefix, adaptive):
    model, x, y = attention()
    held = {name: p for name, p in model.named_parameters() if name.startswith(prefix)}
    before = {name: p.detach().clone() for name, p in held.items()}
    asked = [p.requires_grad for p in held.values()]

    def loss():
        return nn.functional.cross_entropy(model(x), y)

    top = top_eigenvalue(held, loss, adaptive=adaptive)
    draws = trace(held, loss, draws=8, adaptive=adaptive, seed=3)
    assert top == top_eigenvalue(held, loss, adaptive=adaptive)
    np.testing.assert_array_equal(draws, trace(held, loss, draws=8, adaptive=adaptive, seed=3))
    assert [p.requires_grad for p in held.values()] == asked
    assert all(torch.equal(held[name], before[name]) for name in held)
    exact = whole(model, x, y, list(held), adaptive)
    assert top == pytest.approx(np.linalg.eigvalsh(exact)[-1], rel=2e-3, abs=1e-6)
    generator = torch.Generator().manual_seed(3)
    for draw in draws:
        signs = (torch.randint(0, 2, (len(exact),), generator=generator) * 2 - 1).double().numpy()
        assert draw == pytest.approx(signs @ exact @ signs, rel=1e-3, abs=1e-5)
    spread = draws.std(ddof=1) / np.sqrt(8)
    assert abs(draws.mean() - np.trace(exact)) <= 4 * spread + 1e-5


def test_no_weights_and_a_straight_loss():
    with pytest.raises(ModelError, match="no Hessian"):
        top_eigenvalue({}, lambda: torch.tensor(0.0))
    held = {"w": nn.Parameter(torch.ones(30))}
    assert trace(held, lambda: held["w"].sum(), draws=2).tolist() == [0, 0]
    assert top_eigenvalue(held, lambda: held["w"].sum()) == 0
    assert top_eigenvalue(held, lambda: -held["w"].square().sum()) == pytest.approx(
        -2
    )  # the largest, not |λ|
