"""A chart in which the reader of the page chooses, as one drawing for each choice."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

CHOICES_AT_MOST = 30

Pair = tuple[str, str]  # an option, and what the page calls it


def each_choice(name: str, spec: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """The chart with each choice of its selects made: a name, the choice in words, the drawing.

    Of more than `CHOICES_AT_MOST`, the last selects stay as the page shows them at first.

    Args:
        name: of the chart.
        spec: Vega-Lite.

    >>> select = {"name": "run", "bind": {"input": "select", "options": ["a=1", "b"]}}
    >>> [(name, words) for name, words, _ in each_choice("maps", {"params": [select]})]
    [('maps-a-1', 'Shown: run a=1.'), ('maps-b', 'Shown: run b.')]
    """
    params = spec.get("params", [])
    selects = [param for param in params if "bind" in param]
    if not selects:
        return [(name, "", dict(spec))]
    offered = [
        list(zip(bind["options"], bind.get("labels", bind["options"]), strict=True))
        for bind in (select["bind"] for select in selects)
    ]
    at_first = [
        [pair for pair in pairs if pair[0] == select.get("value", pairs[0][0])]
        for select, pairs in zip(selects, offered, strict=True)
    ]
    free, combinations = _made(offered, at_first)
    others = [param for param in params if param not in selects]
    fixed = [
        select["name"] for select, pairs in list(zip(selects, offered, strict=True))[free:] if len(pairs) > 1
    ]
    beside = f" The page has it for other choices of {' and '.join(fixed)} as well." if fixed else ""
    drawn: dict[str, tuple[str, dict[str, Any]]] = {}
    for combination in combinations:
        made = [
            {"name": s["name"], "value": value} for s, (value, _) in zip(selects, combination, strict=True)
        ]
        told = (f"{s['name']} {label}" for s, (_, label) in zip(selects, combination, strict=True))
        several = [label for pairs, (_, label) in zip(offered, combination, strict=True) if len(pairs) > 1]
        called = "-".join([name, *map(_slug, several)])
        while called in drawn:
            called += "-again"
        drawn[called] = (f"Shown: {', '.join(told)}.{beside}", {**spec, "params": [*made, *others]})
    return [(called, words, made) for called, (words, made) in drawn.items()]


def _made(offered: list[list[Pair]], at_first: list[list[Pair]]) -> tuple[int, list[tuple[Pair, ...]]]:
    """The combinations to draw, and how many of the selects they vary."""
    for free in range(len(offered), 0, -1):
        product = itertools.product(*offered[:free], *at_first[free:])
        combinations = [found for found in product if _sensible(offered, found, free)]
        if len(combinations) <= CHOICES_AT_MOST:
            return free, combinations
    return 0, list(itertools.product(*at_first))


def _sensible(offered: list[list[Pair]], combination: Sequence[Pair], free: int) -> bool:
    """Of two selects that offer the same: no option beside itself, and each two of them once."""
    for i, j in itertools.combinations(range(len(offered)), 2):
        if offered[i] == offered[j] and len(offered[i]) > 1:
            first, second = offered[i].index(combination[i]), offered[j].index(combination[j])
            if first == second or (second < first and j < free):
                return False
    return True


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:60] or "none"
