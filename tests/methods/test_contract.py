"""What every method keeps to, on every family. A new method is one row in `CASES`."""

from collections.abc import Callable
from dataclasses import dataclass
from shutil import copytree

import pytest
import torch
from families import FAMILIES, IMAGE_SIZE
from torch import Tensor

from tunescope.errors import MethodError
from tunescope.methods.freeze import Freeze
from tunescope.methods.full import Full
from tunescope.methods.linear_probe import LinearProbe
from tunescope.methods.lora import LoRA
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.models.load import load
from tunescope.models.modelmap import module_at
from tunescope.models.seam import watch
from tunescope.study.component import resolve

D, MLP, BLOCKS, PATCHES, PATCH = 32, 64, 3, 16, 8 * 8 * 3


@dataclass(frozen=True)
class Count:
    """Numbers of parameters of a tiny vision tower, from the architecture's definition."""

    embeddings: int
    block: int
    final: int


ATTENTION = 4 * (D * D + D)
BLOCK = ATTENTION + (D * MLP + MLP) + (MLP * D + D) + 2 * 2 * D
PATCH_BIAS = PATCH * D + D
COUNTS = {
    # patches without bias, class token, positions, a norm before the blocks | a norm and the projection after
    "clip": Count(PATCH * D + D + (PATCHES + 1) * D + 2 * D, BLOCK, 2 * D + D * 24),
    # no class token | a norm, and a pooling head: probe, attention, norm, MLP
    "siglip": Count(PATCH_BIAS + PATCHES * D, BLOCK, 2 * D + D + ATTENTION + 2 * D + 2 * D * MLP + MLP + D),
    "vit": Count(PATCH_BIAS + D + (PATCHES + 1) * D, BLOCK, 2 * D),
    # a mask token; two layer scales per block
    "dinov2": Count(PATCH_BIAS + 2 * D + (PATCHES + 1) * D, BLOCK + 2 * D, 2 * D),
    "dinov2_registers": Count(PATCH_BIAS + (2 + 4) * D + (PATCHES + 1) * D, BLOCK + 2 * D, 2 * D),
}


@dataclass(frozen=True)
class Case:
    """A method, how many parameters it trains, and whether it can be taken off."""

    method: Method
    trainable: Callable[[Count], int]
    removable: bool = False


