"""Whether the heads that matter are those that move: rank correlation and top-k overlap over heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunescope.stats.finding import Effect
from tunescope.stats.rank_bootstrap import KENDALL, SPEARMAN, kendall_of, spearman_of
from tunescope.stats.run_mean import run_mean

Floats = NDArray[np.float64]

TOP = 10  # heads; beside a quarter of them


@dataclass(frozen=True)
class Overlap:
    """How many of the k heads with the largest values two quantities share, over k.

    Args:
        k: number of heads.
        share: |top_k(a) ∩ top_k(b)| / k.
        expected: the same by chance, k / number of heads.
    """

    k: int
    share: Effect
    expected: float


@dataclass(frozen=True)
class Relation:
    """How two quantities of heads go together.

    Of one run (`runs` 1) the intervals are bootstrapped over its heads: how far the number hangs on which
    heads this model happens to have. Heads of one run are not replicates, so that is no statement about
    another seed. Of several runs they are Student's intervals over the runs, which are the replicates.

    Args:
        heads: number of heads with both quantities.
        spearman: Spearman's ρ; None where one of the two does not vary.
        kendall: Kendall's τ-b; None likewise.
        overlap: for a quarter of the heads, and for ten where there are more than ten.
        runs: how many runs it speaks of.
    """

    heads: int
    spearman: Effect | None
    kendall: Effect | None
    overlap: tuple[Overlap, ...]
    runs: int = 1


def relation(a: Floats, b: Floats, tops: Sequence[int] | None = None) -> Relation:
    """How two quantities of one run's heads go together, such as importance before tuning and update.

    Args:
        a: [layers, heads]; heads that lack one of the two numbers are left out.
        b: the same shape.
        tops: sizes k of the top that is compared; None: a quarter of the heads, and ten. Of equal values the
            first by layer and head counts.

    Raises:
        ValueError: the shapes differ.

    >>> found = relation(np.array([[4.0, 3, 2, 1, 0]]), np.array([[9.0, 8, 7, 5, 6]]), tops=[2, 4])
    >>> found.spearman.value, [(each.k, each.share.value, each.expected) for each in found.overlap]
    (0.9, [(2, 1.0, 0.4), (4, 0.75, 0.8)])
    """
    if a.shape != b.shape:
        raise ValueError(f"one quantity is {a.shape}, the other {b.shape}")
    known = np.isfinite(a) & np.isfinite(b)
    x, y = a[known], b[known]
    return Relation(
        heads=len(x),
        spearman=spearman_of(x, y),
        kendall=kendall_of(x, y),
        overlap=tuple(
            Overlap(k, Effect(f"top {k} in common", top_overlap(x, y, k)), k / len(x))
            for k in (_tops(len(x)) if tops is None else [k for k in tops if 0 < k <= len(x)])
        ),
    )


def top_overlap(a: Floats, b: Floats, k: int) -> float:
    """|top_k(a) ∩ top_k(b)| / k; of equal values the first counts.

    >>> top_overlap(np.array([4.0, 3, 2, 1]), np.array([9.0, 0, 8, 0]), 2)
    0.5
    """
    first, second = (set(np.argsort(-v.ravel(), kind="stable")[:k].tolist()) for v in (a, b))
    return len(first & second) / k


def over_runs(relations: Sequence[Relation]) -> Relation:
    """The relation in runs of one setting: means over runs, with intervals over runs from three on.

    Args:
        relations: of each run, at least one; a size k that not all of them have is left out.
    """

    def mean(name: str, found: list[Effect | None], low: float) -> Effect | None:
        return run_mean(name, [effect.value for effect in found if effect is not None], (low, 1.0))

    overlap: list[Overlap] = []
    for first in relations[0].overlap:
        found = [one for each in relations for one in each.overlap if one.k == first.k]
        share = mean(first.share.name, [one.share for one in found], 0.0)
        if share is not None and len(found) == len(relations):
            overlap.append(Overlap(first.k, share, first.expected))
    return Relation(
        heads=min(each.heads for each in relations),
        spearman=mean(f"mean {SPEARMAN}", [each.spearman for each in relations], -1.0),
        kendall=mean(f"mean {KENDALL}", [each.kendall for each in relations], -1.0),
        overlap=tuple(overlap),
        runs=len(relations),
    )


def _tops(heads: int) -> list[int]:
    quarter = max(1, round(heads / 4))
    return [] if heads == 0 else [quarter] if heads <= TOP or quarter == TOP else [quarter, TOP]
