"""Frozen prefixes: what lies before the first trained block is computed once, not at every step."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from tunescope.methods.method import Installed
from tunescope.models.encoder import TEXT_BATCH, Encoder
from tunescope.models.modelmap import Tower, module_at
from tunescope.training.entering import Entering, OfImages, OfTexts, real_tokens

LIMIT = 2 * 2**30  # bytes of activations that are kept for one set of examples


class Refused(NamedTuple):
    """Why nothing is computed once, in plain words for the run's log."""

    reason: str


class Prefix:
    """The activations that enter block `blocks` of a tower, of every example of one set.

    They are handed out by the model's own forward pass: while `features` runs, the embeddings and the
    blocks before the cut return what was kept instead of computing, and all the rest is as it always is.
    Equal to the plain forward pass bit for bit where the examples of a batch are those that were recorded
    together, and to rounding otherwise; so are the gradients.

    `seam.gate` acts in the blocks that run, and on the others not at all. `seam.watch` wants to see every
    block and raises; a pooling head (SigLIP) it can watch.

    Args:
        encoder: whose tower it is.
        skipped: dotted paths of the embeddings and of the blocks before the cut, in the order they run.
        tuples: for each of those, how many values its output has where it is a tuple, else 0.
        entering: the activations.

    Source: AutoFreeze (Liu, Agarwal and Venkataraman 2021, arXiv 2102.01386), which keeps the outputs of
    frozen blocks in the same way.
    """

    def __init__(
        self,
        encoder: Encoder,
        skipped: Sequence[str],
        tuples: Sequence[int],
        entering: Entering,
    ):
        self.encoder, self.skipped, self.tuples = encoder, tuple(skipped), tuple(tuples)
        self.entering = entering

    @property
    def blocks(self) -> int:
        """How many blocks are skipped, with the embeddings."""
        return len(self.skipped) - 1

    def features(self, indices: Int64[np.ndarray, " b"]) -> Float[Tensor, "b d"]:
        """Features of the examples at `indices`, with gradients to all that follows the cut.

        Call it under the autocast of the recording.
        """
        size = (
            len(indices) if isinstance(self.entering, OfImages) else TEXT_BATCH
        )  # as the encoder takes them
        found: list[Tensor] = []
        for start in range(0, len(indices), size):
            piece = indices[start : start + size]
            with self._replaying(self.entering.batch(self.encoder, piece)):
                found.append(self.entering.features(self.encoder, piece))
        return torch.cat(found)

    @contextmanager
    def _replaying(self, batch: Tensor) -> Iterator[None]:
        found: list[tuple[nn.Module, Any]] = []
        try:
            for path, values in zip(self.skipped, self.tuples, strict=True):
                module = module_at(self.encoder.model, path)
                output = dressed(batch, values)
                found.append((module, module.__dict__.get("forward")))
                module.forward = lambda *args, output=output, **kwargs: output
            yield
        finally:
            for module, before in found:
                if before is None:
                    del module.forward
                else:
                    module.forward = before


