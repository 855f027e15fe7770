"""Plasticity against plain loops in float64, one unpadded input at a time, that share no code with it."""

import math
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
import without_heads as reference
from families import save_tiny

from tunescope.data.examples import Examples
from tunescope.errors import MethodError, ModelError, StudyError
from tunescope.methods.lora import LoRA
from tunescope.models.load import load
from tunescope.models.modelmap import module_at
from tunescope.probes.measure import measure
from tunescope.probes.plasticity import PlasticityProbe
from tunescope.probes.probe import Subject
from tunescope.probes.rates import rates
from tunescope.results.metric import declared

ROLES = {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "fc1", "mlp.gate": "gate", "mlp.fc2": "fc2"}


def examples(inputs, split="probe"):
    ids = tuple(map(str, range(len(inputs))))
    names = ("cat", "tea", "ox", "an owl")
    return Examples(inputs, np.zeros(len(inputs), np.int64), ids, names, ("a {}.",), split)


def subject(encoder, tower, batch_size=4, **splits):
    given = splits or {"probe": reference.inputs(tower)}
    parts = {name: examples(inputs, name) for name, inputs in given.items()}
    return Subject(encoder, None, tower, parts, batch_size)


class Recorded:
    """What every module of the tower's blocks was called with, and gave, of one input alone."""

    def __init__(self, model, block):
        self.calls: dict[str, tuple[list, dict, Any]] = {}
        self.handles = []
        paths = {name: getattr(block, name) for name in (*ROLES.values(), "attention", "o", "path")}
        for name, path in paths.items():
            if path is not None:
                hook = module_at(model, path).register_forward_hook(self.keep(name), with_kwargs=True)
                self.handles.append(hook)

    def keep(self, name):
        def after(module, args, kwargs, output):
            first = output[0] if isinstance(output, tuple) else output
            self.calls.setdefault(name, (list(args), dict(kwargs), first[0]))

        return after

    def given(self, name):
        args, kwargs, _ = self.calls[name]
        return (args[0] if args else kwargs["hidden_states"])[0]


def recorded(encoder, tower, one):
    blocks = [Recorded(encoder.model, block) for block in encoder.map.tower(tower).blocks]
    with torch.no_grad():
        encoder.features(one)
    for block in blocks:
        for handle in block.handles:
            handle.remove()
    return blocks


def again(model, block, calls, hidden):
    """Attention on another input: what it gives, and what entered its output projection."""
    args, kwargs, _ = calls.calls["attention"]
    entered = []
    handle = module_at(model, block.o).register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    if args:
        args = [hidden[None], *args[1:]]
    else:
        kwargs = kwargs | {"hidden_states": hidden[None]}
    output = module_at(model, block.attention)(*args, **kwargs)[0]
    if not entered:
        entered.append(output)
        output = module_at(model, block.o)(output)
    handle.remove()
    return output[0], entered[0][0]


def by_loops(encoder, tower, one, own):
    """(layer, component) → the input, and the output or each head's output, of one example."""
    found, heads = {}, {}
    place, blocks = encoder.map.tower(tower), recorded(encoder, tower, one)
    start = blocks[0].given("path")
    for layer, (block, calls) in enumerate(zip(place.blocks, blocks, strict=True)):
        for role, name in ROLES.items():
            if getattr(block, name) is None:
                continue
            x = calls.given(name)
            if not own:
                zeros = torch.zeros(len(start), x.shape[1] - start.shape[1]).double()
                x = torch.cat([start, zeros], 1)
            found[layer, role] = x, module_at(encoder.model, getattr(block, name))(x[None])[0]
        x = calls.given("attention") if own else start
        output, context = again(encoder.model, block, calls, x)
        found[layer, "attention"] = x, output
        size = place.head_dim
        fused = None if block.qkv is None else module_at(encoder.model, block.qkv)
        for part, component in enumerate("qkv"):
            module: Any = fused or module_at(encoder.model, getattr(block, component))
            weight, bias = module.weight, module.bias
            if fused:
                weight = weight[part * place.heads * size : (part + 1) * place.heads * size]
                bias = None if bias is None else bias[part * place.heads * size :]
            for head in range(place.heads):
                rows = slice(head * size, (head + 1) * size)
                each = x @ weight[rows].T + (0 if bias is None else bias[rows.start : rows.stop])
                heads[layer, component, head] = x, each
        columns: Any = module_at(encoder.model, block.o)
        for head in range(place.heads):
            own_part = context[:, head * size : (head + 1) * size]
            heads[layer, "attention", head] = x, own_part
            heads[layer, "o", head] = (
                own_part,
                own_part @ columns.weight[:, head * size : (head + 1) * size].T,
            )
    return found, heads


