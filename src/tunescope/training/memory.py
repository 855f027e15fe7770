"""What one step of training holds in memory, counted tensor by tensor."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

MIB = 2**20


class Activations:
    """What autograd keeps for the backward pass, beside the weights, while `counting` is open.

    Tensors that share a storage are counted once, and so is one that several operations keep: this is what
    the forward pass has kept when the backward pass begins.

    >>> x = torch.ones(5, 4, requires_grad=True)
    >>> with (kept := Activations([])).counting():
    ...     _ = (x * x).relu()  # x for the product, the result for the rectifier: 2 · 20 numbers of 4 bytes
    >>> kept.bytes
    160
    """

    def __init__(self, weights: Iterable[Tensor]):
        self._weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self._kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is given away twice

    @property
    def bytes(self) -> int:
        """How much was kept."""
        return sum(storage.nbytes() for storage in self._kept.values())

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is kept inside; nothing that is computed changes."""
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            yield

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            self._kept[storage.data_ptr()] = storage
        return tensor


def held(weights: Iterable[Tensor], optimizer: Optimizer, activations: Activations) -> float:
    """MiB of weights, buffers, gradients, optimiser state and kept activations: the least a step must hold.

    Call it after a backward pass and a step of the optimiser. Workspace of single operations, the examples,
    and what was computed once before the first step are not counted; the number is the same on every machine.
    """
    weights = list(weights)
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    state = [t for kept in optimizer.state.values() for t in kept.values() if isinstance(t, Tensor)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in (*weights, *gradients, *state)}
    return (sum(storage.nbytes() for storage in storages.values()) + activations.bytes) / MIB
