"""What a page can be narrowed to."""

import pyarrow as pa
from report import synthetic_study as made_up

from tunescope.report.filters import filters
from tunescope.results.row import Row, rows_table
from tunescope.results.table import Table


def test_runs_know_their_group_and_seed_and_settings_their_group(study, table):
    found = filters(table, study)
    assert found.groups == ("full", "lora", "probe", "floor")
    assert (found.seeds, found.layers) == ((0, 1, 2), tuple(range(made_up.LAYERS)))
    assert found.runs["lora lr=0.001 seed=2"] == ("lora", 2)
    assert found.settings["lora lr=0.001"] == "lora"
    assert len(found.runs) == table.runs.num_rows
    known = found.known
    assert known["runs"]["lora lr=0.001 seed=2"] == [1, 2]
    assert known["settings"]["floor lr=0.0001"] == 3
    assert found.any


def test_runs_that_are_only_asked_for_are_known_as_well(study, table):
    some = Table(
        table.rows, table.runs.filter(pa.array([g == "lora" for g in table.runs["group"].to_pylist()]))
    )
    found = filters(some, study)
    assert set(found.groups) == {"full", "lora", "probe", "floor"}
    assert found.runs["full lr=0.001 seed=1"] == ("full", 1)


def test_a_foreign_table_has_nothing_to_choose_among():
    study = made_up.study(runs={"runs": {"adapt": "full", "lr": 1e-3}}, seeds=[0])
    record = {
        "run": "theirs",
        "study": "theirs",
        "group": "runs",
        "name": "theirs",
        "status": "done",
        "cause": None,
    }
    runs = pa.Table.from_pylist([record])
    found = filters(Table(rows_table("theirs", [Row("glue.f1", 0.5)]), runs), study)
    assert not found.any
    assert found.runs["theirs"] == ("runs", None)


def test_groups_have_the_colours_of_the_charts_unless_they_crowd():
    def boxes(count: int):
        study = made_up.study(runs={f"g{i}": {"adapt": "full", "lr": 1e-3} for i in range(count)}, seeds=[0])
        empty = Table(made_up.table(study, missing=tuple(m.name for m in study.members())).rows, _runs(study))
        return filters(empty, study).boxes

    assert [colour != "" for _, _, colour in boxes(9)] == [True] * 9
    assert {colour for _, _, colour in boxes(10)} == {""}


def _runs(study):
    return made_up.table(study, missing=tuple(member.name for member in study.members())).runs
