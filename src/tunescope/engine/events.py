"""What an executor tells while it works."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tunescope.engine.plan import Planned

Kind = Literal["started", "step", "measuring", "done", "failed", "retried", "elsewhere", "stopped", "died"]
OFTEN: frozenset[Kind] = frozenset({"step", "measuring"})  # of which some may be left out
LAST: frozenset[Kind] = frozenset({"done", "failed", "elsewhere", "stopped", "died"})  # ends one try


@dataclass(frozen=True)
class Event:
    """One thing that happened to one run.

    Args:
        kind: `started`; `step`, with `step` of `steps`; `measuring`, with what in `text`, and how much of it
            is done, `step` of `steps`; `done`; `failed`, with its cause in `text`; `retried`, failed and to
            be tried again; `elsewhere`, where another process carries the run out at this moment; `stopped`,
            checkpointed because somebody asked; `died`, where a worker ended without a word (told to the
            supervisor alone).
        run: the run.
        pid: the process that tells.
    """

    kind: Kind
    run: Planned
    step: int = 0
    steps: int = 0
    text: str = ""
    pid: int = field(default_factory=os.getpid)


Tell = Callable[[Event], None]


def sparing(tell: Tell, seconds: float) -> Tell:
    """Tell less often: of `OFTEN` only what comes so long after the last word, and the last of its kind."""
    last = -seconds

    def spare(event: Event) -> None:
        nonlocal last
        now = time.monotonic()
        if event.kind not in OFTEN or event.step == event.steps or now - last >= seconds:
            last = now
            tell(event)

    return spare
