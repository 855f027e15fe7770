"""What every method keeps to, on every family. A new method is one row in `CASES`."""

from collections.abc import Callable
from dataclasses import dataclass
from shutil import copytree

import pytest
import torch
from colours import NAMES, TRAIN, VAL, examples, spec
from families import FAMILIES, IMAGE_SIZE
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModel

from tunescope.errors import MethodError, Stopped
from tunescope.methods.adalora import AdaLoRA
from tunescope.methods.adapter_plus import AdapterPlus
from tunescope.methods.bitfit import BitFit
from tunescope.methods.dora import DoRA
from tunescope.methods.fourierft import FourierFT
from tunescope.methods.freeze import Freeze
from tunescope.methods.full import Full
from tunescope.methods.houlsby import Houlsby
from tunescope.methods.hra import HRA
from tunescope.methods.ia3 import IA3
from tunescope.methods.last_k import LastK
from tunescope.methods.layernorm import LayerNorm
from tunescope.methods.linear_probe import LinearProbe
from tunescope.methods.load_adapter import load_adapter
from tunescope.methods.loha import LoHa
from tunescope.methods.lokr import LoKr
from tunescope.methods.lora import LoRA
from tunescope.methods.method import Installed, Method
from tunescope.methods.oft import OFT
from tunescope.methods.parallel_adapter import ParallelAdapter
from tunescope.methods.peft_adapter import PeftMethod
from tunescope.methods.per_tower import PerTower
from tunescope.methods.pfeiffer import Pfeiffer
from tunescope.methods.pissa import PiSSA
from tunescope.methods.prefix import Prefix
from tunescope.methods.rslora import RsLoRA
from tunescope.methods.vera import VeRA
from tunescope.methods.vpt_deep import VPTDeep
from tunescope.methods.vpt_shallow import VPTShallow
from tunescope.models.encoder import Encoder
from tunescope.models.load import load
from tunescope.models.modelmap import module_at
from tunescope.models.seam import watch
from tunescope.objectives.objective import Objective
from tunescope.results.store import Store
from tunescope.study.component import resolve
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.loop import train

D, MLP, BLOCKS, PATCHES, PATCH = 32, 64, 3, 16, 8 * 8 * 3


@dataclass(frozen=True)
class Count:
    """Numbers of parameters of a tiny vision tower, from the architecture's definition."""

    embeddings: int
    block: int
    final: int
    biases: int  # outside of the blocks
    norms: int  # likewise


ATTENTION = 4 * (D * D + D)
BLOCK = ATTENTION + (D * MLP + MLP) + (MLP * D + D) + 2 * 2 * D
PATCH_BIAS = PATCH * D + D
COUNTS = {
    # patches without bias, class token, positions, a norm before the blocks | a norm and the projection after
    "clip": Count(PATCH * D + D + (PATCHES + 1) * D + 2 * D, BLOCK, 2 * D + D * 24, D + D, 4 * D),
    # no class token | a norm, and a pooling head: probe, attention, norm, MLP
    "siglip": Count(
        PATCH_BIAS + PATCHES * D,
        BLOCK,
        2 * D + D + ATTENTION + 2 * D + 2 * D * MLP + MLP + D,
        D + D + 4 * D + D + MLP + D,
        4 * D,
    ),
    "vit": Count(PATCH_BIAS + D + (PATCHES + 1) * D, BLOCK, 2 * D, D + D, 2 * D),
    # a mask token; two layer scales per block
    "dinov2": Count(PATCH_BIAS + 2 * D + (PATCHES + 1) * D, BLOCK + 2 * D, 2 * D, D + D, 2 * D),
    "dinov2_registers": Count(
        PATCH_BIAS + (2 + 4) * D + (PATCHES + 1) * D, BLOCK + 2 * D, 2 * D, D + D, 2 * D
    ),
}


@dataclass(frozen=True)
class Case:
    """A method, how many parameters it trains, and what it claims: whether it can be taken off, whether it
    can be folded into the weights, whether it starts as the base, and whether it is one for texts too.
    """

    method: Method
    trainable: Callable[[Count], int]
    removable: bool = False
    mergeable: bool = True
    identity: bool = True
    text: bool = True
    start_atol: float = 0.0  # of the start's features to the base's, where the identity holds to rounding


