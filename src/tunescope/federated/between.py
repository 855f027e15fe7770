"""The training loop, taken up at the beginning of a client's round and left at its end."""

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.optim import Optimizer

from tunescope.federated.moments import Moments
from tunescope.training.history import History


class Between:
    """Stands in for a checkpoint: what it restores is what the server sent, with the client's own moments.

    Args:
        begin: the step after which the round begins.
        end: the step after which it ends.
        put: puts what the server sent into the model.
        moments: of the optimiser, by the names of what is trained; parameters without any begin with none.
        asked: whether somebody asked to stop, asked after every step.

    Attributes:
        moments: at the end of the round, those that the optimiser has then.
        history: at its end, what happened.
        step: the last one that was taken.
    """

    def __init__(
        self,
        begin: int,
        end: int,
        put: Callable[[], None],
        moments: Moments,
        asked: Callable[[], bool] = lambda: False,
    ):
        self.begin, self.end, self.put, self.moments, self.asked = begin, end, put, moments, asked
        self.step = begin
        self.history = History()

    @property
    def ended(self) -> bool:
        """Whether the round's last step was taken."""
        return self.step == self.end

    def took(self, step: int, steps: int) -> None:
        """For the loop's `on_step`, which is called before it asks whether to stop."""
        self.step = step

    def stopping(self) -> bool:
        """At the round's end, or where somebody asked."""
        return self.ended or self.asked()

    def due(self) -> bool:
        """Never: a round that is cut short is tuned again."""
        return False

    def restore(
        self, state: Mapping[str, Tensor], optimizer: Optimizer, history: History
    ) -> tuple[int, float]:
        """What was sent, the moments, the step."""
        self.put()
        names = _names(state, optimizer)
        found = {i: dict(self.moments[name]) for i, name in enumerate(names) if name in self.moments}
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": found, "param_groups": groups})
        return self.begin, 0.0

    def save(
        self,
        step: int,
        state: Mapping[str, Tensor],
        optimizer: Optimizer,
        history: History,
        seconds: float,
    ) -> None:
        """Take the moments over, and what happened."""
        names, self.history = _names(state, optimizer), history
        self.moments = {
            names[index]: {
                key: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
                for key, value in kept.items()
            }
            for index, kept in optimizer.state_dict()["state"].items()
        }


def _names(state: Mapping[str, Tensor], optimizer: Optimizer) -> list[str]:
    """The names of the parameters, in the order in which the optimiser counts them."""
    known = {id(value): name for name, value in state.items()}
    return [known[id(p)] for group in optimizer.param_groups for p in group["params"]]
