"""A page of 200 runs: small enough to be sent, and drawn where the reader looks."""

from report import large_study
from report import synthetic_study as made_up
from report.test_page import opened, settled

from tunescope.report import page


def test_two_hundred_runs_fit_a_page_that_draws_what_is_looked_at(browser, tmp_path):
    study = large_study.study()
    table = large_study.table(study, heads=large_study.SEEDS[:1])
    answers = large_study.answers(table)
    path = page.write(tmp_path, study, table, answers, made_up.arrays(table), made_up.MADE)
    assert table.runs.num_rows == 200
    assert path.stat().st_size < 3_000_000
    tab, heard = opened(browser, path, ask="")
    charts = tab.locator(".chart").count()
    assert charts > 30
    assert tab.locator("svg.marks").count() < charts / 2
    assert tab.locator(".answer .sentence").count() == 10
    assert tab.locator("#filters output").inner_text() == "showing all 200 runs"
    tab.locator("#training").scroll_into_view_if_needed()
    tab.wait_for_selector("#training svg.marks")
    tab.locator("#training .data > summary").first.click()
    tab.wait_for_selector("#training .data tbody tr")  # made once it has unfolded
    rows = tab.locator("#training .data").first.locator("tbody tr").count()
    assert f"the first {rows} of" in tab.locator("#training .data caption").first.inner_text()
    tab.locator("#filters summary").click()
    tab.get_by_role("group", name="Groups").get_by_role("button", name="none").click()
    tab.get_by_label("lora", exact=True).check()
    assert tab.locator("#filters output").inner_text() == "showing 25 of 200 runs"
    tab.evaluate("drawAll()")
    settled(tab)
    assert tab.locator("svg.marks").count() > charts / 2
    assert heard == []
    tab.close()
