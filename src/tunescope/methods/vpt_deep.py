"""Deep visual prompt tuning: prompts at the input of every block."""

from typing import ClassVar

from tunescope.methods.vpt import VPT


class VPTDeep(VPT):
    """Trains p tokens P_l for every block l: [x_cls, _, E] = L_l([x_cls, P_l, E]), what they became dropped.

    They stand between the prefix ([CLS], registers) and the patches, after CLIP's `pre_layrnorm`, and are
    taken out behind the last block. Drawn uniform on (−b, b), b = √(6 / (3·patch² + d)), as published
    (Xavier). The first output is therefore not the base's. No dropout on the prompts, no projection.
    Trainable parameters: L·p·d, L the number of blocks.

    Source: Jia et al. 2022 (arXiv 2203.12119), section 3.2, equation 6; initialisation as in its code.

    Args:
        prompts: p, how many tokens at each block.

    >>> VPTDeep().kind
    'vpt_deep'
    """

    kind: str = "vpt_deep"
    source: ClassVar[str] = "Jia et al. 2022, arXiv 2203.12119, section 3.2"
    deep: ClassVar[bool] = True
