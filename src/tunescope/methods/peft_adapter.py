"""What the ways of tuning share that peft injects into weights: targets by role, and what is installed."""

import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.linear_factor import linear_factor
from tunescope.methods.method import Installed, Method

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor, nn

    from tunescope.models.encoder import Encoder


class PeftMethod(Method):
    """A way of tuning that peft injects into linear layers, which are named by their roles.

    Where a family makes queries, keys and values with one matrix (ModernBERT), the default targets mean it;
    targets of one's own name it, `attention.qkv`.

    Args:
        targets: roles of the model map: `q`, `attention.o`, `blocks[4-].mlp.fc1`,
            `vision.blocks[0].attention.q`.
    """

    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("q", "v")

    @abstractmethod
    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "PeftConfig":
        """Peft's settings for these layers, given by their whole paths with `exactly(layers)`.

        Raises:
            MethodError: a layer that the settings do not fit.
        """

    def roles(self, encoder: "Encoder", tower: str) -> tuple[str, ...]:
        """The targets as this model has them."""
        usual = type(self).model_fields["targets"].default
        if self.targets != usual or encoder.map.tower(tower).blocks[0].qkv is None:
            return self.targets
        return tuple("attention.qkv" if role in ("q", "k", "v") else role for role in self.targets)

    def install(self, encoder: "Encoder", tower: str = "vision") -> "InstalledPeft":
        """Put an adapter's layer in the place of every target; the map's paths go on being valid.

        Raises:
            MethodError: a target that is not a role of this model or not a plain linear layer, or settings
                that do not fit it. Nothing has been changed then.
        """
        from peft import PeftModel

        roles = self.roles(encoder, tower)
        paths = list(dict.fromkeys(path for role in roles for path in encoder.map.paths(role, tower)))
        layers = plain_layers(encoder, paths, self.kind)
        config = self.config(encoder, tower, layers)
        return installed(encoder, tower, paths, lambda: PeftModel(encoder.model, config))


def exactly(paths: Iterable[str]) -> str:
    r"""The pattern for peft that matches these paths and no other.

    A pattern is matched against the whole path; a list would be matched as suffixes.

    >>> exactly(["blocks.0.q", "blocks.1.q"])
    'blocks\\.0\\.q|blocks\\.1\\.q'
    """
    return "|".join(re.escape(path) for path in paths)


def plain_layers(encoder: "Encoder", paths: Iterable[str], kind: str) -> "dict[str, nn.Linear]":
    """The linear layers at these paths.

    Raises:
        MethodError: what stands there is something else, or peft has been at this model before.
    """
    from torch import nn

    from tunescope.models.modelmap import module_at

    if hasattr(encoder.model, "peft_config"):
        raise MethodError(f"{kind}: an adapter is installed on {encoder.name}; take a freshly loaded model")
    layers: dict[str, nn.Linear] = {}
    for path in paths:
        module = module_at(encoder.model, path)
        if not isinstance(module, nn.Linear):
            raise MethodError(
                f"{kind}: {path} is a {type(module).__name__}, not a plain linear layer; "
                "take targets among q, k, v (or qkv), o, fc1, fc2 and a freshly loaded model"
            )
        layers[path] = module
    return layers


def installed(
    encoder: "Encoder", tower: str, paths: Iterable[str], inject: "Callable[[], PeftModel]"
) -> "InstalledPeft":
    """Have peft inject its layers, and keep what it changes in the weights below them (PiSSA does).

    Args:
        encoder: a freshly loaded encoder.
        tower: the tower that is tuned.
        paths: the layers that peft will replace.
        inject: makes the `PeftModel` around `encoder.model`.
    """
    import torch

    model = encoder.model
    known = set(model.state_dict())
    before = {path: model.get_parameter(f"{path}.weight").detach().clone() for path in paths}
    with warnings.catch_warnings():
        # peft 0.21 asks transformers for a property under its old name; nothing that a user could mend.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        peft = inject()
    model.train(model.training)  # new layers are born in training mode, dropout on
    found = InstalledPeft(encoder, tower, peft)
    for path in found.paths:
        if not torch.equal(model.get_submodule(path).get_base_layer().weight, before[path]):
            found.replaced[path] = before[path]
    kept = model.state_dict().keys() - known
    found.drawn = [name for name, _ in model.named_buffers() if name in kept]
    return found


