"""Which of Flower's nodes is which client: its node numbers are drawn anew each time, names stay."""

import time
from collections.abc import Iterable

from tunescope.errors import StudyError, nearest
from tunescope.federated.apps import CLIENT, QUERY
from tunescope.federated.exchange import ask
from tunescope.federated.flower import Grid, Message, RecordDict
from tunescope.federated.records import only

LOOK = 0.5  # seconds between looks at who is connected


class Nodes:
    """The nodes of a grid by the names of their clients.

    A node that was registered under a name, with its key, has that name whatever it says itself. Others are
    asked.

    Args:
        grid: the way to the nodes.
        clients: the names that there are.
        patience: seconds that a node has for saying its name, and that all have for connecting.
    """

    def __init__(self, grid: Grid, clients: Iterable[str], patience: float = 120.0):
        self.grid = grid
        self.clients = sorted(clients)
        self.patience = patience
        self._names: dict[int, str] = {}

    def present(self) -> dict[str, int]:
        """The node of each client that is connected now.

        Raises:
            StudyError: a name that no client has, or two nodes of one name.
        """
        nodes = {node.node_id: node.name for node in self.grid.get_nodes()}
        self._names |= {number: name for number, name in nodes.items() if name}
        self._ask(sorted(nodes.keys() - self._names.keys()))
        found: dict[str, int] = {}
        for number in sorted(nodes.keys() & self._names.keys()):
            name = self._names[number]
            if name not in self.clients:
                raise StudyError(
                    f"a node is called {name!r}, which no client is; {nearest(name, self.clients)}"
                )
            if name in found:
                raise StudyError(f"two nodes are client {name!r}; start each client once")
            found[name] = number
        return found

    def all(self) -> dict[str, int]:
        """The node of every client, as soon as all are connected.

        Raises:
            StudyError: some are not, within `patience`.
        """
        ends = time.monotonic() + self.patience
        while missing := sorted(set(self.clients) - (found := self.present()).keys()):
            if time.monotonic() > ends:
                raise StudyError(
                    f"not connected within {self.patience:g} s: {', '.join(missing)}; expected all of "
                    f"{len(self.clients)} clients: start their nodes, or take them out of the study"
                )
            time.sleep(LOOK)
        return found

    def _ask(self, numbers: list[int]) -> None:
        questions = [Message(RecordDict(), number, QUERY) for number in numbers]
        for reply in ask(self.grid, questions, self.patience):
            if reply is not None and reply.has_content():
                config = only(reply.content.config_records.values(), "a name")
                self._names[reply.metadata.src_node_id] = str(config[CLIENT])
