"""The change of the weights under every kind of method, and how it comes to a study's table."""

import json

import numpy as np
import pytest
import torch
from colours import TRAIN, VAL, examples, spec

from tunescope import api
from tunescope.engine.calibrate import _looking
from tunescope.engine.change import change_of, weight_change
from tunescope.engine.monitor import LiveMonitor
from tunescope.engine.questions import check_questions
from tunescope.errors import Diverged, MethodError, ModelError, StudyError
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead
from tunescope.probes.probe import Subject
from tunescope.probes.updates import UpdatesProbe
from tunescope.results.row import Row
from tunescope.results.store import Store
from tunescope.study.component import resolve
from tunescope.study.run import Monitor
from tunescope.study.study import Study
from tunescope.training.loop import train

FOLDED = [
    "full",
    "linear_probe",
    {"kind": "freeze", "blocks": 1},
    "bitfit",
    "layernorm",
    {"kind": "lora", "rank": 2, "dropout": 0.3},
    {"kind": "dora", "rank": 2, "targets": ["q", "fc1"]},
    {"kind": "pissa", "rank": 2},
    {"kind": "adalora", "rank": 1, "initial": 2},
    {"kind": "vera", "rank": 3, "targets": ["o", "fc2"]},
    {"kind": "loha", "rank": 2},
    {"kind": "oft", "block_size": 8},
    "ia3",
    {"kind": "per_tower", "vision": {"kind": "lora", "rank": 2}, "text": "full"},
    {"kind": "lora", "rank": 2, "targets": ["text.attention.q"]},
]
SETS = {split: examples(6, split) for split in ("val", "probe", "test")}


def installed(encoder: Encoder, adapt, amount: float = 0.05) -> Installed:
    """Installed, and everything that is trained then moved."""
    method = resolve("adapt", adapt)
    assert isinstance(method, Method)
    torch.manual_seed(0)
    found = method.install(encoder, "vision")
    with torch.no_grad():
        for p in found.trainable.values():
            p.add_(amount * torch.randn_like(p))
    return found


def rows(base: Encoder, found: Installed) -> list[Row]:
    subject = Subject(found.encoder, None, found.tower, {}, change=lambda: weight_change(base, found))
    return UpdatesProbe().measure(subject).rows


def held(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


@pytest.mark.parametrize("adapt", FOLDED, ids=json.dumps)
def test_the_change_is_that_of_the_merged_model(tiny, adapt):
    base, found = tiny("clip"), installed(tiny("clip"), adapt)
    encoder = found.encoder
    before, state = held(encoder), torch.get_rng_state()
    now = rows(base, found)
    after = held(encoder)
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert torch.equal(state, torch.get_rng_state())
    pointers = {name: p.data_ptr() for name, p in found.trainable.items()}
    assert rows(base, found) == now
    assert {name: p.data_ptr() for name, p in found.trainable.items()} == pointers
    assert all(p.requires_grad for p in found.trainable.values())
    found.merge()
    assert rows(base, found) == now
    # Beside the merged model's own parameters, head by head.
    tuned, plain = dict(encoder.model.named_parameters()), dict(base.model.named_parameters())
    assert tuned.keys() == plain.keys()
    heads = {row.key[:4]: row.value for row in now if row.metric == "heads.update"}
    for (tower, layer, head, component), value in heads.items():
        if component == "all":
            parts = [heads[tower, layer, head, one] for one in "qkvo"]
            assert value == pytest.approx(np.linalg.norm(parts), rel=1e-12)
            continue
        part = "out" if component == "o" else component
        name = f"{tower}_model.encoder.layers.{layer}.self_attn.{part}_proj.weight"
        change = (tuned[name].detach().double() - plain[name].detach().double()).numpy()
        own = slice(8 * head, 8 * head + 8)
        expected = np.linalg.norm(change[:, own] if component == "o" else change[own])
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-12)
    text = {"text"} if "text" in json.dumps(adapt) else set()
    assert {tower for tower, *_ in heads} == {"vision"} | text
    assert any(heads.values()) == (adapt not in ("linear_probe", "bitfit", "layernorm"))


