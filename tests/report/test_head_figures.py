import math

import numpy as np
import pyarrow.compute as pc
import pytest
from altair.utils.schemapi import debug_mode
from report import synthetic_heads as made_up_heads
from report import synthetic_study as made_up
from report.records import records, rows
from report.test_page import DRAWN, NOTHING, OVERFLOW, assert_ticks_are_told_apart, opened, well_formed
from scipy import stats

from tunescope.report import head_agreement, heads, page, theme
from tunescope.report.figures import figures
from tunescope.report.head_figures import head_figures
from tunescope.results.table import Table

KEYS = {
    "heads",
    "head-statistics",
    "head-comparison",
    "head-maps",
    "head-before-after",
    "head-distribution",
    "head-projections",
    "head-steps",
    "head-agreement",
    "head-pruning",
    "head-proxies",
}
SETTING, SEEDS = "lora lr=0.001", ("run03", "run04", "run05")


@pytest.fixture(scope="module")
def study():
    runs = {
        "full": {"adapt": "full", "lr": 1e-4},
        "lora": {"adapt": {"kind": "lora", "rank": 8}, "lr": 1e-3},
        "probe": {"adapt": "linear_probe", "lr": 1e-2, "seeds": [0]},
    }
    return made_up.study(runs=runs)


@pytest.fixture(scope="module")
def table(study):
    return made_up_heads.table(study)


@pytest.fixture(scope="module")
def drawn(table):
    return {figure.key: list(figure.draw(table)) for figure in head_figures(table)}


@pytest.fixture(scope="module")
def written(study, table, tmp_path_factory):
    return page.write(tmp_path_factory.mktemp("heads"), study, table, [], NOTHING, made_up.MADE)


def over_seeds(
    table, metric: str, head: tuple[int, int] = (2, 1), component: str = "trained", **also
) -> float:
    """The mean over the runs of `SETTING`."""
    place = {"layer": head[0], "head": head[1], "component": component, "step": None} | also
    found = [rows(table, metric, run=run, **place)[0]["value"] for run in SEEDS]
    return math.fsum(found) / len(found)


def of_setting(found, **more):
    """The one record of `SETTING` with these values."""
    wanted = {"setting": SETTING, **more}
    (record,) = [r for r in found if all(r.get(key) == value for key, value in wanted.items())]
    return record


def test_a_study_without_a_probe_of_heads_has_no_part_about_them(study):
    plain = made_up.table(study)
    assert head_figures(plain) == ()
    assert not KEYS & {figure.key for figure in figures(plain, [])}


def test_every_part_is_there_and_fits_the_schema(drawn):
    assert drawn.keys() == KEYS
    for charts in drawn.values():
        for chart in charts:
            chart.to_dict()  # held against Vega-Lite's schema


def test_scatter_has_means_over_seeds_quartiles_and_cases(table, drawn):
    (chart,) = drawn["heads"]
    part = "vision tower, trained head"
    dots = next(found for found in records(chart) if "layer" in found[0])
    place = {"part": part, "when": "before tuning"}
    dot = of_setting(dots, layer=2, head=1, **place)
    assert dot["importance"] == pytest.approx(over_seeds(table, "heads.importance_pre"), rel=5e-3)
    update = over_seeds(table, "heads.update_relative", component="all")
    assert dot["update_relative"] == pytest.approx(update, rel=5e-3)
    lines = next(found for found in records(chart) if "importance_low" in found[0])
    line = of_setting(lines, **place)
    mine = [r for r in dots if r["setting"] == SETTING and (r["part"], r["when"]) == (part, "before tuning")]
    assert len(mine) == made_up_heads.LAYERS * made_up_heads.HEADS
    for name, low, high in (
        ("importance", "importance_low", "importance_high"),
        ("update_relative", "update_low", "update_high"),
    ):
        assert np.quantile([r[name] for r in mine], [0.25, 0.75]) == pytest.approx(
            [line[low], line[high]], rel=1e-2
        )
    static = [
        r
        for r in mine
        if r["importance"] >= line["importance_high"] and r["update_relative"] <= line["update_low"]
    ]
    assert [r["case"] == "important but static" for r in static] == [True] * len(static)
    assert line["told"].startswith(f"{len(static)}, ")
    assert line["told"].endswith("means of 3 runs")