def prefix(
    encoder: Encoder,
    installed: Installed,
    inputs: Shaped[np.ndarray, "n ..."],
    *,
    batch_size: int,
    augmented: bool,
    every_block: bool,
    autocast: Callable[[], AbstractContextManager],
) -> Prefix | Refused:
    """Record what enters the first trained block of the tower that reads the inputs, or say why not.

    The model is run in evaluation mode and no further than that block; its modes, and the caller's random
    numbers, are left as they were found.

    Args:
        encoder: on which the method was installed.
        installed: the method at work.
        inputs: every image, text or pair of texts that will be asked for.
        batch_size: examples per forward pass; of texts at most `TEXT_BATCH`.
        augmented: whether the images change from step to step.
        every_block: whether a penalty looks into every block.
        autocast: makes the context that the training steps compute in.
    """
    if augmented:
        return Refused("the images are augmented")
    if every_block:
        return Refused("a penalty looks into every block")
    images = inputs.dtype == np.uint8
    tower = encoder.map.tower("vision" if images else "text")
    cut = first_trained(tower, installed.trainable)
    if cut is None:
        return Refused(f"nothing is trained in the {tower.name} tower: its features can be computed once")
    if cut < 0:
        return Refused("the embeddings are trained")
    if cut == 0:  # a hundredth of the work, for as much memory as any cut takes
        return Refused("only the embeddings come before what is trained")
    skipped = [tower.embeddings, *(block.path for block in tower.blocks[:cut])]

    step = batch_size if images else min(batch_size, TEXT_BATCH)
    pieces = [inputs[start : start + step] for start in range(0, len(inputs), step)]

    def record(piece: Shaped[np.ndarray, "m ..."]) -> tuple[Tensor, list[int]]:
        """Of images "m t c"; of texts "r c", their real tokens one after another."""
        with torch.no_grad(), autocast():
            found, tuples = _outputs(encoder, skipped, piece)
            return found if images else found[real_tokens(encoder, piece)], tuples

    with _modes(encoder.model):
        encoder.model.eval()
        first, tuples = record(pieces[0])
        size = first.nbytes * len(inputs) // len(pieces[0])
        if size > LIMIT:
            needed, limit = (f"{count / 2**30:.4g} GiB" for count in (size, LIMIT))
            return Refused(f"its activations would take {needed}, more than the limit of {limit}")
        if _random(encoder, lambda: record(inputs[:1])[0]):
            return Refused("there is dropout in what is not trained")
        if images:  # one array from the start: two of them might not fit
            kept = first.new_empty(len(inputs), *first.shape[1:])
            kept[: len(first)] = first
            for i, piece in enumerate(pieces[1:], 1):
                kept[i * step : (i + 1) * step] = record(piece)[0]
            return Prefix(encoder, skipped, tuples, OfImages(kept, inputs.shape[1]))
        kept = torch.cat([first, *(record(piece)[0] for piece in pieces[1:])])
    lengths = np.concatenate([real_tokens(encoder, piece).sum(1).cpu().numpy() for piece in pieces])
    return Prefix(encoder, skipped, tuples, OfTexts(kept, lengths.cumsum(), inputs))


def first_trained(tower: Tower, trainable: Iterable[str]) -> int | None:
    """The first block that holds one of the named parameters: the number of blocks where only what follows
    them does, −1 where something before them does, None where nothing of the tower does.
    """
    dot = f"{tower.path}." if tower.path else ""
    places = [block.path for block in tower.blocks]
    found: list[int] = []
    for name in trainable:
        block = next((i for i, path in enumerate(places) if name.startswith(f"{path}.")), None)
        if block is not None:
            found.append(block)
        elif any(name == path or name.startswith(f"{path}.") for path in tower.final):
            found.append(len(places))
        elif name.startswith(dot):
            found.append(-1)
    return min(found, default=None)


def dressed(tensor: Tensor, values: int) -> Any:
    """The tensor as a module returns it: by itself, or first of a tuple of so many values.

    >>> dressed(torch.tensor(1), 2)
    (tensor(1), None)
    """
    return (tensor, *[None] * (values - 1)) if values else tensor


class _Reached(Exception):
    """The last module that was wanted has been run; the forward pass need not go on."""


def _outputs(encoder: Encoder, paths: Sequence[str], inputs: np.ndarray) -> tuple[Tensor, list[int]]:
    """What the module at the last path returns, and how many values each one's tuple has."""
    tuples: list[int] = []
    last: list[Tensor] = []

    def after(module: nn.Module, args: tuple, output: Tensor | tuple) -> None:
        tuples.append(len(output) if isinstance(output, tuple) else 0)
        if len(tuples) == len(paths):
            last.append(output[0] if isinstance(output, tuple) else output)
            raise _Reached

    handles = [module_at(encoder.model, path).register_forward_hook(after) for path in paths]
    try:
        encoder.features(inputs)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return last[0], tuples


def _random(encoder: Encoder, compute: Callable[[], Tensor]) -> bool:
    """Whether training mode gives anything else than evaluation mode, or draws random numbers on the way.

    Both are asked: a layer that is dropped with probability 0.01 is most often there, but drawn for always.
    """
    device = encoder.device
    on_cuda = device.type == "cuda"
    expected = compute()
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        state = torch.cuda.get_rng_state(device) if on_cuda else torch.get_rng_state()
        encoder.model.train()
        found = compute()
        encoder.model.eval()
        now = torch.cuda.get_rng_state(device) if on_cuda else torch.get_rng_state()
    return not (torch.equal(found, expected) and torch.equal(state, now))


@contextmanager
def _modes(model: nn.Module) -> Iterator[None]:
    """Every module's training mode, put back at the end."""
    found = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in found:
            module.training = training
