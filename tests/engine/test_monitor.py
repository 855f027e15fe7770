import math
import random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tunescope.data.examples import Examples
from tunescope.engine.monitor import LiveMonitor, few, undisturbed
from tunescope.engine.questions import watched
from tunescope.errors import Diverged, Stopped, StudyError
from tunescope.methods.method import Method
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead
from tunescope.probes.measure import measure
from tunescope.probes.probe import Measurement, Probe, Subject, probes_of
from tunescope.results.metric import Metric
from tunescope.results.row import Row
from tunescope.results.store import Store
from tunescope.study.run import Monitor, RunSpec
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.loop import History, train

NAMES = ("red", "green", "blue")
COLOURS = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220]])
ALL = ["attention", "representation", "transfer"]


def examples(count: int, split: str) -> Examples:
    generator = np.random.default_rng(len(split) + count)
    labels = np.arange(count, dtype=np.int64) % 3
    images = (COLOURS[labels][:, None, None] + generator.integers(-40, 36, (count, 32, 32, 3))).clip(0, 255)
    ids = tuple(f"{split} {i}" for i in range(count))
    return Examples(images.astype(np.uint8), labels, ids, NAMES, ("a {} square.",), split)


SETS = {
    split: examples(count, split)
    for split, count in {
        "train": 16,
        "val": 9,
        "probe": 9,
        "test": 9,
        "shift:noisy": 7,
        "zero_shot:other": 6,
    }.items()
}


def said(probes: Any = ("representation",), **settings: Any) -> Monitor:
    return Monitor.model_validate({"probes": probes, "every": 2, "examples": 5} | settings)


def moved(encoder: Encoder, amount: float = 0.3) -> Encoder:
    with torch.no_grad():
        torch.manual_seed(2)
        for block in encoder.map.tower("vision").blocks:
            weight = encoder.model.get_parameter(f"{block.fc2}.weight")
            weight.add_(amount * torch.randn_like(weight))
    return encoder


def head_of(encoder: Encoder) -> LinearHead:
    head = LinearHead(encoder.feature_dim, 3)
    with torch.no_grad():
        torch.manual_seed(3)
        head.linear.weight.normal_()
    return head


def table(rows: list[Row]) -> dict[tuple, float]:
    return {(row.metric, *row._replace(step=None).key): row.value for row in rows}


def test_rows_are_those_that_the_probes_give_beside_the_base(tiny):
    encoder = tiny("clip")
    spec = said(ALL)
    monitor = LiveMonitor(spec, encoder, "vision", SETS)
    head = head_of(encoder)
    looked = monitor.look(4, moved(encoder) and head)
    assert looked.stop is None
    assert {row.step for row in looked.rows} == {4}
    few_of_each = {split: few(part, 5) for split, part in SETS.items() if split not in ("train", "test")}
    base = Subject(tiny("clip"), None, "vision", few_of_each)
    expected = measure(probes_of(spec), base, Subject(encoder, head, "vision", few_of_each)).rows
    assert table(looked.rows) == table([row for row in expected if not row.metric.endswith(".base")])
    assert {row.metric for row in looked.rows} <= watched(spec)
    whole = Subject(encoder, head, "vision", SETS)
    by_hand = {
        name: found for probe in probes_of(spec) for name, found in probe.measure(whole).arrays.items()
    }
    assert sorted(looked.arrays) == ["attention.image_ids", "attention.pooled", "attention.rollout"]
    for name, found in looked.arrays.items():  # of the images that are shown of the whole set, not of the few
        np.testing.assert_array_equal(found, by_hand[name])
    splits = {row.split for row in looked.rows}
    assert splits == {"val", "probe", "shift:noisy", "zero_shot:other"}
    assert {row.n for row in looked.rows if row.metric == "transfer.acc1"} == {5}


def test_the_rows_of_step_0_are_the_bases_own(tiny):
    encoder = tiny("clip")
    spec = said(ALL)
    monitor = LiveMonitor(spec, encoder, "vision", SETS)
    rows = monitor.look(0, head_of(moved(encoder))).rows
    again = LiveMonitor(spec, tiny("clip"), "vision", SETS).look(0, head_of(encoder)).rows
    assert table(rows) == table(again)
    changes = {row.value for row in rows if row.metric.endswith((".change", ".change_relative", ".drift"))}
    assert changes == {0.0}
    assert {row.value for row in rows if row.metric == "representation.cka"} == {1.0}
    assert {row.step for row in rows} == {0}


def test_few_examples_are_spread_evenly_with_their_labels_and_ids():
    some = few(SETS["val"], 3)
    assert some.ids == ("val 0", "val 4", "val 8")
    assert some.labels.tolist() == [0, 1, 2]
    assert np.array_equal(some.inputs, SETS["val"].inputs[[0, 4, 8]])
    assert (some.class_names, some.split) == (NAMES, "val")
    assert few(SETS["val"], 64).ids == SETS["val"].ids


