import pytest
from report import synthetic_study as made_up

from tunescope.report.quality import ACCURACY, CORRELATION, quality
from tunescope.results.row import Row, rows_table
from tunescope.results.table import Table


@pytest.mark.parametrize("metric", ["transfer.spearman", "training.val_loss"])
def test_runs_that_predict_numbers_are_known_by_what_they_measured(table, metric):
    assert quality(made_up.of_numbers(table)) is CORRELATION
    assert quality(Table(rows_table("run00", [Row(metric, 0.5)]), table.runs)) is CORRELATION


def test_all_others_are_read_by_accuracy(table):
    assert quality(table) is quality(made_up.on_texts(table)) is ACCURACY
    assert quality(Table(table.rows.slice(0, 0), table.runs)) is ACCURACY
