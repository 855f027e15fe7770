"""Counter-examples to "what matters moves": important heads that stayed, unimportant ones that moved."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LOW, HIGH = 0.25, 0.75


@dataclass(frozen=True)
class Case:
    """One head, with both of its numbers."""

    layer: int
    head: int
    importance: float
    update_relative: float


@dataclass(frozen=True)
class Cases:
    """The heads of one run that go against the rule.

    Args:
        heads: how many heads have both numbers.
        importance: lower and upper quartile of importance; None where no head has both numbers.
        update_relative: the same of the relative update.
        important_but_static: importance in its top quarter, update in its bottom quarter; the most important
            first, then by layer and head.
        plastic_but_unimportant: update in its top quarter, importance in its bottom quarter; the one that
            moved most first.
        expected: how many heads each list would hold by chance, were the two orders unrelated: the sizes of
            its two quarters multiplied, over the number of heads. Without ties that is heads / 16.
    """

    heads: int
    importance: tuple[float, float] | None
    update_relative: tuple[float, float] | None
    important_but_static: tuple[Case, ...]
    plastic_but_unimportant: tuple[Case, ...]
    expected: tuple[float, float]

    @property
    def counter_examples(self) -> int:
        """How many heads are in one of the lists; none is in both."""
        return len(self.important_but_static) + len(self.plastic_but_unimportant)

    @property
    def expected_counter_examples(self) -> float:
        """How many there would be by chance."""
        return sum(self.expected)


def cases(importance: Floats, update_relative: Floats) -> Cases:
    """Important-but-static and plastic-but-unimportant heads.

    Quarters are by value: from the upper quartile up, and from the lower one down (quartiles interpolated
    linearly), so that equal heads are always in the same quarter, and a quarter may hold more than a quarter
    of the heads. Where both quartiles are one value c, above c is top and below c is bottom; if there is
    nothing on one side, the heads at c are that quarter (heads that were never trained are all static). A
    quantity that does not vary has no quarters. Heads that lack a number are left out.

    Args:
        importance: [layers, heads], before tuning or after.
        update_relative: [layers, heads], ‖ΔW‖ / ‖W‖.

    Raises:
        ValueError: the shapes differ.

    >>> found = cases(np.array([[9.0, 1, 2, 3]]), np.array([[0.1, 0.9, 0.5, 0.4]]))
    >>> found.important_but_static, found.plastic_but_unimportant[0].head
    ((Case(layer=0, head=0, importance=9.0, update_relative=0.1),), 1)
    >>> found.counter_examples, found.expected_counter_examples
    (2, 0.5)
    """
    if importance.shape != update_relative.shape:
        raise ValueError(f"importance is {importance.shape}, update_relative {update_relative.shape}")
    known = np.isfinite(importance) & np.isfinite(update_relative)
    places = np.argwhere(known)
    first, second = importance[known], update_relative[known]
    important, unimportant = _quarters(first)
    plastic, static = _quarters(second)

    def listed(chosen: Flags, by: Floats) -> tuple[Case, ...]:
        order = sorted(np.flatnonzero(chosen).tolist(), key=lambda i: (-by[i], *places[i].tolist()))
        return tuple(
            Case(int(at[0]), int(at[1]), float(x), float(y))
            for at, x, y in zip(places[order], first[order], second[order], strict=True)
        )

    return Cases(
        heads=len(first),
        importance=_quartiles(first),
        update_relative=_quartiles(second),
        important_but_static=listed(important & static, first),
        plastic_but_unimportant=listed(plastic & unimportant, second),
        expected=(_chance(important, static), _chance(plastic, unimportant)),
    )


def _quarters(values: Floats) -> tuple[Flags, Flags]:
    """Which values are in the top quarter, and which in the bottom one; none is in both."""
    found = _quartiles(values)
    if found is None:
        return np.zeros(0, bool), np.zeros(0, bool)
    low, high = found
    if low < high:
        return values >= high, values <= low
    above, below = values > low, values < low
    if above.any() and not below.any():
        return above, values == low
    if below.any() and not above.any():
        return values == low, below
    return above, below


def _quartiles(values: Floats) -> tuple[float, float] | None:
    if not values.size:
        return None
    low, high = np.quantile(values, [LOW, HIGH])
    return float(low), float(high)


def _chance(first: Flags, second: Flags) -> float:
    return float(first.sum() * second.sum() / first.size) if first.size else 0.0
