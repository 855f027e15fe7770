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

from tunescope.engine.events import OFTEN, Event
from tunescope.engine.plan import Planned


class Progress:
    """Shows a study being carried out.

    Args:
        study: its name.
        planned: all of its runs.
        todo: those that are to be carried out now.
        quiet: say nothing.
    """

    def __init__(self, study: str, planned: Sequence[Planned], todo: Sequence[Planned], quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.total, self.ended, self.failed = len(todo), 0, 0
        self.study = study
        self.began = time.monotonic()
        self.started: dict[str, float] = {}
        self.bars: Bars | None = None
        self.tasks: dict[str, TaskID] = {}
        if self.console.is_terminal and todo:
            self.bars = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.all = self.bars.add_task(study, total=self.total)
        runs = {run.id: run.state for run in planned}
        there = sum(state in ("done", "failed") for state in runs.values())
        left = f", {self.total} to carry out now" if todo else ""
        self.say(f"{study}: {len(runs)} runs, {there} of them there already{left}")

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
        elif event.kind in OFTEN and self.bars is not None:
            what = f"  {name}: {event.text}" if event.text else f"  {name}"
            self.bars.update(self.tasks[id], description=what, completed=event.step, total=event.steps)
        elif event.kind in ("done", "failed", "retried", "stopped"):
            self._end(event)
        elif event.kind == "elsewhere":
            self.say(f"{name}: another process carries it out; waiting")

    def _end(self, event: Event) -> None:
        name, id = event.run.member.name, event.run.id
        seconds = time.monotonic() - self.started.pop(id, time.monotonic())
        cause = f": {event.text}" if event.text else ""
        if event.kind in ("done", "failed"):
            self.ended += 1
            self.failed += event.kind == "failed"
            said = f"[{self.ended}/{self.total}] {event.kind} {name} ({seconds:.0f} s){cause}"
            self.say(said + self._pace())
        else:
            self.say(f"{event.kind} {name} ({seconds:.0f} s){cause}")
        if self.bars is not None:
            if id in self.tasks:
                self.bars.remove_task(self.tasks.pop(id))
            failed = f", {self.failed} failed" if self.failed else ""
            running = f"{len(self.tasks)} running{failed}"
            self.bars.update(self.all, completed=self.ended, description=f"{self.study} ({running})")

    def _pace(self) -> str:
        """How fast it goes and how long it will take, where there is a run left."""
        left = self.total - self.ended
        if not left or self.bars is not None:
            return ""
        each = (time.monotonic() - self.began) / self.ended
        return f"; {60 / each:.1f} runs a minute, about {spoken(left * each)} left"

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


def spoken(seconds: float) -> str:
    """A time as people say it.

    >>> spoken(42), spoken(150), spoken(9000)
    ('42 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
