"""Whether training was over: what each epoch still gained, and who met the declared criterion."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.columns import column, digits, unfolded
from tunescope.report.federated_numbers import in_rounds
from tunescope.report.figure import Figure, drawn
from tunescope.report.frames import Run
from tunescope.report.overview import CONVERGED
from tunescope.report.quality import PERCENT, quality

if TYPE_CHECKING:
    from tunescope.results.table import Table

LOSS = "training.loss"
SCORES = {"training.val_acc1": 1, "training.val_loss": -1}  # 1: more is better, −1: less is
EPOCHS_AT_MOST = 12  # of one run: of more, the last
MET, FAILED, NONE = "converged", "did not converge", "no criterion declared"
STATES = {MET: "#1f9a63", FAILED: "#d1453f", NONE: "#7d838c"}
_STEP = 24

Curve = list[tuple[int, float]]  # epoch, from 1, and a value


def convergence_figures(table: "Table") -> tuple[Figure, ...]:
    """The figure of convergence; none where no run was validated after two epochs."""
    charts = convergence(table)
    if not charts:
        return ()
    caption = (
        "First: how much of the fall of the training loss, from the first step to the mean of the last "
        "epoch, was reached by each epoch; a curve that still rises steeply at its end was cut short. Then: "
        "what each epoch gained over the best epoch before it, on the training loss and on validation; at 0 "
        "and below nothing was gained. That gain is what a declared criterion (train.converged) holds "
        "against its margin. Thin lines: runs. Thick lines: the mean of a group."
    )
    if frames.per_run(table, CONVERGED):
        caption += " Last: how many runs of each group met the criterion."
    else:
        caption += " The study declared no criterion."
    return (drawn("convergence", "Was training over?", caption, False, charts),)


def convergence(table: "Table") -> list[theme.Layers | alt.Chart]:
    """Shares of the final improvement, gains of each epoch, and a bar of who converged for each group."""
    runs = frames.done(table)
    score = next((metric for metric in SCORES if metric in table.metrics()), None)
    if score is None:
        return []
    scores, losses = _steps(table, score), _steps(table, LOSS)
    by_epoch: dict[str, tuple[Curve, Curve]] = {}
    apart = in_rounds(table)
    for id, ends in scores.items():
        if len(ends) > 1 and id not in apart:
            values = [(epoch, value) for epoch, (_, value) in enumerate(ends, 1)]
            by_epoch[id] = (values, epoch_means(losses.get(id, []), [step for step, _ in ends]))
    groups = frames.groups(table)
    charts: list[theme.Layers | alt.Chart | None] = [
        _lines(
            runs,
            groups,
            {id: share(losses[id][0][1], loss) for id, (_, loss) in by_epoch.items() if loss},
            "share of the loss's final improvement",
            PERCENT,
        ),
        _lines(
            runs,
            groups,
            {id: gains([(epoch, -value) for epoch, value in loss]) for id, (_, loss) in by_epoch.items()},
            f"gain of an epoch: training loss, {quality(table).loss}",
            ".3~g",
        ),
        _lines(
            runs,
            groups,
            {
                id: gains([(epoch, SCORES[score] * value) for epoch, value in values])
                for id, (values, _) in by_epoch.items()
            },
            "gain of an epoch: validation " + ("accuracy" if SCORES[score] > 0 else "loss"),
            PERCENT if SCORES[score] > 0 else ".3~g",
        ),
        _standing(table, runs, groups) if by_epoch else None,
    ]
    return [chart for chart in charts if chart is not None]


def epoch_means(losses: Sequence[tuple[int, float]], ends: Sequence[int]) -> Curve:
    """The mean loss of each epoch's steps.

    Args:
        losses: step and loss.
        ends: the last step of each epoch.

    >>> epoch_means([(1, 4.0), (2, 2.0), (3, 1.0), (4, 2.0)], [2, 4])
    [(1, 3.0), (2, 1.5)]
    """
    starts = [0, *ends]
    found: Curve = []
    for epoch, (start, end) in enumerate(zip(starts, ends, strict=False), 1):
        values = [value for step, value in losses if start < step <= end]
        if values:
            found.append((epoch, frames.mean(values)))
    return found


def share(start: float, curve: Curve) -> Curve:
    """Of the fall from a start to the last value of a curve, what each value has reached; none of no fall.

    >>> share(5.0, [(1, 3.0), (2, 1.0)]), share(1.0, [(1, 2.0)])
    ([(1, 0.5), (2, 1.0)], [])
    """
    fall = start - curve[-1][1]
    return [(epoch, (start - value) / fall) for epoch, value in curve] if fall > 0 else []


def gains(curve: Curve) -> Curve:
    """What each value has over the largest before it.

    >>> gains([(1, 0.5), (2, 0.75), (3, 0.5)])
    [(2, 0.25), (3, -0.25)]
    """
    found: Curve = []
    for place, (epoch, value) in enumerate(curve[1:], 1):
        found.append((epoch, value - max(before for _, before in curve[:place])))
    return found


def _steps(table: "Table", metric: str) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record in frames.read(table, metric, by=("run", "step")):
        if record["step"] is not None:
            found.setdefault(record["run"], []).append((record["step"], record["value"]))
    return {run: sorted(curve) for run, curve in found.items()}


def _lines(
    runs: Sequence[Run], groups: Sequence[str], curves: dict[str, Curve], title: str, form: str
) -> theme.Layers | None:
    records: list[dict[str, Any]] = []
    for run in runs:
        if curve := curves.get(run.id, [])[-EPOCHS_AT_MOST:]:
            about = {"group": run.group, "run": run.name, "seed": run.factors.get("seed")}
            records.append(
                about | {"epoch": [epoch for epoch, _ in curve], "value": column(v for _, v in curve)}
            )
    if not records:
        return None
    epochs = sorted({epoch for record in records for epoch in record["epoch"]})
    base = unfolded(records).encode(
        x=alt.X(
            "epoch:Q",
            axis=alt.Axis(values=epochs[:: -(-len(epochs) // 8)], format="d"),
            scale=alt.Scale(nice=False, padding=8),
        ),
        color=theme.colour(
            groups, [record["group"] for record in records], legend=alt.Legend(symbolOpacity=1)
        ),
    )
    y = alt.Y("value:Q", title=None, axis=alt.Axis(format=form, tickCount=5))
    told = [
        alt.Tooltip("run:N"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("value:Q", title=title, format=".1%" if form == PERCENT else ".3~g"),
    ]
    return alt.layer(
        base.mark_line(strokeWidth=1, opacity=0.45).encode(y=y, detail=alt.Detail("run:N")),
        base.mark_point(filled=True, size=26, opacity=0.7).encode(y=y, tooltip=told),
        base.mark_line(strokeWidth=2.4).encode(y=alt.Y("mean(value):Q", title=None)),
        width="container",
        height=210,
        title=title,
        description=f"{title}, by epoch, for every run; thick: the mean of a group.",
    )


def _standing(table: "Table", runs: Sequence[Run], groups: Sequence[str]) -> alt.Chart | None:
    met = frames.per_run(table, CONVERGED)
    if not met:
        return None
    states: dict[str, dict[str, int]] = {}
    for run in runs:
        state = NONE if run.id not in met else MET if met[run.id] else FAILED
        of = states.setdefault(run.group, dict.fromkeys(STATES, 0))
        of[state] += 1
    records = [
        {"group": group, "state": state, "runs": count, "share": digits(count / sum(states[group].values()))}
        for group in groups
        if group in states
        for state, count in states[group].items()
        if count
    ]
    shown = [state for state in STATES if any(record["state"] == state for record in records)]
    return (
        alt.Chart(alt.Data(values=records))
        .mark_bar(size=13)
        .encode(
            x=alt.X("runs:Q", stack="zero", axis=alt.Axis(tickMinStep=1, tickCount=5, format="d")),
            y=alt.Y("group:N", sort=list(states), title=None, axis=alt.Axis(grid=False, labelLimit=130)),
            color=alt.Color(
                "state:N",
                sort=shown,
                scale=alt.Scale(domain=shown, range=[STATES[state] for state in shown]),
                legend=alt.Legend(columns=1),
            ),
            tooltip=[alt.Tooltip("group:N"), alt.Tooltip("state:N"), alt.Tooltip("runs:Q")],
        )
        .properties(
            width="container",
            height=_STEP * len(states),
            title="runs that converged",
            description="How many runs of each group converged, did not, or had no criterion.",
        )
    )
