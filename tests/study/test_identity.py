import os
import subprocess
import sys

import pytest

from tunescope.study.identity import identity
from tunescope.study.run import RunSpec
from tunescope.study.study import Study

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
GOLDEN = "3d4c90d2c39c3fa371fce5aff77991ccd80c54bd802513f749d172050fa37bcf"


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
        {"image_size": 96},
        {"max_tokens": 32},
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


def test_runs_of_a_study_have_the_identities_that_they_have_alone():
    """What the runs of a group share is validated once: it must come to the same as each by itself."""
    study = Study.parse(
        {
            "study": "grid",
            "model": "emoji-clip",
            "task": SPEC["task"],
            "train": {"epochs": 5},
            "probes": ["attention"],
            "seeds": [0, 1],
            "runs": {
                "a": {"adapt": {"kind": "lora", "rank": [2, 4]}, "lr": [1e-4, 1]},
                "b": {
                    "adapt": "full",
                    "lr": 1e-3,
                    "penalties": [{"kind": "entropy_floor", "weight": [0.1, 1]}],
                    "train": {"epochs": 2},
                },
            },
        },
        "test",
    )
    said = {"model": "emoji-clip", "task": SPEC["task"], "probes": ["attention"]}
    alone = [
        said | {"adapt": {"kind": "lora", "rank": rank}, "lr": lr, "train": {"epochs": 5}, "seed": seed}
        for lr in (1e-4, 1)
        for rank in (2, 4)
        for seed in (0, 1)
    ]
    alone += [
        said
        | {"adapt": "full", "lr": 1e-3, "train": {"epochs": 2}, "seed": seed}
        | {"penalties": [{"kind": "entropy_floor", "weight": weight}]}
        for weight in (0.1, 1)
        for seed in (0, 1)
    ]
    assert [identity(member.spec, PRINTS) for member in study.members()] == [
        identity(RunSpec.parse(spec, "test"), PRINTS) for spec in alone
    ]