def apart(x, y):
    n = min(len(x), len(y))
    return math.sqrt(((x[:n] - y[:n]).numpy() ** 2).sum())


@pytest.mark.parametrize(("family", "tower"), reference.FAMILIES)
def test_every_component_against_loops(tiny, family, tower):
    check(tiny(family), tower, 3 * (5 + 4 * 5) - (family == "modernbert"))


def test_a_gated_mlp(tmp_path):
    encoder = load(save_tiny("dinov2", tmp_path / "gated", use_swiglu_ffn=True))
    check(encoder, "vision", 3 * (6 + 4 * 5))


def check(encoder, tower, count):
    given, exact = subject(encoder, tower), reference.in_float64(encoder)
    every = given.examples["probe"].inputs
    for inputs in ("embeddings", "own"):
        found = PlasticityProbe(inputs=inputs).measure(given)
        pairs = found.arrays["plasticity.pairs"]
        assert pairs.shape == (2, 2)
        with torch.no_grad():
            each = {
                i: by_loops(exact, tower, every[i : i + 1], inputs == "own") for i in pairs.ravel().tolist()
            }
        assert len(each) == 4
        expected = {}
        for kind, metric in enumerate(("plasticity.rate", "heads.plasticity")):
            for key in each[pairs[0, 0]][kind]:
                ratios = []
                for i, j in pairs.tolist():
                    (x, fx), (y, fy) = each[i][kind][key], each[j][kind][key]
                    ratios.append(apart(fx, fy) / apart(x, y))
                expected[metric, *key] = ratios
        rows = {
            (row.metric, row.layer, row.component, *([] if row.head is None else [row.head])): row
            for row in found.rows
        }
        assert rows.keys() == expected.keys()
        assert len(rows) == len(found.rows) == count
        for key, row in rows.items():
            assert (row.tower, row.split, row.n) == (tower, "probe", 2)
            assert row.value == pytest.approx(fmean(expected[key]), rel=2e-4), key
            assert row.std == pytest.approx(stdev(expected[key]), rel=2e-3, abs=1e-4), key


def table(rows, metric="plasticity.rate"):
    return {(row.layer, row.component, row.head): row.value for row in rows if row.metric == metric}


def test_closed_forms(tiny):
    """A scaling by c has plasticity c, a linear map at most its largest singular value, an isometry 1."""
    encoder = tiny("vit")
    block = encoder.map.tower("vision").blocks[1]
    fc1, fc2, o = (module_at(encoder.model, path) for path in (block.fc1, block.fc2, block.o))
    with torch.no_grad():
        torch.nn.init.orthogonal_(fc1.get_parameter("weight")).mul_(3)
        fc2.get_parameter("weight")[:, :32] = -2 * torch.eye(32)
        o.get_parameter("weight")[:, 8:16] = 5 * torch.eye(32)[:, 8:16]
    found = PlasticityProbe().measure(subject(encoder, "vision")).rows
    whole, heads = table(found), table(found, "heads.plasticity")
    assert whole[1, "mlp.fc1", None] == pytest.approx(3, rel=1e-5)
    assert whole[1, "mlp.fc2", None] == pytest.approx(2, rel=1e-5)
    assert heads[1, "o", 1] == pytest.approx(5, rel=1e-5)
    for layer in (0, 2):
        weight = module_at(encoder.model, encoder.map.tower("vision").blocks[layer].fc1).get_parameter(
            "weight"
        )
        assert 0 < whole[layer, "mlp.fc1", None] < torch.linalg.matrix_norm(weight, 2).item()


@pytest.mark.parametrize(("family", "tower"), [("clip", "text"), ("dinov2_registers", "vision")])
def test_batches_do_not_matter_and_nothing_is_left_behind(tiny, family, tower):
    encoder = tiny(family)
    inputs = reference.inputs(tower)
    with torch.no_grad():
        before = encoder.features(inputs)
    one, other = (PlasticityProbe().measure(subject(encoder, tower, size)).rows for size in (2, 10))
    assert [row.key for row in one] == [row.key for row in other]
    np.testing.assert_allclose([row.value for row in one], [row.value for row in other], rtol=1e-4)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in encoder.model.modules())
    with torch.no_grad():
        assert torch.equal(encoder.features(inputs), before)


