"""A way to the clients that somebody can interrupt."""

from collections.abc import Callable, Iterable
from typing import Any

from tunescope.errors import Stopped
from tunescope.federated.flower import Grid, Message


class Stoppable(Grid):
    """Another grid, which raises where it is asked for answers and somebody has asked to stop.

    Args:
        grid: the other.
        stopping: whether somebody has.
    """

    def __init__(self, grid: Grid, stopping: Callable[[], bool]):
        self.grid, self.stopping = grid, stopping

    def set_run(self, run: Any) -> None:
        self.grid.set_run(run)

    @property
    def run(self) -> Any:
        return self.grid.run

    def create_message(self, *arguments: Any, **settings: Any) -> Message:
        return self.grid.create_message(*arguments, **settings)

    def get_node_ids(self) -> Iterable[int]:
        return self.grid.get_node_ids()

    def get_nodes(self) -> Iterable[Any]:
        return self.grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the other.

        Raises:
            Stopped: somebody has asked to stop.
        """
        if self.stopping():
            raise Stopped("stopped while clients were at work; their round is carried out again")
        return self.grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.grid.send_and_receive(messages, timeout=timeout)
