"""`glue/NAME`: the nine tasks of GLUE (Wang et al. 2019, arXiv 1804.07461), from the hub's `nyu-mll/glue`."""

import hashlib
from typing import NamedTuple

from tunescope.data.dataset import DataSet, Reads
from tunescope.data.opened import content, labels_of, open_splits, table_of
from tunescope.data.place import Place
from tunescope.data.prompts import readable
from tunescope.data.texts import TEMPLATES, items_of, text_set
from tunescope.errors import DataError, nearest

HUB = "nyu-mll/glue"
_SENTENCES = ("sentence1", "sentence2")
_NLI = ("entailment", "not_entailment")
_MNLI = ("entailment", "neutral", "contradiction")


class Glue(NamedTuple):
    """One task.

    Args:
        columns: of the text, or of the two texts of a pair.
        classes: in the order of the labels; none for a regression.
        metrics: what GLUE reports for it, as metrics of the probe `transfer`.
        splits: the splits whose labels are public.
        config: its name on the hub, where that is another one.
    """

    columns: tuple[str, ...]
    classes: tuple[str, ...]
    metrics: tuple[str, ...] = ("transfer.acc1",)
    splits: tuple[str, ...] = ("train", "validation")
    config: str | None = None


GLUE = {
    "cola": Glue(("sentence",), ("unacceptable", "acceptable"), ("transfer.matthews",)),
    "sst2": Glue(("sentence",), ("negative", "positive")),
    "mrpc": Glue(_SENTENCES, ("not_equivalent", "equivalent"), ("transfer.acc1", "transfer.f1")),
    "qqp": Glue(("question1", "question2"), ("not_duplicate", "duplicate"), ("transfer.acc1", "transfer.f1")),
    "stsb": Glue(_SENTENCES, (), ("transfer.pearson", "transfer.spearman")),
    "mnli": Glue(("premise", "hypothesis"), _MNLI, splits=("train", "validation_matched")),
    "mnli-mm": Glue(("premise", "hypothesis"), _MNLI, splits=("validation_mismatched",), config="mnli"),
    "qnli": Glue(("question", "sentence"), _NLI),
    "rte": Glue(_SENTENCES, _NLI),
    "wnli": Glue(_SENTENCES, ("not_entailment", "entailment")),
}


def load(ref: str, label: str | None) -> DataSet:
    """Every row of a GLUE task whose label is public.

    tunescope makes its own splits of them, so its numbers are not those of GLUE's leaderboard. `glue/mnli-mm`
    are MNLI's sentences of other genres: a natural shift of `glue/mnli`. SST-2's training rows are phrases of
    shared sentences, and phrases of one sentence may fall on two sides of a split.

    Raises:
        DataError: unknown task; the data cannot be had, or is not what GLUE says it is.
    """
    task, place = _task(ref)
    found = open_splits(place)
    missing = [split for split in task.splits if split not in found]
    if missing:
        raise DataError(
            f"data {ref!r}: {place.where} has no split {missing[0]!r}; {nearest(missing[0], found)}"
        )
    splits = {split: found[split] for split in task.splits}
    for column in (*task.columns, "label"):
        if column not in found[task.splits[0]].features:
            raise DataError(f"data {ref!r}: {place.where} has no column {column!r}; is it GLUE's?")
    labels, names = labels_of(ref, splits, "label")
    if names != task.classes:
        raise DataError(
            f"data {ref!r}: {place.where} has the classes {', '.join(names) or 'none'}; GLUE has "
            f"{', '.join(task.classes) or 'numbers'}"
        )
    items = items_of(table_of(splits, task.columns), task.columns, f"data {ref!r}")
    return text_set(ref, items, (labels, readable(names)), fingerprint=fingerprint(ref))


def fingerprint(ref: str) -> str:
    """sha256 of what was chosen and of what the task's data holds: a hub id's resolved revision."""
    task, place = _task(ref)
    return hashlib.sha256("\n".join([repr(task), repr(TEMPLATES), content(place)]).encode()).hexdigest()


def tower(ref: str) -> Reads:
    """Texts are for the text tower."""
    return "text"


def _task(ref: str) -> tuple[Glue, Place]:
    name = ref.partition("/")[2]
    if name not in GLUE:
        raise DataError(f"data {ref!r}: unknown task {name!r}; {nearest(name, GLUE)}")
    task = GLUE[name]
    return task, Place(f"{HUB}/{task.config or name}", None, None)
