import math
import re

import numpy as np
import pytest
from altair.utils.schemapi import debug_mode
from report import synthetic_landscape as made_up_landscape
from report import synthetic_study as made_up
from report.records import records, rows
from report.test_page import DRAWN, NOTHING, OVERFLOW, assert_ticks_are_told_apart, opened
from scipy import stats

from tunescope.report import (
    landscape_layers,
    landscape_maps,
    landscape_paths,
    landscape_robustness,
    page,
    paper,
    theme,
)
from tunescope.report.each_choice import each_choice
from tunescope.report.figures import figures
from tunescope.report.landscape_figures import landscape_figures
from tunescope.results.table import Table

KEYS = {
    "landscape-paths",
    "landscape-robustness",
    "landscape-failure",
    "landscape-gain",
    "landscape-layers",
    "landscape-maps",
}
SETTING, SEEDS = "lora lr=0.001", ("run09", "run10", "run11")
TRAINED = "trained head"


@pytest.fixture(scope="module")
def study():
    runs = {
        "full": {"adapt": "full", "lr": [1e-4, 1e-3]},
        "lora": {"adapt": {"kind": "lora", "rank": 8}, "lr": [1e-4, 1e-3]},
        "probe": {"adapt": "linear_probe", "lr": 1e-2, "seeds": [0]},
    }
    return made_up.study(runs=runs)


@pytest.fixture(scope="module")
def table(study):
    return made_up_landscape.table(study)


@pytest.fixture(scope="module")
def drawn(table):
    return {figure.key: list(figure.draw(table)) for figure in landscape_figures(table)}


@pytest.fixture(scope="module")
def written(study, table, tmp_path_factory):
    return page.write(tmp_path_factory.mktemp("landscape"), study, table, [], NOTHING, made_up.MADE)


def one(table, run: str, metric: str, component: str = "trained", **place) -> float:
    (row,) = rows(table, f"landscape.{metric}", run=run, component=component, **place)
    return row["value"]


def over_seeds(table, metric: str, **place) -> float:
    return math.fsum(one(table, run, metric, **place) for run in SEEDS) / len(SEEDS)


def only(found, **wanted):
    (record,) = [r for r in found if all(r.get(key) == value for key, value in wanted.items())]
    return record


def without(table, *metrics: str) -> Table:
    kept = [not any(re.fullmatch(metric, m) for metric in metrics) for m in table.rows["metric"].to_pylist()]
    return Table(table.rows.filter(kept), table.runs)


def test_a_study_without_a_probe_of_the_landscape_has_no_part_about_it(study):
    plain = made_up.table(study)
    assert landscape_figures(plain) == ()
    assert not KEYS & {figure.key for figure in figures(plain, [])}


def test_every_part_is_there_and_fits_the_schema(drawn):
    assert drawn.keys() == KEYS
    for charts in drawn.values():
        for chart in charts:
            chart.to_dict()  # held against Vega-Lite's schema


def test_a_part_with_nothing_to_draw_is_left_out(table):
    paths = without(table, r"landscape\.(.*sharpness|layer_barrier|rewind).*")
    assert {f.key for f in landscape_figures(paths)} == KEYS - {
        "landscape-gain",
        "landscape-layers",
        "landscape-maps",
    }
    layers = without(table, r"landscape\.(path|best|gain|tuned_gain|failure).*")
    assert {f.key for f in landscape_figures(layers)} == {"landscape-layers", "landscape-maps"}


