"""Learning rates by place: lower ones further down, another one for the head, a higher one for LoRA's B."""

from collections.abc import Iterable

from tunescope.errors import MethodError
from tunescope.models.modelmap import ModelMap, Tower
from tunescope.study.run import RunSpec

HEAD, ENCODER = "head.", "encoder."


def scales(names: Iterable[str], modelmap: ModelMap, spec: RunSpec) -> dict[str, float]:
    """What the run's learning rate is multiplied by, for every parameter; the schedule multiplies all alike.

    Layer-wise decay d over a tower of L blocks: d^(L + 1 − k), with k = 0 for what comes before the blocks,
    i + 1 for block i and what a method put into it, and L + 1, so 1, for what follows them. The head's is
    `head_lr` / `lr`; B of a low-rank pair takes λ = `lora_plus` times what its place has.

    Source: Bao et al. 2022 (BEiT, arXiv 2106.08254), appendix, and its code, whose k this is; it has the idea
    from ELECTRA (Clark et al. 2020, arXiv 2003.10555, appendix B), whose code puts k of the head at L + 2.
    LoRA+: Hayou et al. 2024 (arXiv 2402.12354), section 4, η_B = λ·η_A.

    Args:
        names: `encoder.…`, by dotted path below the model, or `head.…`.
        modelmap: where the blocks are.
        spec: the run; `lr`, and `layer_decay`, `head_lr` and `lora_plus` of `train`, are read.

    Raises:
        MethodError: `lora_plus` for a method without LoRA's B.
    """
    train, found = spec.train, {}
    for name in names:
        if name.startswith(HEAD):
            found[name] = 1.0 if train.head_lr is None else train.head_lr / spec.lr
            continue
        scale = 1.0
        if train.layer_decay is not None:
            scale *= train.layer_decay ** above(name.removeprefix(ENCODER), modelmap)
        found[name] = scale * (train.lora_plus or 1.0) if is_b(name) else scale
    if train.lora_plus is not None:
        _check_lora(found, spec.adapt.kind)
    return found


def above(name: str, modelmap: ModelMap) -> int:
    """L + 1 − k: how many layers of its tower, the head among them, lie above a parameter.

    Args:
        name: dotted, below the model; peft's and attached modules' own parts may follow the block's path.
        modelmap: where the blocks are.

    Returns:
        0 also for what no tower owns, such as CLIP's temperature.
    """
    return next((levels for tower in modelmap.towers.values() if (levels := _above(name, tower)) >= 0), 0)


def _above(name: str, tower: Tower) -> int:
    """As `above`; −1 where the tower does not own it."""
    for i, block in enumerate(tower.blocks):
        if name.startswith(f"{block.path}."):
            return len(tower.blocks) - i
    if any(name == path or name.startswith(f"{path}.") for path in tower.final):
        return 0
    return len(tower.blocks) + 1 if not tower.path or name.startswith(f"{tower.path}.") else -1


def is_b(name: str) -> bool:
    """Whether it is B of peft's LoRA, the matrix that starts at zero (PiSSA's does not) and makes outputs.

    >>> is_b("encoder.layers.0.q_proj.lora_B.default.weight")
    True
    """
    return ".lora_B." in name


def _check_lora(names: Iterable[str], kind: str) -> None:
    names = list(names)
    fix = "leave lora_plus out, or take lora, dora, rslora or pissa"
    if not any(is_b(name) for name in names):
        raise MethodError(
            f"train.lora_plus: it raises the rate of LoRA's B matrices, and {kind} trains none; {fix}"
        )
    if any(".lora_E." in name for name in names):
        raise MethodError(
            f"train.lora_plus: it is about B·A with B = 0 at the start; {kind} trains P·Λ·Q, where P and Q "
            f"start alike and Λ is 0; {fix}"
        )
