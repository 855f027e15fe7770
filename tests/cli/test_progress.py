"""What the bars say; what is printed without a terminal is tested with the command line."""

from tunescope.cli.progress import Progress
from tunescope.engine.events import Event
from tunescope.engine.plan import Planned
from tunescope.study.run import RunSpec
from tunescope.study.study import Member


def planned() -> Planned:
    spec = RunSpec.model_validate({"model": "m", "task": {"data": "d"}, "adapt": "full", "lr": 1e-3})
    return Planned(Member(group="full", factors={}, spec=spec), "0" * 64, "missing")


def test_bars_show_what_is_measured(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    run = planned()
    with Progress("study [red]", [run], [run]) as progress:
        bars = progress.bars
        assert bars is not None

        def bar() -> tuple[str, float, float | None]:
            task = bars.tasks[1]
            return task.description, task.completed, task.total

        progress.tell(Event("started", run))
        assert bar() == ("  full", 0, None)
        progress.tell(Event("measuring", run, 3, 12, "heads [/]"))
        assert bar() == ("  full: heads [/]", 3, 12)
        progress.tell(Event("step", run, 1, 40))
        assert bar() == ("  full", 1, 40)
        progress.tell(Event("done", run))
        assert [task.completed for task in bars.tasks] == [1]


def test_without_a_terminal_nothing_is_said_of_it(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    run = planned()
    with Progress("study", [run], [run]) as progress:
        capsys.readouterr()
        for event in (Event("started", run), Event("measuring", run, 3, 12, "heads")):
            progress.tell(event)
        assert capsys.readouterr().err == ""
