import math

import numpy as np
import pytest
from report import synthetic_moved as made_up
from report.records import records, rows
from report.synthetic_study import MADE
from report.test_page import NOTHING, OVERFLOW, opened
from scipy import stats

from tunescope.report import collapse, correlations, frames, page, run_rho, theme, zero_shot
from tunescope.report.layer_lines import STANDS_OUT
from tunescope.report.moved_figures import kept_figures, matrix_figures
from tunescope.results.table import Table

RUNS = [f"run{index:02}" for index in range(27)]


@pytest.fixture(scope="module")
def table():
    return made_up.table(made_up.study())


def mean(table, metric, run, size=False):
    values = [row["value"] for row in rows(table, metric, run=run)]
    return math.fsum(map(abs, values) if size else values) / len(values)


def spearman(x, y):
    return np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1]


def within_groups(x, y):
    """Spearman's ρ of ranks within groups of nine, centred there."""
    u, v = (np.concatenate([stats.rankdata(part) - 5 for part in np.split(np.array(z), 3)]) for z in (x, y))
    return u @ v / math.sqrt((u @ u) * (v @ v))


def test_a_dot_is_a_runs_number_and_what_it_kept(table):
    (chart,) = collapse.collapse(table)
    params = {param["name"]: param for param in chart.to_dict()["params"]}
    assert params["measure"]["bind"]["options"] == [
        "mean |entropy change|, nats",
        "entropy change, nats",
        "head diversity change",
        "sink mass change",
        "CKA with the base",
    ]
    assert params["benchmark"]["bind"]["options"] == ["mean of all", *made_up.BENCHMARKS]
    dots, base = sorted(records(chart)[:2], key=len, reverse=True)
    (dot,) = [d for d in dots if (d["run"], d["benchmark"]) == ("full lr=0.001 seed=1", "cifar100")]
    (kept,) = rows(table, "transfer.acc1.retention", run="run07", split="zero_shot:cifar100")
    assert dot["kept"] == pytest.approx(kept["value"], rel=5e-3)
    size = mean(table, "attention.entropy.change", "run07", size=True)
    assert dot["mean |entropy change|, nats"] == pytest.approx(size, rel=5e-3)
    assert dot["CKA with the base"] == pytest.approx(mean(table, "representation.cka", "run07"), rel=5e-3)
    assert len(dots) == 3 * len(RUNS)
    assert (base[0]["kept"], base[0]["CKA with the base"], base[0]["entropy change, nats"]) == (1.0, 1.0, 0.0)


def test_the_caption_has_spearmans_rho_over_runs_and_within_groups(table):
    words = collapse.told(table)
    kept = [mean(table, "transfer.acc1.retention", run) for run in RUNS]
    for name, metric, size in (
        ("mean |entropy change|", "attention.entropy.change", True),
        ("CKA with the base", "representation.cka", False),
    ):
        x = [mean(table, metric, run, size) for run in RUNS]
        told = words.split(f"{name} ")[1].split("; ")[0].rstrip(".").replace("−", "-")
        assert float(told.split()[0]) == pytest.approx(spearman(x, kept), abs=5.1e-3)
        assert float(told.split("within groups ")[1]) == pytest.approx(within_groups(x, kept), abs=5.1e-3)
    assert "over 27 runs" in words
    assert "head diversity" not in words


def test_a_run_of_two_groups_counts_once_and_too_few_say_nothing():
    runs = [frames.Run(str(i), group, "", "done", "", {}) for group in "ab" for i in range(4)]
    x, y = {str(i): float(i) for i in range(4)}, {str(i): float(i * i) for i in range(4)}
    found = run_rho.run_rho(runs, x, y)
    assert found is not None
    assert (found.value, found.low, found.runs) == (1.0, None, 4)
    assert run_rho.run_rho(runs, x, dict.fromkeys(y, 2.0)) is None
    assert run_rho.run_rho(runs[:2], x, y) is None
    apart = [frames.Run(str(i), str(i), "", "done", "", {}) for i in range(4)]
    assert run_rho.run_rho(apart, x, y, within=True) is None


