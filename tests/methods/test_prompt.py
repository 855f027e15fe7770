import copy
import math
from statistics import fmean

import by_hand
import eager as reference
import numpy as np
import pytest
import torch
from colours import examples, spec
from families import TEXT_FAMILIES, save_tiny
from torch import nn
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from tunescope.data.examples import Examples
from tunescope.errors import MethodError, Stopped, StudyError
from tunescope.methods.prefix import Prefix
from tunescope.methods.prompt import Prompt
from tunescope.models import rows as on
from tunescope.models.load import load
from tunescope.models.modelmap import module_at
from tunescope.models.seam import gate, watch
from tunescope.probes.attention import AttentionProbe
from tunescope.probes.blocks import states
from tunescope.probes.probe import Subject
from tunescope.results.store import Store
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.loop import train

P = 3
FAMILIES = ("clip", "siglip", *TEXT_FAMILIES)
TEXTS = ["a cat", "a photo of a somewhat longer dog", "tea"]
every_family = pytest.mark.parametrize("family", FAMILIES)


def at_work(encoder):
    """Prompts that matter, the model in float32."""
    torch.manual_seed(0)
    installed = Prompt(prompts=P).install(encoder, "text")
    by_hand.stirred(installed)
    encoder.model.float()
    return installed


def weight(encoder):
    """P as it is, in float64."""
    path = f"{encoder.map.tower('text').blocks[0].path}.prompts.weight"
    return encoder.model.get_parameter(path).double()


def entering(model, tower, tokens):
    """What enters the first block of a model without prompts."""
    held = []
    block = module_at(model, tower.blocks[0].path)
    handle = block.register_forward_pre_hook(
        lambda _, args, kwargs: held.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    module_at(model, tower.path)(**tokens)
    handle.remove()
    return held[0]


@torch.no_grad()
def expected(family, base, tokens, prompts):
    """Features of a text tower whose blocks are given tokens, positions and masks with prompts in them.

    The blocks are transformers' own with eager attention, in float64; what they are told is written out.
    """
    tower = base.map.tower("text")
    model = reference.eager_model(base)
    x = entering(model, tower, tokens)
    mask = tokens.get("attention_mask", torch.ones_like(tokens["input_ids"]))
    x = with_prompts(x, prompts)
    real = torch.cat([mask[:, :1], mask.new_ones(len(x), P), mask[:, 1:]], 1)
    position = torch.tensor([0] + [0] * P + list(range(1, mask.shape[1])))
    seen = real.bool()[:, None, None].expand(-1, 1, len(position), -1)
    if family == "clip":
        seen = seen & torch.ones(len(position), len(position)).tril().bool()
    biases = torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -1e30)
    blocks = [module_at(model, block.path) for block in tower.blocks]
    if family == "deberta":
        tokens_alone = torch.zeros(1, mask.shape[1], 1)
        relative = build_relative_position(
            tokens_alone,
            tokens_alone,
            bucket_size=model.config.position_buckets,
            max_position=model.encoder.max_relative_positions,
        )
        out = model.encoder(x, real, relative_pos=relative[:, position][:, :, position]).last_hidden_state
    elif family == "modernbert":
        out, apart = x, (position[:, None] - position).abs()
        local = biases.masked_fill(apart > model.config.sliding_window, -1e30)
        assert (local != biases).any()
        for block in blocks:
            rotation = model.rotary_emb(out, position[None], block.attention_type)
            mask = biases if block.attention_type == "full_attention" else local
            out = block(out, attention_mask=mask, position_embeddings=rotation)
    else:
        out = x
        for block in blocks:
            out = block(out, biases)
    out = without_prompts(out)
    if family == "modernbert":
        out = model.final_norm(out)
    if family == "clip":
        last = [row.index(model.config.text_config.eos_token_id) for row in tokens["input_ids"].tolist()]
        out = model.text_model.final_layer_norm(out)[torch.arange(len(out)), last]
        return model.text_projection(out)
    if family == "siglip":
        return model.text_model.head(model.text_model.final_layer_norm(out)[:, -1])
    return out[:, 0]


