"""Attention held to the pretrained model's, image by image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.objectives.objective import Penalty

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder
    from tunescope.models.seam import Seen

BATCH = 64


@dataclass(frozen=True)
class Attention:
    """The base model's attention on every training image: ln a⁰, of the pooling token over patches."""

    log_rows: "Float[Tensor, 'n l h k']"


class AttentionKL(Penalty):
    """Penalises attention that has moved away from where the pretrained model looked on the same image.

    P = weight · mean_{image, layer, head} Σ_j a⁰_j · ln(a⁰_j / a_j)

    a is the pooling token's attention row over the patch tokens ([CLS] and registers dropped, renormalised),
    a⁰ the same row of the base model on the same image, computed once for every training image; images must
    not be augmented. In nats.

    Source: attention distillation after Zagoruyko & Komodakis 2017 (arXiv 1612.03928) and Wang et al. 2020
    (MiniLM, arXiv 2002.10957), section 3.1, with the tuned model's own past as teacher.

    Args:
        weight: λ.
    """

    kind: str = "attention_kl"
    source: ClassVar[str] = "after Wang et al. 2020, arXiv 2002.10957, section 3.1"
    needs_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    weight: Annotated[float, Field(gt=0)] = 0.1

    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> Attention:
        """Watch the base model look at every training image."""
        import torch

        from tunescope.models.seam import watch

        found: list[Tensor] = []
        with torch.no_grad():
            for start in range(0, len(examples), BATCH):
                with watch(encoder, tower, rows="pool") as seen:
                    encoder.features(examples.inputs[start : start + BATCH])
                found.append(log_rows(seen.logits, seen.prefix_tokens).transpose(0, 1))
        return Attention(torch.cat(found))

    def value(self, state: Attention, seen: "Seen | None", indices: "NDArray") -> "Tensor":
        """The mean divergence of the batch, weight included."""
        assert seen is not None
        before = state.log_rows[indices].transpose(0, 1)
        return self.weight * divergence(before, log_rows(seen.logits, seen.prefix_tokens))


def log_rows(logits: "Float[Tensor, 'l b h n']", prefix_tokens: int) -> "Float[Tensor, 'l b h k']":
    """Logarithms of the attention over patches, renormalised: log-softmax of their logits alone."""
    return logits[..., prefix_tokens:].log_softmax(-1)


def divergence(before: "Float[Tensor, '*b k']", now: "Float[Tensor, '*b k']") -> "Float[Tensor, '']":
    """Mean of KL(a⁰ ‖ a) over all rows, from their logarithms, in nats.

    >>> import torch
    >>> half, quarter = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    >>> round(divergence(half, quarter).item(), 4)  # ½ ln 2 + ½ ln ⅔
    0.1438
    """
    return (before.exp() * (before - now)).sum(-1).mean()
