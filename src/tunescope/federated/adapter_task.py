"""One of several tasks on one base: its adapter, its head, and what of them travels."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from tunescope.federated.shared import Shared
from tunescope.methods.method import Installed
from tunescope.methods.peft_adapter import InstalledPeft


class AdapterTask:
    """An adapter with its head, at work on the base or laid aside.

    Laid aside, its layers stand in no model, so that nothing that is done to the base's other tasks reaches
    them. Every such layer holds the base's own matrix: the base is in memory once.

    Args:
        installed: the method, as it was just installed on the base.
        head: on the base's features.
        class_names: in the order of the labels; none where they are not known.
        templates: prompts with one `{}` for a class name.
    """

    def __init__(
        self, installed: Installed, head: nn.Module, class_names: Sequence[str], templates: Sequence[str]
    ):
        self.installed, self.head = installed, head
        self.class_names, self.templates = tuple(class_names), tuple(templates)
        self.shared = Shared(installed, head, factored=True)
        self._aside: dict[str, nn.Module] = {}
        self._settings: Any = None

    @property
    def removable(self) -> bool:
        """Whether the base is as it was without it: an adapter that has not been merged."""
        return isinstance(self.installed, InstalledPeft) and bool(self.installed.paths)

    def lay_aside(self) -> None:
        """Put the base's own layers in their places again."""
        assert isinstance(self.installed, InstalledPeft)
        model = self.installed.encoder.model
        for path in self.installed.paths:
            layer: Any = model.get_submodule(path)
            self._aside[path] = layer
            model.set_submodule(path, layer.get_base_layer())
        self._settings = model.peft_config
        del model.peft_config  # peft's mark of a model with an adapter

    def put_on(self) -> None:
        """Put the adapter's layers back, where the model is and in its mode."""
        model = self.installed.encoder.model
        for path, layer in self._aside.items():
            model.set_submodule(path, layer.to(model.device).train(model.training))
        self._aside.clear()
        model.peft_config = self._settings
