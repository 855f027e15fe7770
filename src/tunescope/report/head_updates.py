"""How far the heads of each setting moved, and which of their projections."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from tunescope.report import heads, theme
from tunescope.report.choice import choices
from tunescope.report.columns import digits
from tunescope.report.heads import SettingHeads
from tunescope.report.log_axis import log_axis

PROJECTIONS = ("q", "k", "v", "o")
_MOVED = "relative update of a head"


def distribution(found: Sequence[SettingHeads], groups: Sequence[str]) -> list[theme.Layers]:
    """For each setting the smallest, the quartiles and the largest update of its heads; one chart a tower."""
    drawn = ((tower, _quantiles(settings)) for tower, settings in heads.by_tower(found).items())
    return [_strips(tower, records, groups) for tower, records in drawn if records]


def _quantiles(settings: Sequence[SettingHeads]) -> list[dict[str, Any]]:
    """The quantiles of what moved at all, and how many heads did not."""
    records: list[dict[str, Any]] = []
    for one in settings:
        update = one.get("update_relative")
        if update is None or not np.isfinite(update).any():
            continue
        known = update[np.isfinite(update)]
        moved = known[known > 0]
        ends = np.quantile(moved, [0, 0.25, 0.5, 0.75, 1]) if moved.size else []
        names = ("smallest", "lower", "median", "upper", "largest")
        record = {"setting": one.setting, "group": one.group, "heads": known.size}
        record |= dict(zip(names, map(digits, ends), strict=False))
        records.append(record | {"unmoved": known.size - moved.size})
    return records if any("median" in record for record in records) else []


def _strips(tower: str, records: list[dict[str, Any]], groups: Sequence[str]) -> theme.Layers:
    settings = [record["setting"] for record in records]
    y = alt.Y("setting:N", sort=settings, scale=alt.Scale(domain=settings), title=None)
    base = alt.Chart(alt.Data(values=records)).encode(
        y=y,
        color=theme.colour(groups, [record["group"] for record in records], legend=None),
        tooltip=[
            alt.Tooltip("setting:N"),
            *(
                alt.Tooltip(f"{name}:Q", format=".3~g")
                for name in ("smallest", "lower", "median", "upper", "largest")
            ),
            alt.Tooltip("unmoved:Q", title="heads that did not move"),
            alt.Tooltip("heads:Q", title="of heads"),
        ],
    )
    known = base.transform_filter("isValid(datum.median)")
    x = alt.X(
        "smallest:Q",
        title=_MOVED,
        scale=alt.Scale(type="log", nice=False, padding=10),
        axis=_axis(records),
    )
    return alt.layer(
        known.mark_rule(strokeWidth=1.4).encode(x=x, x2="largest:Q"),
        known.mark_bar(height=9, opacity=0.45).encode(x=alt.X("lower:Q"), x2="upper:Q"),
        known.mark_tick(thickness=2.5, size=14).encode(x=alt.X("median:Q")),
        base.transform_filter("datum.unmoved === datum.heads")
        .mark_text(align="left", fontSize=10, color=theme.REFERENCE, text="no head moved")
        .encode(x=alt.value(4), color=alt.value(theme.REFERENCE)),
        width="container",
        height=21 * len(settings),
        title=f"{tower} tower",
        description=f"Relative updates of the heads of the {tower} tower by setting: range and quartiles.",
    )


def _axis(records: Sequence[dict[str, Any]]) -> alt.Axis:
    known = [record for record in records if "median" in record]
    low = min(record["smallest"] for record in known)
    return log_axis(low, max(record["largest"] for record in known))


def components(found: Sequence[SettingHeads]) -> list[alt.Chart]:
    """Mean relative update of the heads' q, k, v and o, layer by layer."""
    return [
        chart
        for tower, settings in heads.by_tower(found).items()
        if (chart := _bars(tower, settings)) is not None
    ]


def _bars(tower: str, settings: Sequence[SettingHeads]) -> alt.Chart | None:
    records: list[dict[str, Any]] = []
    for one in settings:
        for projection in PROJECTIONS:
            update = one.get(f"update_relative.{projection}")
            for layer, row in enumerate(() if update is None else update):
                if np.isfinite(row).any():
                    mean = digits(float(np.nanmean(row)))
                    records.append(
                        {"setting": one.setting, "layer": layer, "projection": projection, "mean": mean}
                    )
    if not records:
        return None
    params, narrowed = choices(records, "setting")
    return (
        alt.Chart(alt.Data(values=records))
        .transform_filter(narrowed)
        .mark_bar()
        .encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("projection:N", sort=list(PROJECTIONS)),
            y=alt.Y(
                "mean:Q", title="relative update, mean over heads", axis=alt.Axis(format=".3~g", tickCount=5)
            ),
            color=alt.Color(
                "projection:N",
                scale=alt.Scale(domain=list(PROJECTIONS), range=[theme.COLOURS[i] for i in (0, 1, 2, 3)]),
            ),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("layer:O"),
                alt.Tooltip("projection:N"),
                alt.Tooltip("mean:Q", title="relative update, mean over heads", format=".3~g"),
            ],
        )
        .properties(
            width="container",
            height=220,
            title=f"{tower} tower",
            description=f"Relative update of q, k, v and o in the {tower} tower, mean over a layer's heads.",
        )
        .add_params(*params)
    )
