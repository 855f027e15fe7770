import subprocess
import sys
from pathlib import Path

import pytest

from tunescope.errors import StudyError
from tunescope.study.study import Study, dump_study, load_study

BASE = """
study: small
model: emoji-clip
task: {data: emoji/openmoji, label: subgroup}
seeds: [0, 1]
probes: [attention]
runs:
  full: {adapt: full, lr: [1e-5, 1e-4]}
  lora: {adapt: {kind: lora, rank: [2, 4]}, lr: 1e-3}
questions:
  - {ask: closer, metric: attention.entropy.change, compare: [lora, full]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, old: str, new: str) -> str:
    assert old in BASE
    with pytest.raises(StudyError) as caught:
        load_study(write(folder, BASE.replace(old, new)))
    return str(caught.value)


def test_groups_listed_values_and_seeds_make_the_grid(tmp_path):
    names = [member.name for member in load_study(write(tmp_path, BASE)).members()]
    assert names == [
        "full lr=1e-05 seed=0",
        "full lr=1e-05 seed=1",
        "full lr=0.0001 seed=0",
        "full lr=0.0001 seed=1",
        "lora lr=0.001 rank=2 seed=0",
        "lora lr=0.001 rank=2 seed=1",
        "lora lr=0.001 rank=4 seed=0",
        "lora lr=0.001 rank=4 seed=1",
    ]


def test_scientific_notation_is_a_number(tmp_path):
    assert load_study(write(tmp_path, BASE)).members()[0].spec.lr == 1e-5


def test_a_tuple_setting_is_not_an_axis(tmp_path):
    text = BASE.replace("rank: [2, 4]", "targets: [q, k]")
    members = load_study(write(tmp_path, text)).members()
    assert [member.factors for member in members if member.group == "lora"] == [
        {"lr": 1e-3, "seed": 0},
        {"lr": 1e-3, "seed": 1},
    ]
    assert members[-1].spec.adapt.model_dump()["targets"] == ("q", "k")


def test_what_is_dumped_reads_back_the_same(tmp_path):
    study = load_study(write(tmp_path, BASE))
    again = load_study(write(tmp_path, dump_study(study)))
    assert again.members() == study.members()
    assert again.questions == study.questions


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("probes:", "prods:", ["unknown key 'prods'", "did you mean 'probes'"]),
        ("label: subgroup", "lable: subgroup", ["task.lable", "did you mean 'label'"]),
        ("rank: [2, 4]", "rnak: 4", ["runs.lora", "unknown key 'rnak'", "did you mean 'rank'"]),
        ("kind: lora", "kind: lroa", ["unknown adapt 'lroa'", "did you mean 'lora'"]),
        ("rank: [2, 4]", "rank: 0", ["runs.lora", "rank", "got 0"]),
        ("lr: 1e-3", "lr: -1e-3", ["runs.lora", "lr", "greater than 0", "-0.001"]),
        ("lr: 1e-3", "lr: 0", ["runs.lora", "lr", "greater than 0"]),
        ("lr: 1e-3", "lr: .nan", ["runs.lora", "lr", "finite"]),
        ("lr: 1e-3", "learning_rate: 1e-3", ["unknown key 'learning_rate'"]),
        ("model: emoji-clip\n", "", ["model: missing"]),
        ("compare: [lora, full]", "compare: [lora, fall]", ["unknown group 'fall'", "did you mean 'full'"]),
        ("compare: [lora, full]", "compare: [lora]", ["compare"]),
        (", compare: [lora, full]", "", ["exactly one of 'compare'"]),
        (
            "compare: [lora, full]",
            "compare: [lora, full], at: beast",
            ["'all', 'best' or factors", "'beast'"],
        ),
        (
            "probes: [attention]",
            "probes: [atention]",
            ["unknown probe 'atention'", "did you mean 'attention'"],
        ),
        (
            "probes: [attention]",
            "probes: [attention, {kind: attention, rows: all}]",
            ["probes: the probe 'attention' stands twice"],
        ),
        (
            "probes: [attention]",
            "train: {monitor: {probes: [updates, attention, updates]}}",
            ["train.monitor.probes: the probe 'updates' stands twice"],
        ),
        ("seeds: [0, 1]", "seeds: []", ["seeds: expected at least 1 of them, got []"]),
        ("seeds: [0, 1]", "seeds: [0, 0]", ["'full lr=1e-05 seed=0' stands twice, and would count as two"]),
        (
            "lr: 1e-3",
            "lr: 1e-3, seeds: []",
            ["runs.lora: seeds: expected a whole number or a list", "got []"],
        ),
        ("lr: 1e-3", "lr: 1e-3, seeds: null", ["runs.lora: seeds: expected a whole number", "got None"]),
        ("lr: [1e-5, 1e-4]", "lr: []", ["runs.full: lr: the list is empty"]),
        ("rank: [2, 4]", "rank: [2, 2]", ["runs.lora", "'lora lr=0.001 rank=2 seed=0' stands twice"]),
        ("full: {adapt: full, lr: [1e-5, 1e-4]}", "full:", ["runs: full: expected settings", "got None"]),
        ("  full:", "  1:", ["a group's name is a text, got 1"]),
        ("  full:", "  lora:", ["the key 'lora' stands twice"]),
        (BASE[BASE.index("runs:") : BASE.index("questions:")], "runs: {}\n", ["runs:", "the plan is empty"]),
        ("compare: [lora, full]", "compare: [full, full]", ["'compare' names the group 'full' twice"]),
        (
            "questions:\n",
            "questions:\n  - {ask: closer, metric: attention.entropy.change, compare: [lora, full]}\n",
            ["question 'closer' stands twice"],
        ),
        ("seeds: [0, 1]", "seeds: [-1]", ["seeds", "-1"]),
        ("study: small", "study: ../small", ["study"]),
        ("study: small", "study: small\nstudy: again", ["'study' stands twice"]),
        ("study: small", "study: !!python/object/apply:os.system [ls]", ["not valid YAML"]),
    ],
)
def test_a_mistake_is_named_with_its_place_and_its_fix(tmp_path, old, new, said):
    message = refusal(tmp_path, old, new)
    for part in ["study.yaml", *said]:
        assert part in message


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"none\.yaml: cannot be read"):
        load_study(tmp_path / "none.yaml")


def test_a_study_is_planned_without_torch(tmp_path):
    path = write(tmp_path, BASE)
    code = (
        "import sys; from tunescope.study.study import load_study\n"
        f"assert len(load_study({str(path)!r}).members()) == 8\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_image_size_is_the_studys_or_a_groups_and_may_be_an_axis():
    said = {
        "study": "s",
        "model": "m",
        "image_size": 64,
        "task": {"data": "d"},
        "runs": {
            "a": {"adapt": "full", "lr": 1e-3},
            "b": {"adapt": "full", "lr": 1e-3, "image_size": [48, 96]},
        },
    }
    members = Study.parse(said, "test").members()
    assert [member.spec.image_size for member in members] == [64, 48, 96]
    assert [member.factors.get("image_size") for member in members] == [None, 48, 96]


def test_a_group_may_have_a_task_and_a_model_of_its_own_and_both_may_be_axes():
    said = {
        "study": "s",
        "model": "m",
        "task": {"data": "d", "label": "kind", "min_per_class": 8},
        "runs": {
            "a": {"adapt": "full", "lr": 1e-3},
            "b": {"adapt": "full", "lr": 1e-3, "task": {"data": ["e", "f"]}},
            "c": {"adapt": "full", "lr": 1e-3, "model": ["m", "n"], "task": {"label": ["kind", "hue"]}},
        },
    }
    members = Study.parse(said, "test").members()
    told = [(one.spec.model, one.spec.task.data, one.spec.task.label) for one in members]
    assert told == [
        ("m", "d", "kind"),
        ("m", "e", "kind"),
        ("m", "f", "kind"),
        *((model, "d", label) for model in ("m", "n") for label in ("kind", "hue")),
    ]
    assert {one.spec.task.min_per_class for one in members} == {8}
    assert members[2].factors == {"lr": 1e-3, "data": "f", "seed": 0}
    assert members[4].name == "c lr=0.001 model=m label=hue seed=0"
    wrong = {"x": {"adapt": "full", "lr": 1e-3, "task": {"dta": "e"}}}
    with pytest.raises(StudyError, match="did you mean 'data'"):
        Study.parse(said | {"runs": wrong}, "test").members()


def test_after_is_a_part_of_a_run_and_its_settings_may_be_axes():
    said = {
        "study": "s",
        "model": "m",
        "task": {"data": "d"},
        "runs": {
            "plain": {"adapt": "full", "lr": 1e-3, "after": None},
            "wise": {"adapt": "full", "lr": 1e-3, "after": {"kind": "wise_ft", "alpha": [0.5, "val"]}},
            "soup": {"adapt": "full", "lr": 1e-3, "after": {"kind": "uniform_soup", "lr": [1e-4, 1e-3]}},
        },
    }
    members = Study.parse(said, "test").members()
    assert [member.name for member in members] == [
        "plain lr=0.001 seed=0",
        "wise lr=0.001 alpha=0.5 seed=0",
        "wise lr=0.001 alpha=val seed=0",
        "soup lr=0.001 seed=0",
    ]
    assert [member.spec.components().get("after") for member in members] == [
        member.spec.after for member in members
    ]
    assert members[0].spec.after is None
    wrong = {"x": {"adapt": "full", "lr": 1e-3, "after": "wize_ft"}}
    with pytest.raises(StudyError, match="unknown after 'wize_ft'; did you mean 'wise_ft'"):
        Study.parse(said | {"runs": wrong}, "test").members()


def test_axes_of_one_name_say_where_they_stand():
    lora = {"kind": "lora", "alpha": [8, 16]}
    said = {
        "study": "s",
        "model": "m",
        "task": {"data": "d"},
        "runs": {
            "a": {"adapt": lora, "lr": 1e-3, "after": {"kind": "wise_ft", "alpha": [0.5, 1]}},
            "b": {"adapt": {"kind": "lp_ft", "lr": [0.1, 0.2]}, "lr": [1e-3, 1e-2]},
        },
    }
    assert [member.factors for member in Study.parse(said, "test").members()] == [
        *(
            {"lr": 1e-3, "adapt.alpha": rank, "after.alpha": alpha, "seed": 0}
            for rank in (8, 16)
            for alpha in (0.5, 1)
        ),
        *({"lr": lr, "adapt.lr": probe, "seed": 0} for lr in (1e-3, 1e-2) for probe in (0.1, 0.2)),
    ]


def test_a_limit_of_tokens_is_the_studys_or_a_groups_and_may_be_an_axis():
    told = {
        "study": "texts",
        "model": "m",
        "max_tokens": 64,
        "task": {"data": "emoji/names"},
        "runs": {
            "a": {"adapt": "full", "lr": 1e-3},
            "b": {"adapt": "full", "lr": 1e-3, "max_tokens": [8, 16]},
        },
    }
    members = Study.parse(told, "test").members()
    assert [member.spec.max_tokens for member in members] == [64, 8, 16]
    assert [member.factors.get("max_tokens") for member in members] == [None, 8, 16]
