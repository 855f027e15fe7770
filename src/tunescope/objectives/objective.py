"""What tuning minimises: an objective, and penalties added to it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from tunescope.study.component import Component

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder
    from tunescope.models.seam import Seen


class Objective(Component, ABC):
    """A head on the encoder's features, and the loss of a batch under it."""

    couples: ClassVar[bool] = False  # whether the loss of an example depends on the others of its batch

    @abstractmethod
    def build_head(
        self, encoder: "Encoder", class_names: Sequence[str], templates: Sequence[str]
    ) -> "nn.Module":
        """The head before its first step: features "b d" → logits "b classes".

        Raises:
            ModelError: the head needs what this model has not, such as a text tower.
        """

    @abstractmethod
    def loss(self, head: "nn.Module", features: "Tensor", labels: "Tensor") -> "Tensor":
        """The mean loss of a batch, a scalar in nats, float32 whatever autocast says.

        Args:
            head: what `build_head` gave, in training mode.
            features: of the batch, "b d".
            labels: "b", int64.
        """


class Penalty(Component, ABC):
    """A term that is added to the loss. Set up once on the base model, then evaluated at every step."""

    needs_rows: ClassVar[bool] = False  # whether `value` reads the attention rows of the step's forward pass
    by_image: ClassVar[bool] = False  # whether it compares single images with what `prepare` saw of them
    weight: Annotated[float, Field(gt=0)]

    @abstractmethod
    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> Any:
        """What `value` needs of the base model, measured before the first step on the training examples."""

    @abstractmethod
    def value(self, state: Any, seen: "Seen | None", indices: "NDArray") -> "Tensor":
        """The penalty at this step, weight included: a scalar in nats that carries gradients.

        Args:
            state: what `prepare` returned.
            seen: the batch's attention rows, with gradients, where `needs_rows`; else None.
            indices: which training examples the batch holds, in its order.
        """
