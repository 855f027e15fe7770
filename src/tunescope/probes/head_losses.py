"""Losses of every example without every head, and gradients of the gates: where all probes of heads start.

`head_losses(probe, subject, split=…, subset=…, ablation=…, precision=…)` is the one function for them: probes
that ask with the same settings compute them once, by the subject's `kept`, and a run that is killed goes on
with the layer that it was at.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from tunescope.data.examples import Examples
from tunescope.data.sample import spread
from tunescope.errors import MethodError, StudyError
from tunescope.models.ablated import Means, head_means
from tunescope.models.encoder import TEXT_BATCH
from tunescope.models.heads import text_head
from tunescope.models.leave_one_out import LeaveOneOut
from tunescope.probes.gate_gradients import gate_gradients
from tunescope.probes.probe import Probe, Subject

AT_MOST = 256  # examples, where a study does not say
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class HeadLosses:
    """What taking heads out does to n examples, under each of k heads on top of the features.

    Args:
        components: what stands on top: `trained`, `text`.
        subset: indices of the examples in their split.
        labels: of the examples.
        whole: losses with all attention heads.
        without: losses without each attention head.
        gradients: ∂ℓᵢ/∂gate of each attention head, at 1.
        features: with all attention heads first, then without each, layer by layer; of a subject without a
            trained head alone.
    """

    components: tuple[str, ...]
    subset: Int[np.ndarray, " n"]
    labels: Shaped[np.ndarray, " n"]
    whole: Float[np.ndarray, "k n"]
    without: Float[np.ndarray, "k l h n"]
    gradients: Float[np.ndarray, "k l h n"]
    features: Float[np.ndarray, "m n d"] | None

    @property
    def differences(self) -> Float[np.ndarray, "k l h n"]:
        """ℓᵢ without a head less ℓᵢ with all: their mean is its importance."""
        return self.without - self.whole[:, None, None]


def head_losses(
    probe: Probe,
    subject: Subject,
    *,
    split: str,
    subset: int | None = None,
    ablation: Literal["zero", "mean"] = "zero",
    precision: Literal["float32", "bfloat16"] = "float32",
) -> HeadLosses:
    """Per-example losses with all heads and without each, and gate gradients, computed once per subject.

    Args:
        probe: who asks; errors name it.
        subject: the model, in evaluation mode.
        split: which examples, read by the tower that is tuned.
        subset: how many of them, spread evenly; None = 256, or all where there are fewer.
        ablation: what a head's output becomes: zero, or its mean over these examples.
        precision: of the forward passes without a head; gradients are always float32.

    Raises:
        StudyError: the split is not there, or has fewer examples than asked for.
        MethodError: the tower that the task tunes does not read the split.
    """
    part = _readable(probe, subject, split, subset)
    chosen = spread(subset or AT_MOST, len(part))
    on_top = heads_on_top(subject, part)
    work = _Work(subject, part, chosen, list(on_top.values()), ablation == "mean", precision)
    whole, without, gradients, features = work.carry_out()
    return HeadLosses(tuple(on_top), chosen, part.labels[chosen], whole, without, gradients, features)


def heads_on_top(subject: Subject, examples: Examples) -> dict[str, nn.Module]:
    """What may stand on the features, by component, as the transfer probe reads them."""
    heads = {} if subject.head is None else {"trained": subject.head}
    if subject.encoder.joint and examples.tower == "vision" and not examples.regression:
        heads["text"] = text_head(subject.encoder, examples.class_names, examples.templates)
    return heads


@dataclass(frozen=True)
class OnTop:
    """A head on the features as what it does: z = f·Wᵀ + b, or the same of f / ‖f‖.

    Found by asking the head, so that any module will do: a linear head, prompts, the text tower itself.
    """

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, " c"]
    directions: bool  # whether the length of the features counts for nothing

    @staticmethod
    def read(head: nn.Module, size: int, name: str) -> Arrays:
        """The head as arrays below a name; none where it is neither.

        Args:
            head: in evaluation mode.
            size: of the features.
            name: of the arrays.
        """
        device = next(iter(head.state_dict().values())).device
        eye, drawn = torch.eye(size), torch.randn(2, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            outputs = head(torch.cat([torch.zeros(1, size), eye, drawn, 2 * drawn]).to(device)).cpu()
        bias, rows, expected, doubled = outputs.split([1, size, 2, 2])
        directions = torch.allclose(expected, doubled, rtol=1e-4)
        found = OnTop((rows - bias).T.contiguous(), bias[0].clone(), directions)
        if not torch.allclose(found.outputs(drawn), expected, rtol=1e-4, atol=1e-4):
            return {}
        kept = {"weight": found.weight, "bias": found.bias, "directions": torch.tensor(directions)}
        return {f"{name}.{key}": value.numpy() for key, value in kept.items()}

    @classmethod
    def of(cls, arrays: Arrays, name: str) -> "OnTop | None":
        """The head that `read` has read; None where there is none."""
        if f"{name}.weight" not in arrays:
            return None
        weight, bias = (torch.from_numpy(arrays[f"{name}.{key}"]) for key in ("weight", "bias"))
        return cls(weight, bias, bool(arrays[f"{name}.directions"]))

    def outputs(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """What the head gives."""
        return linear(normalize(features, dim=-1) if self.directions else features, self.weight, self.bias)

    def losses(
        self, features: Float[np.ndarray, "m n d"], labels: Shaped[np.ndarray, " n"]
    ) -> Float[np.ndarray, "m n"]:
        """Losses of the examples by features that were kept."""
        own = torch.from_numpy(labels)
        return np.stack([_loss(self.outputs(torch.from_numpy(rows)), own).numpy() for rows in features])


def _readable(probe: Probe, subject: Subject, split: str, subset: int | None) -> Examples:
    found = probe.examples(subject, split)
    if found.tower != subject.tower:
        raise MethodError(
            f"{probe.kind} probe: split {split!r} is read by the {found.tower} tower, and the "
            f"{subject.tower} tower is tuned: expected a split that this one reads"
        )
    if subset is not None and subset > len(found):
        raise StudyError(
            f"{probe.kind} probe: subset {subset}, but split {split!r} has {len(found)} "
            "examples; expected at most as many, or null for as many as there are"
        )
    return found


class _Work:
    """The computation, by batch and layer, through the subject's memory."""

    def __init__(
        self,
        subject: Subject,
        examples: Examples,
        chosen: Int[np.ndarray, " n"],
        on_top: Sequence[nn.Module],
        mean: bool,
        precision: Literal["float32", "bfloat16"],
    ):
        self.encoder, self.tower = subject.encoder, examples.tower
        self.on_top, self.mean, self.precision = on_top, mean, precision
        self.keep = subject.head is None
        self.inputs, self.labels = examples.inputs[chosen], examples.labels[chosen]
        self.place = self.encoder.map.tower(self.tower)
        texts = self.place.grid is None
        self.size = min(subject.batch_size, TEXT_BATCH) if texts else subject.batch_size
        said = f"heads/{examples.split}/{len(chosen)}-{_digest(self.inputs, self.labels)}/by{self.size}"
        self.name = f"{said}/{'mean' if mean else 'zero'}/{precision}"
        self.gradients_name = f"{said}/gradients"
        self.kept, self.progress = subject.kept, subject.progress

    def carry_out(self):
        """Losses with all heads, without each, gradients, features."""
        parts = [slice(at, at + self.size) for at in range(0, len(self.inputs), self.size)]
        layers, count = len(self.place.blocks), self.place.heads
        losses, gradients, features = [], [], []
        total = len(parts) * layers
        means = self._means(parts)
        for number, part in enumerate(parts):
            replay = LeaveOneOut(self.encoder, self.tower, self.inputs[part], means)
            own = torch.from_numpy(self.labels[part]).to(self.encoder.device)
            where = f"part{number:04d}"
            found: list[Arrays] = []
            for layer in range(layers):
                key = f"{self.name}/{where}/layer{layer:02d}"
                found.append(self.kept(key, partial(self._without, replay, layer, own)))
                self.progress("heads", number * layers + layer + 1, total)
            # Last, when next to nothing of it is left to compute; first in what is handed out.
            found.insert(0, self.kept(f"{self.name}/{where}/whole", partial(self._whole, replay, own)))
            losses.append(np.concatenate([each["losses"] for each in found], 1))
            if self.keep:
                features.append(np.concatenate([each["features"] for each in found]))
            if self.on_top:
                key = f"{self.gradients_name}/{where}"
                gradients.append(self.kept(key, partial(self._gradients, part, own))["gradients"])
        every = np.concatenate(losses, 2)
        shape = (len(self.on_top), layers, count, len(self.inputs))
        slopes = np.concatenate(gradients, 3) if gradients else np.empty(shape)
        return (
            every[:, 0],
            every[:, 1:].reshape(shape),
            slopes,
            np.concatenate(features, 1) if features else None,
        )

    def _means(self, parts: list[slice]) -> Means | None:
        if not self.mean:
            return None

        def make() -> Arrays:
            found = head_means(self.encoder, self.tower, (self.inputs[part] for part in parts))
            return {"means": found.cpu().numpy()}

        return torch.from_numpy(self.kept(f"{self.name}/means", make)["means"]).to(self.encoder.device)

    def _whole(self, replay: LeaveOneOut, labels: Tensor) -> Arrays:
        with self._precision():
            return self._read([replay.whole], labels)

    def _without(self, replay: LeaveOneOut, layer: int, labels: Tensor) -> Arrays:
        with self._precision():
            return self._read(list(replay.without(layer)), labels)

    def _gradients(self, part: slice, labels: Tensor) -> Arrays:
        found = gate_gradients(self.encoder, self.tower, self.inputs[part], partial(self._losses, labels))
        return {"gradients": found.permute(0, 2, 3, 1).cpu().numpy().astype(np.float64)}

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.encoder.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _read(self, found: list[Float[Tensor, "b d"]], labels: Tensor) -> Arrays:
        """Losses "k h b" of features, one each head, and the features themselves where they are kept."""
        wide = [each.to(torch.promote_types(each.dtype, torch.float32)) for each in found]
        arrays = {"losses": np.empty((len(self.on_top), len(wide), len(labels)))}
        if self.on_top:
            with torch.no_grad(), torch.autocast(self.encoder.device.type, enabled=False):
                losses = torch.stack([self._losses(labels, each) for each in wide], 1)
            arrays["losses"] = losses.cpu().numpy().astype(np.float64)
        if self.keep:
            arrays["features"] = torch.stack(wide).cpu().numpy()
        return arrays

    def _losses(self, labels: Tensor, features: Float[Tensor, "b d"]) -> Float[Tensor, "k b"]:
        return torch.stack([_loss(head(features), labels) for head in self.on_top])


def _digest(inputs: Shaped[np.ndarray, "n ..."], labels: Shaped[np.ndarray, " n"]) -> str:
    """Which examples: the beginning of the sha256 of their content."""
    said = repr(inputs.tolist()).encode() if inputs.dtype == object else inputs.tobytes()
    return hashlib.sha256(said + labels.tobytes()).hexdigest()[:16]


def _loss(outputs: Float[Tensor, "b c"], labels: Tensor) -> Float[Tensor, " b"]:
    """Of classes the cross-entropy, −ln softmax(z)[y], in nats; of numbers the squared error, (z − y)²."""
    if labels.is_floating_point():
        return (outputs.squeeze(-1) - labels.to(outputs.dtype)).square()
    return cross_entropy(outputs, labels, reduction="none")