@pytest.mark.parametrize(("place", "metric"), [(0, "acc1"), (1, "loss")])
def test_paths_are_means_over_seeds(table, drawn, place, metric):
    home, _, away, chosen = records(drawn["landscape-paths"][place])
    here = {"setting": SETTING, "part": TRAINED, "alpha": 0.5}
    at = only(home, **here, split="test")
    assert at["value"] == pytest.approx(
        over_seeds(table, f"path_{metric}", split="test", point=0.5), rel=5e-3
    )
    assert at["runs"] == 3
    splits = [f"shift:{shift}" for shift in made_up.SHIFTS]
    mean = np.mean([over_seeds(table, f"path_{metric}", split=split, point=0.5) for split in splits])
    assert only(away, **here, split="shift:mean")["value"] == pytest.approx(mean, rel=5e-3)
    assert {record["split"] for record in home} == {"test"}
    assert {record["split"] for record in away} == {"shift:mean", *splits}
    star = only(chosen, setting=SETTING, part=TRAINED, split="shift:mean")
    read = np.mean([over_seeds(table, f"best_{metric}", split=split) for split in splits])
    assert (star["alpha"], star["value"]) == (
        pytest.approx(over_seeds(table, "best_alpha", split="val"), abs=5e-3),
        pytest.approx(read, rel=5e-3),
    )


def test_what_is_away_and_under_which_head_is_one_choice(drawn):
    params = {param["name"]: param for param in drawn["landscape-paths"][0].to_dict()["params"]}
    bind = params["shown"]["bind"]
    assert bind["labels"][:2] == ["mean of the shifts, trained head", "mean of the shifts, text head"]
    assert len(bind["options"]) == 2 * (1 + len(made_up.SHIFTS))
    assert '"text head: shift:mean": ["text head", "shift:mean"]' in params["where"]["expr"]


def test_robustness_holds_accuracies_and_draws_their_logits(table, drawn):
    (chart,) = drawn["landscape-robustness"]
    same, path, firsts, dots, chosen = records(chart)
    assert all(point["x"] == point["y"] for point in same)
    dot = only(dots, run="lora lr=0.001 seed=1", part=TRAINED, data="emoji/noto")
    for name, split in (("home", "test"), ("away", "shift:emoji/noto")):
        assert dot[name] == pytest.approx(one(table, "run10", "path_acc1", split=split, point=1.0), rel=5e-3)
    step = only(path, setting=SETTING, part=TRAINED, data="emoji/noto", alpha=0.75)
    share = over_seeds(table, "path_acc1", split="shift:emoji/noto", point=0.75)
    assert step["away"] == pytest.approx(share, rel=5e-3)
    assert len([r for r in firsts if r["part"] == TRAINED]) == 1 + len(made_up.SHIFTS)  # one base
    star = only(chosen, setting=SETTING, part=TRAINED, data="mean of the shifts")
    assert star["away"] == pytest.approx(over_seeds(table, "best_acc1", split="shift:mean"), rel=5e-3)
    probe = only(dots, run="probe lr=0.01 seed=0", part=TRAINED, data="emoji/noto")  # has no path
    direct = rows(table, "transfer.acc1", run="run12", split="test", component="trained")[0]["value"]
    assert probe["home"] == pytest.approx(direct, rel=5e-3)
    calculated = chart.to_dict()["layer"][1]["transform"][-2:]
    assert [each["as"] for each in calculated] == ["x", "y"]
    assert calculated[0]["calculate"] == (
        "log(clamp(datum.home, 0.002, 0.998) / (1 - clamp(datum.home, 0.002, 0.998)))"
    )


@pytest.mark.parametrize(("low", "high"), [(0.001, 0.999), (0.3, 0.9), (0.61, 0.68), (0.9, 0.901)])
def test_logit_axes_have_ticks_at_round_shares(low, high):
    ticks = landscape_robustness._Axis(
        landscape_robustness.logit(low), landscape_robustness.logit(high)
    ).ticks
    shares = [1 / (1 + math.exp(-tick)) for tick in ticks]
    assert len(ticks) > 1
    assert low - 1e-3 <= min(shares) < max(shares) <= high + 1e-3
    assert shares == pytest.approx([round(share, 3) for share in shares], abs=1e-12)


def test_failures_are_counted_by_group(table, drawn):
    (chart,) = drawn["landscape-failure"]
    (found,) = records(chart)
    assert found[0]["data"] == "mean of the shifts"
    for group, runs in (("full", range(6)), ("lora", range(6, 12))):
        failed = [
            value
            for run in runs
            for value in [
                r["value"]
                for r in rows(table, "landscape.failure", run=f"run{run:02}", component="text")
                if r["split"] == "shift:mean"
            ]
        ]
        bar = only(found, group=group, part="text head", data="mean of the shifts")
        assert bar["share"] == pytest.approx(np.mean(failed), abs=1e-4)
        assert bar["told"] == f"{sum(failed):.0f} of {len(failed)}"


