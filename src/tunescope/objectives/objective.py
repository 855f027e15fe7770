"""What tuning minimises: an objective, and penalties added to it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunescope.study.component import Component

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder
    from tunescope.models.seam import Seen
    from tunescope.models.tokens import Tokens

Watched = Literal["features", "rows", "tokens"]


class Objective(Component, ABC):
    """A head on the encoder's features, and the loss of a batch under it."""

    regression: ClassVar[bool] = False  # whether labels are numbers, and not classes
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
            labels: "b", int64; float64 where they are numbers.
        """


@dataclass(frozen=True)
class Shown:
    """What the forward pass of a step showed of the tower that is tuned, with gradients.

    Args:
        features: of the batch, as the objective reads them.
        rows: the pooling token's attention, where a penalty watches `rows`.
        tokens: the pooled token behind every block, where a penalty watches `tokens`.
    """

    features: "Tensor"
    rows: "Seen | None" = None
    tokens: "Tokens | None" = None


class Penalty(Component, ABC):
    """A term that is added to the loss. Set up once on the base model, then evaluated at every step."""

    by_example: ClassVar[bool] = False  # whether it compares single examples with what `prepare` saw of them
    weight: Annotated[float, Field(gt=0)]

    @property
    def watches(self) -> frozenset[Watched]:
        """What `value` reads of the step's forward pass; it is prepared with the adapter off then."""
        return frozenset()

    @abstractmethod
    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> Any:
        """What `value` needs of the base model, measured before the first step on the training examples."""

    @abstractmethod
    def value(self, state: Any, shown: Shown, indices: "NDArray") -> "Tensor":
        """The penalty at this step, weight included: a scalar in nats that carries gradients.

        Args:
            state: what `prepare` returned.
            shown: what the step's forward pass showed of what the penalty watches.
            indices: which training examples the batch holds, in its order.
        """
