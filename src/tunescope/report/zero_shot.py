"""What was kept of each zero-shot benchmark, setting by setting, with the adapter on and off."""

from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames
from tunescope.report.charts import RETENTION, ZERO_SHOT
from tunescope.report.strips import Strip, strips
from tunescope.stats.run_mean import UNBOUNDED

if TYPE_CHECKING:
    from tunescope.results.table import Table

ACCURACY = RETENTION.removesuffix(".retention")
SETTINGS_AT_MOST = 30
OFF = ", adapter off"


def zero_shot(table: "Table") -> list[alt.HConcatChart]:
    """A panel for each benchmark, a line for each setting, a second one where its adapter was taken off."""
    kept = {"": frames.read(table, RETENTION, ZERO_SHOT, by=("run", "split")), OFF: _adapter_off(table)}
    values = {(r["split"], r["run"], state): r["value"] for state, found in kept.items() for r in found}
    settings: dict[str, list[frames.Run]] = {}
    for run in frames.done(table):
        settings.setdefault(run.setting, []).append(run)
    splits = list(dict.fromkeys(split for split, _, _ in values))
    found = [
        Strip(
            split.removeprefix("zero_shot:"),
            f"{name}{state}",
            "",
            runs[0].group,
            [(run.name, values[split, run.id, state]) for run in runs if (split, run.id, state) in values],
            (0.0, UNBOUNDED[1]),
        )
        for name, runs in list(settings.items())[:SETTINGS_AT_MOST]
        for state in kept
        for split in splits
    ]
    words = "Zero-shot accuracy kept, by benchmark and setting."
    return strips(found, frames.groups(table), words, reference=1.0)


def _adapter_off(table: "Table") -> list[dict[str, Any]]:
    """What is kept once the adapter is taken off, by run and split."""
    by = ("run", "split")
    base = frames.read(table, f"{ACCURACY}.base", ZERO_SHOT, by)
    before = {(r["run"], r["split"]): r["value"] for r in base}
    off = frames.read(table, f"{ACCURACY}.base_only", ZERO_SHOT, by)
    return [r | {"value": r["value"] / was} for r in off if (was := before.get((r["run"], r["split"])))]