def test_low_rank_is_seen_as_low_rank(tiny):
    found = installed(tiny("clip"), {"kind": "lora", "rank": 2})
    ranks = [row for row in rows(tiny("clip"), found) if row.metric == "weights.effective_rank"]
    assert {(row.layer, row.component) for row in ranks} == {
        (layer, f"attention.{one}") for layer in range(3) for one in "qv"
    }
    assert all(1 < row.value <= 2 for row in ranks)


@pytest.mark.parametrize(
    "adapt", ["houlsby", {"kind": "vpt_deep", "prompts": 2}, {"kind": "prefix", "tokens": 2}]
)
def test_what_cannot_be_folded_in_has_no_rows(tiny, adapt):
    found = installed(tiny("clip"), adapt)
    assert rows(tiny("clip"), found) == []
    both = {"kind": "per_tower", "vision": adapt, "text": "full"}
    found = installed(tiny("clip"), both)
    assert {row.tower for row in rows(tiny("clip"), found)} == {"text"}


def test_averaged_weights_are_a_change_like_any_other(tiny):
    base, found = tiny("clip"), installed(tiny("clip"), {"kind": "lora", "rank": 2})
    expected = rows(base, found)
    found.merge()
    plain = {name: found.encoder.model.get_parameter(name) for name in found.weights()}
    assert rows(base, Installed(found.encoder, "vision", plain)) == expected


def test_another_model_is_refused(tiny):
    with pytest.raises(MethodError, match="is no weight of"):
        weight_change(tiny("vit"), installed(tiny("clip"), "full"))
    with pytest.raises(MethodError, match="is no weight of"):
        weight_change(tiny("dinov2"), installed(tiny("dinov2_registers"), "full"))


def test_weights_that_are_not_finite_have_no_change(tiny):
    for adapt in ("full", {"kind": "lora", "rank": 2}):
        found = installed(tiny("clip"), adapt)
        with torch.no_grad():
            next(iter(found.trainable.values())).view(-1)[0] = torch.nan
        with pytest.raises(ModelError, match=r"is not finite, so the change .* take a smaller learning rate"):
            weight_change(tiny("clip"), found)


def monitor_of(encoder: Encoder, **more) -> LiveMonitor:
    watching = Monitor.model_validate({"probes": ["updates"], "every": 1, "examples": 2} | more)
    return LiveMonitor(watching, encoder, "vision", SETS)


def test_a_monitor_sees_the_weights_of_its_step(tiny, tiny_folder):
    encoder, head = tiny("clip"), torch.nn.Linear(24, 3)
    monitor = monitor_of(encoder)
    found = installed(encoder, {"kind": "lora", "rank": 2}, amount=0.0)
    said = spec("full").model_copy(update={"model": str(tiny_folder("clip"))})
    monitor.change = change_of(said, found)
    assert monitor.look(0, head).rows == []
    assert {row.value for row in monitor.look(1, head).rows if row.metric.endswith("update")} == {0.0}
    with torch.no_grad():
        for p in found.trainable.values():
            p.add_(0.1)
    looked = monitor.look(2, head).rows
    assert looked == [row._replace(step=2) for row in rows(tiny("clip"), found)]
    with torch.no_grad():
        for p in found.trainable.values():
            p.fill_(torch.inf)
    with pytest.raises(Diverged, match="step 3"):
        monitor.look(3, head)


@pytest.mark.parametrize("adapt", ["full", {"kind": "lora", "rank": 2, "dropout": 0.5}], ids=json.dumps)
def test_tuning_goes_on_as_if_nobody_had_looked(tiny, tiny_folder, adapt):
    said = spec(adapt, epochs=1).model_copy(update={"model": str(tiny_folder("clip"))})
    ended, looked = [], []
    for watched in (False, True):
        encoder, head = tiny("clip"), LinearHead(24, 3)
        monitor = monitor_of(encoder)
        found = installed(encoder, adapt, amount=0.0)
        monitor.change = change_of(said, found)
        history = train(encoder, found, head, said, TRAIN, VAL, monitor=monitor if watched else None)
        ended.append(found.state_dict() | head.state_dict())
        looked = [row for row in history.rows if row.metric == "heads.update"]
    assert {row.step for row in looked} == {1, 2, 3}
    assert ended[0].keys() == ended[1].keys()
    assert all(torch.equal(value, ended[1][name]) for name, value in ended[0].items())


