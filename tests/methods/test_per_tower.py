"""A way of tuning for each tower: what trains, what is frozen, what is taken off, merged and saved."""

from pathlib import Path

import pytest
import torch
from colours import NAMES, TRAIN, VAL, examples, spec

from tunescope.errors import MethodError, StudyError
from tunescope.methods.bitfit import BitFit
from tunescope.methods.freeze import Freeze
from tunescope.methods.full import Full
from tunescope.methods.houlsby import Houlsby
from tunescope.methods.last_k import LastK
from tunescope.methods.linear_probe import LinearProbe
from tunescope.methods.lora import LoRA
from tunescope.methods.method import Installed, Method
from tunescope.methods.per_tower import PerTower
from tunescope.methods.tower_parameters import tower_parameters
from tunescope.methods.vera import VeRA
from tunescope.methods.vpt_shallow import VPTShallow
from tunescope.models.encoder import Encoder
from tunescope.training.loop import train

TEXTS = ["a red square", "the colour blue"]
WAYS: dict[str, tuple[Method, Method]] = {
    "full and full": (Full(), Full()),
    "full and lora": (Full(), LoRA(rank=2)),
    "lora and full": (LoRA(rank=2), Full()),
    "vera and houlsby": (VeRA(rank=3), Houlsby(rank=2)),
    "prompts and last_k": (VPTShallow(prompts=2), LastK(blocks=1)),
    "houlsby and lora": (Houlsby(rank=2), LoRA(rank=2)),
}
every_way = pytest.mark.parametrize("ways", WAYS.values(), ids=list(WAYS))


def install(encoder: Encoder, vision: Method | None = None, text: Method | None = None) -> Installed:
    torch.manual_seed(0)
    return PerTower(vision=vision, text=text).install(encoder)


@torch.no_grad()
def features(encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor]:
    return encoder.features(examples(3, "val").inputs), encoder.text_features(TEXTS)


def equal(one: tuple, other: tuple) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(one, other, strict=True)]


def steps(installed: Installed, count: int = 3) -> None:
    """Towards zero features of images and texts."""
    encoder = installed.encoder
    optimizer = torch.optim.AdamW(installed.trainable.values(), lr=1e-2)
    for step in range(count):
        optimizer.zero_grad()
        images = encoder.features(examples(3, "val").inputs)
        (images.square().mean() + encoder.text_features(TEXTS).square().mean()).backward()
        optimizer.step()
        installed.after_step(step + 1, count)


@every_way
def test_each_tower_trains_as_its_way_says_and_nothing_else(tiny, ways):
    expected: dict[str, int] = {}
    for tower, way in zip(("vision", "text"), ways, strict=True):
        alone = way.install(tiny("clip"), tower)
        expected |= {name: p.numel() for name, p in alone.trainable.items()}
    encoder = tiny("clip")
    installed = install(encoder, *ways)
    assert {name: p.numel() for name, p in installed.trainable.items()} == expected
    named = dict(encoder.model.named_parameters())
    assert {name for name, p in named.items() if p.requires_grad} == expected.keys()
    assert all(named[name] is p for name, p in installed.trainable.items())
    before = {name: p.detach().clone() for name, p in named.items()}
    steps(installed)
    for name, p in named.items():
        if "k_proj.bias" not in name:  # its gradient is rounding error
            assert torch.equal(p, before[name]) == (name not in expected), name
    assert installed.tower == "vision"


@every_way
def test_a_saved_state_is_the_whole_result(tiny, ways):
    first = install(tiny("clip"), *ways)
    steps(first)
    state = first.state_dict()
    second = PerTower(vision=ways[0], text=ways[1]).install(tiny("clip"))
    assert state.keys() == second.trainable.keys() | second.buffers.keys()
    second.load_state_dict(state)
    assert all(equal(features(first.encoder), features(second.encoder)))


def test_the_buffers_of_both_are_kept(tiny):
    installed = install(tiny("clip"), VeRA(rank=3), Full())
    assert installed.buffers
    assert installed.buffers.keys() == VeRA(rank=3).install(tiny("clip")).buffers.keys()


@pytest.mark.parametrize(
    ("ways", "removable"),
    [
        ((VeRA(rank=3), Houlsby(rank=2)), True),
        ((VPTShallow(prompts=2), LoRA(rank=2)), True),
        ((VPTShallow(prompts=2), LinearProbe()), True),
        ((None, LoRA(rank=2)), True),
        ((LoRA(rank=2), Full()), False),
        ((Full(), None), False),
        ((LinearProbe(), LinearProbe()), False),
    ],
)
def test_both_are_taken_off_or_neither(tiny, ways, removable):
    encoder = tiny("clip")
    base, prefix = features(encoder), encoder.map.tower("vision").prefix_tokens
    installed = install(encoder, *ways)
    if installed.trainable:
        steps(installed)
    active = features(encoder)
    off = installed.without()
    assert (off is not None) == removable
    if off is not None:
        with off:
            assert all(equal(features(encoder), base))
            assert encoder.map.tower("vision").prefix_tokens == prefix
    assert all(equal(features(encoder), active))