class Restless(Probe):
    """Draws random numbers, runs backward and changes the mode: what no probe may be felt to do."""

    kind: str = "restless"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("restless.mode", (), "1", (0, 1), None, "made up", "test", ()),
    )

    def measure(self, subject: Subject) -> Measurement:
        draws = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()
        assert len(draws) == 3
        model = subject.encoder.model
        mode = float(model.training)
        model.train()
        with torch.enable_grad():
            pixels = subject.encoder.pixels(subject.examples["val"].inputs)
            subject.encoder.image_features(pixels).sum().backward()
        assert not torch.is_autocast_enabled("cpu")
        return Measurement([Row("restless.mode", mode, split="val")])


def test_tuning_goes_on_as_if_nobody_had_looked(tiny):
    encoder = tiny("clip")
    spec = Monitor.model_construct(
        probes=(Restless(), *probes_of(said(ALL))), every=1, examples=4, stop_on_collapse=None
    )
    monitor = LiveMonitor(spec, encoder, "vision", SETS)
    head = head_of(encoder)
    encoder.model.train()
    encoder.model.text_model.eval()
    head.train()
    head(encoder.features(SETS["val"].inputs)).sum().backward()
    params = [*encoder.model.parameters(), *head.parameters()]
    gradients = [(p.grad, None if p.grad is None else p.grad.clone()) for p in params]
    assert any(held is not None for held, _ in gradients)
    modes = [part.training for module in (encoder.model, head) for part in module.modules()]
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    expected = torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    with torch.autocast("cpu", torch.bfloat16):
        rows = monitor.look(1, head).rows
        assert torch.is_autocast_enabled("cpu")
    assert (torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()) == expected
    assert [part.training for module in (encoder.model, head) for part in module.modules()] == modes
    for p, (held, copy) in zip(params, gradients, strict=True):
        assert p.grad is held
        assert copy is None or torch.equal(held, copy)
    assert [row.value for row in rows if row.metric == "restless.mode"] == [0.0]  # it was in evaluation mode
    assert table(rows) == table(monitor.look(1, head).rows)  # autocast or not