@every_family
def test_the_blocks_see_the_prompts_as_first_tokens(tiny, family):
    encoder, base = tiny(family), tiny(family)
    at_work(encoder)
    theirs = expected(family, base, base.tokens(TEXTS), weight(encoder))
    encoder.model.double()
    # Eager code takes the softmax in float32, even in a float64 model.
    torch.testing.assert_close(encoder.text_features(TEXTS), theirs, atol=1e-6, rtol=1e-6)
    base.model.double()
    assert (theirs - base.text_features(TEXTS)).abs().max() > 0.05


@pytest.mark.parametrize("masked", [True, False])
def test_clip_s_is_the_causal_forward_pass_written_out_by_hand(tiny, masked):
    encoder = tiny("clip")
    model = by_hand.plain(encoder)
    by_hand.stirred(Prompt(prompts=P).install(encoder, "text"))
    tokens = encoder.tokens(TEXTS if masked else ["cat", "tea"])
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    assert bool((mask == 0).any()) == masked
    theirs, rows, _ = written_out(model, weight(encoder), tokens)
    given = tokens if masked else {"input_ids": ids}
    with watch(encoder, "text") as seen:
        found = encoder.model.get_text_features(**given).pooler_output
    torch.testing.assert_close(found, theirs, atol=1e-12, rtol=1e-12)
    assert seen.prefix_tokens == P
    last = (ids == encoder.model.config.text_config.eos_token_id).int().argmax(-1) + P
    for layer, each in enumerate(rows):
        row = each[torch.arange(len(ids)), :, last]
        row = torch.cat([row[..., 1 : 1 + P], row[..., :1], row[..., 1 + P :]], -1)  # prompts lead
        torch.testing.assert_close(seen.rows[layer], row, atol=1e-12, rtol=1e-12)


def written_out(model, prompts, tokens):
    """CLIP's features, its blocks' attention and what leaves them, prompts behind [BOS]."""
    mask = tokens["attention_mask"]
    widened = torch.cat([mask[:, :1], mask.new_ones(len(mask), P), mask[:, 1:]], 1)
    return by_hand.clip_text(
        model,
        tokens["input_ids"],
        by_hand.causal(widened),
        tokens=lambda layer, x: x if layer else with_prompts(x, prompts),
        end=without_prompts,
    )


def with_prompts(x, prompts):
    return torch.cat([x[:, :1], prompts.expand(len(x), -1, -1), x[:, 1:]], 1)


def without_prompts(x):
    return torch.cat([x[:, :1], x[:, 1 + P :]], 1)


@every_family
def test_rows_and_value_norms_are_eager_s_with_prompts_first(tiny, family):
    encoder = tiny(family)
    at_work(encoder)
    tokens, place = encoder.tokens(TEXTS), encoder.map.tower("text")
    theirs = reference.eager(encoder, "text", **tokens)
    n = tokens["input_ids"].shape[1]
    order = [*range(1, 1 + P), 0, *range(1 + P, P + n)]
    with (
        torch.no_grad(),
        watch(encoder, "text", values=True) as seen,
        watch(encoder, "text", "all", values=True, reduce=lambda block: block) as every,
    ):
        encoder.text_features(TEXTS)
    assert place.leading_keys == seen.prefix_tokens == P
    mask = tokens.get("attention_mask", torch.ones_like(tokens["input_ids"]))
    for layer, block in every.reduced.items():
        row = torch.from_numpy(theirs.rows[layer])[..., order]
        norms = torch.from_numpy(theirs.norms[layer])[..., order].float()
        assert not block.real[:, :P].any()
        assert torch.equal(block.real[:, P:], mask.bool())
        each = block.real[:, None].repeat(1, 4, 1)
        torch.testing.assert_close(block.rows[each], row[:, :, order].float()[each], atol=1e-5, rtol=0)
        each[..., :P] = True  # every key that is seen
        for found in (block.value_norms, seen.value_norms[layer]):
            torch.testing.assert_close(found[each], norms[each], atol=1e-5, rtol=1e-4)
        for example in range(3):
            query = reference.pooled(encoder, "text", tokens["input_ids"], example)
            query = query + P if query > 0 else query
            torch.testing.assert_close(
                seen.rows[layer, example], row[example, :, query].float(), atol=1e-5, rtol=0
            )


