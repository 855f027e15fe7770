from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunescope.report.file_names import LONGEST, file_names


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/absolute", "a\\b", "..", "", "nul\x00byte", "CON", "com1.txt", "-rf", "x" * 500],
)
def test_a_hostile_name_is_one_harmless_part_of_a_path(name):
    found = file_names([name])[name]
    assert found != name
    assert Path(found).name == found
    assert not found.startswith((".", "-", " "))
    assert not found.endswith((".", " "))


def test_what_people_write_stays_readable():
    names = ["lora lr=0.001 rank=8 seed=0", "全量 lr=1e-05", "lora+ (q,v)"]
    assert file_names(names) == {name: name for name in names}
    assert file_names(["full data=glue/rte"])["full data=glue/rte"].startswith("full data=glue_rte-")


def test_names_that_a_file_system_may_take_for_one_are_told_apart():
    names = ["Full", "full", "a/b", "a_b", "é", "e\u0301", "compare", "x-0123abcd", "x" * 90, "x" * 91]
    found = file_names(names, reserved=["compare"])
    assert len({file.casefold() for file in found.values()} | {"compare"}) == len(names) + 1
    again = file_names(names)["a/b"]
    assert file_names([again, "a/b"])[again] != again  # a name that looks like another's marked one


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=120), unique=True, max_size=6))
def test_always_short_unique_and_inside(names):
    found = file_names(names)
    assert list(found) == names
    assert len({file.casefold() for file in found.values()}) == len(names)
    for file in found.values():
        assert 0 < len(file.encode()) <= LONGEST
        assert file not in (".", "..")
        assert not set(file) & set('/\\:*?"<>|\0\n')
