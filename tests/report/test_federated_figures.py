"""The parts of the page about federated runs, held against the table."""

import math

import numpy as np
import pytest
from report import synthetic_federation as made_up
from report.records import records, rows
from report.synthetic_study import MADE
from report.test_page import NOTHING, OVERFLOW, opened
from scipy import stats

from tunescope.report import (
    charts,
    convergence,
    dashboard,
    dynamics,
    federated_clients,
    federated_gain,
    federated_numbers,
    federated_partition,
    federated_rounds,
    federated_traffic,
    federated_words,
    page,
    paper,
)
from tunescope.report.federated_figures import federated_figures
from tunescope.report.figures import figures
from tunescope.report.titles import title
from tunescope.results.metric import declared
from tunescope.results.table import Table
from tunescope.stats.answer import answer
from tunescope.study.question import Question

NAIVE, FEDEX = (["run03", "run04", "run05"], ["run06", "run07", "run08"])
IMG = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def study():
    return made_up.study()


@pytest.fixture(scope="module")
def table(study):
    return made_up.table(study, late="d")


def value(table, metric, run, **where):
    (row,) = rows(table, metric, run=run, **where)
    return row["value"]


def flat(chart):
    return [record for of in records(chart) for record in of]


def test_the_rows_are_of_the_declared_form(table):
    metrics = declared()
    for row in table.rows.to_pylist():
        metric = metrics[row["metric"]]
        used = {name for name in ("component", "split", "step") if row[name] is not None}
        if row["metric"].startswith("federated."):
            assert used == set(metric.dims), row["metric"]


def test_a_study_without_federated_runs_has_none_of_it(study, table):
    assert len(federated_figures(table)) == 5
    central = [run == "central" for run in table.runs["group"].to_pylist()]
    there = {f"run{i:02}" for i, own in enumerate(central) if own}
    only = Table(
        table.rows.filter([run in there for run in table.rows["run"].to_pylist()]),
        table.runs.filter(central),
    )
    assert federated_figures(only) == ()
    alone = made_up.study(federated=None, runs={"central": made_up.RUNS_OF["central"]})
    assert federated_words.told(only, alone) == ""
    words = "Federated in 2 of 3 groups: 4 clients, 3 rounds, joined by naive and fedex_lora."
    assert federated_words.told(table, study) == words


