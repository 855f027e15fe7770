"""Whether any of several numbers goes with another, and which: permutation tests of the largest |ρ|."""

import numpy as np

from tunescope.stats.intervals import CONSTANT, Floats
from tunescope.stats.orders import counted, orders
from tunescope.stats.partial import Held, correlation, remains


def null(many: Floats, held: Held) -> tuple[Floats, Floats, bool]:
    """ρ of each number with y, as it is and with the runs exchanged within their cells, as in `partial`.

    All numbers keep their places while y is exchanged, so that what they share they also share by chance.

    Args:
        many: the numbers that may predict, of shape (k, n).
        held: y, and what is held fixed; its x has no say.

    Returns:
        ρ of shape (k,), not a number where nothing of one of the two remains; |ρ| by chance, of shape
        (orders, k); whether these are all orders.
    """
    u, v, basis = remains(many, held.y, held.strata, held.cells, *held.others)
    lengths = np.sqrt((u * u).sum(-1, keepdims=True))
    unit = np.divide(u, lengths, out=np.zeros_like(u), where=lengths > CONSTANT)
    blocks = [np.flatnonzero(held.cells == cell) for cell in np.unique(held.cells)]
    columns = np.concatenate([unit, *(each[None] for each in basis)]).T
    sums = orders([v[block] for block in blocks], [columns[block] for block in blocks])
    k = len(many)
    again = np.maximum(v @ v - (sums[:, k:] ** 2).sum(1, keepdims=True), 0.0)
    lengths = np.sqrt(np.broadcast_to(again, (len(sums), k)))
    by_chance = np.abs(sums[:, :k])
    by_chance = np.divide(
        by_chance, lengths, out=np.zeros_like(by_chance), where=again > CONSTANT * max(v @ v, CONSTANT)
    )
    seen = np.where(u.any(-1) & v.any(), correlation(u, v[None]).round(12), np.nan)
    return seen, by_chance, counted(held.sizes)


def stepped_down(seen: Floats, by_chance: Floats, all_orders: bool) -> Floats:
    """The p of each statistic, those of all the others accounted for, by the step-down method of the largest.

    The largest is held against the largest by chance, the next against the largest by chance of what is left,
    and so on; none gets a smaller p than a larger one. The p of the largest is that of "none of these". One
    false claim or more is made in at most 5 % of studies, whichever number is then looked at.

    Args:
        seen: of shape (k,), larger = further from chance; what is not a number is no further than chance.
        by_chance: of shape (orders, k).
        all_orders: whether these are all orders, the one at hand among them; else it counts as one more.

    Source: Westfall & Young (1993), Resampling-Based Multiple Testing, algorithm 4.1.

    >>> by_chance = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 1.0]])
    >>> stepped_down(np.array([3.0, 1.0]), by_chance, all_orders=True).tolist()
    [0.25, 0.75]
    """
    seen = np.nan_to_num(seen)
    order = np.argsort(-seen, kind="stable")
    largest = np.maximum.accumulate(by_chance[:, order[::-1]], axis=1)[:, ::-1]
    extreme = np.count_nonzero(largest >= seen[order] - CONSTANT, axis=0)
    more = 0 if all_orders else 1
    p = np.empty(len(seen))
    p[order] = np.maximum.accumulate((extreme + more) / (len(by_chance) + more))
    return p
