"""The sharpness probe: its rows against the numerics on plain models that are made here by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import without_heads as reference

from tunescope.data.examples import Examples
from tunescope.engine.change import weight_change
from tunescope.errors import MethodError, StudyError
from tunescope.landscape.batch import Batch
from tunescope.landscape.sharpness import Ask, of_blocks, of_tower
from tunescope.methods.method import Method
from tunescope.models.heads import LinearHead, text_head
from tunescope.probes.kept import InMemory
from tunescope.probes.layer_path import LayerPathProbe
from tunescope.probes.measure import measure
from tunescope.probes.probe import Subject
from tunescope.probes.sharpness import SharpnessProbe
from tunescope.results.metric import declared
from tunescope.study.component import resolve

NAMES = ("cat", "tea", "ox")
SMALL: dict[str, Any] = {
    "radii": {"average": [0.1], "linf": [0.001, 0.004]},
    "reference": {"average": 0.2, "linf": 0.002},
    "draws": 2,
    "steps": 2,
    "batch": 3,
}


def probe(**settings: Any) -> SharpnessProbe:
    return SharpnessProbe.parse({"kind": "sharpness"} | SMALL | settings, "here")


def examples(tower: str, count: int = 5, labels=None) -> Examples:
    inputs = reference.inputs(tower, count)
    labels = np.arange(count) % 3 if labels is None else labels
    return Examples(inputs, labels, tuple(map(str, range(count))), NAMES, ("a {}.",), "val")


def linear(encoder, outputs=3):
    head = LinearHead(encoder.feature_dim, outputs)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(head.linear.weight)
    return head


def base(encoder, tower="vision"):
    return Subject(encoder, None, tower, {"val": examples(tower)})


def tuned(tiny, family, adapt, tower="vision", by=0.02):
    """A model that every trained weight of was moved in, as a subject, with its method."""
    plain, encoder, method = tiny(family), tiny(family), resolve("adapt", adapt)
    assert isinstance(method, Method)
    torch.manual_seed(0)
    installed = method.install(encoder, tower)
    with torch.no_grad():
        for p in installed.trainable.values():
            p.add_(by * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    given = {"val": examples(tower)}
    subject = Subject(encoder, linear(encoder), tower, given, change=lambda: weight_change(plain, installed))
    return subject, installed, plain


def numbers(rows, metric, component):
    """Values of one metric by layer and point."""
    wanted = [row for row in rows if (row.metric, row.component) == (f"landscape.{metric}", component)]
    assert len({row.key for row in wanted}) == len(wanted)
    return {(row.layer, row.point): row.value for row in wanted}


def by_hand(encoder, heads, tower="vision", layer=None):
    """Of two batches, three examples and two: [k] at the radii of SMALL."""
    ask = Ask({"average": (0.1, 0.2), "linf": (0.001, 0.002, 0.004)}, draws=2, steps=2)
    if layer is not None:
        ask = Ask({"average": (0.2,), "linf": (0.002,)}, draws=2, steps=2)
    part, found = examples(tower), []
    for own in (slice(0, 3), slice(3, 5)):
        batch = Batch(encoder, part.inputs[own], part.labels[own], heads)
        if layer is None:
            found.append(of_tower(encoder, tower, batch, ask))
        else:
            each = {one.layer: one.measure() for one in of_blocks(encoder, tower, batch, ask)}
            found.append(each[layer])
    mean = {kind: (3 * found[0][kind] + 2 * found[1][kind]) / 5 for kind in found[0]}
    return {"average": mean["average"].mean(-1), "linf": mean["linf"]}


@pytest.mark.parametrize(
    ("family", "tower", "adapt"),
    [
        ("clip", "vision", "full"),
        ("clip", "vision", {"kind": "lora", "rank": 2}),
        ("deberta", "text", {"kind": "lora", "rank": 2}),
        ("vit", "vision", {"kind": "freeze", "blocks": 2}),
    ],
    ids=str,
)
def test_rows_are_of_the_merged_model_and_leave_everything_as_it_was(tiny, family, tower, adapt):
    subject, installed, plain = tuned(tiny, family, adapt, tower)
    before = [{n: v.clone() for n, v in one.model.state_dict().items()} for one in (subject.encoder, plain)]
    asked = [p.requires_grad for p in subject.encoder.model.parameters()]
    told = []
    subject = replace(subject, progress=lambda *said: told.append(said))
    found = probe(layers=True).measure(subject)
    for state, one in zip(before, (subject.encoder, plain), strict=True):
        now = one.model.state_dict()
        assert all(torch.equal(now[name], value) for name, value in state.items())
    assert [p.requires_grad for p in subject.encoder.model.parameters()] == asked
    assert told == [("sharpness", done, 8) for done in range(1, 9)]
    assert found.arrays["landscape.sharpness_subset"].tolist() == [0, 1, 2, 3, 4]

    installed.merge()
    encoder = subject.encoder
    heads = {"trained": subject.head}
    if encoder.joint:
        heads["text"] = text_head(encoder, NAMES, ("a {}.",))
    whole, middle = (by_hand(encoder, list(heads.values()), tower, layer) for layer in (None, 1))
    for k, component in enumerate(heads):
        average = numbers(found.rows, "sharpness_average", component)
        assert average.keys() == {(None, 0.1), (None, 0.2), (None, None)}
        assert average[None, None] == average[None, 0.2]
        assert [average[None, 0.1], average[None, 0.2]] == pytest.approx(
            list(whole["average"][k]), rel=1e-3, abs=1e-6
        )
        worst = numbers(found.rows, "sharpness_linf", component)
        assert worst[None, None] == worst[None, 0.002]
        assert [worst[None, r] for r in (0.001, 0.002, 0.004)] == pytest.approx(
            list(whole["linf"][k]), rel=1e-3, abs=1e-6
        )
        for kind in ("average", "linf"):
            layers = numbers(found.rows, f"layer_sharpness_{kind}", component)
            assert layers.keys() == {(layer, None) for layer in range(3)}
            assert layers[1, None] == pytest.approx(middle[kind][k, 0], rel=1e-3, abs=1e-6)
    assert {row.component for row in found.rows} == heads.keys()
    assert {(row.tower, row.split) for row in found.rows} == {(tower, "val")}
    assert {row.n for row in found.rows} == {2}  # draws, and batches
    assert all(row.std is not None for row in found.rows)


def test_beside_the_base_and_the_same_to_the_last_bit_again(tiny):
    subject, _, plain = tuned(tiny, "clip", "full")
    asked = probe(roles=["q", "mlp.fc2"], layers=True)
    found, again = (measure([asked], base(plain), subject) for _ in range(2))
    assert found.rows == again.rows
    rows = {(row.metric, *row.key): row for row in found.rows}
    changes = [row for row in found.rows if row.metric.endswith(".change")]
    for row in changes:
        stem = row.metric.removesuffix(".change")
        ours, before = (rows[name, *row.key].value for name in (stem, f"{stem}.base"))
        assert row.value == ours - before
        assert row.component is not None
        assert row.component.startswith("text")
    assert {row.metric for row in found.rows} <= declared().keys()
    # one number per run and head, without a point: what a question asks for
    plain_rows = [row for row in found.rows if row.metric == "landscape.sharpness_linf" and row.point is None]
    assert [row.component for row in plain_rows] == ["trained", "text"]
    roles = {row.component for row in found.rows if row.metric == "landscape.role_sharpness_average"}
    assert roles == {f"{head}.{role}" for head in ("trained", "text") for role in ("attention.q", "mlp.fc2")}


@pytest.mark.parametrize("adapt", ["full", {"kind": "lora", "rank": 2}], ids=str)
def test_along_the_path(tiny, adapt):
    subject, installed, plain = tuned(tiny, "clip", adapt)
    one = {"radii": {"average": [], "linf": []}}
    found = probe(along=[0, 0.5, 1, 0.5], layers=True, **one).measure(subject)
    alone = probe(layers=True, **one).measure(subject)
    start = probe(layers=True, **one).measure(base(plain))
    middle = tiny("clip")
    ends = [one.model.state_dict() for one in (plain, subject.encoder)]
    installed.merge()
    ends[1] = subject.encoder.model.state_dict()
    with torch.no_grad():
        for name, p in middle.model.named_parameters():
            p.copy_(torch.lerp(ends[0][name], ends[1][name], 0.5))
    half = probe(layers=True, **one).measure(Subject(middle, None, "vision", subject.examples))
    for kind in ("average", "linf"):
        for view, layers in (("sharpness", [None]), ("layer_sharpness", [0, 1, 2])):
            curve = numbers(found.rows, f"{view}_along_{kind}", "text")
            ends_and_half = {0.0: start, 0.5: half, 1.0: alone}
            assert curve.keys() == {(layer, alpha) for layer in layers for alpha in ends_and_half}
            for alpha, there in ends_and_half.items():
                expected = numbers(there.rows, f"{view}_{kind}", "text")
                for layer in layers:
                    exact = expected[layer, None]
                    assert curve[layer, alpha] == pytest.approx(
                        exact, rel=0 if alpha != 0.5 else 1e-3, abs=1e-9
                    )
    assert (None, 0.0) in numbers(found.rows, "sharpness_along_linf", "trained")
    assert not any("along" in row.metric for row in alone.rows)


@pytest.mark.parametrize("score", ["barrier", "rewind"])
def test_stragglers_are_the_layers_with_the_largest_scores(tiny, score):
    subject, _, plain = tuned(tiny, "clip", "full", by=0.5)
    told = []
    subject = replace(subject, progress=lambda *said: told.append(said))
    said = {"kinds": ["average"], "stragglers": 2, "straggler_score": score}
    alone = probe(**said).measure(subject)
    assert told[-1][1] == told[-1][2]
    whole = probe(**said, layers=True).measure(replace(subject, kept=InMemory()))
    barriers = LayerPathProbe(points=11, top=2, score=score).measure(subject)
    for component in ("trained", "text"):
        chosen = {
            row.layer
            for row in barriers.rows
            if (row.metric, row.component, row.value) == ("landscape.straggler_top", component, 1)
        }
        told.append(len(chosen))
        if not chosen:  # no layer is missed
            assert not numbers(alone.rows, "straggler_sharpness_average", component)
            continue
        layers = numbers(whole.rows, "layer_sharpness_average", component)
        expected = np.mean([layers[layer, None] for layer in chosen])
        for found in (alone, whole):
            ours = numbers(found.rows, "straggler_sharpness_average", component)
            assert ours == {(None, None): pytest.approx(expected)}
        assert not numbers(alone.rows, "layer_sharpness_average", component)
    assert sum(told[-2:]) > 0
    assert not [row for row in probe(stragglers=1).measure(base(plain)).rows if "straggler" in row.metric]


def test_nothing_is_computed_twice_by_the_same_model(tiny):
    subject, _, _ = tuned(tiny, "vit", "full")
    told = []
    subject = replace(subject, progress=lambda *said: told.append(said))
    asked = probe(layers=True, kinds=["average"])
    first = asked.measure(subject)

    def forbidden(*_):
        raise AssertionError("computed again")

    entering = subject.encoder.map.tower("vision").blocks[0].fc1
    assert subject.change is not None
    seen = subject.change().base.model.get_submodule(entering).register_forward_pre_hook(forbidden)
    whole_alone = probe(kinds=["average"])
    assert [row for row in first.rows if row.layer is None] == whole_alone.measure(subject).rows
    seen.remove()
    assert asked.measure(subject).rows == first.rows
    other = probe(layers=True, kinds=["average"], seed=1).measure(subject)
    assert [row.value for row in other.rows] != [row.value for row in first.rows]


def test_hessian_and_plain_kinds_are_rows_too(tiny):
    kinds = ["hessian_top", "hessian_trace_adaptive", "linf_plain", "l2"]
    asked = probe(kinds=kinds, reference={"linf_plain": 1e-4, "l2": 0.5}, radii={"l2": [1.0]}, layers=True)
    found = asked.measure(base(tiny("siglip")))
    shown = {(row.metric, row.layer, row.point) for row in found.rows}
    expected = {(f"landscape.layer_sharpness_{kind}", layer, None) for kind in kinds for layer in range(3)}
    expected |= {(f"landscape.sharpness_{kind}", None, None) for kind in kinds}
    expected |= {("landscape.sharpness_l2", None, ρ) for ρ in (0.5, 1.0)}
    assert shown == expected | {("landscape.sharpness_linf_plain", None, 1e-4)}
    top = numbers(found.rows, "layer_sharpness_hessian_top", "text")
    assert max(top.values()) <= numbers(found.rows, "sharpness_hessian_top", "text")[None, None] * 1.01


def test_where_nothing_can_be_told_there_are_no_rows(tiny):
    subject, _, plain = tuned(tiny, "clip", {"kind": "houlsby", "rank": 2})
    assert probe().measure(subject).rows == []  # no weights that it could be folded into
    off = Subject(plain, linear(plain), "vision", subject.examples)
    assert probe().measure(off).rows == []  # a trained head above an adapter that is off
    assert probe().measure(base(tiny("vit"))).rows == []  # no head at all
    assert probe().measure(base(tiny("vit"))).arrays == {}


def test_mistakes_are_named(tiny):
    with pytest.raises(StudyError, match="the probe split is for structure"):
        probe(split="probe")
    with pytest.raises(StudyError, match="no usual radius is known of l2_plain"):
        probe(kinds=["l2_plain"])
    with pytest.raises(StudyError, match="radii"):
        probe(radii={"linff": [0.1]})
    encoder = tiny("clip")
    with pytest.raises(MethodError, match="unknown role 'atention'"):
        probe(roles=["atention"]).measure(base(encoder))
    with pytest.raises(MethodError, match="read by the vision tower, and the text tower is tuned"):
        probe().measure(Subject(encoder, None, "text", {"val": examples("vision")}))
    rated = {"val": examples("vision", labels=np.linspace(0, 1, 5))}
    with pytest.raises(MethodError, match="normalise_logits is for classes"):
        probe(normalise_logits=True).measure(Subject(encoder, None, "vision", rated))
    with pytest.raises(StudyError, match="no split 'test'"):
        probe(split="test").measure(base(encoder))
