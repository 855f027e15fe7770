"""The axis of a logarithmic scale."""

import math

import altair as alt


def log_axis(low: float, high: float) -> alt.Axis:
    """Ticks at 1, 2 and 5 times the powers of ten, or as they come where the ends are too close for these.

    Args:
        low: the smallest number that is drawn, above 0.
        high: the largest.

    >>> log_axis(0.03, 0.6).values
    [0.05, 0.1, 0.2, 0.5]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [
        tick for power in powers for digit in (1, 2, 5) if low <= (tick := float(f"{digit}e{power}")) <= high
    ]
    if len(ticks) < 2:
        return alt.Axis(tickCount=4, format=".3~g", grid=True)
    return alt.Axis(values=ticks, format="~e" if low < 1e-3 else ".3~g", grid=True)