def test_sharpness_against_gain_tells_rho_over_runs_and_with_lr_held_fixed(table, drawn):
    charts = drawn["landscape-gain"]
    titles = [panel["title"] for chart in charts for panel in chart.to_dict()["hconcat"]]
    assert titles[:2] == [
        "average case, adaptive: all weights of the tower",
        "average case, adaptive: straggler layers alone",
    ]
    assert len(charts) == len(made_up_landscape.KINDS)
    dots = records(charts[1])[-2]
    own = [r for r in dots if r["part"] == TRAINED]
    assert len(own) == 11  # of twelve, one has diverged
    dot = only(own, run="lora lr=0.001 seed=1")
    assert dot["x"] == pytest.approx(one(table, "run10", "straggler_sharpness_linf"), rel=5e-3)
    assert dot["gain"] == pytest.approx(one(table, "run10", "gain", split="shift:mean"), rel=5e-3)


def test_rho_is_spearmans(table, drawn):
    *_, told = records(drawn["landscape-gain"][0])
    words = only(told, part=TRAINED)["told"]
    done = [
        run["run"] for run in table.runs.to_pylist() if run["status"] == "done" and run["group"] != "probe"
    ]
    x = np.array([one(table, run, "straggler_sharpness_average") for run in done])
    y = np.array([one(table, run, "gain", split="shift:mean") for run in done])
    about = {run["run"]: (run["group"], run["lr"]) for run in table.runs.to_pylist()}
    rho = np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1]
    whole, fixed = words.split("\n")
    assert float(whole.split()[1].replace("−", "-")) == pytest.approx(rho, abs=5.1e-3)
    assert whole.endswith(f", {len(done)} runs")

    def rest(values):
        """Ranks within a group, less what its runs at one learning rate have in common."""
        out = np.zeros(len(values))
        for group in {about[run][0] for run in done}:
            mine = [i for i, run in enumerate(done) if about[run][0] == group]
            out[mine] = stats.rankdata(values[mine]) / (len(mine) + 1)
        for cell in set(about.values()):
            mine = [i for i, run in enumerate(done) if about[run] == cell]
            if mine:
                out[mine] -= out[mine].mean()
        return out

    held = np.corrcoef(rest(x), rest(y))[0, 1]
    assert fixed.startswith("within groups, lr held fixed: ρ ")
    assert float(fixed.split("ρ ")[1].split()[0].replace("−", "-")) == pytest.approx(held, abs=5.1e-3)


def test_layers_have_intervals_over_runs_and_stragglers_are_marked(table, drawn):
    (chart,) = drawn["landscape-layers"]
    (found,) = records(chart)
    layer = made_up_landscape.STRAGGLER
    bar = only(found, setting=SETTING, part=TRAINED, layer=layer)
    barriers = [one(table, run, "layer_barrier", layer=layer) for run in SEEDS]
    half = stats.t.ppf(0.975, 2) * np.std(barriers, ddof=1) / math.sqrt(3)
    assert bar["layer_barrier"] == pytest.approx(np.mean(barriers), rel=5e-3)
    assert bar["layer_barrier_high"] == pytest.approx(np.mean(barriers) + half, rel=5e-3)
    assert bar["rewind"] == pytest.approx(over_seeds(table, "rewind", layer=layer), rel=5e-3)
    assert (bar["case"], bar["stands_out"], bar["runs"]) == ("straggler: stands out by z", 1.0, 3)
    others = [r["case"] for r in found if r["setting"] == SETTING and r["layer"] != layer]
    assert set(others) == {"other layers"}


