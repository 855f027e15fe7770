"""Numbers as people read them: three significant digits, a real minus sign."""

from collections.abc import Mapping

from tunescope.stats.finding import Effect, Factor


def number(value: float) -> str:
    """Three significant digits, no exponent between 0.0001 and a million.

    >>> [number(value) for value in (-0.0766, 12345.6, 41.0, 0.0, 3.2e-6)]
    ['−0.0766', '12,346', '41', '0', '3.2e−6']
    """
    size = abs(value)
    if size == 0:
        return "0"
    if 1e-4 <= size < 999.5:
        text = f"{value:#.3g}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    elif 999.5 <= size < 1e6:
        text = f"{value:,.0f}"
    else:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text.replace("-", "−")


def interval(effect: Effect, level: str = "95 %") -> str:
    """`95 % interval −0.09 to −0.06`, or nothing where there is none.

    >>> interval(Effect("difference", 0.1, 0.05, 0.15))
    '95 % interval 0.05 to 0.15'
    """
    if effect.low is None or effect.high is None:
        return ""
    return f"{level} interval {number(effect.low)} to {number(effect.high)}"


def p_value(p: float) -> str:
    """`p = 0.0042`, `p < 0.0001`.

    >>> p_value(0.00423), p_value(3e-9)
    ('p = 0.0042', 'p < 0.0001')
    """
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def count(n: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "run"), count(3, "run")
    ('1 run', '3 runs')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def factors(values: Mapping[str, Factor]) -> str:
    """Factors as they stand in a run's name.

    >>> factors({"lr": 0.001, "seed": 0})
    'lr=0.001 seed=0'
    """
    return " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )


def listed(parts: list[str], most: int | None = None) -> str:
    """A list in words, the first `most` of it.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=2)
    ('a, b and c', 'a, b and 1 more')
    """
    if most is not None and len(parts) > most:
        return f"{', '.join(parts[:most])} and {len(parts) - most} more"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
