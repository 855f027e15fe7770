"""LP-FT: the head first, on frozen features; then the encoder with it."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator

from tunescope.methods.linear_probe import LinearProbe
from tunescope.methods.method import Installed, Method
from tunescope.study.component import Adapt, Component, resolve
from tunescope.study.run import RunSpec

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class LPFT(Method):
    """Trains the head alone until it fits the frozen features, and from there as `then` says.

    From a head that starts anywhere else, fine-tuning distorts the features of the training examples while
    the head is still wrong, and leaves those of others behind. The first stage is the run that `probe` gives:
    the run's objective, batch size, schedule, warm-up, optimiser, clipping, augmentation and precision;
    without its penalties, rates by place, moving average, monitor and convergence. It reads the features of
    the model as `then` has installed itself, which are the base model's for all that start as the base.
    The run's `lr`, epochs and rows are those of the second stage; the first one adds
    `training.probe_val_acc1` and a part of the log's first line. It is not checkpointed: a run that is
    stopped before its second stage begins anew. Trainable parameters in the encoder: those of `then`.

    Source: Kumar et al. 2022 (arXiv 2202.10054), section 3.4.

    Args:
        epochs: of the first stage.
        lr: its learning rate.
        then: the second stage: any other way to tune.

    >>> LPFT(then={"kind": "freeze", "blocks": 2}).then.kind
    'freeze'
    """

    kind: str = "lp_ft"
    source: ClassVar[str] = "Kumar et al. 2022, arXiv 2202.10054, section 3.4"
    epochs: Annotated[int, Field(ge=1)] = 10
    lr: Annotated[float, Field(gt=0)] = 1e-2
    then: Adapt = Field(default_factory=lambda: resolve("adapt", "full"))

    @field_validator("then")
    @classmethod
    def _then_tunes_the_encoder(cls, then: Component) -> Component:
        if then.kind in ("lp_ft", "linear_probe"):
            raise ValueError(
                f"then: {then.kind} begins with the head alone, or ends with it; give what tunes the encoder "
                "at once, such as full or lora"
            )
        return then

    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Install `then`; the training loop carries out the first stage. Raises what that raises."""
        assert isinstance(self.then, Method)
        return self.then.install(encoder, tower)

    def probe(self, spec: RunSpec) -> RunSpec:
        """The run that is the first stage of `spec`."""
        without = dict.fromkeys(("layer_decay", "head_lr", "lora_plus", "ema", "monitor", "converged"))
        train = spec.train.model_copy(update={**without, "epochs": self.epochs})
        changed = {"adapt": LinearProbe(), "penalties": (), "lr": self.lr, "train": train}
        return spec.model_copy(update=changed)