@pytest.mark.parametrize("marked", [True, False])  # by what rewinding costs; by barriers, of which none is
def test_without_a_barrier_the_probe_says_which_layers_are_among_the_largest(table, marked):
    found = table.rows.to_pylist()
    flattened = {"landscape.layer_barrier", "landscape.straggler"}
    for row in found:
        if row["metric"] in flattened | (set() if marked else {"landscape.straggler_top"}):
            row["value"] = 0.0
    flat = Table(table.rows.from_pylist(found, schema=table.rows.schema), table.runs)
    (chart,) = landscape_layers.barriers(flat)
    (bars,) = records(chart)
    assert {bar["flat"] for bar in bars} == {"layer_barrier"}
    largest = {bar["layer"] for bar in bars if bar["case"] == "straggler: among the largest"}
    assert largest == ({made_up_landscape.STRAGGLER} if marked else set())


def test_maps_go_along_the_path_to_the_tuned_model(table, drawn):
    (cells,) = records(drawn["landscape-maps"][0])
    place = {"setting": SETTING, "part": TRAINED, "layer": 2}
    tuned = over_seeds(table, "layer_sharpness_average", layer=2)
    half = over_seeds(table, "layer_sharpness_along_average", layer=2, point=0.5)
    assert only(cells, **place, alpha=1)["value"] == pytest.approx(tuned, rel=5e-3)
    assert only(cells, **place, alpha=0.5)["value"] == pytest.approx(half, rel=5e-3)
    assert "facet" in drawn["landscape-maps"][0].to_dict()


def test_tuned_models_alone_make_one_map(table):
    tuned = without(table, r"landscape\.layer_sharpness_along_.*")
    document = landscape_maps.layer_maps(tuned)[0].to_dict()
    assert document["encoding"]["y"]["field"] == "setting"
    assert document["encoding"]["x"]["field"] == "layer"


def test_a_select_becomes_a_drawing_for_each_choice(table):
    plates = {plate.name: plate for plate in paper.plates(table, [], NOTHING)}
    assert {"landscape-paths-1", "landscape-paths-2", "landscape-gain-1", "landscape-layers"} <= plates.keys()
    paths = each_choice("paths", plates["landscape-paths-1"].spec)
    assert len(paths) == 2 * (1 + len(made_up.SHIFTS))
    assert paths[1][1] == "Shown: shown mean of the shifts, text head."
    assert [p["name"] for p in paths[1][2]["params"]] == ["shown", "where"]
    assert len(each_choice("layers", plates["landscape-layers"].spec)) == 4 * 2


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_charts_are_drawn_and_selects_change_them(browser, written, width, scheme):
    tab, heard = opened(browser, written, width, scheme)
    assert min(tab.evaluate(DRAWN)) > 0
    assert_ticks_are_told_apart(tab)
    for key in KEYS:
        select = tab.locator(f"#{key} select").first
        chart = tab.locator(f"#{key} svg.marks").first
        before = chart.inner_html()
        select.select_option(index=1)
        tab.wait_for_function("([e, b]) => e.innerHTML !== b", arg=[chart.element_handle(), before])
    assert tab.evaluate(OVERFLOW) == 0
    assert heard == []
    tab.close()


def test_a_big_study_stays_small_and_says_what_is_left_out(monkeypatch):
    runs = {f"way{i}": {"adapt": "full", "lr": [1e-5, 1e-4, 1e-3]} for i in range(4)}
    big = made_up.study(runs=runs, seeds=[0])
    table = made_up_landscape.table(big, alphas=[i / 20 for i in range(21)], layers=12)
    monkeypatch.setattr(landscape_paths, "SETTINGS_AT_MOST", 5)
    with debug_mode(False):  # as the page does
        found = {figure.key: figure for figure in landscape_figures(table)}
        sizes = {
            key: sum(len(page.embedded(theme.spec(chart)).encode()) for chart in figure.draw(table))
            for key, figure in found.items()
        }
    assert sum(sizes.values()) < 300_000, sizes
    assert found["landscape-paths"].caption.endswith(
        "Left out for room: 7 of 12 settings; the table has them all."
    )
    (home, *_) = records(found["landscape-paths"].draw(table)[0])
    assert len({record["setting"] for record in home}) == 5