def test_an_adapter_is_measured_as_its_merged_model(tiny):
    encoder, merged = tiny("vit"), tiny("vit")
    method = LoRA(rank=2, targets=("q", "k", "v", "o", "fc1", "fc2"))
    installed = [method.install(each, "vision") for each in (encoder, merged)]
    for each in installed:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in each.trainable.values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    installed[1].merge()
    base = subject(tiny("vit"), "vision")
    found = measure([PlasticityProbe()], base, subject(encoder, "vision")).rows
    assert {row.metric for row in found} <= set(declared())
    for metric in ("plasticity.rate", "heads.plasticity"):
        expected = table(PlasticityProbe().measure(subject(merged, "vision")).rows, metric)
        assert table(found, metric) == pytest.approx(expected, rel=1e-4)
        changed = table(found, f"{metric}.change")
        was = table(found, f"{metric}.base")
        assert changed == pytest.approx(
            {key: expected[key] - was[key] for key in expected}, rel=1e-2, abs=1e-4
        )
        assert max(map(abs, changed.values())) > 0.1


def test_pairs(tiny):
    """Each example in one pair; across two splits, one end in each; a text tower reads prompts."""
    encoder = tiny("clip")
    images = np.random.default_rng(1).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    given = subject(encoder, "vision", probe=images, other=images[:4][::-1])
    pairs = PlasticityProbe().measure(given).arrays["plasticity.pairs"]
    assert len(set(pairs.ravel().tolist())) == pairs.size == 8
    two = PlasticityProbe(pairs=2).measure(given).arrays["plasticity.pairs"]
    assert sorted(two.ravel().tolist()) == [0, 3, 5, 8]
    across = PlasticityProbe(against="other").measure(given)
    chosen = across.arrays["plasticity.pairs"]
    assert sorted(chosen[:, 0].tolist()) == [0, 3, 5, 8]
    assert sorted(chosen[:, 1].tolist()) == [0, 1, 2, 3]
    first, second = images[chosen[:, 0]], images[3 - chosen[:, 1]]
    whole, _ = rates(encoder, "vision", first, second, own=False)
    expected = {(*key, None): np.nanmean(found) for key, found in whole.items()}
    assert table(across.rows) == pytest.approx(expected, rel=1e-5)

    prompts = PlasticityProbe().measure(subject(encoder, "text", probe=images))
    alone = subject(encoder, "text", probe=np.array(["a cat.", "a tea.", "a ox.", "a an owl."], dtype=object))
    assert table(prompts.rows) == table(PlasticityProbe().measure(alone).rows)


def test_equal_inputs_have_no_rate(tiny):
    encoder = tiny("bert")
    same = np.array(["a cat"] * 4 + ["b"], dtype=object)
    with pytest.raises(StudyError, match="inputs of every pair of split 'probe' are the same"):
        PlasticityProbe().measure(subject(encoder, "text", probe=same[:4]))
    rows = PlasticityProbe(pairs=2).measure(subject(encoder, "text", probe=same)).rows
    assert {(row.n, row.std) for row in rows} == {(1, None)}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"split": "prob"}, StudyError, "no split 'prob'.*did you mean 'probe'"),
        ({"against": "shift"}, StudyError, "no split 'shift'"),
        ({"pairs": 3}, StudyError, "3 pairs, but 'probe' hold 2"),
        ({"split": "one"}, StudyError, "1 pairs, but 'one' hold 0"),
        ({"against": "one", "pairs": 2}, StudyError, "2 pairs, but 'probe' and 'one' hold 1"),
        ({"against": "texts"}, MethodError, "the split 'texts' holds texts"),
    ],
)
def test_mistakes(tiny, settings, error, message):
    images = reference.inputs("vision")
    given = subject(tiny("vit"), "vision", probe=images, one=images[:1], texts=reference.inputs("text"))
    with pytest.raises(error, match=message):
        PlasticityProbe(**settings).measure(given)


def test_single_texts_are_not_paired_with_pairs_of_them(tiny):
    texts = reference.inputs("text")
    given = subject(tiny("bert"), "text", probe=texts, other=np.stack([texts, texts], 1))
    with pytest.raises(StudyError, match="'probe' and 'other' are not both of single texts"):
        PlasticityProbe(against="other").measure(given)
    PlasticityProbe(split="other").measure(given)


def test_a_model_that_broke(tiny):
    encoder = tiny("vit")
    with torch.no_grad():
        module_at(encoder.model, encoder.map.tower("vision").blocks[1].fc1).get_parameter("bias")[0] = (
            torch.inf
        )
    with pytest.raises(ModelError, match="not finite any more"):
        PlasticityProbe().measure(subject(encoder, "vision"))


@pytest.mark.parametrize("settings", [{"pairs": 0}, {"inputs": "outputs"}, {"pair": 3}])
def test_settings(settings):
    with pytest.raises(StudyError, match=next(iter(settings))):
        PlasticityProbe.parse({"kind": "plasticity"} | settings, "probes")
