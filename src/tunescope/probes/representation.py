"""What became of the representations: how like the base's they still are, and how spread out."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Better, Derived, Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    import numpy as np

LAYERS, FEATURES = "_representation.layers", "_representation.features"
_LEAST = 4  # examples, for an unbiased HSIC


def _metric(
    quantity: str,
    range: tuple[float | None, float | None],
    better: Better,
    definition: str,
    source: str,
    derived: tuple[Derived, ...] = ("base", "base_only", "change", "change_relative"),
) -> Metric:
    return Metric(
        f"representation.{quantity}", ("tower", "layer"), "1", range, better, definition, source, derived
    )


class RepresentationProbe(Probe):
    """Representations after every block and at the end: likeness to the base, effective rank, outliers.

    Of a block: its pooled token ([CLS], or the token that a text is read at); where an attention head pools
    (SigLIP's vision tower) a block has no such token, and it is the mean over patch tokens. Without a layer:
    the final features, that a head reads. A text tower reads the prompts of the split's class names.

    Args:
        split: which examples.
        sample: at most so many of them, spread evenly over the split.
    """

    kind: str = "representation"
    split: str = "probe"
    sample: Annotated[int, Field(ge=_LEAST)] = 512

    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric(
            "cka",
            (-1.0, 1.0),
            None,
            "debiased linear CKA of tuned against base: HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L)), "
            "HSIC unbiased",
            "Song et al. 2012, eq. 5; Nguyen et al. 2021, eq. 3",
            ("base_only",),
        ),
        _metric(
            "drift",
            (0.0, 2.0),
            None,
            "1 − cos(tuned, base), mean over examples",
            "tunescope",
            ("base_only",),
        ),
        _metric(
            "effective_rank",
            (0.0, None),
            None,
            "exp(−Σ pᵢ ln pᵢ), pᵢ = σᵢ / Σσ, σ the singular values of the representations less their mean",
            "Roy & Vetterli 2007, section 2",
        ),
        _metric(
            "norm_outliers",
            (0.0, 1.0),
            None,
            "share of patch tokens whose norm after the block exceeds median + 6 · 1.4826 · MAD of the layer",
            "Darcet et al. 2024, section 2.1; the rule: tunescope",
        ),
    )
    source: ClassVar[str] = "Kornblith et al. 2019; Nguyen et al. 2021; Roy & Vetterli 2007"

    def measure(self, subject: Subject) -> Measurement:
        """Rows per layer, and the representations themselves for `compare`: float32 [L, n, d] and [n, f].

        Raises:
            StudyError: the split is not there, or is empty.
            MethodError: the model has no such tower.
        """
        from tunescope.probes.blocks import states
        from tunescope.probes.similarity import effective_rank, norm_outliers

        seen = states(subject, subject.tower, self.examples(subject, self.split), self.sample)
        arrays = {LAYERS: seen.layers, FEATURES: seen.features}
        n = len(seen.features)
        place: dict[str, Any] = {"tower": subject.tower, "split": self.split, "n": n}
        rows = [
            Row("representation.effective_rank", effective_rank(x), layer=layer, **place)
            for layer, x in _each(arrays)
        ]
        for layer, norms in enumerate(() if seen.norms is None else seen.norms):
            share = norm_outliers(norms)
            value, std = float(share.mean()), _std(share)
            rows.append(Row("representation.norm_outliers", value, layer=layer, std=std, **place))
        return Measurement(rows, arrays)

    def compare(self, base: Measurement, active: Measurement) -> Measurement:
        """CKA and drift per layer; CKA only where there are at least four examples."""
        from tunescope.probes.similarity import cka, drift

        first = active.rows[0]
        place: dict[str, Any] = {"tower": first.tower, "split": first.split, "n": first.n}
        rows = []
        for (layer, before), (_, after) in zip(_each(base.arrays), _each(active.arrays), strict=True):
            if len(before) >= _LEAST:
                rows.append(Row("representation.cka", cka(after, before), layer=layer, **place))
            apart = drift(after, before)
            value, std = float(apart.mean()), _std(apart)
            rows.append(Row("representation.drift", value, layer=layer, std=std, **place))
        return Measurement(rows)


def _each(arrays: "dict[str, np.ndarray]") -> "Iterator[tuple[int | None, np.ndarray]]":
    """The representations of every layer, then the final features."""
    yield from enumerate(arrays[LAYERS])
    yield None, arrays[FEATURES]


def _std(values: "np.ndarray") -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
