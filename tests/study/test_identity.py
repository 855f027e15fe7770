import os
import subprocess
import sys

import pytest

from tunescope.study.identity import identity
from tunescope.study.run import RunSpec

SPEC = {
    "model": "emoji-clip",
    "task": {"data": "emoji/openmoji", "label": "subgroup"},
    "transfer": {"shifts": ["emoji/noto"], "zero_shot": ["emoji/noto:name"]},
    "adapt": {"kind": "lora", "rank": 4},
    "penalties": [{"kind": "entropy_floor", "weight": 0.1}],
    "lr": 1e-3,
    "seed": 3,
    "probes": ["attention", "transfer"],
}
PRINTS = {"emoji-clip": "m", "emoji/openmoji": "o", "emoji/noto": "n", "emoji/noto:name": "nn"}
GOLDEN = "2f61ac7517ac583b51bdb7572686b44be9bd8e427fb21c340c8563f417ea67f0"


def of(**changes) -> str:
    return identity(RunSpec.parse(SPEC | changes, "test"), PRINTS)


def test_golden():
    """An identity that moves orphans every published run: change it on purpose only."""
    assert of() == GOLDEN


@pytest.mark.parametrize("hashseed", ["0", "1", "4711"])
def test_does_not_move_with_pythonhashseed(hashseed):
    code = (
        "from tunescope.study.identity import identity; from tunescope.study.run import RunSpec\n"
        f"print(identity(RunSpec.parse({SPEC!r}, 'test'), {PRINTS!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": hashseed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == GOLDEN


def test_a_default_written_out_changes_nothing():
    assert of(objective={"kind": "cross_entropy"}, train={"epochs": 3}) == of()


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2e-3},
        {"seed": 4},
        {"adapt": {"kind": "lora", "rank": 5}},
        {"adapt": "full"},
        {"penalties": []},
        {"train": {"epochs": 4}},
        {"probes": ["attention"]},
        {"transfer": {"shifts": ["emoji/noto"]}},
        {"task": {"data": "emoji/openmoji", "label": "group"}},
    ],
)
def test_what_decides_the_result_is_in_it(change):
    assert of(**change) != of()


def test_content_is_in_it_and_place_is_not():
    spec = RunSpec.parse(SPEC | {"model": "elsewhere/emoji-clip"}, "test")
    assert identity(spec, PRINTS | {"elsewhere/emoji-clip": "m"}) == of()
    assert identity(spec, PRINTS | {"elsewhere/emoji-clip": "other weights"}) != of()
