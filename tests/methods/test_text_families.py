"""Every way of tuning on every text encoder: all that a method claims, in one pass for each pair."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from families import TEXT_FAMILIES
from text_families import POSITIONS, tokenizer
from torch import Tensor
from transformers import AutoModel

from tunescope.errors import MethodError
from tunescope.methods.lora import LoRA
from tunescope.models.encoder import Encoder
from tunescope.models.load import OPTIONS
from tunescope.study.component import COMPONENTS, resolve

D, MLP, BLOCKS = 32, 64, 3
TEXTS = np.array(["a cat", "is it a somewhat longer dog?", "tea."], dtype=object)


@dataclass(frozen=True)
class Count:
    """Numbers of parameters of a tiny text encoder, from the architecture's definition."""

    embeddings: int  # all that is not in a block and comes before the last one
    blocks: tuple[int, ...]
    final: int = 0
    biases: int = 0
    norms: int = 0
    matrices: tuple[tuple[int, int], ...] = ((D, D), (D, D))  # in, out: the default targets of a block
    scaled: int = 2 * D + MLP  # by (IA)³, in a block


def words(family: str) -> int:
    return len(tokenizer(family)) * D


PLAIN = 4 * (D * D + D) + (D * MLP + MLP) + (MLP * D + D) + 2 * 2 * D
BIASES = BLOCKS * (4 * D + MLP + D + 2 * D) + D
NORMS = (BLOCKS * 2 + 1) * 2 * D
FUSED = D * 3 * D + D * D + D * 2 * MLP + MLP * D  # no biases; norms beside it
COUNTS = {
    "bert": Count(words("bert") + POSITIONS * D + 2 * D + 2 * D, (PLAIN,) * 3, 0, BIASES, NORMS),
    "roberta": Count(words("roberta") + (POSITIONS + 2) * D + D + 2 * D, (PLAIN,) * 3, 0, BIASES, NORMS),
    "distilbert": Count(words("distilbert") + POSITIONS * D + 2 * D, (PLAIN,) * 3, 0, BIASES, NORMS),
    # two tables' worth of 8 relative positions, with a norm of their own
    "deberta": Count(
        words("deberta") + 2 * D + 2 * 8 * D + 2 * D, (PLAIN,) * 3, 0, BIASES + D, NORMS + 2 * D
    ),
    "modernbert": Count(
        words("modernbert") + D,
        (FUSED + D, FUSED + 2 * D, FUSED + 2 * D),
        final=D,
        norms=5 * D + D + D,
        matrices=((D, 3 * D),),
        scaled=3 * D + MLP,
    ),
}


def bottleneck(rank: int) -> int:
    return 2 * rank * D + rank + D


def each(formula: Callable[[int, int], int]) -> Callable[[Count], int]:
    """Summed over the default targets of all blocks."""
    return lambda n: BLOCKS * sum(formula(wide, high) for wide, high in n.matrices)


@dataclass(frozen=True)
class Case:
    """A method's settings, how many parameters it trains, and how near to the base its first output is."""

    trainable: Callable[[Count], int]
    settings: dict[str, Any] = field(default_factory=dict)
    removable: bool = True
    mergeable: bool = True
    near: float = 0.0  # 0: equal, bit for bit
    reason: str = ""  # of a refusal where a family has none of what is trained