CASES = {
    "full": Case(Full(), lambda n: n.embeddings + BLOCKS * n.block + n.final),
    "linear_probe": Case(LinearProbe(), lambda n: 0),
    "freeze 0": Case(Freeze(blocks=0), lambda n: BLOCKS * n.block + n.final),
    "freeze 2": Case(Freeze(blocks=2), lambda n: n.block + n.final),
    "last_k": Case(LastK(blocks=1), lambda n: n.block + n.final),
    "bitfit": Case(BitFit(), lambda n: BLOCKS * (4 * D + MLP + D + 2 * D) + n.biases),
    "layernorm": Case(LayerNorm(), lambda n: BLOCKS * 2 * 2 * D + n.norms),
    "houlsby": Case(
        Houlsby(rank=4), lambda n: BLOCKS * 2 * (2 * 4 * D + 4 + D), removable=True, mergeable=False
    ),
    "pfeiffer": Case(
        Pfeiffer(rank=3, activation="relu", blocks="1-"),
        lambda n: (BLOCKS - 1) * (2 * 3 * D + 3 + D),
        removable=True,
        mergeable=False,
    ),
    "parallel_adapter": Case(
        ParallelAdapter(rank=4), lambda n: BLOCKS * (2 * 4 * D + 4 + D), removable=True, mergeable=False
    ),
    "adapter_plus": Case(
        AdapterPlus(rank=4, blocks="0-1"),
        lambda n: 2 * (2 * 4 * D + 4 + 2 * D),
        removable=True,
        mergeable=False,
        identity=False,
    ),
    "vpt_shallow": Case(
        VPTShallow(prompts=3),
        lambda n: 3 * D,
        removable=True,
        mergeable=False,
        identity=False,
        text=False,
    ),
    "vpt_deep": Case(
        VPTDeep(prompts=2),
        lambda n: BLOCKS * 2 * D,
        removable=True,
        mergeable=False,
        identity=False,
        text=False,
    ),
    "prefix": Case(
        Prefix(tokens=3),
        lambda n: BLOCKS * 2 * 3 * D,
        removable=True,
        mergeable=False,
        identity=False,
    ),
    "lora": Case(LoRA(rank=2), lambda n: BLOCKS * 2 * 2 * (D + D), removable=True),
    "lora mlp dropout": Case(
        LoRA(rank=3, alpha=6, dropout=0.5, targets=("o", "blocks[1-].mlp.fc1")),
        lambda n: 3 * (BLOCKS * (D + D) + (BLOCKS - 1) * (D + MLP)),
        removable=True,
    ),
    "lora by role": Case(
        LoRA(
            rank={"blocks[0]": 1, "blocks[1-].attention.q": 2, "blocks[1-2].mlp.fc2": 3},
            targets=("q", "fc2"),
        ),
        lambda n: D + D + D + MLP + 2 * (2 * (D + D) + 3 * (D + MLP)),
        removable=True,
    ),
    "per_tower": Case(PerTower(vision=LoRA(rank=2)), lambda n: BLOCKS * 2 * 2 * (D + D), removable=True),
    "dora": Case(DoRA(rank=2), lambda n: BLOCKS * 2 * (2 * (D + D) + D), removable=True),
    "rslora": Case(RsLoRA(rank=4, targets=("fc1",)), lambda n: BLOCKS * 4 * (D + MLP), removable=True),
    "pissa": Case(PiSSA(rank=2), lambda n: BLOCKS * 2 * 2 * (D + D), removable=True, start_atol=1e-5),
    "adalora": Case(
        AdaLoRA(rank=1, initial=3, dropout=0.1),
        lambda n: BLOCKS * 2 * 3 * (D + D + 1),
        removable=True,
    ),
    "vera": Case(
        VeRA(rank=5, targets=("q", "fc1", "fc2")),
        lambda n: BLOCKS * (3 * 5 + D + MLP + D),
        removable=True,
    ),
    "loha": Case(LoHa(rank=2, dropout=0.2), lambda n: BLOCKS * 2 * 2 * 2 * (D + D), removable=True),
    # 32 = 4 · 8 and 64 = 8 · 8: a rank of 3 leaves the second factor thin, one of 4 does not
    "lokr": Case(
        LoKr(rank={"q": 3, "fc1": 4}, targets=("q", "fc1")),
        lambda n: BLOCKS * (4 * 4 + 3 * (8 + 8) + 8 * 4 + 8 * 8),
        removable=True,
    ),
    "oft": Case(
        OFT(block_size=8, targets=("v", "fc2")),
        lambda n: BLOCKS * (D + MLP) * (8 - 1) // 2,
        removable=True,
    ),
    "hra": Case(
        HRA(rank=2, targets=("q", "fc2")), lambda n: BLOCKS * 2 * (D + MLP), removable=True, start_atol=1e-5
    ),
    "fourierft": Case(FourierFT(entries=50), lambda n: BLOCKS * 2 * 50, removable=True),
    "ia3": Case(IA3(), lambda n: BLOCKS * (D + D + MLP), removable=True),
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
every_adapter = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if isinstance(case.method, PeftMethod)],
    ids=lambda case: case.method.kind,
)
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
    if case.start_atol:
        torch.testing.assert_close(features(encoder), before, atol=case.start_atol, rtol=0)
    else:
        assert torch.equal(features(encoder), before) == case.identity
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
    assert state.keys() == first.trainable.keys() | first.buffers.keys()
    second = case.method.install(tiny(family))  # with other random numbers
    second.load_state_dict(state)
    assert torch.equal(features(second.encoder), features(first.encoder))
    three_steps(first)  # the state is a copy: training on does not reach it
    assert all(torch.equal(state[name], value) for name, value in second.state_dict().items())


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
    if not case.mergeable:
        with pytest.raises(MethodError, match=f"{case.method.kind} cannot be merged: .* lora"):
            installed.merge()
        with pytest.raises(MethodError, match="cannot be folded into weights"):
            installed.update(tiny(family))
        assert torch.equal(features(encoder), active)
        return
    base = tiny(family)
    update = installed.update(base)
    installed.merge()
    torch.testing.assert_close(features(encoder), active, atol=1e-5, rtol=0)
    for name, weight in base.model.named_parameters():
        merged = encoder.model.get_parameter(name)
        if name in update:
            assert update[name].dtype == torch.float32
            torch.testing.assert_close(weight + update[name], merged, atol=1e-6, rtol=0)
        else:
            assert torch.equal(weight, merged)
    assert update.keys() <= dict(base.model.named_parameters()).keys()
    assert all(torch.equal(change, update[name]) for name, change in installed.update(base).items())
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


