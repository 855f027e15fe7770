"""One model beside another: every probe's rows of the tuned model, and what changed since its base."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tunescope.errors import StudyError
from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.row import Row

if TYPE_CHECKING:
    import numpy as np

Observed = dict[str, Measurement]  # by the probe's kind


def measure(
    probes: Sequence[Probe], base: Subject, active: Subject, base_only: Subject | None = None
) -> Measurement:
    """What the probes see in a tuned model, beside its base.

    Args:
        probes: one of each kind.
        base: the model before tuning.
        active: the tuned model as it would be used, adapters on.
        base_only: the tuned model with its adapters off, where they can be taken off. Where two subjects
            share one encoder that changes in between, `observe` each in its time and `derive` at the end.

    Returns:
        as `derive`.

    Raises:
        StudyError: two probes of one kind.
    """
    off = None if base_only is None else observe(probes, base_only)
    return derive(probes, observe(probes, base), observe(probes, active), off)


def observe(probes: Sequence[Probe], subject: Subject) -> Observed:
    """What each probe sees in one model, by the probe's kind.

    Raises:
        StudyError: two probes of one kind, whose rows could not be told apart.
    """
    kinds = [probe.kind for probe in probes]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise StudyError(f"probes: {kind!r} stands twice, and its rows could not be told apart; keep one")
    return {probe.kind: probe.measure(subject) for probe in probes}


def derive(
    probes: Iterable[Probe], base: Observed, active: Observed, base_only: Observed | None = None
) -> Measurement:
    """The active model's rows, those that its probe makes of it and the base together (`Probe.compare`), and
    beside them the comparisons that each metric declares.

    Rows are matched by tower, layer, head, component, split, step and point. `<metric>.base` and
    `<metric>.base_only` are the other models' rows; `<metric>.change` is active − base,
    `<metric>.change_relative` (active − base) / |base|, `<metric>.retention` active / base. A row without a
    counterpart in the base (a trained head's, for one) has none of these three; where the base is 0, the two
    ratios are left out, and their rows are fewer than those of `.change`.

    Returns:
        the rows, and arrays: the active model's and those of the comparison by name, the base's as
        `<name>.base`; those whose names start with `_` stay behind.

    Raises:
        ValueError: a probe wrote a metric that it does not declare, or one twice.
    """
    rows: list[Row] = []
    arrays = {}
    for probe in probes:
        was, now = base[probe.kind], active[probe.kind]
        both = probe.compare(was, now)
        off = None
        if base_only is not None:
            without = base_only[probe.kind]
            off = [*without.rows, *probe.compare(was, without).rows]
        rows += derived_rows(probe, was.rows, [*now.rows, *both.rows], off)
        arrays |= _public(now.arrays) | _public(both.arrays)
        arrays |= {f"{name}.base": array for name, array in _public(was.arrays).items()}
    return Measurement(rows, arrays)


def _public(arrays: "dict[str, np.ndarray]") -> "dict[str, np.ndarray]":
    return {name: array for name, array in arrays.items() if not name.startswith("_")}


def derived_rows(
    probe: Probe, base: Sequence[Row], active: Sequence[Row], base_only: Sequence[Row] | None
) -> list[Row]:
    """One probe's rows for the table; see `derive`."""
    before, after = _by_key(probe, base), _by_key(probe, active)
    declared = {metric.name: metric.derived for metric in probe.metrics}
    rows = [*active, *_renamed(before, "base", declared)]
    for (metric, *_), row in after.items():
        if (was := before.get((metric, *row.key))) is None:
            continue
        change = row.value - was.value
        values = {"change": change}
        if was.value != 0:
            values |= {"change_relative": change / abs(was.value), "retention": row.value / was.value}
        rows += [
            row._replace(metric=f"{metric}.{derived}", value=value, std=None)
            for derived, value in values.items()
            if derived in declared[metric]
        ]
    return [*rows, *_renamed(_by_key(probe, base_only or ()), "base_only", declared)]


def _renamed(rows: dict[tuple, Row], derived: str, declared: dict[str, tuple]) -> list[Row]:
    return [
        row._replace(metric=f"{row.metric}.{derived}")
        for row in rows.values()
        if derived in declared[row.metric]
    ]


def _by_key(probe: Probe, rows: Sequence[Row]) -> dict[tuple, Row]:
    declared = {metric.name for metric in probe.metrics}
    found: dict[tuple, Row] = {}
    for row in rows:
        if row.metric not in declared:
            raise ValueError(f"probe {probe.kind!r} wrote {row.metric!r}, which it does not declare")
        if (row.metric, *row.key) in found:
            raise ValueError(f"probe {probe.kind!r} wrote {row.metric!r} twice for {row.key}")
        found[row.metric, *row.key] = row
    return found
