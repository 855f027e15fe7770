"""What moved in the weights, against plain loops in float64 over slices that are named here by hand."""

import math

import numpy as np
import pytest
import torch

from tunescope.errors import StudyError
from tunescope.models.encoder import Encoder
from tunescope.models.seam import gate
from tunescope.probes.change import WeightChange
from tunescope.probes.probe import Subject
from tunescope.probes.updates import UpdatesProbe
from tunescope.results.row import Row

D, HEADS, SIZE, BLOCKS = 32, 4, 8, 3

CLIP = "{tower}_model.encoder.layers.{layer}.self_attn.{part}_proj.weight"
BERT = "encoder.layer.{layer}.attention.{part}.weight"
SELF = {"q": "self.query", "k": "self.key", "v": "self.value", "o": "output.dense"}
OUT = {"q": "q", "k": "k", "v": "v", "o": "out"}
SAME = {name: name for name in "qkvo"}
# By family: its tower, and where queries, keys, values and outputs are made.
NAMES: dict[str, tuple[str, str, dict[str, str]]] = {
    "clip": ("vision", CLIP, OUT),
    "siglip": ("text", CLIP, OUT),  # its other tower has one attention more, below
    "vit": ("vision", "vit.layers.{layer}.attention.{part}_proj.weight", SAME),
    "dinov2": ("vision", "encoder.layer.{layer}.attention.{part}_proj.weight", SAME),
    "bert": ("text", BERT, SELF),
    "roberta": ("text", BERT, SELF),
    "distilbert": (
        "text",
        "transformer.layer.{layer}.attention.{part}_lin.weight",
        OUT,
    ),
    "deberta": (
        "text",
        BERT,
        {"q": "self.query_proj", "k": "self.key_proj", "v": "self.value_proj", "o": "output.dense"},
    ),
    "modernbert": (
        "text",
        "layers.{layer}.attn.{part}.weight",
        {"q": "Wqkv", "k": "Wqkv", "v": "Wqkv", "o": "Wo"},
    ),
}
every_family = pytest.mark.parametrize("family", NAMES)


def named(family: str, encoder: Encoder, layer: int, component: str) -> str:
    tower, pattern, parts = NAMES[family]
    pattern = pattern.format(tower=tower, layer=layer, part=parts[component])
    known = dict(encoder.model.named_parameters())
    return pattern if pattern in known else pattern.removeprefix("vit.")


def own(family: str, component: str, head: int) -> tuple[slice, slice]:
    """A head's own rows, or columns."""
    first = head * SIZE
    if component == "o":
        return slice(None), slice(first, first + SIZE)
    if family == "modernbert":
        first += "qkv".index(component) * D
    return slice(first, first + SIZE), slice(None)


def noise(encoder: Encoder, scale: float = 0.05, seed: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(p.shape, generator=generator)
        for name, p in encoder.model.named_parameters()
    }


def moved(encoder: Encoder, update: dict[str, torch.Tensor], apart=frozenset()) -> WeightChange:
    """The weights moved by an update, which becomes what rounding leaves of it."""
    plain = {name: encoder.model.get_parameter(name).detach() for name in update}
    tuned = {name: plain[name] + update[name] for name in update}
    update |= {name: tuned[name] - plain[name] for name in update}
    return WeightChange(encoder, tuned, apart)


def measured(change: WeightChange, tuned: str, **settings) -> list[Row]:
    subject = Subject(change.base, None, tuned, {}, change=lambda: change)
    return UpdatesProbe(**settings).measure(subject).rows


def of_tower(change: WeightChange, tower: str, **settings) -> list[Row]:
    return [row for row in measured(change, tower, **settings) if row.tower == tower]


def table(rows: list[Row], metric: str) -> dict[tuple, float]:
    return {
        (r.layer, r.component) if r.head is None else (r.layer, r.head, r.component): r.value
        for r in rows
        if r.metric == metric
    }


def size(values: np.ndarray) -> float:
    total = 0.0
    for value in values.astype(np.float64).ravel():
        total += value * value
    return math.sqrt(total)


@every_family
def test_heads_are_plain_loops_over_slices(tiny, family):
    encoder, tower = tiny(family), NAMES[family][0]
    update = noise(encoder)
    rows = of_tower(moved(encoder, update), tower, spectra=False)
    found, relative = table(rows, "heads.update"), table(rows, "heads.update_relative")
    assert len(found) == len(relative) == BLOCKS * HEADS * 5
    weights = dict(encoder.model.named_parameters())
    for layer in range(BLOCKS):
        for head in range(HEADS):
            before, after = [], []
            for component in "qkvo":
                name, place = named(family, encoder, layer, component), own(family, component, head)
                before.append(size(weights[name].detach().numpy()[place]))
                after.append(size(update[name].numpy()[place]))
                key = (layer, head, component)
                assert found[key] == pytest.approx(after[-1], rel=1e-12)
                assert relative[key] == pytest.approx(after[-1] / before[-1], rel=1e-12)
            key = (layer, head, "all")
            assert found[key] == pytest.approx(size(np.array(after)), rel=1e-12)
            assert relative[key] == pytest.approx(size(np.array(after)) / size(np.array(before)), rel=1e-12)