def test_before_and_after_are_the_same_heads(table, drawn):
    (chart,) = drawn["head-before-after"]
    dots = next(found for found in records(chart) if "layer" in found[0])
    dot = of_setting(dots, part="vision tower, text head", layer=2, head=1)
    assert dot["before"] == pytest.approx(
        over_seeds(table, "heads.importance.base", component="text"), rel=5e-3
    )
    assert dot["after"] == pytest.approx(over_seeds(table, "heads.importance", component="text"), rel=5e-3)


def test_maps_offer_every_quantity(table, drawn):
    (chart,) = drawn["head-maps"]
    (quantity,) = [p for p in chart.to_dict()["params"] if p["name"] == "quantity"]
    assert quantity["bind"]["options"][:2] == ["importance", "before"]
    assert "update_relative_k" in quantity["bind"]["options"]
    (cells,) = records(chart)
    cell = of_setting(cells, part="vision tower, trained head", layer=2, head=1)
    changed = over_seeds(table, "heads.importance") - over_seeds(table, "heads.importance_pre")
    assert cell["importance_change"] == pytest.approx(changed, rel=5e-3)
    moved = over_seeds(table, "heads.update_relative", component="k")
    assert cell["update_relative_k"] == pytest.approx(moved, rel=5e-3)


def test_statistics_are_of_single_runs(table, drawn):
    (chart,) = drawn["head-statistics"]
    titles = [panel["title"] for panel in chart.to_dict()["hconcat"]]
    assert titles == ["Spearman's ρ", "top quarter in common", "counter-examples"]
    dots = [found for found in records(chart) if "value" in found[0]]
    assert "probe lr=0.01" not in {record["line"] for record in dots[0]}  # none of its heads moved
    trained = [r for r in dots[0] if r["part"] == "vision tower, trained head"]
    (dot,) = [r for r in trained if r["run"] == "lora lr=0.001 seed=1"]
    importance, update = (
        [row["value"] for row in rows(table, metric, run="run04", component=component, step=None)]
        for metric, component in (("heads.importance_pre", "trained"), ("heads.update_relative", "all"))
    )
    first, second = (np.argsort(np.argsort(values)) for values in (importance, update))  # no ties
    number = made_up_heads.LAYERS * made_up_heads.HEADS
    rho = 1 - 6 * float(((first - second) ** 2).sum()) / (number * (number**2 - 1))
    assert dot["value"] == pytest.approx(rho, abs=1e-3)
    means = next(found for found in records(chart) if "mean" in found[0])
    (mean,) = [r for r in means if r["line"] == SETTING and r["part"] == dot["part"]]
    seeds = [r["value"] for r in trained if r["line"] == SETTING]
    half = stats.t.ppf(0.975, 2) * np.std(seeds, ddof=1) / math.sqrt(3)
    assert (mean["runs"], mean["mean"]) == (3, pytest.approx(np.mean(seeds), abs=1e-3))
    assert mean["high"] == pytest.approx(min(1.0, np.mean(seeds) + half), abs=5e-3)


def test_projections_steps_and_pruning_are_means(table, drawn):
    (bars,) = drawn["head-projections"]
    layer = [over_seeds(table, "heads.update_relative", (1, h), "v") for h in range(made_up_heads.HEADS)]
    assert of_setting(records(bars)[0], layer=1, projection="v")["mean"] == pytest.approx(
        np.mean(layer), rel=1e-3
    )
    (curves,) = drawn["head-steps"]
    layer = [
        over_seeds(table, "heads.update_relative", (1, h), "all", step=30) for h in range(made_up_heads.HEADS)
    ]
    assert of_setting(records(curves)[0], layer=1, step=30)["update"] == pytest.approx(
        np.mean(layer), rel=5e-3
    )
    (pruned,) = drawn["head-pruning"]
    place = {"part": "vision tower, text head", "ranking": "by chance", "share": 0.5}
    point = of_setting(records(pruned)[0], **place)
    own = [
        rows(table, "pruning.random.acc1", run=run, component="text", point=0.5)[0]["value"] for run in SEEDS
    ]
    assert (point["mean"], point["runs"]) == (pytest.approx(np.mean(own), rel=5e-3), 3)
    assert point["low"] < min(own) < max(own) < point["high"]


