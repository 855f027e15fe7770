"""Weight decay towards the pretrained weights, by how much the pretrained model depends on each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.objectives.objective import Penalty, Shown

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder
    from tunescope.objectives.anchor import Anchor


@dataclass(frozen=True)
class Importance:
    """Where the parameters started, and the diagonal of the Fisher information there, by name."""

    anchor: "Anchor"
    fisher: "dict[str, Tensor]"


class EWC(Penalty):
    """Elastic weight consolidation: holds parameters that the zero-shot classifier depends on.

    P = weight / 2 · Σ_i F_i · (θ_i − θ⁰_i)²,  F_i = E_x E_{y ~ p(y|x; θ⁰)} (∂ ln p(y|x; θ⁰) / ∂θ_i)²

    p is the base model as a zero-shot classifier of the task's classes (image features against the prompts of
    the class names), x are training examples, and one y is drawn for each from p, always the same ones. θ are
    the encoder's trained parameters, those of the text tower that makes the classifier among them; with an
    adapter, its own.

    Source: Kirkpatrick et al. 2017 (arXiv 1612.00796), equation 3; F over the model's own predictions as in
    Kunstner et al. 2019 (arXiv 1905.12558), section 2.

    Args:
        weight: λ.
        sample: training examples, evenly spaced, that F is a mean over.
    """

    kind: str = "ewc"
    source: ClassVar[str] = "Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3"
    weight: Annotated[float, Field(gt=0)] = 1.0
    sample: Annotated[int, Field(ge=1)] = 256

    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> Importance:
        """Measure F on the base model.

        Raises:
            ModelError: images and texts share no space, so there is no zero-shot classifier.
        """
        import numpy as np
        import torch

        from tunescope.models.heads import class_embeddings, zero_shot_logits
        from tunescope.objectives.anchor import Anchor

        anchor = Anchor.of(encoder)
        classes = class_embeddings(encoder, examples.class_names, examples.templates)
        names, params = list(anchor.params), list(anchor.params.values())
        fisher = {name: torch.zeros_like(p) for name, p in anchor.start.items()}
        generator = torch.Generator().manual_seed(0)
        count = min(self.sample, len(examples))
        for index in np.arange(count) * len(examples) // count:
            features = encoder.features(examples.inputs[index : index + 1])
            logits = zero_shot_logits(features, classes, encoder.logit_scale, encoder.logit_bias)
            log_p = logits.float().log_softmax(-1)[0]
            drawn = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator).item()
            gradients = torch.autograd.grad(
                log_p[int(drawn)], params, allow_unused=True, retain_graph=classes.requires_grad
            )
            for name, gradient in zip(names, gradients, strict=True):
                if gradient is not None:
                    fisher[name] += gradient.square() / count
        return Importance(anchor, fisher)

    def value(self, state: Importance, shown: Shown, indices: "NDArray") -> "Tensor":
        """Half the squared distance from the start, weighted by F."""
        return self.weight / 2 * state.anchor.squared(state.fisher)
