"""What follows tuning, as runs of a study."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_study import images, study

from tunescope import api
from tunescope.engine.events import Event
from tunescope.engine.job import Job, attempt
from tunescope.engine.plan import Planned, plan
from tunescope.engine.work import Tuned, tune
from tunescope.errors import MethodError
from tunescope.methods.method import Installed
from tunescope.models.load import load
from tunescope.results.store import Store
from tunescope.study.study import load_study

LORA = "{kind: lora, rank: 2}"


@pytest.fixture
def write(tiny_folder, tmp_path):
    """Writes a study of a tiny CLIP whose `runs` are these, and returns its path."""
    data = images(tmp_path / "images", each=10)

    def written(runs: str, engine: str = "{}") -> Path:
        path = tmp_path / "tiny.yaml"
        train = "{epochs: 1, batch_size: 8}"
        path.write_text(study(tiny_folder("clip"), data, runs, engine=engine, train=train))
        return path

    return written


def planned(path: Path, store: Store) -> dict[str, Planned]:
    return {run.member.group: run for run in plan(load_study(path), store)}


def carry_out(path: Path, root: Path) -> Store:
    """Every run of the study, without its page."""
    asked, store = load_study(path), Store(root)
    for run in plan(asked, store):
        attempt(Job(run, root, asked.engine), lambda event: None)
    return store


def log(store: Store, run_id: str) -> list[dict]:
    lines = (store.read(run_id).folder / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "after" in line]


def weights(store: Store, run_id: str) -> dict[str, torch.Tensor]:
    path = store.read(run_id).weights
    assert path is not None
    return load_file(path)


def test_a_study_of_soups_computes_each_ingredient_once(write, tmp_path):
    path = write(
        f"{{soup: {{adapt: {LORA}, lr: 1, after: {{kind: uniform_soup, lr: [1e-3, 1e-2], seeds: [0, 1]}}}},"
        f" greedy: {{adapt: {LORA}, lr: 1, after: {{kind: greedy_soup, lr: [1e-3, 1e-2]}}}},"
        f" parts: {{adapt: {LORA}, lr: [1e-3, 1e-2], seeds: [0, 1]}}}}"
    )
    events: list[Event] = []
    done = api.run(path, tmp_path / "results", executor="serial", tell=events.append)
    store = Store(tmp_path / "results" / "store")
    assert {run.state for run in done.runs} == {"done"}
    assert [run.id for run in done.runs if not store.has(run.id)] == []
    runs = [row["run"] for row in done.table.sql("select distinct run from rows").to_pylist()]
    assert len(runs) == len(done.runs) == 6, "ingredients are runs of the study, and no others"
    # the first run tunes all four; the parts are there when it is their turn
    told = [(event.run.member.group, event.step, event.steps) for event in events if event.kind == "step"]
    assert {group for group, *_ in told} == {"soup"}
    steps = told[0][2]
    assert [step for _, step, _ in told] == list(range(1, steps + 1))

    by_name = {run.member.name: run.id for run in done.runs}
    soup, greedy = by_name["soup lr=1 seed=0"], by_name["greedy lr=1 seed=0"]
    names = [f"lr={lr} seed={seed}" for lr in (0.001, 0.01) for seed in (0, 1)]
    assert [(line["ingredient"], line["in"]) for line in log(store, soup)[:-1]] == [
        (name, True) for name in names
    ]
    assert {line["ingredient"] for line in log(store, greedy)[:-1]} == {"lr=0.001 seed=0", "lr=0.01 seed=0"}
    rows = {(row["metric"], row["split"]): row["value"] for row in store.read(soup).rows.to_pylist()}
    assert rows["after.ingredients", None] == 4
    assert 0 <= rows["after.val_acc1", "val"] <= 1
    assert ("transfer.acc1", "test") in rows
    assert not any(metric.endswith(".base_only") for metric, _ in rows), "there is no adapter to take off"

    # what is published: the plain model's weights, W₀ plus the mean change, and the mean head
    published = weights(store, soup)
    encoder = load(load_study(path).model)
    parts = [weights(store, by_name[f"parts {name}"]) for name in names]
    for name, value in published.items():
        if name.startswith("head."):
            expected = torch.stack([part[name] for part in parts]).double().mean(0)
        else:
            owner = name.removesuffix(".weight")
            plain = encoder.model.get_parameter(name.removeprefix("encoder.")).detach().double()
            if f"{owner}.lora_A.default.weight" in parts[0]:
                changes = [
                    8
                    * part[f"{owner}.lora_B.default.weight"].double()
                    @ part[f"{owner}.lora_A.default.weight"].double()
                    for part in parts
                ]  # α / r = 16 / 2
                plain = plain + torch.stack(changes).mean(0)
            expected = plain
        torch.testing.assert_close(value.double(), expected, atol=1e-6, rtol=2e-6)
    own = {name.removeprefix("encoder."): v for name, v in published.items() if name.startswith("encoder.")}
    installed = Installed(encoder, "vision", {name: encoder.model.get_parameter(name) for name in own})
    installed.load_state_dict(own)
    again: list[Event] = []
    api.run(path, tmp_path / "results", executor="serial", tell=again.append)
    assert again == []


def test_in_memory_it_is_the_same_bit_for_bit(write, tmp_path):
    path = write(
        f"{{soup: {{adapt: {LORA}, lr: 1e-2, after: {{kind: greedy_soup, seeds: [0, 1]}}}},"
        " wise: {adapt: full, lr: 1e-2, objective: {kind: cross_entropy, head: text},"
        " after: {kind: wise_ft, alpha: val}}}"
    )
    store = carry_out(path, tmp_path / "store")
    for group, run in planned(path, store).items():
        steps: list[tuple[int, int]] = []
        found: Tuned = tune(run.member.spec, on_step=lambda *step, steps=steps: steps.append(step))
        assert len(steps) == (2 if group == "soup" else 1) * steps[0][1]
        kept = weights(store, run.id)
        assert kept.keys() == found.weights().keys()
        assert all(torch.equal(kept[name], value) for name, value in found.weights().items())
        lines = [line for line in found.history.log if "after" in line]
        assert lines == log(store, run.id)
        last = None
        if group == "wise":
            highest = max(line["val_acc1"] for line in lines)
            last = max(line["alpha"] for line in lines if line["val_acc1"] == highest)
        rows = {row.metric: row.value for row in found.history.rows}
        assert rows.get("after.alpha") == last


def test_what_is_made_sparse_is_a_plain_model_that_probes_measure_killed_or_not(write, tmp_path):
    after = "{kind: straggler_sparsity, layers: [1], share: 0.5, by: magnitude}"
    path = write(
        f"{{sparse: {{adapt: {LORA}, lr: 1e-1, after: {after}}}, whole: {{adapt: {LORA}, lr: 1e-1}}}}"
    )
    path.write_text(
        path.read_text().replace("probes: [transfer]", "probes: [transfer, {kind: path, points: 3}]")
    )
    store = Store(tmp_path / "store")
    runs = planned(path, store)
    job = Job(runs["sparse"], store.root, load_study(path).engine)
    first: list[Event] = []
    under_way = lambda: any(event.step > event.steps / 2 for event in first)  # noqa: E731
    assert attempt(job, first.append, under_way).kind == "stopped"
    for run in runs.values():
        assert attempt(replace(job, run=run), lambda event: None).kind == "done"

    sparse, whole = (weights(store, runs[group].id) for group in ("sparse", "whole"))
    base = load(load_study(path).model).model
    changed = {name for name in sparse if name.startswith("encoder.")}
    assert {
        f"{name.removesuffix('.lora_A.default.weight')}.weight" for name in whole if "lora_A" in name
    } == {name for name in changed if name.endswith(".weight")}
    for name in changed:
        start = base.get_parameter(name.removeprefix("encoder."))
        owner = name.removesuffix(".weight")
        if f"{owner}.lora_A.default.weight" not in whole:  # a bias, which LoRA leaves alone
            assert torch.equal(sparse[name], start)
            continue
        tuned = start + 8 * whole[f"{owner}.lora_B.default.weight"] @ whole[f"{owner}.lora_A.default.weight"]
        back = sparse[name] == start
        torch.testing.assert_close(sparse[name][~back], tuned[~back], atol=1e-6, rtol=1e-5)
        assert back.any() == (".layers.1." in name)
    assert all(torch.equal(sparse[name], whole[name]) for name in whole if name.startswith("head."))

    rows = store.read(runs["sparse"].id).rows.to_pylist()
    said = {row["metric"]: row["value"] for row in rows if row["metric"].startswith("after.")}
    assert said.keys() == {"after.sparsity", "after.stragglers", "after.alpha", "after.val_acc1"}
    assert not any(row["metric"].endswith(".base_only") for row in rows), "there is no adapter to take off"
    here = {"split": "test", "component": "trained"}
    (end,) = [
        row["value"] for row in rows if row | here | {"metric": "landscape.path_acc1", "point": 1.0} == row
    ]
    (seen,) = [row["value"] for row in rows if row | here | {"metric": "transfer.acc1"} == row]
    assert end == seen, "the path ends at the sparse model"

    straight = Store(tmp_path / "straight")
    assert attempt(replace(job, root=straight.root), lambda event: None).kind == "done"
    expected = weights(straight, runs["sparse"].id)
    assert all(torch.equal(value, expected[name]) for name, value in sparse.items())


def bases(store: Store) -> int:
    """How many of what is published are measurements of base models."""
    return sum(store.read(run).outcome.get("kind") == "base" for run in store.ids())


def test_asked_to_stop_it_goes_on_with_the_ingredient_that_was_under_way(write, tmp_path):
    path = write(f"{{soup: {{adapt: {LORA}, lr: 1e-2, after: {{kind: uniform_soup, seeds: [0, 1]}}}}}}")
    store = Store(tmp_path / "store")
    run = planned(path, store)["soup"]
    job = Job(run, store.root, load_study(path).engine)
    first: list[Event] = []
    in_the_second = lambda: any(event.step > event.steps / 2 for event in first)  # noqa: E731
    assert attempt(job, first.append, in_the_second).kind == "stopped"
    assert len(store.ids()) == bases(store) + 1
    assert len(store.half_way()) == 1
    rest: list[Event] = []
    assert attempt(job, rest.append).kind == "done"
    steps = [event.step for event in (*first, *rest) if event.kind == "step"]
    assert steps == list(range(1, first[-1].steps + 1)), "no step is taken twice"
    assert store.half_way() == []

    straight = Store(tmp_path / "straight")
    assert attempt(replace(job, root=straight.root), lambda event: None).kind == "done"
    expected = weights(straight, run.id)
    assert all(torch.equal(value, expected[name]) for name, value in weights(store, run.id).items())


KILLED = """
import os, signal, sys
from pathlib import Path
from tunescope.engine.job import Job, attempt
from tunescope.engine.plan import plan
from tunescope.results.store import Store
from tunescope.study.study import load_study

