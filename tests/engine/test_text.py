"""Studies on texts, carried out whole: classes on CLIP's text tower, numbers on pairs for a text encoder."""

import math

import pytest

from tunescope import api
from tunescope.engine.calibrate import figures
from tunescope.results.store import Store
from tunescope.study.study import Study

WORDS = {
    "study": "words",
    "model": "emoji-clip",
    "task": {
        "data": "emoji/names",
        "label": "group",
        "split": {"train": 0.3, "val": 0.1, "probe": 0.5, "test": 0.1},
    },
    "transfer": {"shifts": ["emoji/keywords"], "zero_shot": ["emoji/noto:subgroup"]},
    "train": {
        "epochs": 1,
        "batch_size": 64,
        "monitor": {"probes": ["attention", "transfer"], "every": 8, "examples": 4},
    },
    "probes": ["attention", "representation", "transfer"],
    "runs": {
        "full": {"adapt": "full", "lr": 1e-3, "penalties": ["entropy_floor"]},
        "lora": {"adapt": {"kind": "lora", "rank": 2}, "lr": 1e-2, "max_tokens": 8},
        "probe": {"adapt": "linear_probe", "lr": 1e-1},
    },
    "questions": [
        {"ask": "f1", "metric": "transfer.f1", "where": {"split": "test"}, "compare": ["full", "lora"]},
        {"ask": "moved", "metric": "attention.entropy.change", "compare": ["full", "lora"]},
        {"ask": "phi", "metric": "transfer.matthews", "where": {"step": "8"}, "compare": ["full", "lora"]},
    ],
}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    return api.run(Study.parse(WORDS, "test"), folder, executor="serial"), folder


def test_the_text_tower_is_tuned_on_texts(words):
    result, _ = words
    assert [run.state for run in result.runs] == ["done"] * 3, [run.cause for run in result.runs]
    found = {
        (row["metric"], row["component"], row["split"]): row["low"]
        for row in result.table.sql(
            "select metric, component, split, min(value) as low from rows where step is null group by all"
        ).to_pylist()
    }
    heads = {key[1:] for key in found if key[0] == "transfer.f1"}
    trained = {("trained", split) for split in ("val", "test", "shift:emoji/keywords")}
    assert heads == trained | {("text", "zero_shot:emoji/noto:subgroup")}
    assert found["transfer.acc1", "trained", "test"] > 2 / 8
    assert found["transfer.acc1", "trained", "shift:emoji/keywords"] > 2 / 8
    assert found["transfer.matthews", "trained", "test"] > 0.1
    towers = result.table.sql("select distinct tower from rows where tower is not null").to_pylist()
    assert towers == [{"tower": "text"}]
    assert result.report.is_file()


def test_what_is_frozen_stays_and_what_is_taken_off_is_the_base(words):
    result, folder = words
    name = "transfer.acc1"
    kept = {
        group: [value.value for value in result.table.per_run(f"{name}.retention", groups=[group])]
        for group in ("full", "lora", "probe")
    }
    assert kept["probe"] == [1.0]  # the vision tower and the text tower are the base model's
    assert kept["full"] != [1.0]
    off, base = (
        result.table.per_run(f"attention.entropy.{of}", groups=["lora"]) for of in ("base_only", "base")
    )
    assert [value.value for value in off] == [value.value for value in base]
    moved = result.table.per_run("attention.entropy.change", reduce="mean_abs")
    assert {value.group: value.value > 0 for value in moved} == {"full": True, "lora": True, "probe": False}
    arrays = [Store(folder / "store").read(run.id).arrays() for run in result.runs]
    assert not any("attention.rollout" in found for found in arrays)
    assert not any(folder.glob("store/decoded/*text*"))


def test_a_run_on_texts_is_calibrated(words):
    _, folder = words
    found = figures(Study.parse(WORDS, "test").members()[0].spec, Store(folder / "store"))
    assert min(found.setup, found.step, found.validate, found.look, found.measure) > 0


def test_numbers_are_learnt_from_pairs(tiny_folder, tmp_path):
    rows = [f"{'a' * (i % 7 + 1)} b,c {'d' * (i % 5 + 1)},{5 * (i % 7) / 6}" for i in range(60)]
    (tmp_path / "pairs.csv").write_text("\n".join(["sentence1,sentence2,label", *rows]))
    (tmp_path / "shift.csv").write_text(
        "\n".join(["sentence1,sentence2,label", "aa b,c e,0.5", "aaa b,e e,4"])
    )
    told = {
        "study": "pairs",
        "model": str(tiny_folder("bert")),
        "task": {"data": f"text:{tmp_path / 'pairs.csv'}"},
        "transfer": {"shifts": [f"text:{tmp_path / 'shift.csv'}"]},
        "train": {"epochs": 12, "batch_size": 8},
        "probes": ["attention", "representation", "transfer"],
        "runs": {
            group: {"adapt": adapt, "lr": 1e-2, "objective": "squared_error"}
            for group, adapt in (("lora", {"kind": "lora", "rank": 2}), ("frozen", "linear_probe"))
        },
        "questions": [
            {
                "ask": "ranks",
                "metric": "transfer.spearman",
                "where": {"split": "test"},
                "compare": ["lora", "frozen"],
            }
        ],
    }
    result = api.run(Study.parse(told, "test"), tmp_path / "results", executor="serial")
    assert [run.state for run in result.runs] == ["done", "done"], [run.cause for run in result.runs]
    correlation = result.table.per_run("transfer.pearson", {"split": "test"}, groups=["lora"])[0].value
    assert correlation > 0.5
    first, last = (
        result.table.sql(
            f"select value from rows where metric = 'training.loss' and run = '{result.runs[0].id}' "
            f"order by step {order} limit 1"
        ).to_pylist()[0]["value"]
        for order in ("asc", "desc")
    )
    assert last < first / 2
    metrics = set(result.table.metrics())
    assert {"transfer.squared_error", "transfer.pearson.base_only", "training.val_loss"} <= metrics
    assert not {"transfer.acc1", "transfer.f1", "training.val_acc1"} & metrics
    assert all(
        math.isfinite(v.value) for v in result.table.per_run("transfer.squared_error", {"split": "shift:*"})
    )
    assert result.report.is_file()
