"""The page's charts: one function for each, from the one table; an empty list where it has nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.columns import unfolded
from tunescope.report.federated_numbers import in_rounds
from tunescope.report.quality import PERCENT, TEST, quality

if TYPE_CHECKING:
    from tunescope.results.table import Table

Records = list[dict[str, Any]]

RETENTION = "transfer.acc1.retention"
ZERO_SHOT = {"split": "zero_shot:*"}

POINTS_AT_MOST = 80  # of one training curve


def trade_off(table: "Table") -> list[theme.Layers]:
    """What was gained on the task against what was kept of zero-shot: one dot for each run."""
    good = quality(table)
    gained = frames.per_run(table, good.metric, TEST)
    kept = frames.per_run(table, RETENTION, ZERO_SHOT)
    ranks = rate_places(table)
    records = [
        {
            "group": r.group,
            "run": r.name,
            "lr": r.lr,
            "rank": ranks[r.lr],
            "x": gained[r.id],
            "y": kept[r.id],
        }
        for r in frames.done(table)
        if r.id in gained and r.id in kept
    ]
    if not records:
        return []
    dots = (
        alt.Chart(alt.Data(values=records))
        .mark_point(filled=True, opacity=0.8)
        .encode(
            x=alt.X(
                "x:Q",
                title=f"test {good.name} in distribution, trained head",
                axis=alt.Axis(format=good.axis),
                scale=alt.Scale(zero=False, padding=16),
            ),
            y=alt.Y(
                "y:Q",
                title="zero-shot accuracy, after / before",
                axis=alt.Axis(format=PERCENT),
                scale=alt.Scale(zero=True, nice=False, padding=8),
            ),
            color=theme.colour(frames.groups(table), [record["group"] for record in records]),
            shape=theme.shape(frames.groups(table), [record["group"] for record in records]),
            size=alt.Size("rank:Q", scale=alt.Scale(domain=[0, 1], range=[40, 190]), legend=None),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("x:Q", title=f"test {good.name}", format=good.value),
                alt.Tooltip("y:Q", title="zero-shot kept", format=".1%"),
            ],
        )
    )
    layers = [*_reference("y", 1.0, "base model's zero-shot"), dots]
    if theme.crowded([record["group"] for record in records]):  # then names tell what colours cannot
        names = alt.Chart(alt.Data(values=records)).mark_text(
            align="left", dx=8, fontSize=10, color=theme.REFERENCE
        )
        layers.append(names.encode(x="mean(x):Q", y="mean(y):Q", text="group:N", detail="group:N"))
    before = frames.read(table, f"{good.metric}.base", {"split": "test", "component": "text"}, by=())
    if before:
        layers = [*_reference("x", before[0]["value"], "base, text head"), *layers]
    return [
        alt.layer(
            *layers,
            width="container",
            height=340,
            description=f"Scatter of runs: test {good.name} against the share of zero-shot accuracy kept.",
        )
    ]


def rate_places(table: "Table") -> dict[float | None, float]:
    """The study's learning rates as places from 0 (smallest) to 1 (largest); 0.5 for none or just one."""
    rates = sorted({run.lr for run in frames.runs(table) if run.lr is not None})
    places: dict[float | None, float] = {rate: i / max(1, len(rates) - 1) for i, rate in enumerate(rates)}
    return {None: 0.5} | (places if len(rates) > 1 else dict.fromkeys(rates, 0.5))


def _reference(axis: str, value: float, label: str) -> list[alt.Chart]:
    """A dashed line at the base model's value on one axis, and its name."""
    base = alt.Chart(alt.Data(values=[{axis: value, "label": label}]))
    rule = base.mark_rule(strokeDash=[4, 4], color=theme.REFERENCE)
    text = base.mark_text(fontSize=10, color=theme.REFERENCE, align="right" if axis == "y" else "left")
    if axis == "y":
        name = text.encode(
            x=alt.value("width"), y=alt.Y("y:Q"), text=alt.Text("label:N"), yOffset=alt.value(9)
        )
        return [rule.encode(y=alt.Y("y:Q")), name]
    name = text.encode(
        x=alt.X("x:Q"),
        y=alt.value("height"),
        text=alt.Text("label:N"),
        xOffset=alt.value(6),
        yOffset=alt.value(-9),
    )
    return [rule.encode(x=alt.X("x:Q")), name]


def training(table: "Table") -> list[alt.Chart]:
    """Loss and validation accuracy, or validation loss, while training: one thin line for each run.

    Federated runs have rounds in the place of steps, and parts of their own.
    """
    loss = quality(table).loss
    return [
        chart
        for metric, title, form in (
            ("training.loss", f"training loss, {loss}", ".3~g"),
            ("training.val_acc1", "validation accuracy, trained head", PERCENT),
            ("training.val_loss", f"validation loss, {loss}", ".3~g"),
        )
        if (chart := _curves(table, metric, title, form)) is not None
    ]


def _curves(table: "Table", metric: str, title: str, form: str) -> alt.Chart | None:
    steps: dict[str, list[tuple[int, float]]] = {}
    for record in frames.read(table, metric, by=("run", "step")):
        if record["step"] is not None:
            steps.setdefault(record["run"], []).append((record["step"], record["value"]))
    ranks = rate_places(table)
    records: Records = []
    apart = in_rounds(table)
    for run in frames.runs(table):
        if run.id in apart:
            continue
        if curve := thin(sorted(steps.get(run.id, []))):
            places, values = zip(*curve, strict=True)
            about = {"group": run.group, "run": run.name, "rank": ranks[run.lr]}
            records.append(about | {"step": list(places), "value": [round(value, 4) for value in values]})
    if not records:
        return None
    return (
        unfolded(records)
        .mark_line(strokeWidth=1.3, point=metric != "training.loss" and alt.OverlayMarkDef(size=14))
        .encode(
            x=alt.X(
                "step:Q",
                title="optimiser step",
                axis=alt.Axis(tickMinStep=1, tickCount=6),
                scale=alt.Scale(nice=False),
            ),
            y=alt.Y("value:Q", title=None, axis=alt.Axis(format=form, tickCount=5)),
            color=theme.colour(frames.groups(table), [record["group"] for record in records]),
            detail=alt.Detail("run:N"),
            opacity=alt.Opacity("rank:Q", scale=alt.Scale(domain=[0, 1], range=[0.4, 0.95]), legend=None),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("step:Q"),
                alt.Tooltip("value:Q", title=title, format=".3f"),
            ],
        )
        .properties(
            width="container", height=220, title=title, description=f"{title}, by step, for every run."
        )
    )


def thin(curve: Sequence[tuple[int, float]], most: int = POINTS_AT_MOST) -> list[tuple[int, float]]:
    """A curve of at most `most` points: means over equal stretches of steps, at the last step of each.

    >>> thin([(1, 4.0), (2, 2.0), (3, 1.0), (4, 0.0), (5, 0.5)], most=3)
    [(2, 3.0), (4, 0.5), (5, 0.5)]
    """
    size = max(1, -(-len(curve) // most))
    parts = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [(part[-1][0], frames.mean([value for _, value in part])) for part in parts]
