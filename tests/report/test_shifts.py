import numpy as np
import pyarrow as pa
import pytest
from report import synthetic_study as made_up
from report.records import records, rows

from tunescope.report.shifts import heads, shifts
from tunescope.results.row import Row, rows_table
from tunescope.results.table import Table


def test_shifts_are_means_over_seeds_for_each_head(table):
    (chart,) = shifts(table)
    found = records(chart)[0]
    assert {record["split"] for record in found} == {"test", *made_up.SHIFTS}
    assert len(found) == 8 * 4 * 2
    for head in ("trained", "text"):
        seeds = [
            rows(table, "transfer.acc1", run=run, split="shift:emoji/noto", component=head)[0]["value"]
            for run in ("run03", "run04", "run05")
        ]
        (record,) = [
            r
            for r in found
            if (r["split"], r["setting"], r["head"]) == ("emoji/noto", "full lr=0.0001", f"{head} head")
        ]
        assert record["value"] == pytest.approx(np.mean(seeds), abs=1e-12)
        assert record["before"] == pytest.approx(0.31)


def dashed(chart) -> int:
    return sum("strokeDash" in layer["mark"] for layer in chart.to_dict()["spec"]["layer"])


def test_the_base_stands_behind_where_it_was_read_on_the_same_data(table):
    assert heads(table) == {"trained", "text"}
    assert dashed(shifts(table)[0]) == 1
    texts = made_up.on_texts(table)
    elsewhere = Row("transfer.acc1.base", 0.3, split="zero_shot:emoji/noto", component="text")
    joint = Table(pa.concat_tables([texts.rows, rows_table("run00", [elsewhere])]), table.runs)
    for one_head in (texts, joint):
        (chart,) = shifts(one_head)
        assert heads(one_head) == {"trained"}
        assert dashed(chart) == 0
        assert {record["head"] for record in records(chart)[0]} == {"trained head"}


def test_numbers_are_drawn_by_their_correlation(table):
    numbers = made_up.of_numbers(table)
    drawn = records(shifts(numbers)[0])[0]
    assert len(drawn) == 8 * 4
    (own,) = rows(numbers, "transfer.spearman", run="run18", split="shift:emoji/noto")
    assert [
        record["value"] for record in drawn if record["group"] == "probe" and record["split"] == "emoji/noto"
    ] == [own["value"]]
