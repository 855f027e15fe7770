"""What every client holds: its examples, and those that it is tested by."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunescope.data.examples import Examples, Preprocess, materialise
from tunescope.data.load import load
from tunescope.errors import DataError, StudyError, nearest
from tunescope.federated.partition import Partition
from tunescope.study.run import RunSpec


class Holding(NamedTuple):
    """One client's.

    Args:
        train: what it learns from.
        test: the test examples of the places that it has examples from.
        weights: of the test examples, "n", summing to 1: each class weighs what it weighs among `train`, and
            examples of one class weigh the same. So a client is tested on its own mixture of classes.
    """

    train: Examples
    test: Examples
    weights: NDArray[np.float64]


def holdings(
    spec: RunSpec,
    examples: Mapping[str, Examples],
    preprocess: Preprocess | None,
    decoded: Path | None = None,
) -> dict[str, Holding]:
    """Deal a run's training examples out to clients.

    Where the run names data for its clients, they hold of each set what is of the task's classes and of the
    concepts on its training side, and are tested by the concepts on its test side: what the run is measured
    on was trained on by nobody, in no style.

    Args:
        spec: a federated run.
        examples: of the task, by split.
        preprocess: the model's.
        decoded: a folder in which decoded images are kept and found again.

    Returns:
        by client, in the order of their names.

    Raises:
        DataError: data that cannot be found, or holds nothing of the task; a partition that cannot be made.
        StudyError: a rank is given for a client that there is not.
    """
    federated = spec.federated
    assert federated is not None
    assert isinstance(federated.partition, Partition)
    places = {ref: _sides(ref, spec, examples, preprocess, decoded) for ref in federated.data}
    places = places or {spec.task.data: (examples["train"], examples["test"])}
    train = [sides[0] for sides in places.values()]
    test = [sides[1] for sides in places.values()]
    labels = np.concatenate([part.labels for part in train])
    domains = [ref for ref, sides in places.items() for _ in range(len(sides[0]))]
    parts = federated.partition.split(labels, domains, spec.seed)
    if unknown := sorted(federated.ranks.keys() - parts.keys()):
        raise StudyError(f"federated.ranks: no client {unknown[0]!r}; {nearest(unknown[0], parts)}")
    ends = np.cumsum([0, *(len(part) for part in train)])
    found: dict[str, Holding] = {}
    for client, indices in parts.items():
        own = [indices[(indices >= a) & (indices < b)] - a for a, b in pairwise(ends)]
        held = _joined([_take(part, at) for part, at in zip(train, own, strict=True) if len(at)])
        tested = _joined([part for part, at in zip(test, own, strict=True) if len(at)])
        found[client] = Holding(held, tested, _weights(held, tested))
    return found


def _sides(
    ref: str,
    spec: RunSpec,
    examples: Mapping[str, Examples],
    preprocess: Preprocess | None,
    decoded: Path | None,
) -> tuple[Examples, Examples]:
    task = spec.task
    label = load(task.data, task.label, on_error=task.on_error, decoded=decoded).label
    data = load(ref, label, on_error=task.on_error, decoded=decoded)
    classes = examples["train"].class_names
    if bool(data.class_names) != bool(classes) or (classes and not set(classes) & set(data.class_names)):
        raise DataError(
            f"federated.data {ref!r} has no class of the task {task.data!r}; give data with the same classes"
        )
    data = data.restrict(classes)
    sides = []
    for side in ("train", "test"):
        concepts = set(examples[side].ids)
        at = [i for i, concept in enumerate(data.ids) if concept in concepts]
        if not at:
            raise DataError(
                f"federated.data {ref!r}: none of its concepts is on the task's {side} side; clients' data "
                "must be of the same concepts as the task's, such as another style of the same emoji"
            )
        sides.append(materialise(data.select(at), range(len(at)), preprocess, side, decoded))
    return sides[0], sides[1]


def _take(examples: Examples, indices: NDArray[np.int64]) -> Examples:
    if len(indices) == len(examples):
        return examples
    return replace(
        examples,
        inputs=examples.inputs[indices],
        labels=examples.labels[indices],
        ids=tuple(examples.ids[i] for i in indices),
    )


def _joined(parts: Sequence[Examples]) -> Examples:
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        inputs=np.concatenate([part.inputs for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        ids=tuple(concept for part in parts for concept in part.ids),
    )


def _weights(train: Examples, test: Examples) -> NDArray[np.float64]:
    if train.regression:
        return np.full(len(test), 1 / len(test))
    classes = len(train.class_names)
    mine = np.bincount(train.labels, minlength=classes)
    there = np.bincount(test.labels, minlength=classes)
    found = (mine / np.maximum(there, 1))[test.labels]
    return found / found.sum()
