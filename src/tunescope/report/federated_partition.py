"""Who holds which classes: clients by classes, a circle for each that a client has examples of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.columns import digits
from tunescope.report.federated_numbers import EXAMPLES, by_client, federated, names
from tunescope.report.frames import Run
from tunescope.stats.words import count, listed

if TYPE_CHECKING:
    from tunescope.results.table import Table

HELD = "federated.held"
CLASS = "class:"
PICTURES_AT_MOST = 6
CLIENTS_AT_MOST = 60  # of one picture; of more, the largest
CLASSES_AT_MOST = 60
CIRCLES_AT_MOST = 24  # across and down; beyond, cells are coloured instead
WIDTH = 1080  # of pictures side by side
_WIDE, _HIGH, _LOW = 34, 24, 14
_BAR, _NAMES = 320, 190

Held = dict[str, dict[str, float]]  # client → class → examples


@dataclass(frozen=True)
class Partition:
    """What the clients of one run hold.

    Args:
        run: whose picture it is.
        settings: all settings whose run of that seed holds the same.
        held: by client and class; one class without a name where labels are numbers.
    """

    run: Run
    settings: tuple[str, ...]
    held: Held

    @property
    def title(self) -> str:
        """Who has it, and which seed dealt it."""
        seed = self.run.factors.get("seed")
        return listed(list(self.settings), most=4) + ("" if seed is None else f"; seed {seed}")


def partitions(table: "Table") -> list[Partition]:
    """One for each that differs: of every setting its run with the smallest seed."""
    found = _held(table)
    first: dict[str, Run] = {}
    for run in sorted(federated(table), key=lambda run: run.factors.get("seed") or 0):
        if run.id in found:
            first.setdefault(run.setting, run)
    same: dict[tuple, list[Run]] = {}
    for run in first.values():
        key = tuple((client, tuple(sorted(own.items()))) for client, own in sorted(found[run.id].items()))
        same.setdefault(key, []).append(run)
    order = {run.setting: place for place, run in enumerate(frames.done(table))}
    every = [sorted(runs, key=lambda run: order[run.setting]) for runs in same.values()]
    every.sort(key=lambda runs: order[runs[0].setting])
    called = names(list(first.values()))
    return [
        Partition(runs[0], tuple(called[run.setting] for run in runs), found[runs[0].id]) for runs in every
    ]


def _held(table: "Table") -> dict[str, Held]:
    """By run; where there are no classes, or nobody knows them, all examples of a client together."""
    found: dict[str, Held] = {
        run: {client: {"": size} for client, size in sizes.items()}
        for run, sizes in by_client(table, EXAMPLES).items()
    }
    classes: dict[str, Held] = {}
    if HELD in table.metrics():
        for record in frames.read(table, HELD, {"split": f"{CLASS}*"}, by=("run", "component", "split")):
            own = classes.setdefault(record["run"], {}).setdefault(record["component"], {})
            own[record["split"].removeprefix(CLASS)] = record["value"]
    return found | classes


def told(table: "Table") -> str:
    """The sentences that say what a bar is, where there are any, and what there is no room for."""
    found = partitions(table)
    bars = " A bar is all that a client holds: it has no classes, or nobody else knows of which."
    bars = bars if any(_unnamed(one.held) for one in found) else ""
    said = [f"{len(found) - PICTURES_AT_MOST} other partitions"] if len(found) > PICTURES_AT_MOST else []
    clients = max((len(one.held) for one in found), default=0) - CLIENTS_AT_MOST
    classes = max((len({name for own in one.held.values() for name in own}) for one in found), default=0)
    said += [f"up to {count(clients, 'client')} with the fewest examples"] if clients > 0 else []
    said += [f"the smallest of {classes} classes"] if classes > CLASSES_AT_MOST else []
    return bars + (f" Left out for room: {listed(said)}; the table has them all." if said else "")


def pictures(table: "Table") -> list[alt.HConcatChart]:
    """A picture for each partition that differs, as many side by side as there is room for."""
    rows: list[list[Partition]] = []
    for one in partitions(table)[:PICTURES_AT_MOST]:
        if rows and sum(map(_width, (*rows[-1], one))) <= WIDTH:
            rows[-1].append(one)
        else:
            rows.append([one])
    return [_row(row) for row in rows]


def _row(row: Sequence[Partition]) -> alt.HConcatChart:
    shown = (_bars(one) if _unnamed(one.held) else _grid(one) for one in row)
    names = "; ".join(one.title for one in row)
    return (
        alt.hconcat(*shown, spacing=36)
        .resolve_scale(size="independent", color="independent")
        .properties(description=f"How many training examples of each class each client holds: {names}.")
    )


def _width(one: Partition) -> float:
    """About how wide a picture is, its names included."""
    if _unnamed(one.held):
        return _BAR + _NAMES
    clients, classes = map(len, _order(one.held))
    return _NAMES + clients * (_WIDE if max(clients, classes) <= CIRCLES_AT_MOST else _LOW)


def _unnamed(held: Held) -> bool:
    return all(set(own) == {""} for own in held.values())


def _sizes(held: Held) -> dict[str, float]:
    return {client: sum(own.values()) for client, own in held.items()}


def _order(held: Held) -> tuple[list[str], list[str]]:
    """Clients and classes that are shown, in order: the largest class first; clients by name, or, where they
    are many, by the class of which they hold most, so that like stands by like.
    """
    sizes = _sizes(held)
    clients = sorted(sorted(sizes, key=lambda name: (-sizes[name], name))[:CLIENTS_AT_MOST])
    totals: dict[str, float] = {}
    for own in held.values():
        for name, n in own.items():
            totals[name] = totals.get(name, 0.0) + n
    classes = sorted(totals, key=lambda name: (-totals[name], name))[:CLASSES_AT_MOST]
    if len(clients) > CIRCLES_AT_MOST:
        place = {name: i for i, name in enumerate(classes)}

        def nearest(client: str) -> tuple[int, float]:
            own = {name: n for name, n in held[client].items() if name in place}
            most = max(own, key=lambda name: (own[name], -place[name]), default="")
            return (place.get(most, len(classes)), -own.get(most, 0.0))

        clients.sort(key=nearest)
    return clients, classes


def _grid(one: Partition) -> theme.Layers:
    clients, classes = _order(one.held)
    sizes = _sizes(one.held)
    records = [
        {
            "of": one.title,
            "client": client,
            "class": name,
            "examples": int(n),
            "share": digits(n / sizes[client]),
        }
        for client in clients
        for name in classes
        if (n := one.held[client].get(name))
    ]
    circles = max(len(clients), len(classes)) <= CIRCLES_AT_MOST
    base = alt.Chart(alt.Data(values=records)).encode(
        x=_across(clients, circles),
        y=alt.Y(
            "class:N",
            title=None,
            scale=alt.Scale(domain=classes),
            axis=alt.Axis(grid=circles, labelLimit=170, labelOverlap=not circles),
        ),
        tooltip=[
            alt.Tooltip("client:N"),
            alt.Tooltip("class:N"),
            alt.Tooltip("examples:Q", format=",d"),
            alt.Tooltip("share:Q", title="of what it holds", format=".1%"),
        ],
    )
    most = max(record["examples"] for record in records)
    layers: list[alt.Chart] = []
    if circles:
        area = alt.Scale(domain=[0, most], range=[0, 420], nice=False, zero=True)
        legend = alt.Legend(
            title="examples", orient="bottom", values=_rungs(most), symbolFillColor=theme.COLOURS[0]
        )
        size = alt.Size("examples:Q", scale=area, legend=legend)
        layers.append(base.mark_circle(color=theme.COLOURS[0], opacity=0.85).encode(size=size))
        totals = [{"of": one.title, "client": client, "all": int(sizes[client])} for client in clients]
        text = alt.Chart(alt.Data(values=totals)).mark_text(fontSize=10, color=theme.REFERENCE)
        all = alt.Text("all:Q", title="examples in all", format=",d")
        layers.append(text.encode(x=_across(clients, circles), y=alt.value(-8), text=all))
    else:
        shade = alt.Scale(type="sqrt", domain=[0, most], range=[theme.STILL, theme.RISE], interpolate="rgb")
        legend = alt.Legend(
            title="examples", orient="bottom", gradientLength=180, gradientThickness=10, tickCount=4
        )
        layers.append(base.mark_rect().encode(color=alt.Color("examples:Q", scale=shade, legend=legend)))
    return alt.layer(
        *layers,
        width=(_WIDE if circles else _LOW) * len(clients),
        height=(_HIGH if circles else _LOW) * len(classes),
        title=alt.TitleParams(one.title, offset=24 if circles else 10),
    )


def _across(clients: Sequence[str], named: bool) -> alt.X:
    axis = alt.Axis(grid=named, labelAngle=-40, labelLimit=120, labelOverlap=not named)
    return alt.X("client:N", title=None, scale=alt.Scale(domain=list(clients)), axis=axis)


def _rungs(most: float) -> list[int]:
    """Sizes for a legend: about a tenth, half and all of the most, in round numbers.

    >>> _rungs(437), _rungs(3)
    ([40, 200, 400], [2, 3])
    """
    rounded = (int(float(f"{share * most:.0e}")) for share in (0.1, 0.5, 1.0))
    return sorted({rung for n in rounded if (rung := min(n, int(most))) > 0}) or [int(most)]


def _bars(one: Partition) -> theme.Layers:
    sizes = _sizes(one.held)
    clients = sorted(sorted(sizes, key=lambda name: (-sizes[name], name))[:CLIENTS_AT_MOST])
    records = [{"of": one.title, "client": client, "examples": int(sizes[client])} for client in clients]
    bars = (
        alt.Chart(alt.Data(values=records))
        .mark_bar(size=13, color=theme.COLOURS[0])
        .encode(
            x=alt.X("examples:Q", axis=alt.Axis(tickCount=5, grid=True, format="~s")),
            y=alt.Y("client:N", sort=clients, title=None, axis=alt.Axis(grid=False)),
            tooltip=[alt.Tooltip("client:N"), alt.Tooltip("examples:Q", format=",d")],
        )
    )
    return alt.layer(bars, width=_BAR, height=20 * len(clients), title=one.title)