@every_family
def test_those_slices_are_what_the_head_is_made_of(tiny, family):
    """A head without its rows of v, or without its columns of o, is the head gated out."""
    tower, head, layer = NAMES[family][0], 2, 1
    if tower == "vision":
        inputs = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    else:
        inputs = np.array(["a red square", "blue"], dtype=object)
    encoder = tiny(family)
    gates = torch.ones(BLOCKS, HEADS)
    gates[layer, head] = 0
    with torch.no_grad(), gate(encoder, tower, gates):
        expected = encoder.features(inputs)
    for component in "vo":
        encoder = tiny(family)
        name, place = named(family, encoder, layer, component), own(family, component, head)
        with torch.no_grad():
            encoder.model.get_parameter(name)[place] = 0
            bias = getattr(encoder.model.get_submodule(name.removesuffix(".weight")), "bias", None)
            if component == "v" and bias is not None:
                bias[place[0]] = 0
            torch.testing.assert_close(encoder.features(inputs), expected, rtol=1e-5, atol=1e-5)


@every_family
@pytest.mark.parametrize("component", ["q", "k", "v", "o"])
def test_a_head_that_was_moved_by_hand_is_first(tiny, family, component):
    encoder, tower = tiny(family), NAMES[family][0]
    update = noise(encoder, 1e-3)
    update[named(family, encoder, 1, component)][own(family, component, 3)] += 0.05
    rows = of_tower(moved(encoder, update), tower, spectra=False)
    for metric in ("heads.update", "heads.update_relative"):
        found = table(rows, metric)
        for one in (component, "all"):
            ranked = sorted((key for key in found if key[2] == one), key=lambda key: -found[key])
            assert ranked[0] == (1, 3, one)
            assert found[ranked[0]] > 5 * found[ranked[1]]
        others = [found[key] for key in found if key[2] not in (component, "all")]
        assert max(others) < 2 * min(others) or metric == "heads.update_relative"


def test_an_attention_pooling_head_is_a_layer_of_its_own(tiny):
    encoder = tiny("siglip")
    update = noise(encoder)
    found = table(of_tower(moved(encoder, update), "vision", spectra=False), "heads.update")
    assert {layer for layer, *_ in found} == {0, 1, 2, 3}
    fused = update["vision_model.head.attention.in_proj_weight"].numpy()
    out = update["vision_model.head.attention.out_proj.weight"].numpy()
    for head in range(HEADS):
        own = range(head * SIZE, (head + 1) * SIZE)
        for third, component in enumerate("qkv"):
            expected = size(np.stack([fused[third * D + row] for row in own]))
            assert found[3, head, component] == pytest.approx(expected, rel=1e-12)
        assert found[3, head, "o"] == pytest.approx(size(np.stack([out[:, c] for c in own])), rel=1e-12)


