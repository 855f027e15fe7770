"""Processes that end by themselves, that will not end, and what they leave behind."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from tunescope.errors import StudyError
from tunescope.federated import processes
from tunescope.federated.processes import Process

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
away = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), away.pid, flush=True)
time.sleep(600)
"""
LEAVING = """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(left.pid, flush=True)
sys.exit(3)
"""


def started(code, tmp_path):
    process = Process("it", [sys.executable, "-c", code], os.environ, tmp_path / "log")
    return process, said(tmp_path / "log")


def said(log):
    """The numbers of processes, as soon as they have been written."""
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    return [int(word) for word in log.read_text().split()]


def until(true):
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def alive(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_process_that_will_not_end_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.2)
    process, numbers = started(STUBBORN, tmp_path)
    process.check()
    assert all(map(alive, numbers))
    process.stop()
    assert not any(map(alive, numbers))
    process.stop()  # again is nothing


def test_one_that_ended_is_told_of_and_what_it_left_is_ended(tmp_path):
    process, (left,) = started(LEAVING, tmp_path)
    assert process.wait(60) == 3
    with pytest.raises(StudyError, match=rf"it has ended with code 3; it said: {left}"):
        process.check()
    assert alive(left)
    process.stop()
    until(lambda: not alive(left))


STARTING = f"""
import os, sys, time
from pathlib import Path
from tunescope.federated.processes import Process
Process("it", [sys.executable, "-c", {STUBBORN!r}], os.environ, Path(sys.argv[1]))
time.sleep(600)
"""


def test_a_process_ends_with_whoever_started_it_even_where_that_one_is_killed(tmp_path):
    starter = subprocess.Popen([sys.executable, "-c", STARTING, tmp_path / "log"])
    try:
        numbers = said(tmp_path / "log")
        assert all(map(alive, numbers))
    finally:
        starter.kill()
        starter.wait()
    until(lambda: not any(map(alive, numbers)))
