"""A whole study on a folder's model of every family: loaded, tuned, measured, answered, shown."""

import math

import pytest
from families import FAMILIES

from tunescope import api
from tunescope.errors import TunescopeError
from tunescope.results.store import Store
from tunescope.study.study import Study

TEXT = ("clip", "siglip")  # families with a text tower


@pytest.mark.parametrize("family", FAMILIES)
def test_a_study_runs_on_a_folders_model(family, tiny_folder, tmp_path):
    told = {
        "study": family,
        "model": str(tiny_folder(family)),
        "task": {
            "data": "emoji/openmoji",
            "label": "group",
            "split": {"train": 0.1, "val": 0.05, "probe": 0.05, "test": 0.8},
        },
        "transfer": {
            "shifts": ["emoji/openmoji-line"],
            "zero_shot": ["emoji/noto:group"] if family in TEXT else [],
        },
        "train": {"epochs": 1},
        "runs": {
            "lora": {"adapt": {"kind": "lora", "rank": 2}, "lr": 1e-2},
            "floor": {
                "adapt": {"kind": "freeze", "blocks": 1},
                "lr": 1e-2,
                "penalties": ["entropy_floor"],
                "image_size": 48,
            },
        },
        "probes": ["attention", "transfer"],
        "questions": [{"ask": "moved", "metric": "attention.entropy.change", "compare": ["lora", "floor"]}],
    }
    result = api.run(Study.parse(told, "test"), tmp_path, executor="serial")
    assert [run.state for run in result.runs] == ["done", "done"], [run.cause for run in result.runs]
    moved = result.table.per_run("attention.entropy.change", reduce="mean_abs")
    assert all(math.isfinite(value.value) and value.value > 0 for value in moved)
    maps = [Store(tmp_path / "store").read(run.id).arrays()["attention.rollout"] for run in result.runs]
    assert [found.shape[1:] for found in maps] == [(4, 4), (6, 6)]  # patches of 8 of 32 and of 48 pixels
    heads = {
        row["component"]
        for row in result.table.sql("select component from rows where metric = 'transfer.acc1'").to_pylist()
    }
    assert heads == ({"trained", "text"} if family in TEXT else {"trained"})
    off = result.table.per_run("attention.entropy.base_only", groups=["lora"])
    base = result.table.per_run("attention.entropy.base", groups=["lora"])
    assert off[0].value == base[0].value, "a LoRA that is taken off leaves the base model"
    assert result.report.is_file()


def test_a_model_without_a_text_tower_has_no_zero_shot(tiny_folder, tmp_path):
    told = {
        "study": "vit",
        "model": str(tiny_folder("vit")),
        "task": {"data": "emoji/openmoji"},
        "transfer": {"zero_shot": ["emoji/noto:name"]},
        "runs": {"full": {"adapt": "full", "lr": 1e-3}},
    }
    with pytest.raises(TunescopeError, match=r"runs\.full: .*no text tower.*remove transfer\.zero_shot"):
        api.run(Study.parse(told, "test"), tmp_path, executor="serial")


def test_a_text_head_without_a_text_tower_is_refused_whichever_group_asks(tiny_folder, tmp_path):
    told = {
        "study": "vit",
        "model": str(tiny_folder("vit")),
        "task": {"data": "emoji/openmoji"},
        "runs": {
            "linear": {"adapt": "full", "lr": 1e-3},
            "text": {"adapt": "full", "lr": 1e-3, "objective": {"kind": "cross_entropy", "head": "text"}},
        },
    }
    with pytest.raises(TunescopeError, match=r"runs\.text: .*text tower"):
        api.run(Study.parse(told, "test"), tmp_path, executor="serial")
    assert not (tmp_path / "store" / "runs").exists()


def test_an_image_size_that_does_not_fit_is_a_mistake(tiny_folder, tmp_path):
    told = {
        "study": "vit",
        "model": str(tiny_folder("vit")),
        "image_size": 50,
        "task": {"data": "emoji/openmoji"},
        "runs": {"full": {"adapt": "full", "lr": 1e-3}},
    }
    with pytest.raises(TunescopeError, match=r"runs\.full: image_size 50: expected a multiple of .* 8"):
        api.run(Study.parse(told, "test"), tmp_path, executor="serial")