def test_a_circle_is_what_a_client_holds_of_a_class(table):
    (one,) = federated_partition.partitions(table)
    assert (one.run.id, one.settings, one.title) == ("run03", ("naive", "fedex"), "naive and fedex; seed 0")
    (row,) = federated_partition.pictures(table)
    held = made_up.held(0, made_up.CLIENTS, made_up.CLASSES)
    drawn = {(r["client"], r["class"]): r["examples"] for r in flat(row) if "class" in r}
    expected = {
        (client, name): n
        for client, own in zip(made_up.CLIENTS, held.tolist(), strict=True)
        for name, n in zip(made_up.CLASSES, own, strict=True)
        if n
    }
    assert drawn == expected
    assert {r["client"]: r["all"] for r in flat(row) if "all" in r} == dict(
        zip(made_up.CLIENTS, held.sum(1).tolist(), strict=True)
    )
    classes = row.to_dict()["hconcat"][0]["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert classes == [made_up.CLASSES[i] for i in np.argsort(-held.sum(0), kind="stable")]


def test_many_clients_are_coloured_cells_with_like_beside_like_and_what_is_left_out_is_said():
    clients = [f"client-{i:02}" for i in range(70)]
    one = made_up.study(seeds=[0], runs={"naive": made_up.RUNS_OF["naive"]})
    classes = [f"class {i}" for i in range(65)]
    many = made_up.table(one, clients=clients, classes=classes)
    (row,) = federated_partition.pictures(many)
    cells = flat(row)
    shown = list(dict.fromkeys(record["client"] for record in cells))
    assert (len(shown), len({record["class"] for record in cells})) == (60, 60)
    assert row.to_dict()["hconcat"][0]["layer"][0]["mark"]["type"] == "rect"
    order = row.to_dict()["hconcat"][0]["layer"][0]["encoding"]["y"]["scale"]["domain"]
    most = {}
    for record in cells:
        best = most.get(record["client"])
        if best is None or record["examples"] > best["examples"]:
            most[record["client"]] = record
    places = [order.index(most[client]["class"]) for client in shown]
    assert places == sorted(places)
    words = (
        "up to 10 clients with the fewest examples and the smallest of 65 classes; the table has them all."
    )
    assert federated_partition.told(many) == f" Left out for room: {words}"
    held = made_up.held(0, clients, classes).sum(1)
    largest, every = federated_numbers.largest(many, federated_numbers.federated(many), 12)
    assert (sorted(held)[-12:], every) == (sorted(held[[clients.index(one) for one in largest]]), 70)


def test_numbers_have_no_classes_and_clients_have_bars(table):
    kept = [metric != "federated.held" for metric in table.rows["metric"].to_pylist()]
    numbers = Table(table.rows.filter(kept), table.runs)
    (row,) = federated_partition.pictures(numbers)
    assert federated_partition.told(numbers).startswith(" A bar is all that a client holds")
    assert federated_partition.told(table) == ""
    held = made_up.held(0, made_up.CLIENTS, made_up.CLASSES).sum(1).tolist()
    assert [record["examples"] for record in flat(row)] == held


def test_rounds_are_means_over_runs_with_students_interval(table):
    found = {chart.to_dict()["title"]: chart for chart in federated_rounds.rounds(table)}
    assert list(found) == [
        "validation accuracy of the global model",
        "zero-shot accuracy of the global model",
        "aggregation error",
        "drift between clients: mean of 1 − CKA",
        "clients left out of a round",
    ]
    drawn = flat(found["validation accuracy of the global model"])
    for number in range(1, made_up.ROUNDS + 1):
        own = [value(table, "training.val_acc1", run, step=number) for run in NAIVE]
        half = stats.t.ppf(0.975, 2) * np.std(own, ddof=1) / math.sqrt(3)
        (mean,) = {
            (r["mean"], r["low"], r["high"])
            for r in drawn
            if (r.get("setting"), r.get("round")) == ("naive", number)
        }
        assert mean == pytest.approx((np.mean(own), np.mean(own) - half, np.mean(own) + half), rel=2e-3)
    ended = [value(table, "training.val_acc1", f"run{i:02}", step=30) for i in range(3)]
    assert [r["central"] for r in drawn if "central" in r] == [pytest.approx(np.mean(ended), rel=1e-3)]
    assert {r["run"] for r in drawn if "run" in r} == {
        f"{group} lr=0.001 seed={seed}" for group in ("naive", "fedex") for seed in range(3)
    }
    scale = found["aggregation error"].to_dict()["layer"][0]["encoding"]["y"]["scale"]
    assert (scale["type"], scale["clamp"]) == ("log", True)  # so that an error of 0 stands at the bottom
    assert 1e-6 < scale["domain"][0] < 0.1 / made_up.ROUNDS  # and rounding with it


@pytest.mark.parametrize(("above", "wider"), [(0.0, 1), (0.3, 0)], ids=["on it", "above it"])
def test_a_line_that_another_lies_on_is_wider_so_that_it_is_seen(table, above, wider):
    score, twins = "training.val_acc1", dict(zip(NAIVE, FEDEX, strict=True))
    others = [r for r in table.rows.to_pylist() if r["metric"] != score or r["run"] not in FEDEX]
    of_naive = [r for r in others if r["metric"] == score and r["run"] in NAIVE]
    moved = [r | {"run": twins[r["run"]], "value": r["value"] + above} for r in of_naive]
    changed = Table(table.rows.from_pylist(others + moved, schema=table.rows.schema), table.runs)
    (chart,) = (one for one in federated_rounds.rounds(changed) if one.title.startswith("validation"))
    widths = {
        name: layer["mark"]["strokeWidth"]
        for layer in chart.to_dict()["layer"]
        for step in layer.get("transform", ())
        for name in (step["filter"]["oneOf"] if "oneOf" in step.get("filter", ()) else ())
    }
    thin, step = federated_rounds.WIDTH, federated_rounds.STEP
    assert widths == {"naive": thin + wider * step, "fedex": thin}


def test_the_dashboard_and_tables_have_the_mean_traffic(table):
    found = dashboard.dashboard(table, [])
    assert found is not None
    place = found.columns.index("traffic, of full tuning's")
    assert [line.cells[place].text for line in found.lines] == ["", "1.0 %", "3.0 %"]
    assert [line.cells[place].best for line in found.lines] == [False, True, False]


def test_an_answer_has_the_unit_and_its_axis_the_words(table):
    where = {"step": "last"}
    asked = Question(ask="Less?", metric="federated.bytes_down", where=where, compare=("naive", "fedex"))
    (found,) = answer(table, [asked])
    assert found.sentence.startswith("naive 2e6 vs fedex 8e6 bytes per round")
    assert found.claim == "federated.bytes_down is lower for naive than for fedex"
    assert title(asked.metric, asked.where) == "traffic to clients, in the last round"


def test_where_nobody_was_left_out_there_is_no_chart_of_it(study):
    titles = [chart.to_dict()["title"] for chart in federated_rounds.rounds(made_up.table(study))]
    assert "clients left out of a round" not in titles


def test_a_panel_is_a_client_and_parts_are_taken_off_its_name(table):
    (chart,) = federated_clients.clients(table)
    document = chart.to_dict()
    assert [panel["title"]["text"] for panel in document["concat"]] == list(made_up.CLIENTS)
    (param,) = document["params"]
    assert param["bind"]["options"] == [
        "training loss at clients, nats",
        "CKA with what was sent",
        "attention entropy at clients, nats",
        "accuracy at clients",
    ]
    drawn = {(r["run"], r["round"]): r for r in flat(document["concat"][1])}
    one = drawn["naive lr=0.001 seed=1", 2]
    assert one["training loss at clients, nats"] == pytest.approx(
        value(table, "federated.loss", "run04", component="b", step=2), rel=1e-3
    )
    assert one["accuracy at clients"] == 0.4
    late = {r["round"] for r in flat(document["concat"][3])}
    assert late == {1, 3}


def test_gain_is_the_global_models_score_less_its_own(table):
    (chart,) = federated_gain.gain(table)
    assert [panel["title"] for panel in chart.to_dict()["concat"]] == ["naive", "fedex"]
    for record in flat(chart):
        runs = NAIVE if record["setting"] == "naive" else FEDEX
        own, all = (
            np.mean([value(table, f"federated.{name}", run, component=record["client"]) for run in runs])
            for name in ("personal", "global")
        )
        assert (record["own"], record["global"]) == (
            pytest.approx(own, rel=1e-3),
            pytest.approx(all, rel=1e-3),
        )
        assert record["gain"] == pytest.approx(all - own, abs=1e-4)


def test_traffic_adds_both_ways_and_up_over_rounds(table):
    megabytes, share, reached = federated_traffic.traffic(table)
    assert {r["run"]: r["value"] for r in flat(megabytes)}["fedex lr=0.001 seed=0"] == pytest.approx(7.0)
    assert {r["run"]: r["value"] for r in flat(megabytes)}["naive lr=0.001 seed=0"] == pytest.approx(3.0)
    assert {r["run"]: r["value"] for r in flat(share) if "run" in r}["fedex lr=0.001 seed=2"] == 0.03
    assert {r["whole"] for r in flat(share) if "whole" in r} == {1.0}
    drawn = {(r["setting"], r["round"]): r["megabytes"] for r in flat(reached)}
    assert [drawn["fedex", number] for number in (1, 2, 3)] == [5.0, 12.0, 21.0]
    assert [drawn["naive", number] for number in (1, 2, 3)] == [3.0, 6.0, 9.0]


def test_rounds_are_no_steps_of_other_charts(table):
    assert {r["run"] for chart in charts.training(table) for r in flat(chart)} == {
        f"central lr=0.001 seed={seed}" for seed in range(3)
    }
    assert {r["group"] for chart in convergence.convergence(table) for r in flat(chart)} == {"central"}
    (figure,) = dynamics.dynamics_figures(table)
    by_step, by_round = figure.draw(table)
    assert {r["group"] for r in flat(by_step)} == {"central"}
    assert {r["group"] for r in flat(by_round)} == {"naive", "fedex"}
    title = by_round.to_dict()["layer"][0]["encoding"]["x"]["title"]
    assert (title, figure.caption.endswith("Federated runs stand apart, by round.")) == ("round", True)
    federated = [group != "central" for group in table.runs["group"].to_pylist()]
    only = Table(table.rows, table.runs.filter(federated))
    assert "training" not in {figure.key for figure in figures(only, [])}


def test_every_chart_is_there_for_a_paper_too(table):
    names = {plate.name for plate in paper.plates(table, [], NOTHING)}
    assert names >= {
        "federated-partition",
        "federated-clients",
        "federated-gain",
        *(f"federated-rounds-{i}" for i in range(1, 6)),
        *(f"federated-traffic-{i}" for i in range(1, 4)),
    }


def test_it_is_drawn_on_a_phone_and_names_stay_text(browser, study, tmp_path):
    made = made_up.table(study, clients=(IMG, "b", "c", "d"), classes=("cat", IMG, "fox"), late="b")
    path = page.write(tmp_path, study, made, [], NOTHING, MADE)
    tab, heard = opened(browser, path, width=390, scheme="dark")
    tab.on("console", lambda message: heard.append(message.text))
    assert "Federated in 2 of 3 groups: 4 clients" in tab.locator(".lead").inner_text()
    for key in ("partition", "rounds", "clients", "gain", "traffic"):
        section = tab.locator(f"#federated-{key}")
        section.scroll_into_view_if_needed()
        section.locator("svg.marks").first.wait_for()
        assert section.locator("svg.marks .role-mark path, svg.marks .role-mark line").count() > 3, key
        assert section.locator("svg.marks").first.get_attribute("aria-label")
    assert IMG in tab.locator("#federated-partition").inner_text()
    chart = tab.locator("#federated-clients svg.marks")
    before = chart.inner_html()
    tab.locator("#federated-clients select").select_option(index=1)
    tab.wait_for_function("([e, b]) => e.innerHTML !== b", arg=[chart.element_handle(), before])
    tab.locator("#federated-gain .data summary").click()
    tab.wait_for_function("() => document.querySelectorAll('#federated-gain .data tbody tr').length === 8")
    tab.locator("#filters summary").click()
    tab.locator("#filters input[name=group]").nth(1).uncheck()  # naive
    tab.wait_for_function("() => document.querySelectorAll('#federated-gain .data tbody tr').length === 4")
    assert tab.locator("img:not([src^='data:'])").count() == 0
    assert tab.evaluate(OVERFLOW) == 0
    assert heard == []
    tab.close()
