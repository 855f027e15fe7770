"""A floor under the entropy of attention."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

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
class Floor:
    """Where the floor lies.

    Args:
        height: fraction · H⁰ in nats, per layer and head.
    """

    height: "Float[Tensor, 'l h']"


class EntropyFloor(Penalty):
    """Penalises attention that has become more concentrated than a share of what it was before tuning.

    P = weight · mean_l relu(fraction · H⁰_l − H_l)

    H_l is the entropy, in nats, of the pooling token's attention row over the patch tokens ([CLS] and
    registers dropped, renormalised) or over all tokens of a text, averaged over heads and over the examples
    of the batch; H⁰_l is the base model's, over a sample of the training examples. With `per: head` the hinge
    is taken for every head before the mean. While every entropy is above its floor the penalty and its
    gradient are zero: `training.penalty` in the table says whether it ever acted.

    Source: attention-entropy regularisation after Zhai et al. 2023 (arXiv 2303.06296), section 3; the floor
    at 0.7 of the base's layer mean is the study's that this package grew from.

    Args:
        weight: λ.
        fraction: height of the floor as a share of the base's entropy.
        per: whether layers, or single heads, are held above the floor.
        sample: training examples, evenly spaced, that H⁰ is measured on.
    """

    kind: str = "entropy_floor"
    source: ClassVar[str] = "after Zhai et al. 2023, arXiv 2303.06296, section 3"
    weight: Annotated[float, Field(gt=0)] = 0.1
    fraction: Annotated[float, Field(gt=0)] = 0.7
    per: Literal["layer", "head"] = "layer"
    sample: Annotated[int, Field(ge=1)] = 512

    @property
    def watches(self) -> frozenset[Watched]:
        """The attention rows of the step."""
        return frozenset({"rows"})

    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> Floor:
        """Measure the base model's entropies and lay the floor under them.

        Raises:
            ModelError: the tower has no pooling row.
        """
        import numpy as np
        import torch

        from tunescope.models.seam import watch

        total = len(examples.labels)
        count = min(self.sample, total)
        picked = np.arange(count) * total // count
        sums: list[Tensor] = []
        with torch.no_grad():
            for start in range(0, count, BATCH):
                inputs = examples.inputs[picked[start : start + BATCH]]
                with watch(encoder, tower, rows="pool") as seen:
                    encoder.features(inputs)
                sums.append(mean_entropy(seen.logits, seen.prefix_tokens) * len(inputs))
        return Floor(self.fraction * torch.stack(sums).sum(0) / count)

    def value(self, state: Floor, shown: Shown, indices: "NDArray") -> "Tensor":
        """The hinge on the batch's entropies, weight included."""
        assert shown.rows is not None
        entropies = mean_entropy(shown.rows.logits, shown.rows.prefix_tokens)
        return self.weight * shortfall(entropies, state.height, self.per)


def mean_entropy(logits: "Float[Tensor, 'l b h n']", prefix_tokens: int) -> "Float[Tensor, 'l h']":
    """Entropy of the patch part of attention rows, averaged over examples, in nats.

    >>> import torch
    >>> mean_entropy(torch.zeros(1, 2, 1, 5), prefix_tokens=1)  # uniform over 4 patches: ln 4
    tensor([[1.3863]])
    """
    from tunescope.models.rows import entropy, patches_of_logits

    return entropy(patches_of_logits(logits, prefix_tokens)[0]).mean(1)


def shortfall(
    entropies: "Float[Tensor, 'l h']", height: "Float[Tensor, 'l h']", per: Literal["layer", "head"]
) -> "Float[Tensor, '']":
    """How far entropies lie below the floor, averaged over layers (or over layers and heads).

    >>> import torch
    >>> entropies, height = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 2.5]])
    >>> shortfall(entropies, height, "layer").item()  # means 2.0 and 2.25
    0.25
    >>> shortfall(entropies, height, "head").item()  # (1.0 + 0) / 2
    0.5
    """
    gap = height - entropies
    return (gap.mean(1) if per == "layer" else gap).relu().mean()