CASES = {
    "full": Case(Full(), lambda n: n.embeddings + BLOCKS * n.block + n.final),
    "linear_probe": Case(LinearProbe(), lambda n: 0),
    "freeze 0": Case(Freeze(blocks=0), lambda n: BLOCKS * n.block + n.final),
    "freeze 2": Case(Freeze(blocks=2), lambda n: n.block + n.final),
    "lora": Case(LoRA(rank=2), lambda n: BLOCKS * 2 * 2 * (D + D), removable=True),
    "lora mlp dropout": Case(
        LoRA(rank=3, alpha=6, dropout=0.5, targets=("o", "blocks[1-].mlp.fc1")),
        lambda n: 3 * (BLOCKS * (D + D) + (BLOCKS - 1) * (D + MLP)),
        removable=True,
    ),
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
every_family = pytest.mark.parametrize("family", FAMILIES)


def pixels(count: int = 4) -> Tensor:
    return torch.randn(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def features(encoder: Encoder) -> Tensor:
    return encoder.image_features(pixels())


def install(case: Case, encoder: Encoder) -> Installed:
    torch.manual_seed(0)
    return case.method.install(encoder)


def three_steps(installed: Installed) -> None:
    """Three steps of plain AdamW towards the zero vector."""
    if not installed.trainable:
        return
    model = installed.encoder.model.train()
    optimizer = torch.optim.AdamW(installed.trainable.values(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        installed.encoder.image_features(pixels()).square().mean().backward()
        optimizer.step()
    model.eval()


@every_case
@every_family
def test_the_model_starts_as_the_base_and_trains_what_the_formula_says(tiny, family, case):
    encoder = tiny(family)
    before = features(encoder)
    installed = install(case, encoder)
    assert torch.equal(features(encoder), before)
    assert sum(p.numel() for p in installed.trainable.values()) == case.trainable(COUNTS[family])
    named = dict(encoder.model.named_parameters())
    assert {name for name, p in named.items() if p.requires_grad} == installed.trainable.keys()
    assert all(named[name] is p for name, p in installed.trainable.items())
    assert not any(module.training for module in encoder.model.modules())


@every_case
@every_family
def test_frozen_weights_stay_and_trained_ones_move(tiny, family, case):
    encoder = tiny(family)
    base = features(encoder)
    installed = install(case, encoder)
    before = {name: p.detach().clone() for name, p in encoder.model.named_parameters()}
    three_steps(installed)
    for name, parameter in encoder.model.named_parameters():
        unused = parameter.requires_grad and parameter.grad is None
        assert not unused or "mask_token" in name  # DINOv2's, for pretraining only
        # The bias of the keys adds the same to every logit of a row: its gradient is rounding error.
        if "k_proj.bias" not in name:
            assert torch.equal(parameter, before[name]) == (name not in installed.trainable or unused), name
    assert torch.equal(features(encoder), base) == (not installed.trainable)


@every_case
@every_family
def test_a_saved_state_is_the_whole_result(tiny, family, case):
    first = install(case, tiny(family))
    three_steps(first)
    state = first.state_dict()
    assert state.keys() == first.trainable.keys()
    second = install(case, tiny(family))
    second.load_state_dict(state)
    assert torch.equal(features(second.encoder), features(first.encoder))
    three_steps(first)  # the state is a copy: training on does not reach it
    assert all(torch.equal(state[name], p) for name, p in second.trainable.items())


@every_case
@every_family
def test_taken_off_it_is_the_base_again(tiny, family, case):
    encoder = tiny(family)
    base = features(encoder)
    installed = install(case, encoder)
    three_steps(installed)
    active = features(encoder)
    off = installed.without()
    assert (off is not None) == case.removable
    if off is not None:
        with off:
            assert torch.equal(features(encoder), base)
        assert torch.equal(features(encoder), active)
        assert all(p.requires_grad for p in installed.trainable.values())


@every_case
@every_family
def test_merged_it_is_an_ordinary_model_that_equals_the_active_one(tiny, tiny_folder, family, case, tmp_path):
    encoder = tiny(family)
    plain = {name for name, _ in encoder.model.named_parameters()}
    installed = install(case, encoder)
    three_steps(installed)
    active = features(encoder)
    installed.merge()
    torch.testing.assert_close(features(encoder), active, atol=1e-5, rtol=0)
    assert {name for name, _ in encoder.model.named_parameters()} == plain
    assert installed.without() is None
    copytree(tiny_folder(family), tmp_path, dirs_exist_ok=True)
    encoder.model.save_pretrained(tmp_path)
    torch.testing.assert_close(features(load(tmp_path)), active, atol=1e-5, rtol=0)


@every_case
@every_family
def test_the_map_and_the_seam_go_on_working(tiny, family, case):
    encoder = tiny(family)
    model = encoder.model
    installed = install(case, encoder)
    three_steps(installed)
    assert encoder.model is model
    for _, path in encoder.map.roles():
        module_at(model, path)
    with watch(encoder, "vision", rows="pool") as seen:
        features(encoder)
    assert seen.rows.isfinite().all()


@every_case
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_other_tower_is_left_alone(tiny, family, case):
    encoder = tiny(family)
    installed = case.method.install(encoder, "text")
    assert installed.tower == "text"
    assert not any("vision" in name or "visual" in name for name in installed.trainable)
    assert bool(installed.trainable) == (not isinstance(case.method, LinearProbe))


@every_case
def test_the_same_seed_installs_the_same_weights(tiny, case):
    first, second = install(case, tiny("vit")).state_dict(), install(case, tiny("vit")).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@every_case
def test_a_saved_state_that_does_not_fit_changes_nothing(tiny, case):
    installed = install(case, tiny("vit"))
    before = installed.state_dict()
    for state in ({**before, "other": torch.ones(1)}, {name: torch.ones(1) for name in before}):
        if state:
            with pytest.raises(MethodError, match="do not fit"):
                installed.load_state_dict(state)
    assert all(torch.equal(before[name], value) for name, value in installed.state_dict().items())


@every_case
def test_a_tower_that_is_not_there(tiny, case):
    with pytest.raises(MethodError, match=r"no 'text' tower.*vision"):
        case.method.install(tiny("vit"), "text")


@every_case
def test_settings_survive_a_file(case):
    assert resolve("adapt", case.method.model_dump(mode="json")) == case.method
    assert case.method.source
    assert case.method.summary()
