"""What an executor tells while it works."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tunescope.engine.plan import Planned


@dataclass(frozen=True)
class Event:
    """One thing that happened to one run.

    Args:
        kind: `started`; `step`, with `step` of `steps`; `done`; `failed`, with its cause in `text`;
            `elsewhere`, where another process carries the run out at this moment.
        run: the run.
        pid: the process that tells.
    """

    kind: Literal["started", "step", "done", "failed", "elsewhere"]
    run: Planned
    step: int = 0
    steps: int = 0
    text: str = ""
    pid: int = field(default_factory=os.getpid)


Tell = Callable[[Event], None]
