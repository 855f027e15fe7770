"""Progress on stderr: bars on a terminal, one line a run elsewhere."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from tunescope.engine.events import Event
from tunescope.engine.plan import Planned


class Progress:
    """Shows a study being carried out."""

    def __init__(self, study: str, runs: Sequence[Planned], quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.total = len({run.id for run in runs})
        self.there = len({run.id for run in runs if run.state != "missing"})
        self.ended = self.there
        self.started: dict[str, float] = {}
        self.bars: Bars | None = None
        self.tasks: dict[str, TaskID] = {}
        if self.console.is_terminal and self.there < self.total:
            self.bars = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.all = self.bars.add_task(study, total=self.total, completed=self.there)
        self.say(f"{study}: {self.total} runs, {self.there} of them there already")

    def say(self, text: str) -> None:
        """One line; names in it are never taken for markup."""
        self.console.print(text, markup=False, soft_wrap=True)

    def tell(self, event: Event) -> None:
        """Show one event."""
        name, id = event.run.member.name, event.run.id
        if event.kind == "started":
            self.started[id] = time.monotonic()
            if self.bars is not None:
                self.tasks[id] = self.bars.add_task(f"  {name}", total=None)
        elif event.kind == "step" and self.bars is not None:
            self.bars.update(self.tasks[id], completed=event.step, total=event.steps)
        elif event.kind in ("done", "failed"):
            self.ended += 1
            seconds = time.monotonic() - self.started.pop(id, time.monotonic())
            cause = f": {event.text}" if event.text else ""
            self.say(f"[{self.ended}/{self.total}] {event.kind} {name} ({seconds:.0f} s){cause}")
            if self.bars is not None:
                self.bars.update(self.all, completed=self.ended)
                if id in self.tasks:
                    self.bars.remove_task(self.tasks.pop(id))
        elif event.kind == "elsewhere":
            self.say(f"{name}: another process carries it out; waiting")

    def __enter__(self) -> Self:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()
        sys.stderr.flush()
