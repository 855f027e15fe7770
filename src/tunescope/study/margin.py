"""How small a difference must be not to matter: a number in the metric's unit, or a share of a mean."""

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

PER_CENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%")


def share(margin: float | str | None) -> float | None:
    """What a margin in per cent comes to; None for one in the metric's unit.

    >>> share("10%"), share(0.02)
    (0.1, None)
    """
    return float(margin.rstrip("%")) / 100 if isinstance(margin, str) else None


def _positive(margin: object) -> float | str:
    """A number, or a share as `10%`.

    >>> _positive(" 2.50 %"), _positive("0.5"), _positive(3)
    ('2.5%', 0.5, 3.0)
    """
    found = PER_CENT.fullmatch(margin.strip()) if isinstance(margin, str) else None
    try:
        number = float(found[1] if found else margin)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < (100 if found else math.inf):
        raise ValueError(
            "expected a number greater than 0 in the metric's unit, or a share of the second group's mean "
            f"between 0% and 100%, such as '10%'; got {margin!r}"
        )
    return f"{number:g}%" if found else number


Margin = Annotated[float | str, BeforeValidator(_positive)]
