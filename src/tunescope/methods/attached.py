"""Modules that hang below a model's own and act through hooks: put in, switched off, never folded in."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from tunescope.errors import MethodError
from tunescope.methods.method import Installed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.models.encoder import Encoder


def attach(encoder: "Encoder", path: str, name: str, module: "nn.Module") -> str:
    """Register `module` as `name` below the module at `path`, in its mode and on the model's device.

    Hooks that it adds should be its own bound methods: a deep copy of the model then has a copy of the
    hooks that acts with the copied module. `module.active` says whether they act.

    Returns:
        the dotted path of what was attached.

    Raises:
        MethodError: something of that name is there already.
    """
    from tunescope.models.modelmap import module_at

    parent = module_at(encoder.model, path)
    if hasattr(parent, name):
        raise MethodError(f"{path} already has {name!r}: a method is installed; take a freshly loaded model")
    parent.add_module(name, module.to(encoder.device).train(parent.training))
    return f"{path}.{name}"


class Attached(Installed):
    """Attached modules at work, and nothing else is trained.

    Args:
        encoder: the encoder that holds them.
        tower: the tower that they tune.
        kind: of the method, for messages.
        paths: where they hang below `encoder.model`.
        reason: why they cannot be folded into the weights.
    """

    def __init__(self, encoder: "Encoder", tower: str, kind: str, paths: Sequence[str], reason: str):
        from tunescope.methods.tower_parameters import parameters_below

        super().__init__(encoder, tower, parameters_below(encoder.model, paths))
        self.kind, self.paths, self.reason = kind, tuple(paths), reason

    def without(self) -> AbstractContextManager[None]:
        """A context in which none of them acts: the model is its base, bit for bit."""
        return self._off()

    @contextmanager
    def _off(self) -> Iterator[None]:
        modules: list[Any] = [self.encoder.model.get_submodule(path) for path in self.paths]
        before = [module.active for module in modules]
        for module in modules:
            module.active = False
        try:
            yield
        finally:
            for module, active in zip(modules, before, strict=True):
                module.active = active

    def merge(self) -> None:
        """Refused, and nothing is changed.

        Raises:
            MethodError: always, with the reason.
        """
        raise MethodError(
            f"{self.kind} cannot be merged: {self.reason}. Keep what was trained beside the base model "
            "(state_dict), or tune with lora, whose change folds into the weights"
        )

    def origin(self) -> "dict[str, Tensor]":
        """Refused: what is attached adds to the model, and a share of it is no point between two models.

        Raises:
            MethodError: always, with the reason.
        """
        raise MethodError(
            f"no straight line from the base model to this one: {self.kind} cannot be folded into the "
            f"weights ({self.reason}); tune with full or lora, or leave the tuned weights as they are"
        )