def metrics(encoder, rows="pool"):
    """{(metric, layer, head): value} of the prompts of three classes."""
    probe = AttentionProbe.parse({"kind": "attention", "rows": rows}, "test")
    measured = probe.measure(Subject(encoder, None, "text", {"probe": examples(6, "probe")}))
    return {(row.metric.removeprefix("attention."), row.layer, row.head): row.value for row in measured.rows}


@pytest.mark.parametrize("rows", ["pool", "all"])
def test_metrics_are_of_the_text_s_own_tokens_and_prompts_are_sinks(tiny, rows):
    encoder = tiny("clip")
    model = by_hand.plain(encoder)
    at_work(encoder)
    tokens = encoder.tokens(["a red square.", "a green square.", "a blue square."])
    mask = tokens["attention_mask"]
    _, attention, _ = written_out(model, weight(encoder), tokens)
    found = metrics(encoder, rows)
    for layer, each in enumerate(attention):
        for head in range(4):
            entropies, sinks = [], []
            for example, length in enumerate(mask.sum(-1).tolist()):
                these = []
                for query in range(1, length) if rows == "all" else [length - 1]:
                    row = each[example, head, P + query, : P + query + 1].tolist()
                    mass = sum(row[1 : 1 + P])
                    these.append((mass, [a / (1 - mass) for a in [row[0], *row[1 + P :]]]))
                sinks.append(fmean(mass for mass, _ in these))
                entropies.append(fmean(-sum(a * math.log(a) for a in rest) for _, rest in these))
            assert found["entropy", layer, head] == pytest.approx(fmean(entropies), abs=1e-5)
            assert found["sink_mass", layer, head] == pytest.approx(fmean(sinks), abs=1e-5)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_taken_off_the_map_and_every_metric_are_the_base_s(tiny, family):
    base = tiny(family)
    before, theirs = base.map, metrics(base)
    encoder = tiny(family)
    installed = at_work(encoder)
    during = encoder.map
    active = metrics(encoder)
    assert active.keys() >= theirs.keys()
    assert active != theirs
    with installed.without():
        assert metrics(encoder) == theirs
        assert encoder.map == before
    assert encoder.map == during
    assert metrics(encoder) == active