@pytest.mark.parametrize("ways", [(Full(), LoRA(rank=2)), (LoRA(rank=2), BitFit())], ids=["text", "vision"])
def test_merged_both_are_plain_weights_and_their_change_is_told(tiny, ways):
    encoder, base = tiny("clip"), tiny("clip")
    plain = set(encoder.model.state_dict())
    installed = install(encoder, *ways)
    steps(installed)
    active, update = features(encoder), installed.update(base)
    assert {name.split("_")[0] for name in update} >= {"vision", "text"}
    installed.merge()
    assert set(encoder.model.state_dict()) == plain
    for found, expected in zip(features(encoder), active, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    for name, weight in base.model.named_parameters():
        expected = weight + update[name] if name in update else weight
        torch.testing.assert_close(encoder.model.get_parameter(name), expected, atol=1e-6, rtol=0)
    assert installed.update(base).keys() == update.keys()
    assert installed.without() is None


@pytest.mark.parametrize("ways", [(LoRA(rank=2), Houlsby(rank=2)), (VPTShallow(prompts=2), LoRA(rank=2))])
def test_where_one_cannot_be_merged_neither_is(tiny, ways):
    encoder = tiny("clip")
    installed = install(encoder, *ways)
    steps(installed)
    active, names = features(encoder), set(encoder.model.state_dict())
    with pytest.raises(MethodError, match="cannot be merged"):
        installed.merge()
    assert set(encoder.model.state_dict()) == names
    assert all(equal(features(encoder), active))
    with pytest.raises(MethodError, match="cannot be folded into weights"):
        installed.update(tiny("clip"))


def test_the_line_to_the_base_goes_through_both_towers(tiny):
    encoder, base = tiny("clip"), tiny("clip")
    installed = install(encoder, Full(), LoRA(rank=2))
    origin = installed.origin()
    steps(installed)
    tuned, update = features(encoder), installed.update(base)
    line = installed.line(origin)
    line.at(0.5)
    for name, change in installed.update(base).items():
        torch.testing.assert_close(change, 0.5 * update[name], atol=1e-6, rtol=1e-4)
    line.at(0.0)
    for found, expected in zip(features(encoder), features(base), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    line.at(1.0)
    assert all(equal(features(encoder), tuned))
    with pytest.raises(MethodError, match="no straight line"):
        install(tiny("clip"), Full(), Houlsby(rank=2)).origin()


def test_two_ways_through_peft_are_one_lora_with_targets_in_both_towers(tiny):
    message = r"lora and vera both go through peft, .* targets: \[vision.attention.q, text.attention.q\]"
    encoder = tiny("clip")
    with pytest.raises(MethodError, match=message):
        install(encoder, LoRA(rank=2), VeRA(rank=2))
    ranks = {"vision.blocks[0-2].attention.q": 2, "text.blocks[0-2].attention.q": 4}
    one = LoRA(rank=ranks, targets=("vision.attention.q", "text.attention.q")).install(encoder)
    assert sum(p.numel() for p in one.trainable.values()) == 3 * (2 + 4) * (32 + 32)


def test_a_way_that_reaches_into_the_other_tower_is_refused(tiny):
    reaching = LoRA(rank=2, targets=("text.attention.q",))
    with pytest.raises(MethodError, match=r"vision: lora would train 'text_model.* give targets in vision"):
        install(tiny("clip"), reaching, Full())


@pytest.mark.parametrize("family", ["vit", "bert"])
def test_a_model_of_one_tower_has_no_other(tiny, family):
    with pytest.raises(MethodError, match=rf"{family} has no '(vision|text)' tower"):
        install(tiny(family), Full(), Full())


def test_peft_s_format_holds_one_adapter(tiny, tmp_path: Path):
    with pytest.raises(MethodError, match="per_tower is two methods"):
        install(tiny("clip"), LoRA(rank=2), Full()).save_adapter(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({}, "name a way for vision, for text or for both"),
        ({"vision": {"kind": "per_tower", "text": "full"}}, "vision: per_tower is for the whole model"),
        ({"text": "lp_ft"}, "text: lp_ft is for the whole model; .* per_tower in its `then`"),
        ({"vision": "fill"}, "did you mean 'full'"),
        ({"vision": {"kind": "lora", "rank": 0}}, r"adapt: vision.*rank.*greater than or equal to 1"),
        ({"txt": "full"}, "did you mean 'text'"),
    ],
)
def test_settings_that_make_no_sense(said, match):
    with pytest.raises(StudyError, match=match):
        PerTower.parse({"kind": "per_tower", **said}, "adapt")


def test_it_is_written_out_and_read_again():
    said = spec({"kind": "per_tower", "vision": {"kind": "freeze", "blocks": 2}, "text": "bitfit"})
    assert type(said).model_validate(said.model_dump(mode="json")) == said
    assert said.adapt == PerTower(vision=Freeze(blocks=2), text=BitFit())
    assert {"adapt", "adapt.vision", "adapt.text"} <= said.components().keys()


@pytest.mark.parametrize(
    ("vision", "told"),
    [
        (None, {"reused": "features"}),
        (Freeze(blocks=2), {"reused": "prefix", "blocks": 2}),
        (Full(), {"reused": None, "because": "the embeddings are trained"}),
    ],
    ids=["none", "freeze", "full"],
)
def test_what_is_computed_once_of_the_images_does_not_mind_the_texts(tiny, vision, told):
    said = spec(PerTower(vision=vision, text=LastK(blocks=1)), objective="flyp", lr=1e-3, epochs=1)
    found = []
    for reuse in (True, False):
        encoder = tiny("clip")
        head = said.objective.build_head(encoder, NAMES, TRAIN.templates)  # pyright: ignore[reportAttributeAccessIssue]
        assert isinstance(said.adapt, Method)
        installed = said.adapt.install(encoder)
        history = train(encoder, installed, head, said, TRAIN, VAL, reuse=reuse)
        found.append((history.log[0], installed.state_dict()))
    assert found[0][0] == told
    texts = tower_parameters(tiny("clip").model, tiny("clip").map, "text").keys() & found[0][1].keys()
    assert texts
    for name, value in found[1][1].items():
        torch.testing.assert_close(found[0][1][name], value, atol=2e-4, rtol=1e-3, msg=name)