CASES = {
    "full": Case(lambda n: n.embeddings + sum(n.blocks) + n.final, removable=False),
    "linear_probe": Case(lambda n: 0, removable=False),
    "freeze": Case(lambda n: sum(n.blocks[1:]) + n.final, {"blocks": 1}, removable=False),
    "last_k": Case(lambda n: n.blocks[-1] + n.final, {"blocks": 1}, removable=False),
    "bitfit": Case(lambda n: n.biases, removable=False, reason="has no biases; use layernorm or lora"),
    "layernorm": Case(lambda n: n.norms, removable=False),
    "houlsby": Case(lambda n: BLOCKS * 2 * bottleneck(4), {"rank": 4}, mergeable=False),
    "pfeiffer": Case(lambda n: 2 * bottleneck(3), {"rank": 3, "blocks": "1-"}, mergeable=False),
    "parallel_adapter": Case(lambda n: BLOCKS * bottleneck(9), {"rank": 9}, mergeable=False),
    "adapter_plus": Case(lambda n: BLOCKS * (bottleneck(4) + D), {"rank": 4}, mergeable=False, near=1e-2),
    "lora": Case(each(lambda i, o: 2 * (i + o)), {"rank": 2}),
    "dora": Case(each(lambda i, o: 2 * (i + o) + o), {"rank": 2}),
    "rslora": Case(each(lambda i, o: 2 * (i + o)), {"rank": {"blocks[0-]": 2}}),
    "pissa": Case(each(lambda i, o: 2 * (i + o)), {"rank": 2}, near=1e-5),
    "adalora": Case(each(lambda i, o: 3 * (i + o + 1)), {"rank": 1, "initial": 3, "end": 1.0}),
    "vera": Case(each(lambda i, o: 5 + o), {"rank": 5}),
    "loha": Case(each(lambda i, o: 2 * 2 * (i + o)), {"rank": 2}),
    # 32 = 4 · 8 and 96 = 8 · 12: one small factor whole, the other thin
    "lokr": Case(each(lambda i, o: 4 * 4 + 3 * (8 + 8) if o == D else 8 * 4 + 3 * (12 + 8)), {"rank": 3}),
    "oft": Case(each(lambda i, o: i * 7 // 2), {"block_size": 8}),
    "hra": Case(each(lambda i, o: 2 * i), {"rank": 2}, near=1e-5),
    "fourierft": Case(each(lambda i, o: 50), {"entries": 50}),
    "ia3": Case(lambda n: BLOCKS * n.scaled),
}
IMAGES_ALONE = {"vpt_shallow", "vpt_deep"}
ELSEWHERE = {
    "prefix",
    "prompt",
    "lp_ft",
    "per_tower",
}  # in tests of their own; the last two are made of others


def test_every_method_is_here():
    assert CASES.keys() | IMAGES_ALONE | ELSEWHERE == COMPONENTS["adapt"].keys()


def method(kind: str) -> Any:
    return resolve("adapt", {"kind": kind} | (CASES[kind].settings if kind in CASES else {}))


@torch.no_grad()
def features(encoder: Encoder) -> Tensor:
    return encoder.features(TEXTS)


def two_steps(installed: Any) -> set[str]:
    """Two steps of plain SGD, dropout off; the names of the parameters that a gradient reached."""
    weights = torch.randn(D, generator=torch.Generator().manual_seed(1))
    reached: set[str] = set()
    for step in (1, 2) if installed.trainable else ():
        (installed.encoder.features(TEXTS) * weights).tanh().sum().backward()
        for name, parameter in installed.trainable.items():
            if parameter.grad is not None and parameter.grad.any():
                reached.add(name)
                parameter.data.sub_(parameter.grad, alpha=0.1)
        installed.after_step(step, 2)
        for parameter in installed.trainable.values():
            parameter.grad = None
    return reached


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_a_method_keeps_its_word(tiny, family, kind, tmp_path):
    case, base = CASES[kind], tiny(family)
    before, encoder, fresh = features(base), copy.deepcopy(base), copy.deepcopy(base)
    torch.manual_seed(0)
    if not (count := case.trainable(COUNTS[family])) and case.reason:
        with pytest.raises(MethodError, match=case.reason):
            method(kind).install(encoder, "text")
        return
    installed = method(kind).install(encoder, "text")
    torch.testing.assert_close(features(encoder), before, atol=case.near, rtol=0)
    assert sum(parameter.numel() for parameter in installed.trainable.values()) == count

    start = {name: parameter.detach().clone() for name, parameter in encoder.model.named_parameters()}
    assert two_steps(installed) == installed.trainable.keys()
    for name, parameter in encoder.model.named_parameters():
        assert name in installed.trainable or torch.equal(parameter, start[name]), name
    tuned = features(encoder)
    assert torch.equal(tuned, before) == (kind == "linear_probe")

    torch.manual_seed(1)
    again = method(kind).install(fresh, "text")
    again.load_state_dict(installed.state_dict())
    assert torch.equal(features(fresh), tuned)
    off = installed.without()
    assert (off is not None) == case.removable
    if off is not None:
        with off:
            assert torch.equal(features(encoder), before)

    if not case.mergeable:
        with pytest.raises(MethodError, match=f"{kind} cannot be merged"):
            installed.merge()
        return
    installed.merge()
    torch.testing.assert_close(features(encoder), tuned, atol=1e-5, rtol=0)
    encoder.model.save_pretrained(tmp_path)
    options = OPTIONS.get(encoder.map.family, {})
    plain = AutoModel.from_pretrained(tmp_path, **options).eval()
    with torch.no_grad():
        output = plain(**base.tokens(TEXTS.tolist())).last_hidden_state[:, 0]
    torch.testing.assert_close(output, tuned, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", sorted(IMAGES_ALONE))
def test_methods_for_images_say_so(tiny, kind):
    with pytest.raises(MethodError, match=rf"{kind}: .* image patches, and the text tower .* use lora"):
        method(kind).install(tiny("bert"), "text")


def test_targets_that_a_family_fuses_are_named(tiny):
    with pytest.raises(
        MethodError, match=r"'q': in modernbert q, k and v are one matrix; use attention\.qkv"
    ):
        LoRA(targets=("q",)).install(tiny("modernbert"), "text")
    with pytest.raises(MethodError, match=r"'qkv': in bert q, k and v are matrices of their own"):
        LoRA(targets=("qkv",)).install(tiny("bert"), "text")
    installed = LoRA(rank=2, targets=("blocks[1].attention.qkv", "o")).install(tiny("modernbert"), "text")
    assert sum(p.numel() for p in installed.trainable.values()) == 2 * (D + 3 * D) + 3 * 2 * (D + D)
