"""The way to Ray: a cluster that is there, or one started on this machine."""

import logging
import os
import secrets
import socket
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tunescope.engine.job import cause_of
from tunescope.errors import StudyError

HERE = "local"  # Ray's address for a cluster of one's own
OBJECTS = 100 * 2**20  # bytes for Ray's object store, which stays all but empty
ANSWER = 5.0  # seconds


class Connection:
    """A connection to Ray. Where this process has one already, that is used and left as it is.

    Args:
        address: of a cluster: `host:port`, `ray://host:port` or `auto`; by default the environment's
            `RAY_ADDRESS`, else a cluster is started on this machine.
        cpus: cores that such a one deals out.

    Attributes:
        ray: the package.
        here: whether a cluster was started here.

    Raises:
        StudyError: Ray is not installed, or nobody answers at the address.
    """

    def __init__(self, address: str | None, cpus: int):
        address = address or os.environ.get("RAY_ADDRESS") or HERE
        self.ray = _ray(address)
        self._ours = not self.ray.is_initialized()
        self.here = self._ours and address == HERE
        if self._ours:
            _init(self.ray, address, cpus)

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        if self._ours:
            with _hushed():
                self.ray.shutdown()


def room(resources: Mapping[str, float], cpus: int, gpus: float) -> int:
    """How many tasks fit into resources at a time; at least one, as a cluster may grow.

    >>> room({"CPU": 64, "GPU": 4}, cpus=8, gpus=0.25)
    8
    """
    found = resources.get("CPU", 0) // cpus
    return max(1, int(min(found, resources.get("GPU", 0) // gpus) if gpus else found))


def fits(nodes: Iterable[Mapping[str, Any]], cpus: int, gpus: float) -> bool:
    """Whether one machine alone, of those that `ray.nodes()` lists, has room for a task.

    >>> fits([{"Alive": True, "Resources": {"CPU": 4.0}}] * 2, cpus=8, gpus=0)
    False
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return any(has.get("CPU", 0) >= cpus and has.get("GPU", 0) >= gpus for has in alive)


def _ray(address: str) -> Any:
    if address == HERE and "ray" not in sys.modules:  # Ray reads them when it is imported
        # Its ports are open to the network, and whoever reaches them can run code.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise StudyError("executor 'ray': Ray is not installed; pip install 'tunescope[ray]'") from None
    return ray


def _init(ray: Any, address: str, cpus: int) -> None:
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == HERE:
        settings |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECTS}
    else:
        _ask(address)
    try:
        with _hushed():
            ray.init(address=address, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StudyError(f"executor 'ray': cannot use Ray at {address!r}: {cause_of(error)[1]}") from None
    from ray._private import worker

    worker._worker_logs_enabled = False  # else stdout is told of every process that was ended


def _ask(address: str) -> None:
    """Whether anybody listens. Ray itself would ask for minutes, and then end this process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():  # `auto`, or an address that only Ray understands
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except (OSError, OverflowError) as error:
        raise StudyError(
            f"executor 'ray': nobody answers at {address!r} ({error}); give the address of a running cluster "
            "(`ray start --head` prints it), or none to have one started here"
        ) from None


@contextmanager
def _hushed() -> Iterator[None]:
    """Ray warns of what it will do in future, and of files and processes that it leaves to the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
