"""Processes that end by themselves, that will not end, and what they leave behind."""

import os
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
    ends = time.monotonic() + 60
    while not (said := (tmp_path / "log").read_text().split()):
        assert time.monotonic() < ends
        time.sleep(0.01)
    return process, [int(word) for word in said]


def alive(number):
    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


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
    ends = time.monotonic() + 60
    while alive(left):
        assert time.monotonic() < ends
        time.sleep(0.01)