class InstalledPeft(Installed):
    """peft's layers at work: they can be switched off, folded into the weights, and saved for peft.

    Args:
        encoder: the encoder that holds them.
        tower: the tower that they tune.
        peft: peft's own view of `encoder.model`.

    Attributes:
        paths: where the layers stand below `encoder.model`; none once merged.
        drawn: names of the tensors that peft drew beside what is trained, below `encoder.model`.
        replaced: the weights of the base model that the method has changed at the start, by path.
    """

    def __init__(self, encoder: "Encoder", tower: str, peft: "PeftModel | None"):
        from peft.tuners.tuners_utils import BaseTunerLayer

        named = encoder.model.named_parameters()
        super().__init__(encoder, tower, {name: p for name, p in named if p.requires_grad})
        self.peft = peft
        self.paths = [
            path for path, module in encoder.model.named_modules() if isinstance(module, BaseTunerLayer)
        ]
        self.tuned = list(self.paths)
        self.drawn: list[str] = []
        self.replaced: dict[str, Tensor] = {}

    @property
    def buffers(self) -> "dict[str, Tensor]":
        """VeRA's shared matrices, where the model has them now."""
        return {name: self.encoder.model.get_buffer(name) for name in self.drawn}

    def _layer(self, path: str) -> Any:
        return self.encoder.model.get_submodule(path)

    def without(self) -> AbstractContextManager[None] | None:
        """A context in which every layer is the base model's, bit for bit; None once merged."""
        return self._off() if self.paths else None

    @contextmanager
    def _off(self) -> Iterator[None]:
        changed: dict[str, Tensor] = {}
        for path in self.paths:
            self._layer(path).enable_adapters(False)
        for path, weight in self.replaced.items():
            base = self._layer(path).get_base_layer().weight
            changed[path], base.data = base.data, weight.to(base.device)
        try:
            yield
        finally:
            for path, weight in changed.items():
                self._layer(path).get_base_layer().weight.data = weight
            for path in self.paths:
                self._layer(path).enable_adapters(True)

    def merge(self) -> None:
        """The tuned weight takes the place of every layer; nothing can be trained or taken off any more.

        Raises:
            MethodError: a merged weight would not be finite; that layer and those after it are untouched.
        """
        import torch

        for path in list(self.paths):
            layer = self._layer(path)
            with torch.no_grad():
                self._merge(layer, path)
            self.encoder.model.set_submodule(path, layer.get_base_layer())
            self.paths.remove(path)
        del self.encoder.model.peft_config  # peft's mark, or the model would save itself as an adapter
        self.peft, self.trainable, self.drawn, self.replaced = None, {}, [], {}

    def _merge(self, layer: Any, path: str) -> None:
        try:
            layer.merge(safe_merge=True)
        except ValueError:
            raise MethodError(f"{path} holds weights that are not finite; it cannot be merged") from None

    def weights(self) -> "dict[str, Tensor]":
        """What stands, or would stand once merged, in the place of the plain model's weights and biases."""
        import copy

        import torch

        found: dict[str, Tensor] = {}
        for path in self.tuned:
            layer = self._layer(path)
            if path in self.paths:
                layer = copy.deepcopy(layer)
                with torch.no_grad():
                    self._merge(layer, path)
                layer = layer.get_base_layer()
            found |= {f"{path}.{name}": value for name, value in layer.named_parameters()}
        return found

    def update(self, base: "Encoder") -> "dict[str, Tensor]":
        """The change of every target's weight, and of those biases that changed ((IA)³ scales them too)."""
        return {
            name: change
            for name, change in super().update(base).items()
            if not name.endswith(".bias") or change.any()
        }

    def origin(self) -> "dict[str, Tensor]":
        """The factor of every target's change that starts at zero, at zero ((IA)³: its scales, at one).

        With the other factors as tuned, scaling this one by α scales the change: W(α) = W₀ + α·ΔW. It is the
        same before and after training.

        Raises:
            MethodError: the weights are not linear in what is trained (DoRA, OFT, HRA), the base weights have
                been changed (PiSSA), or it has been merged.
        """
        import torch

        if self.peft is None:
            raise MethodError("the adapter has been merged into the weights: take its origin before")
        factor = linear_factor(self.peft, bool(self.replaced))
        return {
            name: torch.full_like(value, factor.base, requires_grad=False)
            for name, value in self.trainable.items()
            if not set(factor.names).isdisjoint(name.split("."))
        }

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapter as peft does: `adapter_config.json` and `adapter_model.safetensors`.

        `PeftModel.from_pretrained` puts it on the plain model, and `load_adapter` on an encoder.

        Raises:
            MethodError: it has been merged.
        """
        if self.peft is None:
            raise MethodError("the adapter has been merged into the weights: save the model, or save before")
        self.peft.save_pretrained(str(folder), save_embedding_layers=False)
