"""Train, val, probe and test by the hash of the concept: no seed, and no concept on two sides."""

import hashlib
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from tunescope.data.dataset import DataSet
from tunescope.errors import DataError
from tunescope.study.run import Split

SIDES = ("train", "val", "probe", "test")


def _strata(data: DataSet) -> tuple[Int64[np.ndarray, " n"], int]:
    """What is split by itself: the classes, and how many there are; all is one where labels are numbers."""
    if data.class_names:
        return data.labels.astype(np.int64), len(data.class_names)
    return np.zeros(len(data), dtype=np.int64), 1


def _concepts(data: DataSet, stratum: int) -> list[str]:
    """The groups of one class, in the order of their hashes."""
    members = {data.groups[i] for i in np.flatnonzero(_strata(data)[0] == stratum)}
    return sorted(members, key=lambda group: hashlib.sha256(group.encode()).digest())


def _counts(n: int, shares: Split) -> dict[str, int]:
    """How many of `n` ≥ 4 concepts each side gets: at least one, and in all else nearest to its share.

    >>> _counts(10, Split()), _counts(4, Split())
    ({'train': 6, 'val': 1, 'probe': 1, 'test': 2}, {'train': 1, 'val': 1, 'probe': 1, 'test': 1})
    """
    wanted = {side: getattr(shares, side) * n for side in SIDES}
    counts = {side: max(1, int(wanted[side] + 1e-9)) for side in SIDES}
    while sum(counts.values()) < n:
        counts[max(SIDES, key=lambda side: wanted[side] - counts[side])] += 1
    while sum(counts.values()) > n:
        counts[max(SIDES, key=lambda side: (counts[side] > 1, counts[side] - wanted[side]))] -= 1
    return counts


def large_classes(data: DataSet, min_per_class: int) -> DataSet:
    """The set without the classes that are too small to be split, where its source allows that.

    Where labels are numbers, the whole set must be large enough.

    Emoji's subgroups hold from 1 to 82: small ones are left out (`small_classes="drop"`). Elsewhere a small
    class is an error, because it was put there by somebody who counts on it.

    Args:
        min_per_class: concepts a class needs; items of one class and group count as one.

    Raises:
        DataError: a class is empty or too small, or fewer than two classes are left; names and numbers.
    """
    sizes = [len(_concepts(data, stratum)) for stratum in range(_strata(data)[1])]
    unit = "concept" if data.groups != data.ids else "image" if data.tower == "vision" else "text"
    if not data.class_names:
        if sizes[0] < min_per_class:
            raise DataError(f"data {data.name!r}: {sizes[0]} {unit}s; at least {min_per_class} are needed")
        return data
    large = [name for name, size in zip(data.class_names, sizes, strict=True) if size >= min_per_class]
    if len(large) < len(sizes):
        if data.small_classes == "raise":
            name, size = next(
                entry for entry in zip(data.class_names, sizes, strict=True) if entry[0] not in large
            )
            found = f"{size} {unit}{'s' * (size != 1)}"
            broken = f" ({len(data.skipped)} broken images were skipped)" if data.skipped else ""
            raise DataError(
                f"data {data.name!r}: class {name!r} has {found}{broken}, too few for a "
                f"split; at least {min_per_class} are needed; add {unit}s or remove the class"
            )
        data = data.restrict(large)
    if len(large) < 2:
        found = f"only the class {large[0]!r} has" if large else "no class has"
        raise DataError(
            f"data {data.name!r}: {found} {min_per_class} or more {unit}s; at least two such classes are "
            "needed; choose another label or a smaller min_per_class"
        )
    return data


def split(data: DataSet, shares: Split, min_per_class: int = 4) -> dict[str, Int64[np.ndarray, " n"]]:
    """Disjoint indices of train, val, probe and test, each with every class.

    Within a class, concepts are ranked by sha256 of their group (their id, where the source knows no groups),
    and ranks are dealt to the sides by their shares. So there is no seed, the same concepts in the same
    classes fall on the same sides in every style and every run, and near-duplicates never face each other
    across a split. Where labels are numbers, all concepts are ranked together.

    Args:
        data: after `large_classes`, where small classes are to be left out.
        shares: of each side; every side gets at least one concept of every class.
        min_per_class: concepts a class needs.

    Returns:
        For each side ascending indices into `data`.

    Raises:
        DataError: a class is too small for the split.
    """
    large_classes(replace(data, small_classes="raise"), min_per_class)
    side_of: dict[tuple[int, str], str] = {}
    strata, count = _strata(data)
    for stratum in range(count):
        concepts = _concepts(data, stratum)
        counts = _counts(len(concepts), shares)
        sides = [side for side in SIDES for _ in range(counts[side])]
        side_of |= {(stratum, concept): side for concept, side in zip(concepts, sides, strict=True)}
    sides = [side_of[stratum, group] for stratum, group in zip(strata.tolist(), data.groups, strict=True)]
    return {side: np.array([i for i, at in enumerate(sides) if at == side], dtype=np.int64) for side in SIDES}


def two_sides(data: DataSet, shares: Split) -> dict[str, Int64[np.ndarray, " n"]]:
    """Disjoint indices of train and test alone, of data that no other choice is made on.

    A concept is for the test where its hash, as a share of the largest one, is below test / (train + test):
    on the same side in all data of whomever, so that nobody tests by what another has trained on. Sides have
    their shares on average, and a side may be empty.

    Args:
        data: of any source.
        shares: of `train` and `test`.

    Returns:
        For either side ascending indices into `data`.
    """
    share = shares.test / (shares.train + shares.test)
    at_test = np.array([_hash(group) < share for group in data.groups], dtype=bool)
    return {"train": np.flatnonzero(~at_test), "test": np.flatnonzero(at_test)}


def _hash(group: str) -> float:
    """From 0 to 1, the same everywhere."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) / 2**64
