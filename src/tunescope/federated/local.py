"""All clients in this process, one after the other: the default, and the same every time.

What this needs of Flower that is not its public face (who speaks in this process, the numbers of messages) is
here and nowhere else; `tests/federated/test_local.py` fails where Flower moves it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from tunescope.federated.apps import PARTITION, client_app
from tunescope.federated.flower import ClientApp, Context, Grid, Message, RecordDict
from tunescope.federated.job import Job

T = TypeVar("T")

SERVER, RUN, TASK = 1, 1, 1
FIRST = 2  # the first client's node; the server's is 1


def run(job: Job, serve: Callable[[Grid], T]) -> T:
    """Carry out the server's part, with every client of a job in this process.

    Args:
        job: is asked for a client anew for every message.
        serve: the server's part, such as `rounds.run`.
    """
    with speaking_as_server():
        return serve(LocalGrid(client_app(lambda context: job), len(job.clients)))


class LocalGrid(Grid):
    """A grid whose messages are answered in this process, at once, in the order of the nodes' numbers.

    Args:
        app: what every client runs.
        clients: how many there are.
    """

    def __init__(self, app: ClientApp, clients: int):
        self.app = app
        self._contexts = {
            FIRST + index: Context(RUN, FIRST + index, {PARTITION: index}, RecordDict(), {})
            for index in range(clients)
        }
        self._number = 0
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Any) -> NoReturn:
        raise NotImplementedError("a local grid has one run")

    @property
    def run(self) -> NoReturn:
        raise NotImplementedError("a local grid has one run, without Flower's description of it")

    def create_message(self, *arguments: Any, **settings: Any) -> NoReturn:
        raise NotImplementedError("make a flwr.app.Message")

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        for message in messages:
            self._number += 1
            message.metadata.__dict__["_message_id"] = str(self._number)
        for message in sorted(messages, key=lambda message: message.metadata.dst_node_id):
            context = self._contexts[message.metadata.dst_node_id]
            self._replies[message.metadata.message_id] = self.app(message, context)
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(number) for number in list(message_ids) if number in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


@contextmanager
def speaking_as_server() -> Iterator[None]:
    """Let Flower's messages be made in this process, outside of its own runtimes."""
    from flwr.supercore.task_identity import TaskIdentity

    names = ("_task_id", "_run_id", "_node_id")
    before = {name: getattr(TaskIdentity, name) for name in names}
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = TASK, RUN, SERVER
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(TaskIdentity, name, value)