def test_settings_agree_with_themselves_only_over_seeds(drawn):
    (chart,) = drawn["head-agreement"]
    cells = [r for r in records(chart)[0] if r["quantity"] == "importance" and "trained" in r["part"]]
    (own,) = [r for r in cells if r["first"] == r["second"] == SETTING]
    assert own["seeds"] == 3
    assert own["tau"] < 1
    assert not [r for r in cells if r["first"] == r["second"] == "probe lr=0.01"]  # one seed


def test_what_there_is_no_room_for_is_said(study, monkeypatch):
    monkeypatch.setattr(heads, "HEADS_AT_MOST", 30)
    monkeypatch.setattr(head_agreement, "SETTINGS_AT_MOST", 2)
    captions = {figure.key: figure.caption for figure in head_figures(made_up_heads.table(study))}
    for key, left in {"heads": 2, "head-maps": 2, "head-agreement": 1}.items():
        assert captions[key].endswith(f"Left out for room: {left} of 3 settings; the table has them all."), (
            key
        )
    assert "Left out" not in captions["head-statistics"]


def test_the_same_table_gives_the_same_page_and_links_lead_somewhere(study, table, written):
    text = written.read_text(encoding="utf-8")
    well_formed(text)
    assert page.render(study, table, [], NOTHING, made_up.MADE) == text


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_charts_are_drawn_and_selects_change_them(browser, written, width, scheme):
    tab, heard = opened(browser, written, width, scheme)
    assert min(tab.evaluate(DRAWN)) > 0
    assert_ticks_are_told_apart(tab)
    for key in ("heads", "head-comparison", "head-maps", "head-projections", "head-pruning"):
        select = tab.locator(f"#{key} select").first
        chart = tab.locator(f"#{key} svg.marks").first
        before = chart.inner_html()
        select.select_option(index=1)
        tab.wait_for_function("([e, b]) => e.innerHTML !== b", arg=[chart.element_handle(), before])
    above = tab.locator("#heads select").first.bounding_box()
    below = tab.locator("#heads svg.marks").bounding_box()
    assert above
    assert below
    assert above["y"] + above["height"] <= below["y"]
    assert tab.evaluate(OVERFLOW) == 0
    assert heard == []
    tab.close()


def test_a_big_study_stays_small():
    runs = {f"way{i}": {"adapt": "full", "lr": [1e-5, 1e-4, 1e-3]} for i in range(4)}
    big = made_up.study(runs=runs, seeds=[0])
    table = made_up_heads.table(big, layers=12, heads=12)
    with debug_mode(False):  # as the page does
        drawn = {figure.key: figure for figure in head_figures(table)}
        specs = [theme.spec(chart) for figure in drawn.values() for chart in figure.draw(table)]
    assert sum(len(page.embedded(spec).encode()) for spec in specs) < 900_000
    assert drawn["heads"].caption.endswith("Left out for room: 2 of 12 settings; the table has them all.")


def test_of_updates_alone_there_is_no_importance_to_draw(study):
    whole = made_up_heads.table(study)
    only = pc.field("metric") == "heads.update_relative"
    moved = Table(whole.rows.filter(only), whole.runs)
    found = {figure.key: figure for figure in head_figures(moved)}
    assert "head-scatter" not in found
    (chart,) = found["head-comparison"].draw(moved)
    drawn = chart.to_dict()
    assert len(drawn["vconcat"]) == 1
    assert "'field': 'importance'" not in str(drawn)
    assert found["head-comparison"].caption.startswith("Left: how many heads")
