"""What shallow and deep visual prompt tuning share."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.method import Method

if TYPE_CHECKING:
    from tunescope.methods.counted import Counted
    from tunescope.models.encoder import Encoder


class VPT(Method):
    """Trains prompt tokens between the prefix ([CLS], registers) and the patches; the model stays frozen.

    The prompts are taken out behind the last block, so that the final norm and a pooling head see what they
    saw before. While they are in, the model map counts them among `prefix_tokens`: metrics of attention drop
    them with [CLS] and renormalise over the patches. `merge` is refused.

    Args:
        prompts: p, how many tokens.
    """

    prompts: Annotated[int, Field(ge=1)] = 10
    deep: ClassVar[bool]

    def install(self, encoder: "Encoder", tower: str = "vision") -> "Counted":
        """Put the prompts before the blocks, through hooks; the map's paths go on being valid.

        Raises:
            MethodError: a text tower, which has no patches.
        """
        import torch
        from torch import nn

        from tunescope.methods.attached import attach
        from tunescope.methods.counted import Counted
        from tunescope.methods.prompt_tokens import PromptTokens
        from tunescope.models.modelmap import module_at

        place = encoder.map.tower(tower)
        if place.patch_size is None:
            raise MethodError(
                f"{self.kind}: its prompts stand before image patches, and the {tower} tower of "
                f"{encoder.name} has none; use lora, houlsby or another method for texts, or tune vision"
            )
        first = module_at(encoder.model, place.blocks[0].fc1)
        assert isinstance(first, nn.Linear)
        width = first.in_features
        bound = (6 / (3 * place.patch_size**2 + width)) ** 0.5
        paths: list[str] = []
        for i, block in enumerate(place.blocks if self.deep else place.blocks[:1]):
            start = torch.empty(self.prompts, width).uniform_(-bound, bound)
            prompts = PromptTokens(start, place.prefix_tokens)
            paths.append(attach(encoder, block.path, "prompts", prompts))
            module = module_at(encoder.model, block.path)
            if i == 0:
                prompts.insert_before(module)
                prompts.remove_after(module_at(encoder.model, place.blocks[-1].path))
            else:
                prompts.replace_before(module)
        reason = "tokens beside the patches are no change of a weight"
        return Counted(encoder, tower, self.kind, paths, reason, "prefix_tokens", self.prompts)
