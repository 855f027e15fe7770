"""Numbers as people read them."""

from tunescope.stats.finding import Effect


def number(value: float | None) -> str:
    """Three significant digits, a true minus sign, thousands apart; a dash where there is none.

    >>> number(-0.07712), number(1234567.0), number(3.0), number(None)
    ('−0.0771', '1,234,567', '3', '–')
    """
    if value is None:
        return "–"
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")


def signed(value: float | None) -> str:
    """A change, always with its sign.

    >>> signed(0.5), signed(-0.25), signed(0.0)
    ('+0.500', '−0.250', '0.000')
    """
    if value is None:
        return "–"
    text = f"{value:+.3f}".replace("-", "−")
    return text[1:] if text[1:] == "0.000" else text


def percent(value: float | None) -> str:
    """A share of one, in per cent with one decimal.

    >>> percent(0.3491)
    '34.9 %'
    """
    return "–" if value is None else f"{100 * value:.1f} %".replace("-", "−")


def p_value(value: float | None) -> str:
    """A p-value with its sign of comparison.

    >>> p_value(0.0312), p_value(1e-7), p_value(None)
    ('= 0.031', '< 0.001', '–')
    """
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def effect(value: Effect | None) -> str:
    """An effect with its unit and interval.

    >>> effect(Effect("difference", -0.077, -0.09, -0.06, "nats"))
    '−0.077 nats (95 % interval −0.09 to −0.06)'
    >>> effect(Effect("Hedges' g", 2.0))
    '2'
    """
    if value is None:
        return "–"
    unit = f" {value.unit}" if value.unit not in ("", "1") else ""
    if value.low is None or value.high is None:
        return f"{number(value.value)}{unit}"
    return f"{number(value.value)}{unit} (95 % interval {number(value.low)} to {number(value.high)})"
