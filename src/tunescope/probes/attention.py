"""How attention is structured: how spread, how far, how alike between heads, how much on sinks."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Derived, Metric

_DERIVED: tuple[Derived, ...] = ("base", "base_only", "change", "change_relative")
_ZHAI = "Zhai et al. 2023, section 3"


def _metric(quantity: str, unit: str, definition: str, source: str) -> Metric:
    dims = ("tower", "layer") if quantity.startswith("head_diversity") else ("tower", "layer", "head")
    largest = 1.0 if unit == "1" else None
    return Metric(f"attention.{quantity}", dims, unit, (0.0, largest), None, definition, source, _DERIVED)


class AttentionProbe(Probe):
    """The structure of attention per layer and head: entropy, reach, concentration, diversity, sinks.

    The row: for images the pooling token's ([CLS], or the probe of an attention pooling head, whose layer
    counts one past the last block) over patch tokens, renormalised; for texts the pooled token's over the
    tokens that it sees, without prompts and prefixes. With `rows: all`, the mean over every query of an
    example: its patches, or its real tokens that see at least two. Per example first, then mean and standard
    deviation over examples.
    A text tower reads the prompts of the split's class names.

    Args:
        rows: which queries.
        towers: which towers; none named = the tuned one.
        split: which examples.
        pictures: how many images get maps of attention.
    """

    kind: str = "attention"
    rows: Literal["pool", "all"] = "pool"
    towers: tuple[Literal["vision", "text"], ...] = ()
    split: str = "probe"
    pictures: Annotated[int, Field(ge=0)] = 6

    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric("entropy", "nats", "H = −Σ aⱼ ln aⱼ of a row of attention", _ZHAI),
        _metric("entropy_normalised", "1", "H / ln N, N the number of keys", _ZHAI),
        _metric("erf95", "1", "smallest k whose largest aⱼ sum to ≥ 0.95, over N", "tunescope"),
        _metric("gini", "1", "2 Σ i·x₍ᵢ₎ / (N Σ x₍ᵢ₎) − (N+1)/N, x the row ascending", "Gini 1912"),
        _metric(
            "head_diversity", "1", "1 − mean pairwise cosine of the heads' rows, per example", "tunescope"
        ),
        _metric(
            "head_diversity_pooled",
            "1",
            "1 − mean pairwise cosine of the heads' rows averaged over examples",
            "tunescope",
        ),
        _metric(
            "distance",
            "px",
            "Σ aⱼ · ‖position of patch j − position of the query‖, mean over patch queries",
            "Raghu et al. 2021, section 3",
        ),
        _metric(
            "sink_mass",
            "1",
            "mass on [CLS] itself and registers (images), on prompts and prefixes, before they are dropped",
            "Darcet et al. 2023",
        ),
        _metric(
            "value_weighted_entropy",
            "nats",
            "entropy of aⱼ‖vⱼ‖, renormalised",
            "Kobayashi et al. 2020, section 3",
        ),
    )
    source: ClassVar[str] = "Raghu et al. 2021; Zhai et al. 2023; Darcet et al. 2023"
    followed: ClassVar[tuple[str, ...]] = ("attention.rollout", "attention.pooled", "attention.image_ids")

    def measure(self, subject: Subject) -> Measurement:
        """Rows per tower, layer and head; and maps of attention over images, as `pictures.pictures` has them.

        Raises:
            StudyError: the split is not there, or is empty.
            MethodError: the model has no such tower.
            ModelError: attention that is not a probability any more.
        """
        from tunescope.probes.pictures import pictures
        from tunescope.probes.structure import structure

        examples = self.examples(subject, self.split)
        rows, arrays = [], {}
        for tower in self.towers or (subject.tower,):
            rows += structure(subject, tower, examples, every_query=self.rows == "all", split=self.split)
            if tower == "vision" and self.pictures:
                images = (subject.whole or subject.examples)[self.split].inputs
                arrays = pictures(subject.encoder, images, self.pictures)
        return Measurement(rows, arrays)
