"""What stands on a walking encoder's features: the head that was trained, and the head of prompts."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.errors import MethodError
from tunescope.landscape.plain import Place, Walk
from tunescope.models.encoder import Encoder
from tunescope.models.heads import text_head


class OnTop:
    """The heads of a walk, by component, as the transfer probe reads them.

    `trained`: the head that training left, walking with the encoder from where it was before its first step
    (WiSE-FT's convention: θ is encoder and head), or fixed where that is not told. `text`: the head that the
    text tower makes of the class names, for images of a model with both towers, made anew for every α where
    weights of the text tower walk.

    Args:
        walk: the encoder's.
        head: the trained head; None where there is none.
        origin: its parameters before the first step; None keeps the head as it is.
        tuned: the encoder that the head was trained on: a head that looks into it (FLYP's) looks into the
            walking one instead.

    Raises:
        MethodError: the origin is another head's.
    """

    def __init__(
        self,
        walk: Walk,
        head: nn.Module | None = None,
        origin: Mapping[str, Tensor] | None = None,
        tuned: Encoder | None = None,
    ):
        self._walk, self._encoder = walk, walk.encoder
        looks_into = {} if tuned is None else {id(tuned): walk.encoder}
        self._head = None if head is None else copy.deepcopy(head, looks_into).eval()
        self._line: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # the copy's parameter, and both ends
        self._prompted: dict[tuple, nn.Module] = {}
        if self._head is None or origin is None or head is None:
            return
        held = dict(self._head.named_parameters())
        for name in sorted(held.keys() ^ origin.keys()):
            raise MethodError(f"the head's origin does not fit: {name!r} is on one side only; give its own")
        for name, end in head.named_parameters():
            self._line[name] = (held[name].data, origin[name].to(end.device), end.detach())

    @property
    def from_zero(self) -> bool:
        """Whether the trained head began at zeros: at α = 0 it says the same of everything."""
        return bool(self._line) and not any(start.any() for _, start, _ in self._line.values())

    def components(self, split: str, examples: Examples) -> list[str]:
        """Which heads a split is read under."""
        zero_shot = split.startswith("zero_shot:")
        text = self._encoder.joint and examples.tower == "vision" and not examples.regression
        return ["trained"] * (self._head is not None and not zero_shot) + ["text"] * text

    def at(self, place: Place, split: str, examples: Examples) -> dict[str, nn.Module]:
        """The heads of a split; call it while the encoder stands at that place."""
        found: dict[str, nn.Module] = {}
        for component in self.components(split, examples):
            found[component] = self._trained(place) if component == "trained" else self._text(place, examples)
        return found

    def _trained(self, place: Place) -> nn.Module:
        assert self._head is not None
        for held, start, end in self._line.values():
            assert isinstance(place, float | int)  # a head walks a line
            held.copy_(start if place == 0 else end if place == 1 else torch.lerp(start, end, place))
        return self._head

    def _text(self, place: Place, examples: Examples) -> nn.Module:
        asked = (examples.class_names, examples.templates)
        key = (*asked, None if self._walk.stays_in("vision") else place)
        if key not in self._prompted:
            if key[-1] is not None:
                self._prompted = {known: head for known, head in self._prompted.items() if known[-1] == place}
            self._prompted[key] = text_head(self._encoder, *asked)
        return self._prompted[key]