@every_family
@torch.no_grad()
def test_what_is_trained_saved_taken_off_and_refused(tiny, family):
    """The contract that every method keeps, on text towers."""
    encoder, base = tiny(family), tiny(family)
    plain = base.text_features(TEXTS)
    torch.manual_seed(0)
    installed = Prompt(prompts=P).install(encoder, "text")
    assert [value.shape for value in installed.trainable.values()] == [(P, 32)]
    start = encoder.text_features(TEXTS)
    assert not torch.allclose(start, plain, atol=1e-3)
    frozen = {name: p.clone() for name, p in encoder.model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW(installed.trainable.values(), lr=1e-2)
    with torch.enable_grad():
        for _ in range(3):
            optimizer.zero_grad()
            encoder.text_features(TEXTS).square().mean().backward()
            optimizer.step()
    assert all(torch.equal(encoder.model.get_parameter(name), p) for name, p in frozen.items())
    tuned = encoder.text_features(TEXTS)
    assert not torch.allclose(tuned, start, atol=1e-4)
    other = Prompt(prompts=P).install(tiny(family), "text")  # with other random numbers
    other.load_state_dict(installed.state_dict())
    assert torch.equal(other.encoder.text_features(TEXTS), tuned)
    copied = copy.deepcopy(encoder)
    with installed.without():
        assert torch.equal(encoder.text_features(TEXTS), plain)
        assert torch.equal(copied.text_features(TEXTS), tuned)
    assert torch.equal(encoder.text_features(TEXTS), tuned)
    with pytest.raises(MethodError, match=r"prompt cannot be merged: .* lora"):
        installed.merge()
    with pytest.raises(MethodError, match=r"already has 'prompts'"):
        Prompt().install(encoder, "text")


@every_family
def test_each_starts_as_one_token_of_the_vocabulary_at_the_first_place(tiny, family):
    encoder, base = tiny(family), tiny(family)
    torch.manual_seed(0)
    Prompt(prompts=P).install(encoder, "text")
    torch.manual_seed(0)
    again = Prompt(prompts=P).install(tiny(family), "text")
    tower = base.map.tower("text")
    vocabulary = module_at(base.model, tower.words).get_parameter("weight").shape[0]
    with torch.no_grad():
        every = module_at(base.model, tower.embeddings)(torch.arange(vocabulary)[:, None])[:, 0]
    ours = weight(encoder).float()
    assert torch.equal(again.state_dict().popitem()[1], ours)
    chosen = torch.cdist(ours, every).argmin(-1)
    torch.testing.assert_close(every[chosen], ours, atol=1e-6, rtol=0)
    assert len(set(chosen.tolist())) > 1


def test_norms_and_states_are_read_where_the_pooled_token_stands(tiny):
    """Behind the blocks that hold prompts [EOS] stands further on; behind the last one it does not."""
    encoder = tiny("clip")
    model = by_hand.plain(encoder)
    at_work(encoder)
    given = examples(6, "probe")
    found = states(Subject(encoder, None, "text", {}), "text", given, 3)
    tokens = encoder.tokens(["a red square.", "a green square.", "a blue square."])
    _, _, hidden = written_out(model, weight(encoder), tokens)
    last = tokens["attention_mask"].sum(-1) - 1 + P
    for layer, each in enumerate(hidden):
        theirs = each[torch.arange(3), last].float()
        torch.testing.assert_close(torch.from_numpy(found.layers[layer]), theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", ["clip", "siglip", "bert", "deberta"])
def test_gradients_pass_gates_and_penalties_and_are_those_of_finite_differences(tiny, family):
    encoder = tiny(family)
    installed = at_work(encoder)
    encoder.model.double()
    ((name, prompts),) = installed.trainable.items()
    gates = torch.rand(3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def value():
        with gate(encoder, "text", gates), watch(encoder, "text", grad=True) as seen:
            total = encoder.text_features(TEXTS).tanh().sum()
        return total + on.entropy(seen.logits[..., seen.prefix_tokens :].softmax(-1)).sum()

    (gradient,) = torch.autograd.grad(value(), prompts)
    with torch.no_grad():
        for place in [(0, 0), (1, 7), (2, 31)]:
            both = []
            for step in (1e-5, -1e-5):
                prompts[place] += step
                both.append(value())
                prompts[place] -= step
            assert abs((both[0] - both[1]) / 2e-5 - gradient[place]) < 1e-6, name
            assert gradient[place].abs() > 1e-5


@pytest.mark.parametrize("family", ["clip", "modernbert"])
def test_with_checkpointed_gradients_they_are_the_same(tiny, family):
    found = []
    for checkpointed in (False, True):
        encoder = tiny(family)
        installed = at_work(encoder)
        encoder.model.double()
        if checkpointed:
            encoder.model.activation_checkpointing_enable({"use_reentrant": False})
        encoder.model.train()
        with watch(encoder, "text", grad=True) as seen:
            loss = encoder.text_features(TEXTS).square().sum()
            (loss + seen.rows[..., seen.prefix_tokens :].square().sum()).backward()
        found.append([p.grad for p in installed.trainable.values()])
    assert torch.equal(*(each[0] for each in found))


def texts(count, split):
    """Sentences of two kinds: about cats, and about numbers."""
    generator = np.random.default_rng(count)
    words = (["cat", "kitten", "purr", "meow"], ["one", "two", "six", "nine"])
    labels = np.arange(count, dtype=np.int64) % 2
    said = [" ".join(generator.choice(words[label], 4)) for label in labels]
    ids = tuple(f"{split} {i}" for i in range(count))
    return Examples(np.array(said, dtype=object), labels, ids, ("cats", "numbers"), ("{}",), split)


def tuned(tiny, family, adapt, said, head=None, checkpoint=None, reuse=True):
    """What happened, and what was trained."""
    encoder, given = tiny(family), texts(16, "train")
    torch.manual_seed(0)
    head = head or said.objective.build_head(encoder, given.class_names, given.templates)
    installed = adapt.install(encoder, "text")
    history = train(encoder, installed, head, said, given, given, checkpoint=checkpoint, reuse=reuse)
    return history, installed.state_dict() | head.state_dict()


def values(history, metric):
    return [row.value for row in history.rows if row.metric == f"training.{metric}"]


@pytest.mark.parametrize("method", [Prompt(prompts=16), Prefix(tokens=16)], ids=lambda m: m.kind)
def test_it_fits_sixteen_texts_under_a_head_that_nobody_trains(tiny, method):
    torch.manual_seed(1)
    head = nn.Linear(32, 2).requires_grad_(False)
    history, _ = tuned(tiny, "distilbert", method, spec(method, lr=0.1, epochs=40, batch_size=16), head)
    first, *_, last = values(history, "val_acc1")
    assert first < 0.8
    assert last == 1


@pytest.mark.parametrize("method", [Prompt(prompts=4), Prefix(tokens=4, blocks="1-")], ids=lambda m: m.kind)
@pytest.mark.parametrize("family", ["clip", "modernbert"])
def test_stopped_and_resumed_is_bit_for_bit_what_runs_straight_through(tiny, tmp_path, family, method):
    said = spec(method, lr=1e-2)
    _, straight = tuned(tiny, family, method, said)
    store = Store(tmp_path).unfinished("ab" * 32)
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="step 3"):
        tuned(tiny, family, method, said, checkpoint=Checkpoint(store, 1e9, lambda: next(asked)))
    _, resumed = tuned(tiny, family, method, said, checkpoint=Checkpoint(store, 1e9))
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(resumed[name], value) for name, value in straight.items())


@pytest.mark.parametrize(
    ("method", "reused"), [(Prompt(prompts=4), None), (Prefix(tokens=4, blocks="1-"), "prefix")]
)
def test_what_is_computed_once_changes_nothing(tiny, method, reused):
    """Texts are as long as the longest of their batch: to rounding."""
    said = spec(method, lr=1e-2)
    history, kept = tuned(tiny, "modernbert", method, said)
    _, plain = tuned(tiny, "modernbert", method, said, reuse=False)
    assert history.log[0]["reused"] == reused
    for name, value in kept.items():
        torch.testing.assert_close(value, plain[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("penalty", ["entropy_floor", "attention_kl"])
@pytest.mark.parametrize("method", [Prompt(prompts=4), Prefix(tokens=4, blocks="1-")], ids=lambda m: m.kind)
def test_penalties_hold_attention_on_the_text_s_own_tokens_to_the_base_s(tiny, method, penalty):
    """The base's rows have no prompts in them, and the tuned model's do."""
    settings = {"kind": penalty, "weight": 1.0} | ({"fraction": 1.0} if penalty == "entropy_floor" else {})
    history, _ = tuned(tiny, "bert", method, spec(method, lr=1e-2, penalties=[settings]))
    assert 0 < values(history, "penalty")[0] < 1
    assert np.isfinite(values(history, "penalty")).all()


def test_vision_towers_have_prompts_of_their_own(tiny):
    for family in ("clip", "vit"):
        with pytest.raises(MethodError, match=r"prompt: .* reads images; use vpt_shallow or vpt_deep, or"):
            Prompt().install(tiny(family), "vision")


def test_a_convolution_over_tokens_is_refused(tmp_path):
    encoder = load(save_tiny("deberta", tmp_path, conv_kernel_size=3))
    with pytest.raises(MethodError, match=r"prompt: .* \(deberta-v2\) has a convolution .* use lora or"):
        Prompt().install(encoder, "text")


def test_no_prompts_at_all_are_refused():
    with pytest.raises(StudyError, match=r"prompts.*greater than or equal to 1, got 0"):
        Prompt.parse({"kind": "prompt", "prompts": 0}, "adapt")
