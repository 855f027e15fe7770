"""One try at one run, under its claim; what every executor's workers do."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.engine.events import Event, Tell
from tunescope.engine.plan import Planned
from tunescope.engine.together import launched
from tunescope.errors import Stopped, StoreError, TunescopeError
from tunescope.results.store import Store
from tunescope.study.engine import Engine

if TYPE_CHECKING:
    from tunescope.engine.runtime import Runtime


@dataclass(frozen=True)
class Job:
    """A run to carry out; it travels to the worker.

    Args:
        run: the run.
        root: the store's folder, the same wherever a worker is.
        engine: what the study says about carrying out.
        threads: cores to compute on; None leaves them as they are. The number decides the last bits.
        place: a number that running jobs do not share, from 0; deals out this machine's graphics processors.
    """

    run: Planned
    root: Path
    engine: Engine
    threads: int | None = None
    place: int = 0


def attempt(
    job: Job, tell: Tell, stopping: Callable[[], bool] = lambda: False, runtime: "Runtime | None" = None
) -> Event:
    """Carry out a run, unless it is there already or another process is at it.

    Args:
        job: the run.
        tell: called with `started`, and every `step` and `measuring`.
        stopping: asked after every step; True checkpoints the run and ends the try.
        runtime: where the clients of a federated run work; as the study says, if left out.

    Returns:
        how it ended: `done`, `failed`, `elsewhere` or `stopped`. A failure is recorded in the store.
    """
    from tunescope.engine.work import carry_out

    run, store = job.run, Store(job.root)
    with store.claim(run.id) as mine:
        if store.has(run.id):
            return Event("done", run)
        if not mine:
            return Event("elsewhere", run)
        tell(Event("started", run))
        on_step = lambda step, steps: tell(Event("step", run, step, steps))  # noqa: E731
        progress = lambda what, done, total: tell(Event("measuring", run, done, total, what))  # noqa: E731
        try:
            outcome = carry_out(job, store, on_step, stopping, progress, runtime)
            store.clear_failure(run.id)
        except Stopped as stopped:
            return Event("stopped", run, text=str(stopped))
        except Exception as error:
            kind, cause = cause_of(error)
            failed(store, run, cause, kind)
            if launched():
                raise  # the others wait for this process: only its end lets them go
            return Event("failed", run, text=cause)
        return Event(outcome["status"], run, text=outcome.get("cause", ""))  # pyright: ignore[reportArgumentType]


def failed(store: Store, run: Planned, cause: str, kind: str) -> None:
    """Record a failed try; a store that cannot be written is no reason to lose the cause."""
    try:
        store.fail(run.id, cause, kind)
    except StoreError:
        return


def cause_of(error: Exception) -> tuple[str, str]:
    """What went wrong: the sort of thing, and a line for people; where, if it is not the user's to mend.

    >>> cause_of(MemoryError())
    ('memory', 'out of memory (MemoryError)')
    """
    name, text = type(error).__name__, str(error).splitlines()[0] if str(error) else ""
    said = f"{name}: {text}" if text else name
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return "memory", f"out of memory ({said})"
    if isinstance(error, TunescopeError):
        return "error", text
    frames = traceback.extract_tb(error.__traceback__)
    return "error", f"{said} (in {Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else said
