"""What is done with the weights once they are tuned."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from tunescope.study.component import Component

if TYPE_CHECKING:
    from torch import nn

    from tunescope.methods.method import Installed
    from tunescope.results.row import Row
    from tunescope.training.history import Log
    from tunescope.training.score import Score


class After(Component, ABC):
    """What follows tuning."""

    @abstractmethod
    def check(self, installed: "Installed") -> None:
        """Say, before anything is tuned, whether the method allows it.

        Args:
            installed: the method, just installed; of no further use afterwards.

        Raises:
            MethodError: it does not, with the reason and what would.
        """


class Edit(After):
    """A change of one run's own weights after its last step, in place.

    Attributes:
        merges: whether what it changes are merged weights: adapters are folded in before `finish`, and the
            result is a plain model.
    """

    merges: ClassVar[bool] = False

    @abstractmethod
    def begin(self, installed: "Installed", head: "nn.Module") -> Any:
        """What it has to remember of the model and its head before the first step.

        Raises:
            MethodError: the method does not allow it.
        """

    @abstractmethod
    def finish(self, begun: Any, score: "Score", log: "Log") -> "list[Row]":
        """Change the weights that tuning has left.

        Args:
            begun: what `begin` returned.
            score: of the model as it stands, on the task's validation examples; the one thing to choose by.
            log: called with a line for everything that was tried.

        Returns:
            its rows for the table, `after.*`.
        """
