"""The tables of a page: of the runs, and of each chart's data, and what is saved of them."""

import csv
from pathlib import Path

import pytest
from report import synthetic_study as made_up
from report.test_page import IMG, NOTHING, SCRIPT, opened

from tunescope.report import page
from tunescope.report.figures import figures
from tunescope.report.sheets import sheets
from tunescope.report.theme import spec

FORMULA = '=HYPERLINK("x"),b'
VALUES = "Array.from(document.querySelectorAll('#runs tbody tr'), row => row.cells[2].dataset.value)"


@pytest.fixture(scope="module")
def tab(browser, written):
    found, heard = opened(browser, written)
    yield found
    assert [what for what in heard if not what.startswith("request: blob:")] == []
    found.close()


def saved(tab, plot) -> list[list[str]]:
    """The file that the first button below a chart saves, as a spreadsheet reads it."""
    with tab.expect_download() as download:
        plot.get_by_role("button", name="Save as CSV").first.click()
    assert download.value.suggested_filename.endswith(".csv")
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_every_chart_has_a_table_of_its_data(tab):
    plots = tab.locator(".plot")
    assert plots.count() == tab.locator("svg.marks").count() == 20
    assert tab.locator(".data table").count() == 0  # made when they are asked for
    tab.evaluate("document.querySelectorAll('.data').forEach(details => (details.open = true))")
    tab.wait_for_function("() => !document.querySelector('.data:not(:has(table))')")
    for plot in plots.all():
        first = plot.locator("table").first
        assert first.locator("caption").inner_text().startswith("Data of: ")
        assert first.locator("thead th[scope=col]").count() > 1
        assert first.locator("tbody th[scope=row]").count() == first.locator("tbody tr").count() > 0
    tab.evaluate("document.querySelectorAll('.data').forEach(details => (details.open = false))")


def test_a_table_has_the_numbers_that_are_drawn_sorts_and_follows_the_filters(tab, table):
    plot = tab.locator("#trade-off .plot")
    plot.locator(".data > summary").click()
    rows = plot.locator("table").first.locator("tbody tr")
    rows.first.wait_for()
    assert rows.count() == 19
    drawn = next(figure for figure in figures(table, []) if figure.key == "trade-off").draw(table)
    expected = list(csv.reader(sheets(spec(drawn[0]))[0].splitlines()))
    found = saved(tab, plot)
    assert found[0] == expected[0]
    assert [[cell if i < 2 else float(cell) for i, cell in enumerate(row)] for row in found[1:]] == [
        [cell if i < 2 else float(cell) for i, cell in enumerate(row)] for row in expected[1:]
    ]
    heading = plot.get_by_role("button", name="zero-shot kept").first
    for direction in ("ascending", "descending"):
        heading.click()
        assert plot.locator("th[aria-sort]").get_attribute("aria-sort") == direction
        kept = [float(row[-1]) for row in saved(tab, plot)[1:]]
        assert kept == sorted(kept, reverse=direction == "descending")
        assert rows.first.locator("td").last.inner_text() == f"{100 * kept[0]:.1f} %"
    panels = next(figure for figure in figures(table, []) if figure.key == "cost").draw(table)[0]
    expected = list(csv.reader(sheets(spec(panels))[0].splitlines()))
    tab.locator("#cost .data > summary").click()
    found = saved(tab, tab.locator("#cost .plot"))
    assert found[0] == expected[0] == ["panel", "group", "run", "value"]
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    tab.locator("#filters summary").click()
    tab.get_by_label("full", exact=True).uncheck()
    assert rows.count() == 11
    assert len(saved(tab, plot)) == 12
    tab.locator("#filters button[type=reset]").click()
    assert rows.count() == 19


def test_a_click_sorts_the_runs(tab):
    heading = tab.locator("#runs").get_by_role("button", name="test accuracy")
    for direction in ("ascending", "descending"):
        heading.click()
        assert tab.locator("#runs [aria-sort]").get_attribute("aria-sort") == direction
        values = tab.evaluate(VALUES)
        numbers = [float(value) for value in values if value]
        assert numbers == sorted(numbers, reverse=direction == "descending")
        assert values[-1] == ""  # the run that failed stays last


def test_names_from_data_are_inert_in_filters_tables_and_files(browser, tmp_path):
    runs = {
        IMG: {"adapt": "full", "lr": [1e-4, 1e-3]},
        FORMULA: {"adapt": "full", "lr": [1e-4, 1e-3]},
        SCRIPT: {"adapt": "linear_probe", "lr": 1e-3},
    }
    study = made_up.study(runs=runs)
    table = made_up.table(study, diverged=())
    tab, heard = opened(browser, page.write(tmp_path, study, table, [], NOTHING, made_up.MADE))
    tab.locator("#filters summary").click()
    for name in runs:
        tab.get_by_label(name, exact=True).uncheck()
    assert tab.locator("#filters output").inner_text() == "showing 0 of 15 runs"
    tab.get_by_label(FORMULA, exact=True).check()
    assert tab.locator("#filters output").inner_text() == "showing 6 of 15 runs"
    tab.locator("#filters button[type=reset]").click()
    plot = tab.locator("#trade-off .plot")
    plot.locator(".data > summary").click()
    plot.locator("tbody th").first.wait_for()
    assert plot.locator("tbody th", has_text=IMG).count() == 6
    groups = {row[0] for row in saved(tab, plot)[1:]}
    assert groups == {IMG, "'" + FORMULA, SCRIPT}
    assert tab.locator("img:not([src^='data:'])").count() == 0
    assert [what for what in heard if not what.startswith("request: blob:")] == []
    tab.close()