def test_the_matrix_is_spearmans_over_runs(table):
    (chart,) = correlations.correlations(table)
    (found,) = records(chart)
    names = {record["measure"] for record in found}
    assert "sink mass change" not in names  # the same in every run
    size = [mean(table, "attention.entropy.change", run, size=True) for run in RUNS]
    cka = [mean(table, "representation.cka", run) for run in RUNS]
    for over, expected in (("all runs", spearman(size, cka)), ("within groups", within_groups(size, cka))):
        for one, other in (
            ("mean |entropy change|", "CKA with the base"),
            ("CKA with the base", "mean |entropy change|"),
        ):
            (cell,) = [r for r in found if (r["over"], r["measure"], r["beside"]) == (over, one, other)]
            assert (cell["rho"], cell["runs"]) == (pytest.approx(expected, abs=1e-3), len(RUNS))
    order = chart.to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert set(order) == names
    closest = max((r for r in found if r["over"] == "all runs"), key=lambda r: abs(r["rho"]))
    assert abs(order.index(closest["measure"]) - order.index(closest["beside"])) == 1
    (figure,) = matrix_figures(table)
    assert figure.caption.startswith("Spearman's ρ of every two measurements, over 27 runs.")


def test_zero_shot_is_kept_by_benchmark_with_the_adapter_on_and_off(table):
    (chart,) = zero_shot.zero_shot(table)
    panels = chart.to_dict()["hconcat"]
    assert [panel["title"] for panel in panels] == list(made_up.BENCHMARKS)
    found = [record for of in records(panels[1]) for record in of]
    means = {record["line"]: record["mean"] for record in found if "mean" in record}
    split = f"zero_shot:{made_up.BENCHMARKS[1]}"
    kept = [
        rows(table, "transfer.acc1.retention", run=run, split=split)[0]["value"]
        for run in ("run12", "run13", "run14")
    ]
    assert means["lora lr=0.0001 rank=8"] == pytest.approx(math.fsum(kept) / 3, rel=1e-3)
    assert means["lora lr=0.0001 rank=8, adapter off"] == pytest.approx(0.45 / 0.5)
    assert {r["run"] for r in found if r.get("line") == "full lr=0.001" and "value" in r} == {
        f"full lr=0.001 seed={seed}" for seed in range(3)
    }
    assert not any("full" in line and "off" in line for line in means)
    assert {"reference": 1.0} in found


def test_without_zero_shot_there_is_no_part_about_it(table):
    kept = ["zero_shot" not in (split or "") for split in table.rows["split"].to_pylist()]
    assert kept_figures(Table(table.rows.filter(kept), table.runs)) == ()


def test_of_more_groups_than_colours_two_stand_out_and_are_named():
    crowd = {f"way{i}": {"adapt": "full", "lr": 1e-4} for i in range(len(theme.COLOURS) + 1)}
    (chart,) = collapse.collapse(made_up.table(made_up.study(runs=crowd, seeds=[0])))
    params = {param["name"]: param.get("value") for param in chart.to_dict()["params"]}
    assert (params["first"], params["second"]) == ("way0", "way1")
    marks, named = chart.to_dict()["layer"][0]["layer"]
    assert marks["encoding"]["color"]["condition"]["test"] == STANDS_OUT
    assert (named["mark"]["type"], named["encoding"]["text"]["field"]) == ("text", "group")


def test_every_select_changes_what_is_drawn(browser, table, tmp_path):
    path = page.write(tmp_path, made_up.study(), table, [], NOTHING, MADE)
    tab, heard = opened(browser, path, width=390, scheme="dark")
    tab.on("console", lambda message: heard.append(message.text))
    for key, names in {
        "structure": ["measure"],
        "by-layer": ["measure"],
        "sweeps": [],
        "collapse": ["measure", "benchmark"],
        "zero-shot": [],
        "correlations": ["over"],
    }.items():
        tab.locator(f"#{key}").scroll_into_view_if_needed()
        tab.locator(f"#{key} svg.marks").first.wait_for()
        chart = tab.locator(f"#{key} svg.marks").first
        assert chart.locator(".role-mark path, .role-mark line").count() > 3, key
        assert [select.get_attribute("name") for select in tab.locator(f"#{key} select").all()] == names
        for select in tab.locator(f"#{key} select").all():
            before = chart.inner_html()
            select.select_option(index=1)
            tab.wait_for_function("([e, b]) => e.innerHTML !== b", arg=[chart.element_handle(), before])
    assert tab.evaluate(OVERFLOW) == 0
    assert heard == []
    tab.close()
