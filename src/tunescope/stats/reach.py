"""Whether a test that counts arrangements can find anything at all among so few runs."""

from tunescope.stats.words import number

ALPHA = 0.05


def out_of_reach(least: float) -> tuple[str, ...]:
    """A warning where not even the smallest p that there can be is below .05.

    >>> out_of_reach(0.1)
    ("even a perfect order of so few runs gives p = 0.1; take more runs, or no 'test'",)
    >>> out_of_reach(0.03)
    ()
    """
    if least <= ALPHA:
        return ()
    return (f"even a perfect order of so few runs gives p = {number(least)}; take more runs, or no 'test'",)
