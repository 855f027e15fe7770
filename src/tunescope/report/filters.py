"""What the page can be narrowed to: groups, seeds, layers, and which runs and settings belong to which."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunescope.report import frames, theme
from tunescope.stats.setting import setting
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.results.table import Table


@dataclass(frozen=True)
class Filters:
    """What a reader can choose among.

    Args:
        groups: the groups' names, in order.
        seeds: the runs' seeds, ascending.
        layers: the numbers of the layers that anything was measured of, ascending.
        runs: name of a run → its group and its seed, None where the table does not say it.
        settings: name of a setting → its group.
    """

    groups: tuple[str, ...]
    seeds: tuple[int, ...]
    layers: tuple[int, ...]
    runs: Mapping[str, tuple[str, int | None]]
    settings: Mapping[str, str]

    @property
    def any(self) -> bool:
        """Whether there is something to choose among."""
        return any(len(kind) > 1 for kind in (self.groups, self.seeds, self.layers))

    @property
    def boxes(self) -> list[tuple[int, str, str]]:
        """Each group's place and name, and its colour in every chart; none where they crowd."""
        crowded = theme.crowded(self.groups)
        return [
            (place, group, "" if crowded else theme.COLOURS[place]) for place, group in enumerate(self.groups)
        ]

    @property
    def seed_boxes(self) -> list[tuple[int, int, str]]:
        """Each seed, what it is called, and no colour."""
        return [(seed, seed, "") for seed in self.seeds]

    @property
    def known(self) -> dict[str, Any]:
        """What the page's scripts look runs up in: groups and seeds as places in their lists."""
        groups = {group: place for place, group in enumerate(self.groups)}
        return {
            "groups": list(self.groups),
            "seeds": list(self.seeds),
            "layers": list(self.layers),
            "runs": {name: [groups[group], seed] for name, (group, seed) in self.runs.items()},
            "settings": {name: groups[group] for name, group in self.settings.items()},
        }


def filters(table: "Table", study: Study) -> Filters:
    """What the table's runs, and those the study asks for besides, can be narrowed to."""
    runs: dict[str, tuple[str, int | None]] = {}
    settings: dict[str, str] = {}
    for run in frames.runs(table):
        runs[run.name] = (run.group, _seed(run.factors))
        settings[run.setting] = run.group
    for member in study.members():
        runs.setdefault(member.name, (member.group, _seed(member.factors)))
        settings.setdefault(setting(member.group, member.factors), member.group)
    layers = table.rows.column("layer").unique().drop_null().to_pylist()
    return Filters(
        tuple(dict.fromkeys(group for group, _ in runs.values())),
        tuple(sorted({seed for _, seed in runs.values() if seed is not None})),
        tuple(sorted(layers)),
        runs,
        settings,
    )


def _seed(factors: Mapping[str, Any]) -> int | None:
    seed = factors.get("seed")
    return int(seed) if isinstance(seed, (int, float)) else None
