"""Clients in processes of Ray, by Flower's simulation: the same apps, the same arrays."""

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tunescope.errors import StudyError
from tunescope.federated.apps import client_app, server_app
from tunescope.federated.flower import Context, Grid
from tunescope.federated.job import Job

T = TypeVar("T")


def run(
    make_job: Callable[[Context], Job],
    clients: int,
    serve: Callable[[Grid], T],
    cpus: float = 1.0,
    gpus: float = 0.0,
) -> T:
    """Carry out the server's part in a thread of this process, with clients in Ray's processes.

    Flower starts Ray on this machine, where none runs in this process, and stops it at the end.

    Args:
        make_job: the job, in whatever process a client is. It travels by pickle: a function of a module, or
            an object with few fields, that keeps what it made.
        clients: how many the job has.
        serve: the server's part, such as `rounds.run`.
        cpus: cores of each client's process; as many run at once as there are cores for.
        gpus: of each client's process.

    Raises:
        StudyError: Ray is not installed.
    """
    _import_ray()
    from flwr.simulation import run_simulation

    results: list[T] = []
    with _python_path():
        run_simulation(
            server_app(lambda grid, context: results.append(serve(grid))),
            client_app(make_job),
            num_supernodes=clients,
            backend_config={"client_resources": {"num_cpus": cpus, "num_gpus": gpus}},  # pyright: ignore[reportArgumentType]
        )
    return results[0]


def _import_ray() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "ray" not in sys.modules:  # it reads them when it is imported
        # Its ports are open to the network, and whoever reaches them can run code.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray  # noqa: F401  Flower would end this process where it is missing
    except ImportError as error:
        raise StudyError(
            f"the runtime ray needs Ray ({error}); install it with: pip install 'tunescope[federated,ray]'"
        ) from error


@contextmanager
def _python_path() -> Iterator[None]:
    """Flower puts the whole of `sys.path` into PYTHONPATH, for Ray's processes; it is put back."""
    before = os.environ.get("PYTHONPATH")
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH", None)
        if before is not None:
            os.environ["PYTHONPATH"] = before
