"""Everything a run reads: the four splits of its task, the task under shifts, and other tasks zero-shot."""

from pathlib import Path

from tunescope.data.dataset import DataSet
from tunescope.data.examples import Examples, Preprocess, materialise
from tunescope.data.load import load
from tunescope.data.split import large_classes, split
from tunescope.errors import DataError
from tunescope.study.run import RunSpec


def task_sets(spec: RunSpec, decoded: Path | None = None) -> dict[str, DataSet]:
    """The items of each split of a run, not yet decoded.

    `train`, `val`, `probe`, `test`: the task's own, by the hash of the concept.
    `shift:<ref>`: the same classes in the same order in another set; items of other classes are left out.
    `zero_shot:<ref>`: another task with its own labels; every class name of it is a candidate.

    Both kinds of transfer set hold the items whose id the task did not put in train, val or probe: what is
    tested was never trained on or chosen by, in any style.

    Args:
        spec: the run; its task and its transfer sets are read here.
        decoded: a folder in which it is kept which images are broken, for `on_error: skip`.

    Raises:
        DataError: data that cannot be found, labelled or split; a transfer set with nothing left to test.
    """
    wanted = spec.task
    data = load(wanted.data, wanted.label, on_error=wanted.on_error, decoded=decoded)
    if wanted.label is not None and data.label != wanted.label:
        said = f"already says {data.label!r}" if data.label else "has one label only"
        raise DataError(
            f"task.label is {wanted.label!r}, but data {wanted.data!r} {said}; remove one of them"
        )
    data = large_classes(data, wanted.min_per_class)
    if wanted.num_classes not in (None, found := len(data.class_names)):
        raise DataError(
            f"num_classes is {wanted.num_classes}, and data {wanted.data!r} has {found} classes that can be "
            f"split ({_some(data.class_names)}); give {found}, or other data"
        )
    sides = split(data, wanted.split, wanted.min_per_class)
    sets = {side: data.select(indices) for side, indices in sides.items()}
    used = {concept for side in ("train", "val", "probe") for concept in sets[side].ids}
    for ref in spec.transfer.shifts:
        shift = load(ref, data.label, on_error=wanted.on_error, decoded=decoded)
        shared = set(shift.class_names) & set(data.class_names)
        if bool(shift.class_names) != bool(data.class_names) or (data.class_names and not shared):
            raise DataError(
                f"shift {ref!r} has no class of the task {wanted.data!r}: {_some(shift.class_names)} against "
                f"{_some(data.class_names)}; give data with the same class names"
            )
        sets[f"shift:{ref}"] = _unseen(shift.restrict(data.class_names), used)
    for ref in spec.transfer.zero_shot:
        other = load(ref, on_error=wanted.on_error, decoded=decoded)
        if len(other.class_names) == 1:
            raise DataError(
                f"zero_shot {ref!r} has only the class {other.class_names[0]!r} and nothing to tell it from; "
                "give data of two classes or more"
            )
        sets[f"zero_shot:{ref}"] = _unseen(other, used)
    return sets


def task_examples(
    spec: RunSpec, preprocess: Preprocess | None, decoded: Path | None = None
) -> dict[str, Examples]:
    """The examples of each split of a run, by the names of `task_sets`.

    Args:
        spec: the run; its task and its transfer sets are read here.
        preprocess: the model's, for images; None where it reads none.
        decoded: a folder in which decoded images are kept and found again; without one they are in memory.

    Raises:
        DataError: as `task_sets`, or an item that cannot be read; the folder cannot be used.
    """
    return {
        name: materialise(data, range(len(data)), preprocess, name, decoded)
        for name, data in task_sets(spec, decoded).items()
    }


def _unseen(data: DataSet, used: set[str]) -> DataSet:
    unseen = data.select([i for i, concept in enumerate(data.ids) if concept not in used])
    if not len(unseen):
        raise DataError(
            f"data {data.name!r}: nothing is left to test, because all of it has been trained on "
            "or chosen by; give other data"
        )
    return unseen


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "") if names else "numbers"
