import time
from typing import Any

from tunescope.engine.events import Event, Kind, sparing

RUN: Any = None


def test_what_comes_often_is_told_sparingly(monkeypatch):
    clock, told = [0.0], list[Event]()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    tell = sparing(told.append, 0.3)
    said: list[tuple[float, Kind, int]] = [
        (0.0, "started", 0),
        (0.1, "step", 1),  # the start was told a moment ago
        (0.3, "step", 2),
        (0.5, "measuring", 1),
        (0.6, "measuring", 2),
        (0.7, "measuring", 3),
        (0.8, "step", 9),  # the last
        (0.8, "done", 0),
    ]
    for now, kind, step in said:
        clock[0] = now
        tell(Event(kind, RUN, step, 9))
    assert [(event.kind, event.step) for event in told] == [
        ("started", 0),
        ("step", 2),
        ("measuring", 2),
        ("step", 9),
        ("done", 0),
    ]