def test_no_run_is_stopped_by_its_weights(tiny):
    rule = {"metric": "heads.update", "below": 1.0}
    with pytest.raises(StudyError, match=r"'heads.update' is measured of weights and on no examples"):
        monitor_of(tiny("clip"), stop_on_collapse=rule)


def test_its_cost_is_not_that_of_examples(tiny):
    """A probe that reads no examples is looked at once, whatever number of them there is."""
    looks = []

    class Counted(UpdatesProbe):
        def measure(self, subject):
            looks.append(subject)
            return super().measure(subject)

    found = installed(tiny("clip"), "full")
    sets = {"val": examples(300, "val")}
    subject = Subject(found.encoder, None, "vision", sets, change=lambda: weight_change(tiny("clip"), found))
    assert _looking(Counted(spectra=False), subject) > 0
    assert len(looks) == 1


STUDY = {
    "study": "moved",
    "model": "emoji-clip",
    "task": {
        "data": "emoji/openmoji",
        "label": "group",
        "split": {"train": 0.05, "val": 0.02, "probe": 0.02, "test": 0.91},
    },
    "train": {
        "epochs": 1,
        "batch_size": 32,
        "monitor": {"probes": [{"kind": "updates", "spectra": False}], "every": 1, "examples": 4},
    },
    "probes": ["updates"],
    "runs": {
        "full": {"adapt": "full", "lr": 1e-3},
        "lora": {"adapt": {"kind": "lora", "rank": 4}, "lr": 1e-2},
        "prompts": {"adapt": {"kind": "vpt_shallow", "prompts": 2}, "lr": 1e-2},
    },
    "questions": [
        {
            "ask": "Do heads move further under full fine-tuning?",
            "metric": "heads.update_relative",
            "where": {"component": "all"},
            "compare": ["full", "lora"],
        },
        {
            "ask": "And early?",
            "metric": "weights.update",
            "where": {"step": "2", "component": "attention.q"},
            "compare": ["full", "lora"],
        },
        {"ask": "And prompts?", "metric": "heads.update", "compare": ["full", "prompts"]},
    ],
}


def test_a_study_from_end_to_end(tmp_path):
    result = api.run(Study.parse(STUDY, "test"), tmp_path, executor="serial")
    assert [run.state for run in result.runs] == ["done"] * 3, [run.cause for run in result.runs]
    told = result.table.sql(
        'select "group", metric, step, count(*) as n, max(value) as most from rows join runs using (run) '
        "where metric like 'heads.%' or metric like 'weights.%' group by all"
    ).to_pylist()
    assert {row["group"] for row in told} == {"full", "lora"}  # prompts have no change of weights
    assert not {row["metric"] for row in told if row["metric"].count(".") > 1}  # nothing is derived
    last = {(row["group"], row["metric"]): row for row in told if row["step"] is None}
    assert last["full", "heads.update"]["n"] == last["lora", "heads.update"]["n"] == 6 * 4 * 5
    assert last["full", "weights.intruders"]["n"] == 36
    assert last["lora", "weights.intruders"]["n"] == 12
    assert (
        last["lora", "weights.effective_rank"]["most"] <= 4 < last["full", "weights.effective_rank"]["most"]
    )
    for group in ("full", "lora"):
        steps = {r["step"]: r["most"] for r in told if (r["group"], r["metric"]) == (group, "heads.update")}
        final = steps.pop(None)
        assert sorted(steps) == list(range(1, len(steps) + 1))
        moved = [steps[step] for step in sorted(steps)]
        assert moved == sorted(set(moved))
        assert moved[-1] == final
    *_, absent = result.answers
    assert absent.left_out == {"no heads.update measured": 1}
    assert "prompts has no runs" in absent.sentence
    assert result.report.is_file()
    assert all(Store(tmp_path / "store").read(run.id).arrays() == {} for run in result.runs)


def test_a_question_about_heads_names_the_probe_that_is_missing():
    study = Study.parse(STUDY | {"probes": ["attention"]}, "test")
    with pytest.raises(StudyError, match=r"'heads.update_relative' is measured by the probe 'updates'; add"):
        check_questions(study)
