import pytest

from tunescope.engine.options import Options
from tunescope.engine.plan import Planned
from tunescope.errors import StudyError
from tunescope.study.run import RunSpec
from tunescope.study.study import Member

SPEC = RunSpec.parse({"model": "tiny", "task": {"data": "emoji/noto"}, "adapt": "full", "lr": 1e-3}, "")
STATES = ["done", "missing", "quarantined", "failed", "missing", "missing"]
RUNS = [
    Planned(Member(group="ab"[i % 2], factors={"seed": i}, spec=SPEC), f"{i:064d}", state)  # pyright: ignore[reportArgumentType]
    for i, state in enumerate(STATES)
]


def seeds(found: list[Planned]) -> list:
    return [run.member.factors["seed"] for run in found]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), [1, 4, 5]),
        (Options(limit=2), [1, 4]),
        (Options(retry=True), [1, 2, 4, 5]),
        (Options(only=["b"]), [1, 5]),
        (Options(only=["a seed=*", "b seed=5"], limit=1), [4]),
        (Options(only=["a"], retry=True), [2, 4]),
    ],
)
def test_which_runs_are_carried_out(options, expected):
    assert seeds(options.chosen(RUNS)) == expected


def test_what_two_members_share_is_carried_out_once():
    twin = Planned(Member(group="c", factors={"seed": 1}, spec=SPEC), RUNS[1].id, "missing")
    assert len(Options().chosen([*RUNS, twin])) == 3


def test_a_glob_that_nobody_is_called_by_is_a_mistake():
    with pytest.raises(StudyError, match=r"--only 'bb': no run and no group is called so; did you mean 'b'"):
        Options(only=["a", "bb"]).chosen(RUNS)
