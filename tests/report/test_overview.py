import pyarrow as pa
import pytest
from report import synthetic_study as made_up

from tunescope.report.overview import definitions, overview
from tunescope.results.metric import declared
from tunescope.results.row import ROWS, Row, rows_table
from tunescope.results.table import Table


def test_every_run_has_a_line_with_its_headline_numbers(study, table):
    found = overview(table, study)
    assert [line.name for line in found.lines] == [member.name for member in study.members()]
    headings = [heading for heading, _ in found.columns]
    line = dict(zip(headings, found.lines[3].values, strict=True))
    shifted = [
        row["value"]
        for row in table.rows.to_pylist()
        if (row["run"], row["metric"], row["component"]) == ("run03", "transfer.acc1", "text")
        and (row["split"] or "").startswith("shift:")
    ]
    assert line["shifts, text head"] == pytest.approx(sum(shifted) / 3)
    assert line["trained parameters"] == 1_200_000


def test_failed_runs_say_why_and_missing_ones_are_named(study):
    gone = "lora lr=0.005 seed=1"
    table = made_up.table(study, missing=(gone,))
    found = overview(table, study)
    lines = {line.name: line for line in found.lines}
    assert (lines[gone].status, lines["full lr=0.001 seed=2"].cause) == ("missing", "diverged at step 17")
    assert (found.count("done"), found.count("failed"), found.count("missing")) == (18, 1, 1)
    assert lines[gone].cause


def test_a_run_that_the_table_never_heard_of_is_missing(study, table):
    short = Table(table.rows, table.runs.slice(0, 5))
    found = overview(short, study)
    assert len(found.lines) == len(study.members())
    assert found.count("missing") == len(study.members()) - 5


def test_only_what_was_measured_has_a_column(study, table):
    bare = Table(rows_table("run00", [Row("training.seconds", 3.0)]), table.runs)
    assert overview(bare, study).columns == (("seconds", "plain"),)


def test_derived_forms_stand_with_their_metric(table):
    found = definitions(table)
    forms = {metric.name: forms for metric, forms in found.metrics}
    assert forms["attention.entropy"] == ("base", "change")
    assert forms["transfer.acc1"] == ("base", "retention")
    assert found.unknown == ()
    assert all(metric == declared()[metric.name] for metric, _ in found.metrics)


def test_what_a_status_does_not_say_stands_beside_it(study):
    monitor = {"probes": ["attention"], "stop_on_collapse": {"metric": "attention.entropy", "below": 0.5}}
    watched = made_up.study(train={"monitor": monitor})
    table = made_up.table(watched)
    said = [Row("training.stopped", 120.0), Row("training.converged", 0.0)]
    rows = [rows_table("run00", said), rows_table("run01", [Row("training.converged", 1.0)])]
    table = Table(pa.concat_tables([table.rows.cast(ROWS), *rows]), table.runs)
    found = overview(table, watched)
    assert found.lines[0].notes == (
        "stopped early after step 120, because attention.entropy fell below 0.5",
        "did not converge",
    )
    assert {line.notes for line in found.lines[1:]} == {()}
    assert found.standing == "19 done (1 stopped early, 1 did not converge), 1 failed, 0 missing"
    assert overview(table, study).lines[0].notes[0] == "stopped early after step 120"  # nobody says why


def test_quarantined_runs_are_counted_with_their_cause(study, table):
    runs = table.runs.to_pylist()
    runs[0] |= {"status": "quarantined", "cause": "3 tries: its process was ended by SIGKILL"}
    found = overview(Table(table.rows, pa.Table.from_pylist(runs, schema=table.runs.schema)), study)
    assert found.lines[0].cause == "3 tries: its process was ended by SIGKILL"
    assert found.standing == "18 done, 1 failed, 0 missing, 1 quarantined"


def test_runs_that_predict_numbers_are_told_by_correlation_and_error(study, table):
    found = made_up.of_numbers(table)
    own = [
        Row("transfer.pearson", 0.7, component="trained", split="test"),
        Row("transfer.squared_error", 2.5, component="trained", split="test"),
        Row("transfer.squared_error", 9.0, component="trained", split="val"),
        Row("transfer.f1", 0.3, component="trained", split="test"),
    ]
    told = overview(Table(pa.concat_tables([found.rows, rows_table("run03", own)]), found.runs), study)
    headings = [heading for heading, _ in told.columns]
    assert headings[:4] == ["test Spearman", "test Pearson", "test squared error", "shifts, Spearman"]
    assert told.lines[3].values[1:3] == (0.7, 2.5)
    assert not any("accuracy" in heading or "zero-shot" in heading for heading in headings)
    (loss,) = [metric for metric, _ in definitions(found).metrics if metric.name == "training.loss"]
    assert loss.unit == "the labels' unit, squared"
    assert declared()["training.loss"].unit == "nats"
