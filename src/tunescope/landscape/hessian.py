"""The Hessian of a loss in some weights: its top eigenvalue and its trace, from products with vectors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tunescope.errors import ModelError
from tunescope.landscape.perturb import Weights, gradient, tracked

LANCZOS = 10  # vectors of the weights' size that the eigenvalue search holds
TOLERANCE = 1e-3  # of the eigenvalue, relative

Product = Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]]


def top_eigenvalue(
    weights: Weights, loss: Callable[[], Float[Tensor, ""]], *, adaptive: bool = False, seed: int = 0
) -> float:
    """λ_max of ∂²L/∂w², the largest algebraic eigenvalue, to one part in a thousand.

    Lanczos' method with implicit restarts (ARPACK) over products with vectors; `LANCZOS` vectors of the
    weights' size are held, and the graph of one backward pass. With as few weights the matrix is written out.

    Args:
        weights: frozen or not; they are not moved.
        loss: twice differentiable, at the weights as they are.
        adaptive: of D·∂²L/∂w²·D with D = diag |w|: ½ρ²λ is then the adaptive ℓ2 sharpness to second order.
        seed: of the first vector.

    Raises:
        ModelError: no weights, a loss that is not finite, or no convergence.

    Source: Lehoucq, Sorensen and Yang 1998, ARPACK users' guide, for the method.

    >>> weight = torch.tensor([1.0, 1.0])
    >>> round(top_eigenvalue({"w": weight}, lambda: weight[0] ** 2 + 3 * weight[1] ** 2), 3)
    6.0
    """
    with _products(weights, loss, adaptive) as (size, product):
        if size <= LANCZOS:
            rows = [product(row).double().cpu().numpy() for row in torch.eye(size)]
            return float(np.linalg.eigvalsh(np.stack(rows))[-1])

        start = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
        if not product(torch.from_numpy(start)).any():
            return 0.0  # of the zero matrix alone, and ARPACK refuses that
        operator = _Operator(size, product)
        options = {"which": "LA", "v0": start, "ncv": LANCZOS, "tol": TOLERANCE}
        try:
            return float(eigsh(operator, k=1, return_eigenvectors=False, **options)[0])
        except ArpackError as error:
            raise ModelError(f"the top eigenvalue of the Hessian was not found: {error}") from None


def trace(
    weights: Weights,
    loss: Callable[[], Float[Tensor, ""]],
    *,
    draws: int,
    adaptive: bool = False,
    seed: int = 0,
) -> Float[np.ndarray, " draws"]:
    """vᵀ(∂²L/∂w²)v for random signs v: each draw's expectation is the trace (Hutchinson).

    Args:
        weights: frozen or not; they are not moved.
        loss: twice differentiable, at the weights as they are.
        draws: how many v.
        adaptive: of D·∂²L/∂w²·D with D = diag |w|: ½ρ² times it is average-case sharpness to second order.
        seed: of the signs.

    Raises:
        ModelError: no weights, or a loss that is not finite.

    Source: Hutchinson 1990, Commun. Stat. Simul. Comput. 19.

    >>> weight = torch.tensor([1.0, 1.0])
    >>> trace({"w": weight}, lambda: weight[0] ** 2 + 3 * weight[1] ** 2, draws=2).tolist()
    [8.0, 8.0]
    """
    found = np.empty(draws)
    with _products(weights, loss, adaptive) as (size, product):
        generator = torch.Generator().manual_seed(seed)
        for draw in range(draws):
            signs = torch.randint(0, 2, (size,), generator=generator).float() * 2 - 1
            found[draw] = product(signs).double().cpu() @ signs.double()
    return found


class _Operator(LinearOperator):
    """The Hessian as SciPy asks for it."""

    def __init__(self, size: int, product: Product):
        super().__init__(np.float32, (size, size))
        self._product = product

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._product(torch.from_numpy(x.astype(np.float32).ravel())).cpu().numpy()


@contextmanager
def _products(
    weights: Weights, loss: Callable[[], Float[Tensor, ""]], adaptive: bool
) -> Iterator[tuple[int, Product]]:
    """The number of weights, and what multiplies a vector with the Hessian.

    The gradient's graph is made once and differentiated for each vector. The fused attention kernels know
    no second derivative, so attention is computed by plain products meanwhile.
    """
    if not weights:
        raise ModelError("no Hessian: no weights were given; expected those of a tower or a part")
    held = tuple(weights.values())
    scales = [weight.detach().abs() if adaptive else torch.ones_like(weight) for weight in held]
    sizes = [weight.numel() for weight in held]
    with tracked(held), sdpa_kernel(SDPBackend.MATH):
        _, slopes = gradient(held, loss, create_graph=True)
        bent = [at for at, slope in enumerate(slopes) if slope.requires_grad]

        def product(vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
            if not bent:
                return torch.zeros_like(vector)
            parts = vector.to(held[0]).split(sizes)
            asked = [parts[at].view_as(scales[at]) * scales[at] for at in bent]
            found = torch.autograd.grad(
                [slopes[at] for at in bent],
                held,
                asked,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            return torch.cat([(each * scale).flatten() for each, scale in zip(found, scales, strict=True)])

        yield sum(sizes), product
