"""Features held to the pretrained model's, example by example."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tunescope.objectives.objective import Penalty, Shown, Watched

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder
    from tunescope.models.tokens import Tokens

BATCH = 64


class LDIFS(Penalty):
    """Penalises features that have moved away from what the pretrained model made of the same example.

    P = weight · mean_x ‖Φ(x; θ) − Φ(x; θ⁰)‖²

    Φ is the features as the objective reads them and, with `layers: all`, the pooled token behind every block
    before them, one after the other in one vector (where an attention head pools, the mean patch token). Φ of
    the base model is computed once for every training example (at most 2 GiB of them); images must not be
    augmented. Dropout, where the model has it, is on in the steps and off in the base. With `layers: last`
    frozen blocks are still computed once; with `all` they run at every step.

    Source: Mukhoti et al. 2023 (arXiv 2308.13320), ℓ2 distance in feature space, of features of several
    layers concatenated. The authors' code (loss/ldifs.py) takes all tokens of the embeddings and of every
    third block of a ViT-B, scaled to unit norm and averaged over their entries: its weights are no measure
    for this one.

    Args:
        weight: λ.
        layers: `all` of them, as published, or the `last` thing the tower gives.
    """

    kind: str = "ldifs"
    source: ClassVar[str] = "Mukhoti et al. 2023, arXiv 2308.13320"
    by_example: ClassVar[bool] = True
    weight: Annotated[float, Field(gt=0)] = 0.01
    layers: Literal["last", "all"] = "all"

    @property
    def watches(self) -> frozenset[Watched]:
        """The features of the step, and what leaves every block."""
        return frozenset({"features", "tokens"} if self.layers == "all" else {"features"})

    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> "Float[Tensor, 'n d']":
        """Φ of the base model for every training example.

        Raises:
            MethodError: it would take more than 2 GiB.
        """
        from contextlib import nullcontext

        import torch

        from tunescope.models.tokens import pooled_tokens
        from tunescope.objectives.kept import check_kept

        found: list[Tensor] = []
        with torch.no_grad():
            for start in range(0, len(examples), BATCH):
                with pooled_tokens(encoder, tower) if self.layers == "all" else nullcontext() as tokens:
                    features = encoder.features(examples.inputs[start : start + BATCH])
                found.append(joined(features, tokens))
                size = found[0][0].nbytes
                check_kept(self.kind, size, len(examples), "take layers: last, or fewer examples")
        return torch.cat(found)

    def value(self, state: "Float[Tensor, 'n d']", shown: Shown, indices: "NDArray") -> "Tensor":
        """The mean squared distance of the batch, weight included."""
        return self.weight * distance(joined(shown.features, shown.tokens), state[indices])


def joined(features: "Float[Tensor, 'b f']", tokens: "Tokens | None") -> "Float[Tensor, 'b d']":
    """Φ: the pooled tokens block by block, and then the features; float32."""
    import torch

    layers = [] if tokens is None else [*tokens.stacked.float()]
    return torch.cat([*layers, features.float()], -1)


def distance(now: "Float[Tensor, 'b d']", before: "Float[Tensor, 'b d']") -> "Float[Tensor, '']":
    """Mean over examples of the squared ℓ2 distance.

    >>> import torch
    >>> distance(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.zeros(2, 2)).item()  # (25 + 0) / 2
    12.5
    """
    return (now - before).square().sum(-1).mean()
