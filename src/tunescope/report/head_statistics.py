"""Numbers about all heads of a run: whether what matters moves, and what a cheap ranking is worth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
from scipy.stats import spearmanr

from tunescope.report import frames, heads
from tunescope.report.strips import Strip, strips
from tunescope.stats.head_cases import cases
from tunescope.stats.head_relation import top_overlap
from tunescope.stats.headwise import Floats, RunHeads

if TYPE_CHECKING:
    from tunescope.results.table import Table

SETTINGS_AT_MOST = 40
PROXIES = {
    "gate_gradient": "mean |gate gradient|",
    "gate_gradient_signed": "−mean gate gradient",
    "gate_fisher": "mean squared gate gradient",
}
_RHO, _TOP, _COUNTER = "Spearman's ρ", "top quarter in common", "counter-examples"


def matters_and_moves(found: Sequence[RunHeads], groups: Sequence[str]) -> list[alt.HConcatChart]:
    """By setting, over its runs: ρ of importance before tuning and update, overlap, counter-examples."""
    together: dict[tuple[str, str], list[RunHeads]] = {}
    for one in found:
        if one.before is not None and "update_relative" in one.values:
            together.setdefault((heads.part(one), one.setting), []).append(one)
    drawn: list[Strip] = []
    settings = list(dict.fromkeys(setting for _, setting in together))[:SETTINGS_AT_MOST]
    for (part, setting), runs in together.items():
        if setting not in settings:
            continue
        numbers = [
            (run.name, *_numbers(run.values[str(run.before)], run.values["update_relative"])) for run in runs
        ]
        shares = [expected for *_, expected in numbers if expected is not None]
        by_chance = (0.0, 0.25, frames.mean(shares) if shares else None)
        ranges = ((-1.0, 1.0), (0.0, 1.0), (0.0, float(np.prod(runs[0].shape))))
        for place, title in enumerate((_RHO, _TOP, _COUNTER)):
            known = [(name, value) for name, *values, _ in numbers if (value := values[place]) is not None]
            drawn.append(Strip(title, setting, part, runs[0].group, known, ranges[place], by_chance[place]))
    return strips(
        drawn,
        groups,
        "By setting: rank correlation of importance before tuning and relative update over the heads, "
        "overlap of their top quarters, number of counter-examples.",
    )


def _numbers(
    importance: Floats, update: Floats
) -> tuple[float | None, float | None, float | None, float | None]:
    """ρ, overlap of the top quarters, counter-examples, how many of these there would be by chance."""
    known = np.isfinite(importance) & np.isfinite(update)
    x, y = importance[known], update[known]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:  # what does not vary has no order
        return None, None, None, None
    rho = float(spearmanr(x, y).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    against = cases(importance, update)
    overlap = top_overlap(x, y, max(1, round(len(x) / 4)))
    return rho, overlap, float(against.counter_examples), against.expected_counter_examples


def proxies(table: "Table") -> list[alt.HConcatChart]:
    """How well each cheap ranking of heads agrees with the exact ablation: every run, by group of runs."""
    runs = frames.done(table)
    several = len({run.group for run in runs}) > 1
    drawn: list[Strip] = []
    for measure, title, least, chance in (
        ("kendall", "Kendall's τ with the exact ranking", -1.0, 0.0),
        ("top", "share of the top quarter found", 0.0, 0.25),
    ):
        for proxy, name in PROXIES.items():
            metric = f"heads.agreement.{proxy}_{measure}"
            values = {
                (record["run"], record["tower"], record["component"]): record["value"]
                for record in frames.read(table, metric, by=("run", "tower", "component"))
            }
            for tower, component in dict.fromkeys((tower, component) for _, tower, component in values):
                for group in frames.groups(table):
                    known = [
                        (run.name, values[run.id, tower, component])
                        for run in runs
                        if run.group == group and (run.id, tower, component) in values
                    ]
                    line = f"{name}, {group}" if several else name
                    part = heads.part_of(tower, component)
                    drawn.append(Strip(title, line, part, group, known, (least, 1.0), chance))
    return strips(
        drawn,
        frames.groups(table),
        "Agreement of cheap rankings of heads with exact ablation, by group of runs.",
    )
