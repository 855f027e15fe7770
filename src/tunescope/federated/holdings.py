"""What every client holds: its examples, and those that it is tested by."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunescope.data.client import PREFIX, client_of
from tunescope.data.examples import Examples, Preprocess, materialise
from tunescope.data.load import fingerprint, load
from tunescope.data.split import two_sides
from tunescope.errors import DataError, StudyError, nearest
from tunescope.federated.partition import Partition, numbered
from tunescope.study.federated import Federated
from tunescope.study.run import RunSpec

DOMAINS = "by_domain"
OWN = ("train", "val", "probe", "test")


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


def clients_of(federated: Federated) -> tuple[str, ...]:
    """The names of a federation's clients, in their order; no data are read.

    Raises:
        DataError: a reference that names no client.

    >>> clients_of(Federated(partition={"kind": "iid", "clients": 3}))
    ('client-0', 'client-1', 'client-2')
    """
    if federated.partition.kind == DOMAINS:
        return tuple(sorted({client_of(ref) for ref in federated.data}))
    return tuple(numbered([np.zeros(0)] * getattr(federated.partition, "clients")))  # noqa: B009  of every other


def check_ranks(federated: Federated) -> None:
    """Whether ranks are given for clients that there are.

    Raises:
        StudyError: they are not.
    """
    clients = clients_of(federated)
    if unknown := sorted(federated.ranks.keys() - set(clients)):
        raise StudyError(f"federated.ranks: no client {unknown[0]!r}; {nearest(unknown[0], clients)}")


def holdings(
    spec: RunSpec,
    examples: Mapping[str, Examples],
    preprocess: Preprocess | None,
    decoded: Path | None = None,
    only: Collection[str] | None = None,
    places: Mapping[str, str] | None = None,
) -> dict[str, Holding]:
    """Deal a run's training examples out to clients.

    Where the run names data for its clients, the task's sides decide, so that what the run is measured on was
    trained on by nobody, in no style. Of data that share concepts with the task, those on its training side
    are held, those on its test side are tested by, and all others are left out: a shift may be measured on
    them. Data that share no concept with it are a client's own: concepts are dealt to the two sides by their
    hash and the task's shares of `train` and `test`, and no shift or zero-shot set may be of them.

    Args:
        spec: a federated run.
        examples: of the task, by split.
        preprocess: the model's.
        decoded: a folder in which decoded images are kept and found again.
        only: clients whose holdings are wanted; all, if left out. Where each client holds the data of one
            place, nothing else is read.
        places: where data lie on this machine, by the run's reference to them, if they lie elsewhere.

    Returns:
        by client, in the order of their names.

    Raises:
        DataError: data that cannot be found, or holds nothing of the task; a partition that cannot be made.
        StudyError: a rank is given for a client that there is not.
    """
    federated = spec.federated
    assert federated is not None
    assert isinstance(federated.partition, Partition)
    check_ranks(federated)
    wanted = clients_of(federated) if only is None else only
    if not wanted:
        return {}
    apart = federated.partition.kind == DOMAINS
    refs = [ref for ref in dict.fromkeys(federated.data) if not apart or client_of(ref) in wanted]
    found_at = places or {}
    sides = {ref: _sides(ref, found_at.get(ref, ref), spec, examples, preprocess, decoded) for ref in refs}
    sides = sides or {spec.task.data: (examples["train"], examples["test"])}
    train = [one for one, _ in sides.values()]
    test = [one for _, one in sides.values()]
    labels = np.concatenate([part.labels for part in train])
    domains = [client_of(ref) for ref, (one, _) in sides.items() for _ in range(len(one))]
    parts = federated.partition.split(labels, domains, spec.seed)
    ends = np.cumsum([0, *(len(part) for part in train)])
    found: dict[str, Holding] = {}
    for client, indices in parts.items():
        if client not in wanted:
            continue
        own = [indices[(indices >= a) & (indices < b)] - a for a, b in pairwise(ends)]
        held = _joined([_take(part, at) for part, at in zip(train, own, strict=True) if len(at)])
        tested = _joined([part for part, at in zip(test, own, strict=True) if len(at)])
        found[client] = Holding(held, tested, _weights(client, held, tested))
    return found


def _sides(
    ref: str,
    place: str,
    spec: RunSpec,
    examples: Mapping[str, Examples],
    preprocess: Preprocess | None,
    decoded: Path | None,
) -> tuple[Examples, Examples]:
    task = spec.task
    label = load(task.data, task.label, on_error=task.on_error, decoded=decoded).label
    data = load(place, label, on_error=task.on_error, decoded=decoded)
    classes = examples["train"].class_names
    if bool(data.class_names) != bool(classes) or (classes and not set(classes) & set(data.class_names)):
        raise DataError(
            f"federated.data {ref!r} has no class of the task {task.data!r}; give data with the same classes"
        )
    data = data.restrict(classes)
    of_task = {side: set(examples[side].ids) for side in OWN}
    if set(data.ids).isdisjoint(set().union(*of_task.values())):
        if _among(ref, (*spec.transfer.shifts, *spec.transfer.zero_shot)):
            raise DataError(
                f"federated.data {ref!r}: a client learns from these data, so that transfer cannot be "
                "measured on them; take them out of transfer: each client is tested on its own anyway"
            )
        dealt = two_sides(data, task.split)
    else:
        dealt = {
            side: [i for i, concept in enumerate(data.ids) if concept in of_task[side]]
            for side in ("train", "test")
        }
    for side, at in dealt.items():
        if not len(at):
            raise DataError(
                f"federated.data {ref!r}: none of its concepts is on the {side} side; clients' data are of "
                "the task's concepts, such as another style of the same emoji, or share none with it and "
                "are enough for both sides"
            )
    train, test = (materialise(data, dealt[side], preprocess, side, decoded) for side in ("train", "test"))
    return train, test


def _among(ref: str, others: Sequence[str]) -> bool:
    """Whether data are among others, by content where that can be known."""
    if not others or ref.startswith(PREFIX):
        return False
    return fingerprint(ref) in {fingerprint(other) for other in others if not other.startswith(PREFIX)}


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


def _weights(client: str, train: Examples, test: Examples) -> NDArray[np.float64]:
    if train.regression:
        return np.full(len(test), 1 / len(test))
    classes = len(train.class_names)
    mine = np.bincount(train.labels, minlength=classes)
    there = np.bincount(test.labels, minlength=classes)
    found = (mine / np.maximum(there, 1))[test.labels]
    if not found.any():
        raise DataError(
            f"client {client!r}: none of the classes that it learns is among those that it is tested by; "
            "give it data with both sides of some class"
        )
    return found / found.sum()
