"""Prompt tuning: learned tokens beside those of a text."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from tunescope.methods.counted import Counted
    from tunescope.models.encoder import Encoder
    from tunescope.models.modelmap import Tower


class Prompt(Method):
    """Trains p tokens P before the first block of a text tower: [x₁, P, x₂ … x_n] flows through all blocks.

    They stand right behind the first token ([CLS], or CLIP's [BOS], which causal attention keeps from
    seeing them) and are taken out behind the last block: the pooled token is read where it always is, and no
    position of the text moves. To masks and positions a prompt is another first token: with windows
    (ModernBERT) whoever sees the first token sees it, and relative positions (ModernBERT, DeBERTa) are
    counted from there. Each starts as what the embeddings make of one token of the vocabulary, drawn at
    random, at the first position. The first output is therefore not the base's. Metrics of attention drop
    the prompts and renormalise. `merge` is refused. Trainable parameters: p·d.

    Source: Lester, Al-Rfou and Constant 2021 (arXiv 2104.08691), section 2; initialisation "sampled
    vocabulary" of section 3.2, from the whole vocabulary. The paper puts them before the text.

    Args:
        prompts: p, how many tokens.

    >>> Prompt(prompts=20).prompts
    20
    """

    kind: str = "prompt"
    source: ClassVar[str] = "Lester et al. 2021, arXiv 2104.08691, sections 2 and 3.2"
    prompts: Annotated[int, Field(ge=1)] = 10

    def install(self, encoder: "Encoder", tower: str = "text") -> "Counted":
        """Put the prompts before the blocks, through hooks; the map's paths go on being valid.

        Raises:
            MethodError: a vision tower; a tower with a convolution between its blocks (large DeBERTas).
        """
        from tunescope.methods.attached import attach
        from tunescope.methods.counted import Counted
        from tunescope.methods.prompt_tokens import PromptTokens
        from tunescope.models.modelmap import module_at

        place = encoder.map.tower(tower)
        if place.words is None:
            raise MethodError(
                f"{self.kind}: its prompts stand among a text's tokens, and the {tower} tower of "
                f"{encoder.name} reads images; use vpt_shallow or vpt_deep, or tune text"
            )
        if getattr(module_at(encoder.model, place.path).config, "conv_kernel_size", 0):
            raise MethodError(
                f"{self.kind}: {encoder.name} ({encoder.map.family}) has a convolution over tokens beside "
                "its first block, which prompts would stand in; use lora or houlsby"
            )
        prompts = PromptTokens(self.drawn(encoder, place), start=1)
        path = attach(encoder, place.blocks[0].path, "prompts", prompts)
        blocks = [module_at(encoder.model, block.path) for block in place.blocks]
        for block in blocks:
            prompts.make_room_in(block)
        prompts.insert_before(blocks[0])
        prompts.remove_after(blocks[-1])
        reason = "tokens beside those of the text are no change of a weight"
        return Counted(encoder, tower, self.kind, [path], reason, "prefix_tokens", self.prompts)

    def drawn(self, encoder: "Encoder", place: "Tower") -> "Tensor":
        """What the embeddings make of p tokens of the vocabulary, each alone in a text."""
        import torch

        from tunescope.models.modelmap import module_at

        assert place.words is not None
        vocabulary = len(module_at(encoder.model, place.words).get_parameter("weight"))
        ids = torch.randint(vocabulary, (self.prompts, 1), device="cpu").to(encoder.device)
        with torch.no_grad():
            return module_at(encoder.model, place.embeddings)(ids)[:, 0]
