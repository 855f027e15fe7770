"""Clients in processes of Ray, by Flower's simulation: the same apps, the same arrays."""

import logging
import os
import secrets
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tunescope.errors import StudyError
from tunescope.federated.apps import client_app, server_app
from tunescope.federated.flower import Context, Grid
from tunescope.federated.job import Job

T = TypeVar("T")


def run(
    make_job: Callable[[Context], Job],
    clients: int,
    serve: Callable[[Grid], T],
    at_once: int = 1,
    gpus: float = 0.0,
) -> T:
    """Carry out the server's part in a thread of this process, with clients in processes of a Ray of its own.

    Ray is started on this machine, and ended. Each process takes whatever client is next. Where one dies,
    another is started in its place, and the client that it was at is tried once more there.

    Args:
        make_job: the job, in whatever process a client is. It travels by pickle: a function of a module, or
            an object with few fields, that keeps what it made.
        clients: how many the job has.
        serve: the server's part, such as `rounds.run`.
        at_once: how many work at a time.
        gpus: graphics processors of each, or a share of one.

    Raises:
        StudyError: Ray is not installed, or this process is connected to a Ray already.
    """
    ray = _ray()
    from flwr.simulation import run_simulation

    # Flower hands these on to Ray as they are. Without max_restarts it would go on asking a dead process, and
    # without max_task_retries one that is being started again fails whoever it is asked for meanwhile.
    each: dict[str, Any] = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": -1, "max_task_retries": 1}
    results: list[T] = []
    with _started(ray, at_once):
        run_simulation(
            server_app(lambda grid, context: results.append(serve(grid))),
            client_app(make_job),
            num_supernodes=clients,
            backend_config={"client_resources": each},  # pyright: ignore[reportArgumentType]
        )
    return results[0]


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "ray" not in sys.modules:  # it reads them when it is imported
        # Its ports are open to the network, and whoever reaches them can run code.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError as error:
        raise StudyError(
            f"federation 'ray' needs Ray ({error}); install it with: pip install 'tunescope[federated,ray]'"
        ) from error
    if ray.is_initialized():
        raise StudyError(
            "federation 'ray': this process is connected to a Ray already, where a run holds the cores that "
            "its clients would wait for; take executor process or serial, or federation local"
        )
    return ray


@contextmanager
def _started(ray: Any, at_once: int) -> Iterator[None]:
    """A Ray for that many at a time, which leaves this process its signals."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    flower, worker = logging.getLogger("flwr"), ray._private.worker
    level, told = flower.level, worker._worker_logs_enabled
    try:
        flower.setLevel(logging.CRITICAL)  # what becomes of a client is told by `rounds`, in one line
        with _hushed():
            ray.init(
                "local",
                num_cpus=at_once,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        worker._worker_logs_enabled = False  # else stdout is told of every process that dies
        if main:
            signal.signal(signal.SIGTERM, before)  # Ray takes it for itself
        yield
    finally:
        worker._worker_logs_enabled = told
        flower.setLevel(level)
        with _hushed():
            ray.shutdown()
        if main:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _hushed() -> Iterator[None]:
    """Ray warns of what it will do in future, and of files and processes that it leaves to the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
