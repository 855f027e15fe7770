"""Shallow visual prompt tuning: prompts at the input of the first block."""

from typing import ClassVar

from tunescope.methods.vpt import VPT


class VPTShallow(VPT):
    """Trains p tokens P at the input of the first block: [x_cls, P, E₀] flows through all blocks.

    They stand between the prefix ([CLS], registers) and the patches, after CLIP's `pre_layrnorm`, and are
    taken out behind the last block. Drawn uniform on (−b, b), b = √(6 / (3·patch² + d)), as published
    (Xavier). The first output is therefore not the base's. No dropout on the prompts, no projection.
    Trainable parameters: p·d.

    Source: Jia et al. 2022 (arXiv 2203.12119), section 3.2, equations 4 and 5; initialisation as in its code.

    Args:
        prompts: p, how many tokens.

    >>> VPTShallow(prompts=5).prompts
    5
    """

    kind: str = "vpt_shallow"
    source: ClassVar[str] = "Jia et al. 2022, arXiv 2203.12119, section 3.2"
    deep: ClassVar[bool] = False