@pytest.mark.parametrize(
    ("family", "roles"),
    [
        ("clip", ["attention.q", "attention.k", "attention.v", "attention.o", "mlp.fc1", "mlp.fc2"]),
        ("modernbert", ["attention.qkv", "attention.o", "mlp.fc1", "mlp.fc2"]),
    ],
)
def test_matrices_are_numpy_in_float64(tiny, family, roles):
    encoder, tower = tiny(family), NAMES[family][0]
    update = noise(encoder, 0.1)
    rows = of_tower(moved(encoder, update), tower, top=5, threshold=0.6)
    weights = {name: p.detach().double().numpy() for name, p in encoder.model.named_parameters()}
    metrics = ("update", "update_relative", "stable_rank", "effective_rank", "intruders")
    found = {metric: table(rows, f"weights.{metric}") for metric in metrics}
    matrices = {(layer, role) for layer in range(BLOCKS) for role in roles}
    norms = {(layer, f"norm{i}") for layer in range(BLOCKS) for i in (1, 2)}
    norms -= {(0, "norm1")} if family == "modernbert" else set()
    whole = {(None, "embeddings"), (None, "final")}
    assert found["update"].keys() == found["update_relative"].keys() == matrices | norms | whole
    for metric in metrics[2:]:
        assert found[metric].keys() == matrices
    paths = {f"{tower}.blocks[{layer}].{role}": (layer, role) for layer, role in matrices | norms}
    intruders = set()
    for role, path in encoder.map.roles():
        if (key := paths.get(role)) is None:
            continue
        before, change = weights[f"{path}.weight"], update[f"{path}.weight"].double().numpy()
        assert found["update"][key] == pytest.approx(size(change), rel=1e-12)
        assert found["update_relative"][key] == pytest.approx(size(change) / size(before), rel=1e-12)
        if key in norms:
            continue
        sigma = np.linalg.svd(change, compute_uv=False)
        shares = [s / sum(sigma) for s in sigma]
        assert found["stable_rank"][key] == pytest.approx(sum(s * s for s in sigma) / sigma[0] ** 2, rel=1e-5)
        entropy = -sum(p * math.log(p) for p in shares)
        assert found["effective_rank"][key] == pytest.approx(math.exp(entropy), rel=1e-5)
        old, new = (np.linalg.svd(w, full_matrices=False)[0] for w in (before, before + change))
        count = sum(max(abs(old[:, i] @ new[:, j]) for i in range(old.shape[1])) < 0.6 for j in range(5))
        assert found["intruders"][key] == count
        intruders.add(count)
    assert len(intruders) > 1
    place = encoder.map.tower(tower)
    for component, below in (("embeddings", (place.embeddings,)), ("final", place.final)):
        inside = [n for n in weights if any(n.startswith(f"{path}.") for path in below) and "bias" not in n]
        assert len(inside) >= 1
        total = size(np.array([size(update[name].numpy()) for name in inside]))
        assert found["update"][None, component] == pytest.approx(total, rel=1e-12)
        before = size(np.array([size(weights[name]) for name in inside]))
        assert found["update_relative"][None, component] == pytest.approx(total / before, rel=1e-12)


def test_what_a_method_leaves_alone_has_moved_by_nothing(tiny):
    encoder = tiny("clip")
    name = "vision_model.encoder.layers.1.self_attn.q_proj.weight"
    rows = measured(moved(encoder, {name: noise(encoder)[name]}), "vision")
    found = table(rows, "weights.update")
    assert {key for key, value in found.items() if value} == {(1, "attention.q")}
    assert {key[0] for key, value in table(rows, "heads.update").items() if value} == {1}
    for metric in ("stable_rank", "effective_rank", "intruders"):
        assert table(rows, f"weights.{metric}").keys() == {(1, "attention.q")}


def test_which_towers(tiny):
    encoder = tiny("clip")
    update = noise(encoder)
    text = {name: change for name, change in update.items() if name.startswith("text_model.encoder")}

    def towers(change: WeightChange, tuned: str) -> list[str | None]:
        return sorted({row.tower for row in measured(change, tuned, spectra=False)}, key=str)

    assert towers(moved(encoder, update), "vision") == ["text", "vision"]
    assert towers(moved(encoder, text), "text") == ["text"]
    assert towers(moved(encoder, text), "vision") == ["text", "vision"]
    assert towers(moved(encoder, {}), "vision") == ["vision"]
    assert towers(moved(encoder, text, frozenset({"vision"})), "vision") == ["text"]
    assert towers(moved(encoder, {}, frozenset({"vision"})), "vision") == []


def test_a_ratio_to_zero_is_left_out(tiny):
    encoder = tiny("vit")
    update = noise(encoder)
    name = named("vit", encoder, 0, "q")
    with torch.no_grad():
        encoder.model.get_parameter(name)[own("vit", "q", 1)] = 0
    rows = measured(moved(encoder, update), "vision", spectra=False)
    left_out = table(rows, "heads.update").keys() - table(rows, "heads.update_relative").keys()
    assert left_out == {(0, 1, "q")}


def test_the_base_has_no_rows(tiny):
    encoder = tiny("vit")
    assert UpdatesProbe().measure(Subject(encoder, None, "vision", {})).rows == []


def test_every_row_is_declared_and_nothing_is_derived(tiny):
    encoder = tiny("vit")
    rows = measured(moved(encoder, noise(encoder)), "vision")
    declared = {metric.name: metric for metric in UpdatesProbe.metrics}
    assert {row.metric for row in rows} == declared.keys()
    keys = [(row.metric, *row.key) for row in rows]
    assert len(set(keys)) == len(keys)
    assert all(metric.derived == () for metric in declared.values())
    for row in rows:
        low, _ = declared[row.metric].range
        assert low is not None
        assert row.value >= low - 1e-9
        told = {"tower", "layer", "head", "component"} & {
            name for name in Row._fields if getattr(row, name) is not None
        }
        assert told <= set(declared[row.metric].dims)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"top": 0}, "top"),
        ({"spectre": False}, "did you mean 'spectra'"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(StudyError, match=message):
        UpdatesProbe.parse({"kind": "updates"} | settings, "probes")
