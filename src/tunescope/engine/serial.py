"""The serial executor: one run after the other, in this process."""

import time
from collections.abc import Sequence

from tunescope.engine.events import Event, Tell
from tunescope.engine.plan import Planned
from tunescope.results.store import Store

POLL = 1.0  # seconds between looks at a run that another process carries out


def serial(todo: Sequence[Planned], store: Store, tell: Tell) -> None:
    """Carry out the runs in order. Returns when each is published or has failed."""
    for run in todo:
        while not attempt(run, store, tell):
            time.sleep(POLL)


def attempt(run: Planned, store: Store, tell: Tell) -> bool:
    """Carry out one run under its claim, unless it is there already.

    Returns:
        False where another process holds the claim.
    """
    from tunescope.engine.work import carry_out

    with store.claim(run.id) as mine:
        if store.has(run.id):
            tell(Event("done", run))
            return True
        if not mine:
            tell(Event("elsewhere", run))
            return False
        tell(Event("started", run))
        try:
            outcome = carry_out(run, store, lambda step, steps: tell(Event("step", run, step, steps)))
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            store.fail(run.id, cause)
            tell(Event("failed", run, text=cause))
        else:
            store.clear_failure(run.id)
            tell(Event(outcome["status"], run, text=outcome.get("cause", "")))  # pyright: ignore[reportArgumentType]
        return True
