"""What a run is a replicate of: its group and its factors, but for the seed."""

from collections.abc import Mapping

from tunescope.stats.finding import Factor
from tunescope.stats.words import factors as said


def setting(group: str, factors: Mapping[str, Factor]) -> str:
    """The run without its seed, as it stands in its name: runs of one setting are replicates.

    >>> setting("lora", {"lr": 0.001, "rank": 8, "seed": 2})
    'lora lr=0.001 rank=8'
    """
    varied = said({name: value for name, value in factors.items() if name != "seed"})
    return f"{group} {varied}" if varied else group
