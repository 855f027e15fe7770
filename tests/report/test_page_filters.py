"""The bar that narrows a page to groups, seeds and layers: every control used, and all that follows."""

import pytest
from report import synthetic_heads as made_up_heads
from report import synthetic_study as made_up
from report.test_page import NOTHING, OVERFLOW, opened, settled

from tunescope.report import page

SHOWN = """Array.from(document.querySelectorAll('#runs tbody tr')).filter(row => !row.hidden)
  .map(row => row.cells[0].innerText)"""
DOTS = """Array.from(document.querySelectorAll('#trade-off .mark-symbol.role-mark path'),
  dot => dot.getAttribute('fill'))"""
DRAWN_LAYERS = """(() => {
  const chart = charts.find(one => one.place.closest('#entropy'));
  const layers = new Set();
  withRecords(shownOf(chart).spec, values => (values.forEach(v => layers.add(v.layer)), values));
  return Array.from(layers).sort();
})()"""


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A page with charts in which a setting is selected."""
    runs = {
        "full": {"adapt": "full", "lr": 1e-4},
        "lora": {"adapt": {"kind": "lora", "rank": 8}, "lr": 1e-3},
        "probe": {"adapt": "linear_probe", "lr": 1e-2, "seeds": [0]},
    }
    study = made_up.study(runs=runs)
    folder = tmp_path_factory.mktemp("heads")
    return page.write(folder, study, made_up_heads.table(study), [], NOTHING, made_up.MADE)


def status(tab):
    settled(tab)
    return tab.locator("#filters output").inner_text()


@pytest.fixture(scope="module")
def once(browser, written):
    tab, heard = opened(browser, written)
    tab.locator("#filters summary").click()
    yield tab
    assert heard == []
    tab.close()


@pytest.fixture
def whole(once):
    """The page with its filters open and nothing chosen."""
    yield once
    once.evaluate("document.querySelector('#filters button[type=reset]').click()")


def test_runs_charts_and_maps_follow_groups_and_seeds_and_answers_do_not(whole):
    tab = whole
    assert status(tab) == "showing all 20 runs"
    answers = tab.locator("#answers").inner_html()
    before = tab.evaluate(DOTS)
    assert tab.locator("#maps th[data-group=full]:visible").count() > 0
    tab.get_by_label("full", exact=True).uncheck()
    assert status(tab) == "showing 11 of 20 runs"
    assert {name.split()[0] for name in tab.evaluate(SHOWN)} == {"lora", "probe", "floor"}
    after = tab.evaluate(DOTS)
    assert len(after) == 11
    assert set(after) < set(before)  # a group keeps its colour
    assert tab.locator("#maps th[data-group=full]:visible").count() == 0
    assert "full" not in tab.locator("#cost svg.marks .role-axis-label").all_text_contents()
    tab.get_by_role("group", name="Seeds").get_by_label("1", exact=True).uncheck()
    assert status(tab) == "showing 8 of 20 runs"
    assert len(tab.evaluate(DOTS)) == 8
    assert "Means over seeds stay those over all seeds" in tab.locator("#shifts .note").inner_text()
    assert "whatever is chosen" in " ".join(tab.locator("#correlations .note").all_inner_texts())
    assert tab.locator("#answers").inner_html() == answers
    tab.get_by_role("button", name="Show all").click()
    assert status(tab) == "showing all 20 runs"
    assert tab.evaluate(DOTS) == before
    assert set(tab.locator(".note").all_inner_texts()) <= {""}
    assert "#only" not in tab.url


def test_layers_narrow_what_is_drawn_by_layer(whole):
    tab = whole
    tab.locator("#filters select[name=first]").select_option("2")
    tab.locator("#filters select[name=last]").select_option("3")
    assert status(tab) == "showing all 20 runs, layers 2 to 3"
    assert tab.evaluate(DRAWN_LAYERS) == [2, 3]
    assert len(tab.evaluate(DOTS)) == 19
    tab.locator("#filters select[name=last]").select_option("1")  # the wrong way round is a range as well
    assert status(tab) == "showing all 20 runs, layers 1 to 2"
    assert tab.evaluate(DRAWN_LAYERS) == [1, 2]
    tab.locator("#filters button[type=reset]").click()
    assert tab.evaluate(DRAWN_LAYERS) == list(range(made_up.LAYERS))


def test_none_is_said_and_all_comes_back(whole):
    tab = whole
    groups = tab.get_by_role("group", name="Groups")
    groups.get_by_role("button", name="none").click()
    assert status(tab) == "showing 0 of 20 runs"
    assert tab.locator("#trade-off .chart").inner_text().startswith("Nothing here is of the runs")
    assert tab.evaluate(SHOWN) == []
    groups.get_by_role("button", name="all").click()
    assert status(tab) == "showing all 20 runs"
    assert tab.locator("#trade-off svg.marks").count() == 1
    tab.keyboard.press("Escape")
    assert tab.locator("#filters details[open]").count() == 0
    tab.keyboard.press("Enter")  # the summary has the focus
    assert tab.locator("#filters details[open]").count() == 1


def test_selects_offer_what_is_chosen_and_keep_what_was_selected(browser, heads):
    tab, heard = opened(browser, heads)
    select = tab.locator("#heads .vega-bind select").first
    assert select.locator("option").all_inner_texts() == ["full lr=0.0001", "lora lr=0.001", "probe lr=0.01"]
    select.select_option("lora lr=0.001")
    tab.locator("#filters summary").click()
    tab.get_by_label("full", exact=True).uncheck()
    settled(tab)
    assert select.locator("option").all_inner_texts() == ["lora lr=0.001", "probe lr=0.01"]
    assert select.input_value() == "lora lr=0.001"
    tab.get_by_label("lora", exact=True).uncheck()
    settled(tab)
    words = " ".join(tab.locator("#head-maps svg.marks").all_text_contents())
    assert "probe lr=0.01" in words
    assert "lora" not in words
    assert heard == []
    tab.close()


def test_only_charts_near_the_window_are_drawn_and_an_address_holds_the_choice(browser, written):
    ask = "#only?groups=lora%0Aprobe&seeds=0+2&layers=1+4"
    tab, heard = opened(browser, written, width=390, scheme="dark", ask=ask)
    count = "document.querySelectorAll('svg.marks').length"
    assert status(tab) == "showing 7 of 20 runs, layers 1 to 4"
    assert tab.evaluate(OVERFLOW) == 0
    assert tab.evaluate(count) < 10
    tab.locator("#trade-off").scroll_into_view_if_needed()
    tab.wait_for_selector("#trade-off svg.marks")
    settled(tab)  # its frame comes before its marks
    assert len(tab.evaluate(DOTS)) == 7
    tab.locator("#filters summary").click()
    tab.locator("#filters button[type=reset]").click()
    assert status(tab) == "showing all 20 runs"
    assert len(tab.evaluate(DOTS)) == 19
    tab.evaluate("location.hash = '#only?groups=floor'")
    tab.wait_for_function(
        "() => document.querySelector('#filters output').textContent === 'showing 1 of 20 runs'"
    )
    assert heard == []
    tab.close()
