"""LoRA through peft, with its targets given by role."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.method import Installed, Method

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

    from tunescope.models.encoder import Encoder


class LoRA(Method):
    """Trains a low-rank change of chosen matrices: W = W₀ + (α / r)·B·A, B starts at zero.

    A ∈ ℝ^{r×in} is drawn as in `nn.Linear` (Kaiming uniform, from torch's global generator), and
    B ∈ ℝ^{out×r} is zero.
    Trainable parameters: Σ r·(in + out) over the target matrices.

    Source: Hu et al. 2021 (arXiv 2106.09685), section 4.1, equation 3.

    Args:
        rank: r, at most the smaller side of every target matrix.
        alpha: α, in units of the rank: the change is scaled by α / r.
        dropout: share of a target's inputs that is dropped on the way into A, while training.
        targets: roles of the model map: `q`, `attention.o`, `blocks[4-].mlp.fc1`,
            `vision.blocks[0].attention.q`.

    >>> LoRA(rank=4).targets
    ('q', 'v')
    """

    kind: str = "lora"
    source: ClassVar[str] = "Hu et al. 2021, arXiv 2106.09685, section 4.1"
    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("q", "v")

    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Put a LoRA layer in the place of every target; the map's paths go on being valid.

        Raises:
            MethodError: a target that is not a role of this model, or a matrix smaller than the rank.
        """
        import re

        from peft import LoraConfig, inject_adapter_in_model
        from torch import nn

        from tunescope.models.modelmap import module_at

        paths = list(dict.fromkeys(path for role in self.targets for path in encoder.map.paths(role, tower)))
        for path in paths:
            module = module_at(encoder.model, path)
            if not isinstance(module, nn.Linear):
                raise MethodError(
                    f"lora: {path} is a {type(module).__name__}, not a plain linear layer; "
                    "take targets among q, k, v, o, fc1, fc2 and a freshly loaded model"
                )
            limit = min(module.in_features, module.out_features)
            if self.rank > limit:
                raise MethodError(
                    f"lora: rank={self.rank}, but {path} is {module.out_features} × {module.in_features}; "
                    f"give a rank of at most {limit}"
                )
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType] — declared int, only ever divided by r
            lora_dropout=self.dropout,
            # A pattern is matched against the whole path; a list would be matched as suffixes.
            target_modules="|".join(re.escape(path) for path in paths),
            bias="none",
        )
        inject_adapter_in_model(config, encoder.model)
        encoder.model.train(encoder.model.training)  # new layers are born in training mode, dropout on
        return InstalledLoRA(encoder, tower, paths)


class InstalledLoRA(Installed):
    """LoRA layers at work: they can be switched off, and folded into the weights.

    Args:
        encoder: the encoder that holds them.
        tower: the tower that they tune.
        paths: where they stand below `encoder.model`.
    """

    def __init__(self, encoder: "Encoder", tower: str, paths: list[str]):
        from tunescope.methods.tower_parameters import parameters_below

        below = [f"{path}.lora_{side}" for path in paths for side in "AB"]
        super().__init__(encoder, tower, parameters_below(encoder.model, below))
        self.paths = paths

    def _layers(self) -> "list[LoraLayer]":
        return [self.encoder.model.get_submodule(path) for path in self.paths]  # pyright: ignore[reportReturnType]

    def without(self) -> AbstractContextManager[None] | None:
        """A context in which every LoRA layer is its base layer alone; None once merged."""
        return self._off() if self.paths else None

    @contextmanager
    def _off(self) -> Iterator[None]:
        for layer in self._layers():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._layers():
                layer.enable_adapters(True)

    def merge(self) -> None:
        """W₀ + (α / r)·B·A takes the place of every LoRA layer; nothing can be trained or taken off any more.

        Raises:
            MethodError: a merged weight would not be finite; that layer and those after it are untouched.
        """
        for path in list(self.paths):
            layer = self.encoder.model.get_submodule(path)
            try:
                layer.merge(safe_merge=True)  # pyright: ignore[reportCallIssue]
            except ValueError:
                raise MethodError(
                    f"lora: {path} holds weights that are not finite; it cannot be merged"
                ) from None
            self.encoder.model.set_submodule(path, layer.get_base_layer())  # pyright: ignore[reportCallIssue]
        del self.encoder.model.peft_config  # peft's mark, or the model would save itself as an adapter
        self.paths, self.trainable = [], {}
