"""What a model still does with heads taken out, and in what shares they go."""

import numpy as np
import torch
from jaxtyping import Float, Int

from tunescope.data.examples import Examples
from tunescope.data.sample import few, spread
from tunescope.models.seam import gate
from tunescope.probes.head_losses import heads_on_top
from tunescope.probes.probe import Subject
from tunescope.probes.scores import Score, errors, scores


def shares(steps: int, heads: int) -> list[tuple[float, int]]:
    """The shares 0, 1/steps, … 1, and the whole number of heads nearest to each; half a head is one.

    >>> shares(4, 6)
    [(0.0, 0), (0.25, 2), (0.5, 3), (0.75, 5), (1.0, 6)]
    """
    return [(step / steps, (2 * step * heads + steps) // (2 * steps)) for step in range(steps + 1)]


class Pruned:
    """A model that is read with some of its heads taken out, each set of them once.

    Attributes:
        components: what stands on the features: `trained` (of no zero-shot split), `text`.
        heads: of all layers together.
        sample: indices of the examples that are read.
    """

    def __init__(self, subject: Subject, examples: Examples, sample: int):
        place = subject.encoder.map.tower(subject.tower)
        self._subject, self._examples = subject, few(examples, sample)
        self._shape = len(place.blocks), place.heads
        self._on_top = heads_on_top(subject, examples)
        if examples.split.startswith("zero_shot:"):
            self._on_top.pop("trained", None)
        self.components = tuple(self._on_top)
        self.heads = len(place.blocks) * place.heads
        self.sample: Int[np.ndarray, " n"] = spread(sample, len(examples))

    def without(self, out: Int[np.ndarray, " m"]) -> dict[str, dict[str, Score]]:
        """Scores by component and quantity: `acc1` or, of numbers, `spearman`; and `loss`.

        Args:
            out: the heads that are taken out, each as l·H + h.
        """
        gates = np.ones(self.heads, np.float32)
        gates[out] = 0
        said = f"pruning/{self._examples.split}/{len(self.sample)}/by{self._subject.batch_size}"
        kept = self._subject.kept(f"{said}/without {sorted(out.tolist())}", lambda: self._read(gates))
        found: dict[str, dict[str, Score]] = {component: {} for component in self.components}
        for name, (value, std) in kept.items():
            component, quantity = name.split(".")
            found[component][quantity] = Score(float(value), None if np.isnan(std) else float(std))
        return found

    @torch.no_grad()
    def _read(self, gates: Float[np.ndarray, " heads"]) -> dict[str, np.ndarray]:
        encoder, size = self._subject.encoder, self._subject.batch_size
        inputs, labels = self._examples.inputs, self._examples.labels
        ours = torch.from_numpy(gates).view(self._shape).to(encoder.device)
        features = []
        for start in range(0, len(inputs), size):
            with gate(encoder, self._subject.tower, ours):
                features.append(encoder.features(inputs[start : start + size]))
        arrays = {}
        for component, head in self._on_top.items():
            outputs = head(torch.cat(features)).double().cpu().numpy()
            if self._examples.regression:
                found = errors(outputs[:, 0], labels)
                kept = {"spearman": found["spearman"], "loss": found["squared_error"]}
            else:
                found = scores(outputs, labels)
                kept = {"acc1": found["acc1"], "loss": found["loss"]}
            for quantity, score in kept.items():
                std = np.nan if score.std is None else score.std
                arrays[f"{component}.{quantity}"] = np.array([score.value, std])
        return arrays
