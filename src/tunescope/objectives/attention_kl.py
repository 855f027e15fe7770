"""Attention held to the pretrained model's, example by example."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.objectives.objective import Penalty, Shown, Watched

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder

BATCH = 64


@dataclass(frozen=True)
class Attention:
    """The base model's attention on every training example: ln a⁰ of the pooling token; −∞ on padding."""

    log_rows: "Float[Tensor, 'n l h k']"


class AttentionKL(Penalty):
    """Penalises attention that has moved away from where the pretrained model looked on the same example.

    P = weight · mean_{example, layer, head} Σ_j a⁰_j · ln(a⁰_j / a_j)

    a is the pooling token's attention row over the patch tokens ([CLS] and registers dropped, renormalised),
    or over all tokens of a text; a⁰ the same row of the base model on the same example, computed once for
    every training example (at most 2 GiB of them); images must not be augmented. Dropout, where the model has
    it, is on in the steps and off in the base. In nats.

    Source: attention distillation after Zagoruyko & Komodakis 2017 (arXiv 1612.03928) and Wang et al. 2020
    (MiniLM, arXiv 2002.10957), section 3.1, with the tuned model's own past as teacher.

    Args:
        weight: λ.
    """

    kind: str = "attention_kl"
    source: ClassVar[str] = "after Wang et al. 2020, arXiv 2002.10957, section 3.1"
    by_example: ClassVar[bool] = True
    weight: Annotated[float, Field(gt=0)] = 0.1

    @property
    def watches(self) -> frozenset[Watched]:
        """The attention rows of the step."""
        return frozenset({"rows"})

    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> Attention:
        """Watch the base model look at every training example.

        Raises:
            MethodError: the rows would take more than 2 GiB.
            ModelError: the tower has no pooling row.
        """
        import torch

        from tunescope.models.seam import watch
        from tunescope.objectives.kept import check_kept

        found: list[Tensor] = []
        longest = 0
        with torch.no_grad():
            for start in range(0, len(examples), BATCH):
                with watch(encoder, tower, rows="pool") as seen:
                    encoder.features(examples.inputs[start : start + BATCH])
                found.append(log_rows(seen.logits, seen.prefix_tokens).transpose(0, 1))
                longest = max(longest, found[-1].shape[-1])
                size = found[0][0, ..., 0].numel() * longest * found[0].element_size()
                check_kept(self.kind, size, len(examples), "take fewer examples, or entropy_floor")
        return Attention(torch.cat([padded(rows, longest) for rows in found]))

    def value(self, state: Attention, shown: Shown, indices: "NDArray") -> "Tensor":
        """The mean divergence of the batch, weight included."""
        assert shown.rows is not None
        before = state.log_rows[indices].transpose(0, 1)
        now = log_rows(shown.rows.logits, shown.rows.prefix_tokens)
        # a batch of texts is padded to its own longest
        width = max(before.shape[-1], now.shape[-1])
        return self.weight * divergence(padded(before, width), padded(now, width))


def log_rows(logits: "Float[Tensor, 'l b h n']", prefix_tokens: int) -> "Float[Tensor, 'l b h k']":
    """Logarithms of the attention over patches, renormalised: log-softmax of their logits alone."""
    return logits[..., prefix_tokens:].log_softmax(-1)


def padded(log_rows: "Float[Tensor, '*b n']", width: int) -> "Float[Tensor, '*b k']":
    """Rows with keys at their end that nothing looks at, up to `width` keys."""
    from torch.nn.functional import pad

    return pad(log_rows, (0, width - log_rows.shape[-1]), value=float("-inf"))


def divergence(before: "Float[Tensor, '*b k']", now: "Float[Tensor, '*b k']") -> "Float[Tensor, '']":
    """Mean of KL(a⁰ ‖ a) over all rows, from their logarithms, in nats; keys that a⁰ cannot see add nothing.

    >>> import torch
    >>> half, quarter = torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.25, 0.75, 0.0]]).log()
    >>> round(divergence(half, quarter).item(), 4)  # ½ ln 2 + ½ ln ⅔
    0.1438
    """
    hidden = before.isneginf()
    ratio = before.masked_fill(hidden, 0) - now.masked_fill(hidden, 0)
    return (before.exp() * ratio).sum(-1).mean()
