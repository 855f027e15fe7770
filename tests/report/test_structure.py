import pytest
from report import synthetic_moved as made_up
from report.records import records

from tunescope.report import structure
from tunescope.report.moved_figures import before_figures
from tunescope.results.table import Table


def drawn(**changes):
    (chart,) = structure.structure(made_up.table(made_up.study(**changes)))
    dots, line = sorted(records(chart), key=lambda found: "head" not in found[0])
    return chart.to_dict(), dots, line


def test_heads_are_dots_and_their_mean_is_the_line():
    document, dots, line = drawn(seeds=[0])
    (head,) = [dot for dot in dots if (dot["layer"], dot["head"]) == (2, 1)]
    assert head["entropy, nats"] == pytest.approx(3.5)
    assert head["head diversity"] is None
    (mean,) = [one for one in line if one["layer"] == 2]
    assert (mean["entropy, nats"], mean["head diversity"]) == (pytest.approx(3.35), pytest.approx(0.6))
    (measure,) = document["params"]
    assert measure["bind"]["options"] == ["entropy, nats", "head diversity"]


def test_one_base_stands_once_and_others_are_a_choice():
    varied = {"full": {"adapt": "full", "lr": [1e-5, 1e-4], "task": {"data": ["a", "b"]}}}
    document, dots, _ = drawn(runs=varied)
    assert [param["name"] for param in document["params"]] == ["measure", "of"]
    assert document["params"][1]["bind"]["options"] == ["a", "b"]
    assert len(dots) == 2 * made_up.LAYERS * made_up.HEADS
    (second,) = [dot for dot in dots if (dot["of"], dot["layer"], dot["head"]) == ("b", 0, 0)]
    assert second["entropy, nats"] == pytest.approx(4.0)


def test_bases_that_no_factor_tells_apart_are_named_by_their_groups():
    table = made_up.table(made_up.study(seeds=[0]))
    own = table.rows.to_pylist()
    for row in own:  # what lora's runs see is seen by nobody else
        if row["run"] in ("run03", "run04", "run05") and row["metric"] == "attention.entropy.base":
            row["value"] += 1
    (chart,) = structure.structure(Table(table.rows.from_pylist(own, schema=table.rows.schema), table.runs))
    assert chart.to_dict()["params"][1]["bind"]["options"] == ["full, floor", "lora"]


def test_towers_stand_apart_and_no_attention_is_no_part():
    table = made_up.table(made_up.study(seeds=[0]))
    both = table.rows.to_pylist()
    both += [row | {"tower": "text"} for row in both if row["tower"] == "vision"]
    found = Table(table.rows.from_pylist(both, schema=table.rows.schema), table.runs)
    assert len(structure.structure(found)) == 2
    kept = ["attention" not in metric for metric in table.rows["metric"].to_pylist()]
    assert before_figures(Table(table.rows.filter(kept), table.runs)) == ()
