import math

import pyarrow as pa
import pytest
from report import synthetic_study as made_up
from report.records import records

from tunescope.report.heatmap import ROWS_AT_MOST, entropy_by_layer
from tunescope.results.row import Row, rows_table
from tunescope.results.table import Table


def test_cells_are_means_over_heads_by_run_and_layer(table):
    (chart,) = entropy_by_layer(table)
    full, lora, probe, floor = records(chart)
    assert [len(block) for block in (full, lora, probe, floor)] == [8 * 6, 9 * 6, 6, 6]
    heads = [
        row["value"]
        for row in table.rows.to_pylist()
        if (row["run"], row["metric"], row["layer"]) == ("run10", "attention.entropy.change", 4)
    ]
    assert len(heads) == made_up.HEADS
    (cell,) = [c for c in lora if (c["run"], c["layer"]) == ("lora lr=0.0001 seed=1", 4)]
    assert cell["change"] == pytest.approx(math.fsum(heads) / 4, abs=1e-5)


def test_colours_are_centred_on_no_change(table):
    (chart,) = entropy_by_layer(table)
    document = chart.to_dict()
    most = max(abs(cell["change"]) for block in records(chart) for cell in block)
    scales = [part["layer"][0]["encoding"]["color"]["scale"]["domain"] for part in document["vconcat"]]
    assert scales == [[-most, 0, most]] * 4


def test_many_runs_are_shown_as_means_over_seeds():
    study = made_up.study(
        runs={"full": {"adapt": "full", "lr": [1e-4, 1e-3]}}, seeds=list(range(ROWS_AT_MOST))
    )
    (chart,) = entropy_by_layer(made_up.table(study, diverged=()))
    (block,) = records(chart)
    assert {cell["run"] for cell in block} == {"full lr=0.0001", "full lr=0.001"}


def test_each_tower_has_its_own(table):
    text = rows_table("run00", [Row("attention.entropy.change", 0.1, tower="text", layer=0, head=0)])
    both = Table(pa.concat_tables([table.rows, text]), table.runs)
    assert len(entropy_by_layer(both)) == 2


def test_no_change_at_all_has_a_scale():
    study = made_up.study(runs={"full": {"adapt": "full", "lr": 1e-4}}, seeds=[0])
    table = made_up.table(study)
    still = rows_table("run00", [Row("attention.entropy.change", 0.0, tower="vision", layer=0, head=0)])
    (chart,) = entropy_by_layer(Table(still, table.runs))
    assert chart.to_dict()["vconcat"][0]["layer"][0]["encoding"]["color"]["scale"]["domain"] == [-1.0, 0, 1.0]
