"""What joining brings each client: the global model beside its own, on its own mixture of examples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.columns import digits
from tunescope.report.federated_numbers import by_client, federated, largest, names
from tunescope.report.quality import ACCURACY, PERCENT, quality

if TYPE_CHECKING:
    from tunescope.results.table import Table

CLIENTS_AT_MOST = 24
SETTINGS_AT_MOST = 12
COLUMNS = 3
_WIDE, _STEP = 230, 18


def gain(table: "Table") -> list[alt.ConcatChart]:
    """A panel for each setting, a line for each client, from its own model to the global one."""
    records = _records(table)
    return [_chart(table, records)] if records else []


def _records(table: "Table") -> list[dict[str, Any]]:
    """By setting and client: both scores, mean over the runs that have both."""
    runs = federated(table)
    own, all = by_client(table, "federated.personal"), by_client(table, "federated.global")
    shown, _ = largest(table, runs, CLIENTS_AT_MOST)
    called = names(runs)
    cells: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for run in runs:
        for client in shown:
            before, after = own.get(run.id, {}).get(client), all.get(run.id, {}).get(client)
            if before is not None and after is not None:
                cells.setdefault((called[run.setting], run.group, client), []).append((before, after))
    settings = list(dict.fromkeys(setting for setting, _, _ in cells))[:SETTINGS_AT_MOST]
    found = [
        {"setting": setting, "group": group, "client": client, "runs": len(pairs)}
        | {"own": digits(frames.mean([before for before, _ in pairs]))}
        | {"global": digits(frames.mean([after for _, after in pairs]))}
        | {"gain": digits(frames.mean([after - before for before, after in pairs]))}
        for (setting, group, client), pairs in cells.items()
        if setting in settings
    ]
    return sorted(found, key=lambda record: settings.index(record["setting"]))


def _chart(table: "Table", records: Sequence[dict[str, Any]]) -> alt.ConcatChart:
    is_share = quality(table) is ACCURACY
    ends = [record[column] for record in records for column in ("own", "global")]
    room = 0.05 * (max(ends) - min(ends)) or 0.05
    x: dict[str, Any] = {
        "title": "accuracy on its test examples" if is_share else "− squared error on its test examples",
        "axis": alt.Axis(format=PERCENT if is_share else ".3~g", tickCount=4, grid=True),
        "scale": alt.Scale(domain=[min(ends) - room, max(ends) + room], nice=False),
    }
    form = ".1%" if is_share else ".3~g"
    told = [
        alt.Tooltip("setting:N"),
        alt.Tooltip("client:N"),
        alt.Tooltip("own:Q", title="its own model", format=form),
        alt.Tooltip("global:Q", title="the global model", format=form),
        alt.Tooltip("gain:Q", title="gained by joining", format=f"+{form}"),
        alt.Tooltip("runs:Q"),
    ]
    colour = theme.colour(frames.groups(table), [record["group"] for record in records], legend=None)
    panels = []
    for setting in dict.fromkeys(record["setting"] for record in records):
        own = [record for record in records if record["setting"] == setting]
        base = alt.Chart(alt.Data(values=own)).encode(
            y=alt.Y("client:N", title=None, axis=alt.Axis(grid=False, labelLimit=130)),
            color=colour,
            tooltip=told,
        )
        panels.append(
            alt.layer(
                base.mark_rule(strokeWidth=2, opacity=0.6).encode(x=alt.X("own:Q", **x), x2="global:Q"),
                base.mark_point(size=90, strokeWidth=1.6, opacity=1).encode(x=alt.X("own:Q", **x)),
                base.mark_point(size=48, filled=True, opacity=1).encode(x=alt.X("global:Q", **x)),
                width=_WIDE,
                height=_STEP * len(own),
                title=setting,
            )
        )
    return alt.concat(*panels, columns=COLUMNS, spacing=24).properties(
        description="For each client, its own model after its last tuning and the global model, on its own "
        "mixture of test examples; a panel for each setting."
    )