asked, store = load_study(sys.argv[1]), Store(sys.argv[2])
def tell(event):
    if event.kind == "step" and event.step > event.steps * 2 / 3:  # within the last of three
        os.kill(os.getpid(), signal.SIGKILL)
attempt(Job(plan(asked, store)[0], store.root, asked.engine), tell)
"""


def test_killed_it_finds_its_ingredients_again(write, tmp_path):
    path = write(f"{{soup: {{adapt: {LORA}, lr: 1e-2, after: {{kind: uniform_soup, seeds: [0, 1, 2]}}}}}}")
    store = Store(tmp_path / "store")
    done = subprocess.run([sys.executable, "-c", KILLED, path, store.root], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    there = {run: store.read(run).folder.stat().st_mtime_ns for run in store.ids()}
    assert len(there) == bases(store) + 2
    assert planned(path, store)["soup"].state == "missing"
    carry_out(path, store.root)
    assert planned(path, store)["soup"].state == "done"
    assert len(store.ids()) == bases(store) + 3 + 1
    assert {run: store.read(run).folder.stat().st_mtime_ns for run in there} == there
    assert store.verify() == []


def test_it_waits_for_an_ingredient_that_somebody_else_tunes(write, tmp_path):
    path = write(
        f"{{soup: {{adapt: {LORA}, lr: 1e-2, after: {{kind: uniform_soup, seeds: [0, 1]}}}},"
        f" part: {{adapt: {LORA}, lr: 1e-2, seeds: 1}}}}"
    )
    store = Store(tmp_path / "store")
    runs = planned(path, store)
    job = Job(runs["soup"], store.root, load_study(path).engine)
    with store.claim(runs["part"].id) as mine:
        assert mine
        asked = iter([False] * 10)  # after its steps, and while it waits
        ended = attempt(job, lambda event: None, lambda: next(asked, True))
        assert (ended.kind, ended.text) == (
            "stopped",
            "stopped while another process tuned the ingredient lr=0.01 seed=1",
        )
    assert not store.has(runs["part"].id)
    assert attempt(job, lambda event: None).kind == "done"
    assert store.has(runs["part"].id)


def test_an_ingredient_that_diverges(write, tmp_path):
    path = write(
        "{uniform: {adapt: full, lr: 1, after: {kind: uniform_soup, lr: [1e-3, 1e30]}},"
        " greedy: {adapt: full, lr: 1, after: {kind: greedy_soup, lr: [1e30, 1e-3]}}}"
    )
    store = carry_out(path, tmp_path / "store")
    runs = planned(path, store)
    assert runs["uniform"].state == "failed"
    assert "ingredient lr=1e+30 seed=0 diverged at step" in runs["uniform"].cause
    assert [line["ingredient"] for line in log(store, runs["uniform"].id)] == ["lr=0.001 seed=0"]
    assert runs["greedy"].state == "done"
    left_out, taken, all_of_it = log(store, runs["greedy"].id)
    assert (left_out["ingredient"], left_out["in"]) == ("lr=1e+30 seed=0", False)
    assert (taken["ingredient"], taken["in"], all_of_it["ingredients"]) == ("lr=0.001 seed=0", True, 1)
    published = [store.read(run) for run in store.ids() if store.read(run).weights is not None]
    part = next(found.run for found in published if found.run != runs["greedy"].id)
    soup = weights(store, runs["greedy"].id)
    assert all(torch.equal(value, soup[name]) for name, value in weights(store, part).items())


@pytest.mark.parametrize(
    ("adapt", "after", "message"),
    [
        ("dora", "wise_ft", r"runs\.x: wise_ft: no straight line .*: dora divides by the norm"),
        (
            "{kind: vpt_deep}",
            "straggler_sparsity",
            r"runs\.x: straggler_sparsity edits merged weights: vpt_deep cannot be merged",
        ),
        (
            "{kind: vpt_deep}",
            "{kind: greedy_soup, seeds: [0, 1]}",
            r"runs\.x: greedy_soup .* vpt_deep cannot be merged",
        ),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_starts(write, tmp_path, adapt, after, message):
    path = write(f"{{x: {{adapt: {adapt}, lr: 1e-3, after: {after}}}}}")
    with pytest.raises(MethodError, match=message):
        api.run(path, tmp_path / "results", executor="serial")
    spec = planned(path, Store(tmp_path / "results" / "store"))["x"].member.spec
    with pytest.raises(MethodError, match=message.removeprefix(r"runs\.x: ")):
        tune(spec)


def test_several_processes_do_not_average_a_soup(write, tmp_path, monkeypatch):
    path = write("{x: {adapt: full, lr: 1e-3, after: {kind: greedy_soup, seeds: [0, 1]}}}")
    store = Store(tmp_path / "store")
    run = planned(path, store)["x"]
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(MethodError, match="several processes share this run, and a soup is averaged by one"):
        attempt(Job(run, store.root, load_study(path).engine), lambda event: None)