# per_tower names its towers itself
@pytest.mark.parametrize("case", [case for name, case in CASES.items() if name != "per_tower"])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_other_tower_is_left_alone(tiny, family, case):
    encoder = tiny(family)
    if not case.text:
        with pytest.raises(MethodError, match=f"{case.method.kind}: .* use lora"):
            case.method.install(encoder, "text")
        return
    installed = case.method.install(encoder, "text")
    assert installed.tower == "text"
    assert not any("vision" in name or "visual" in name for name in installed.trainable)
    assert bool(installed.trainable) == (not isinstance(case.method, LinearProbe))


def hidden(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(pixel_values=pixels()).last_hidden_state


@every_adapter
# peft 0.21 asks transformers for a property under its old name, for everybody who uses it.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_what_is_saved_loads_in_plain_peft(tiny, tiny_folder, case, tmp_path):
    installed = install(case, tiny("vit"))
    three_steps(installed)
    installed.save_adapter(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors", ".md"}
    plain = AutoModel.from_pretrained(tiny_folder("vit"), add_pooling_layer=False).eval()
    before = hidden(plain)
    loaded = PeftModel.from_pretrained(plain, tmp_path).eval()
    assert not torch.allclose(hidden(loaded), before, atol=1e-3)
    torch.testing.assert_close(hidden(loaded), hidden(installed.encoder.model), atol=1e-5, rtol=0)


@every_adapter
def test_what_is_saved_is_put_on_an_encoder_again(tiny, case, tmp_path):
    first = install(case, tiny("clip"))
    three_steps(first)
    first.save_adapter(tmp_path)
    encoder = tiny("clip")
    base = features(encoder)
    second = load_adapter(encoder, tmp_path)
    assert second.tower == "vision"
    assert second.trainable.keys() == first.trainable.keys()
    torch.testing.assert_close(features(encoder), features(first.encoder), atol=1e-6, rtol=0)
    off = second.without()
    assert off is not None
    with off:
        assert torch.equal(features(encoder), base)
    for name, change in first.update(tiny("clip")).items():
        torch.testing.assert_close(second.update(tiny("clip"))[name], change, atol=1e-6, rtol=0)
    three_steps(second)
    tuned = features(encoder)
    assert not torch.equal(tuned, features(first.encoder))
    second.merge()
    torch.testing.assert_close(features(encoder), tuned, atol=1e-5, rtol=0)


@every_case
def test_it_fits_sixteen_examples_under_a_head_that_nobody_trains(tiny, case):
    encoder, sixteen = tiny("vit"), examples(16, "train")
    torch.manual_seed(1)
    head = nn.Linear(D, len(NAMES)).requires_grad_(False)
    installed = install(case, encoder)
    if not installed.trainable:
        return
    with torch.no_grad():
        guessed = head(encoder.features(sixteen.inputs)).argmax(-1)
    assert (guessed.numpy() != sixteen.labels).sum() > 4
    said = spec(case.method, lr=3e-2, epochs=40, batch_size=16)
    history = train(encoder, installed, head, said, sixteen, sixteen)
    assert [row.value for row in history.rows if row.metric == "training.val_acc1"][-1] == 1


@every_case
def test_stopped_and_resumed_is_bit_for_bit_what_runs_straight_through(tiny, case, tmp_path):
    said = spec(case.method, augment="crop_flip")

    def run(checkpoint: Checkpoint | None = None) -> dict[str, Tensor]:
        assert isinstance(said.objective, Objective)
        encoder = tiny("vit")
        head = said.objective.build_head(encoder, NAMES, TRAIN.templates)
        installed = install(case, encoder)
        train(encoder, installed, head, said, TRAIN, VAL, checkpoint=checkpoint)
        return installed.state_dict() | head.state_dict()

    straight = run()
    kept = Store(tmp_path).unfinished("ab" * 32)
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="step 3"):
        run(Checkpoint(kept, every=1e9, stopping=lambda: next(asked)))
    resumed = run(Checkpoint(kept, every=1e9))
    assert all(torch.equal(resumed[name], value) for name, value in straight.items())


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