def test_everything_is_put_back_after_a_mistake_too(tiny):
    encoder = tiny("vit")
    encoder.model.train()
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), undisturbed(encoder.model):
        _ = torch.rand(1) / (1 // 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in encoder.model.modules())


def run(
    encoder: Encoder,
    adapt: Any,
    monitor: Monitor | None,
    checkpoint: Checkpoint | None = None,
    **settings: Any,
) -> tuple[History, dict]:
    value = {"model": "tiny", "task": {"data": "colours"}, "adapt": adapt, "lr": 1e-2}
    settings = {"epochs": 2, "batch_size": 4, "augment": "crop_flip"} | settings
    spec = RunSpec.model_validate(value | {"train": settings})
    sets = {split: part for split, part in SETS.items() if encoder.joint or "zero_shot" not in split}
    watching = None if monitor is None else LiveMonitor(monitor, encoder, "vision", sets)
    head: Any = LinearHead(encoder.feature_dim, 3)
    torch.manual_seed(0)
    assert isinstance(spec.adapt, Method)
    installed = spec.adapt.install(encoder)
    given = {"monitor": watching, "checkpoint": checkpoint}
    history = train(encoder, installed, head, spec, SETS["train"], SETS["val"], **given)
    return history, installed.state_dict() | head.state_dict()


@pytest.mark.parametrize(
    ("family", "adapt", "settings", "every", "looks"),
    [
        ("clip", {"kind": "lora", "rank": 2, "dropout": 0.3}, {}, 3, [0, 3, 6]),
        ("vit", "full", {"precision": "bfloat16"}, "epoch", [0, 4, 8]),
        ("siglip", "linear_probe", {"augment": "none"}, 3, [0, 3, 6]),
    ],
)
def test_watched_and_unwatched_runs_end_with_the_same_weights_bit_for_bit(
    tiny, family, adapt, settings, every, looks
):
    plain, weights = run(tiny(family), adapt, None, **settings)
    watched_run, same = run(tiny(family), adapt, said(ALL, every=every), **settings)
    assert weights.keys() == same.keys()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    own = [row for row in watched_run.rows if row.metric.startswith("training.")]
    assert [r for r in own if r.metric != "training.seconds"] == [
        r for r in plain.rows if r.metric != "training.seconds"
    ]
    assert watched_run.arrays()["monitor.steps"].tolist() == looks
    assert watched_run.arrays()["monitor.total"] == 8
    found = [row for row in watched_run.rows if not row.metric.startswith("training.")]
    assert sorted({row.step for row in found if row.step is not None}) == looks
    assert len({(row.metric, row.key) for row in found}) == len(found)


def test_what_was_seen_is_kept_over_a_stop(tiny, tmp_path):
    spec = said([{"kind": "attention", "pictures": 2}])
    expected = run(tiny("vit"), "full", spec)[0].arrays()
    asked = iter([False, False, True])
    unfinished = Store(tmp_path).unfinished("ab" * 32)
    with pytest.raises(Stopped, match="after step 3"):
        run(tiny("vit"), "full", spec, Checkpoint(unfinished, 1e9, lambda: next(asked)))
    found = run(tiny("vit"), "full", spec, Checkpoint(unfinished))[0].arrays()
    assert found.keys() == expected.keys()
    assert found["monitor.steps"].tolist() == [0, 2, 4, 6, 8]
    assert found["monitor.attention.pooled"].shape == (5, 2, 3, 4, 4)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    first, *_, last = found["monitor.attention.rollout"]
    assert not np.array_equal(first, last)


def test_a_collapse_ends_the_tuning(tiny):
    rule = {"metric": "representation.cka", "below": 0.999}
    encoder = tiny("vit")
    history, _ = run(encoder, "full", said(every=1, stop_on_collapse=rule))
    assert history.stopped is not None
    step = max(row.step or 0 for row in history.rows)
    assert 0 < step < 8
    cka = [row for row in history.rows if row.metric == "representation.cka"]
    last = [row.value for row in cka if row.step == step]
    assert len(last) == 4
    mean = math.fsum(last) / 4
    assert history.stopped == (
        f"collapse: representation.cka is {mean:.4g} at step {step}, below 0.999 (mean of 4 rows)"
    )
    before = [
        row.value for row in history.rows if row.metric == "representation.cka" and row.step == step - 1
    ]
    assert math.fsum(before) / 4 >= 0.999


def test_the_base_itself_may_be_below(tiny):
    encoder = tiny("vit")
    rule = {"metric": "attention.entropy", "below": 50}
    monitor = LiveMonitor(said(["attention"], stop_on_collapse=rule), encoder, "vision", SETS)
    cause = monitor.look(0, head_of(encoder)).stop
    assert cause is not None
    assert "at step 0, below 50 (mean of 12 rows)" in cause


def test_what_is_tested_never_decides(tiny):
    encoder = tiny("clip")
    rule = {"metric": "transfer.acc1", "below": 0.5}
    monitor = LiveMonitor(said(["transfer"], stop_on_collapse=rule), encoder, "vision", SETS)
    head = head_of(encoder)
    rows = monitor.look(2, head).rows
    acc = {(row.split, row.component): row.value for row in rows if row.metric == "transfer.acc1"}
    assert set(acc) == {
        ("val", "trained"),
        ("val", "text"),
        ("shift:noisy", "trained"),
        ("shift:noisy", "text"),
        ("zero_shot:other", "text"),
    }
    mean = (acc["val", "trained"] + acc["val", "text"]) / 2
    for below, stops in ((mean + 1e-9, True), (mean, False)):
        rule = {"metric": "transfer.acc1", "below": below}
        monitor = LiveMonitor(said(["transfer"], stop_on_collapse=rule), encoder, "vision", SETS)
        assert (monitor.look(2, head).stop is not None) is stops


def test_a_rule_that_could_never_stop_anything_is_a_mistake(tiny):
    encoder = tiny("vit")  # no text tower: the base has no accuracy, and so there is no change
    rule = {"metric": "transfer.acc1.change", "below": -0.1}
    sets = {split: part for split, part in SETS.items() if not split.startswith("zero_shot")}
    monitor = LiveMonitor(said(["transfer"], stop_on_collapse=rule), encoder, "vision", sets)
    assert monitor.look(0, head_of(encoder)).stop is None
    with pytest.raises(StudyError, match=r"'transfer.acc1.change' has no row of val or probe"):
        monitor.look(2, head_of(encoder))


@pytest.mark.parametrize(
    ("probes", "rule", "message"),
    [
        (
            ["attention"],
            "attention.entorpy",
            "'attention.entorpy' while tuning; did you mean 'attention.entropy'",
        ),
        (["attention"], "transfer.acc1", "'transfer.acc1' while tuning; "),
        (["attention"], "attention.entropy.base", "do not write the metric 'attention.entropy.base'"),
        ([{"kind": "attention", "split": "test"}], None, "reads the split 'test', which is read once"),
        (
            [{"kind": "attention", "split": "shift:noisy"}],
            "attention.entropy",
            "measured on 'shift:noisy', and no choice",
        ),
        (
            [{"kind": "attention", "split": "vla"}],
            None,
            "no split 'vla' among the examples; did you mean",
        ),
    ],
)
def test_mistakes(tiny, probes, rule, message):
    stop = None if rule is None else {"metric": rule, "below": 1}
    with pytest.raises(StudyError) as caught:
        LiveMonitor(said(probes, stop_on_collapse=stop), tiny("vit"), "vision", SETS)
    assert message in str(caught.value)


def test_a_model_whose_numbers_have_run_away_has_diverged(tiny):
    encoder = tiny("vit")
    monitor = LiveMonitor(said(["attention"]), encoder, "vision", SETS)
    with torch.no_grad():
        q = encoder.map.tower("vision").blocks[1].q
        encoder.model.get_parameter(f"{q}.weight").fill_(torch.nan)
    with pytest.raises(Diverged, match="diverged at step 6"):
        monitor.look(6, head_of(encoder))
