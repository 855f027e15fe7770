"""The heads of a run, and two settings' heads side by side, as CSV and JSON with readable numbers."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.results.tablefile import inert
from tunescope.stats.finding import Effect
from tunescope.stats.head_cases import Cases, cases
from tunescope.stats.head_comparison import Comparison
from tunescope.stats.head_evolution import Evolution, early
from tunescope.stats.head_relation import relation
from tunescope.stats.head_seeds import OverSeeds, by_component, by_layer, over_heads
from tunescope.stats.head_side import UPDATE, Side
from tunescope.stats.headwise import AFTER, RunHeads

Floats = NDArray[np.float64]
PLASTIC = "plasticity.base.attention"
DIGITS = 7  # significant ones, as many as float32 has

OVER_HEADS = (
    "BCa bootstrap over this run's heads, 10,000 resamples: how far the number hangs on which heads the "
    "model has; heads of one run are not replicates, so it says nothing of another seed"
)
OVER_RUNS = "Student's 95 % interval over runs; none below three"
STUDENT = "Student's 95 % interval over the run's own examples (plasticity: pairs of them)"
BOOTSTRAP = "paired bootstrap over the run's own examples, 95 % BCa"


def heads_csv(heads: Sequence[RunHeads], intervals: Sequence[Mapping[str, Floats]]) -> bytes:
    """One row for each head under each head that losses were read under, every quantity with its interval.

    Args:
        heads: of one run.
        intervals: for each of them, quantity → [layers, heads, 2], lower and upper end.
    """
    quantities = sorted({name for each in heads for name in each.values})
    bounded = {name for each in intervals for name in each}
    columns = ["tower", "component", "layer", "head"]
    for name in quantities:
        columns += [name, f"{name}_low", f"{name}_high"] if name in bounded else [name]
    rows: list[dict[str, str]] = []
    for each, ends in zip(heads, intervals, strict=True):
        for layer, head in np.ndindex(each.shape):
            row = {"tower": each.tower, "component": each.component, "layer": str(layer), "head": str(head)}
            row |= {name: _cell(values[layer, head]) for name, values in each.values.items()}
            for name, pair in ends.items():
                row |= {
                    f"{name}_low": _cell(pair[layer, head, 0]),
                    f"{name}_high": _cell(pair[layer, head, 1]),
                }
            if any(row.get(name) for name in quantities):
                rows.append(row)
    return csv_bytes(columns, rows)


def csv_bytes(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> bytes:
    """A CSV that no spreadsheet executes; what a row does not have is empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([inert(column) for column in columns])
    writer.writerows([inert(row.get(column, "")) for column in columns] for row in rows)
    return stream.getvalue().encode()


def stats_json(
    heads: Sequence[RunHeads], kinds: Sequence[Mapping[str, str]], evolutions: Sequence[Evolution]
) -> dict[str, Any]:
    """What a run's heads come to: relation of importance and update, sizes by layer and projection, growth.

    Args:
        heads: of one run.
        kinds: for each of them, quantity → what its intervals in `heads.csv` are.
        evolutions: of the same run.
    """
    parts = [_stats(each, kind) for each, kind in zip(heads, kinds, strict=True)]
    found = _who(heads[0]) | {"heads": parts, "evolution": [_evolution(each) for each in evolutions]}
    return found | {"intervals": {"relation": OVER_HEADS}}


def cases_json(heads: Sequence[RunHeads]) -> dict[str, Any]:
    """The heads of a run that go against the rule, both lists with both numbers."""
    return _who(heads[0]) | {"heads": [_place(each) | _cases(each) for each in heads]}


def compare_json(found: Sequence[Comparison]) -> dict[str, Any]:
    """Two settings side by side, with what each number's interval rests on."""
    return {
        "first": found[0].first.setting,
        "second": found[0].second.setting,
        "heads": [
            {"tower": each.tower, "component": each.component}
            | {"first": _side(each.first), "second": _side(each.second)}
            | {"update_difference": _plain(each.moved), "rho_difference": _plain(each.rho)}
            | {"rank_agreement": {name: _plain(alike) for name, alike in each.alike.items()}}
            for each in found
        ],
        "intervals": {
            "means": OVER_RUNS,
            "runs": OVER_HEADS,
            "differences": "second − first; `how` says what the interval rests on",
            "rank_agreement": "between: Student's over shared seeds; first, second: jackknife over seeds",
        },
    }


def seeds_csv(values: Mapping[str, OverSeeds]) -> bytes:
    """One row for each head of a setting: mean over runs, 95 % interval over runs, number of runs."""
    columns = ["layer", "head"]
    rows: dict[tuple[int, int], dict[str, str]] = {}
    for name, found in sorted(values.items()):
        columns += [name, f"{name}_low", f"{name}_high", f"{name}_runs"]
        for place in np.ndindex(found.mean.shape):
            at = (place[0], place[1])
            row = rows.setdefault(at, {"layer": str(at[0]), "head": str(at[1])})
            row[name], row[f"{name}_runs"] = _cell(found.mean[at]), str(found.runs[at])
            row[f"{name}_low"], row[f"{name}_high"] = _cell(found.low[at]), _cell(found.high[at])
    return csv_bytes(columns, [rows[at] for at in sorted(rows)])


def document(value: Mapping[str, Any]) -> bytes:
    """JSON that people can read: indented, seven significant digits, null for what is not a number."""
    return json.dumps(readable(value), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def readable(value: Any) -> Any:
    """The same with floats of seven significant digits and plain containers.

    >>> readable({"rho": 0.1 + 0.2, "none": float("nan"), "n": 3})
    {'rho': 0.3, 'none': None, 'n': 3}
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): readable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [readable(entry) for entry in value]
    return value


def _who(run: RunHeads) -> dict[str, Any]:
    where = {"run": run.run, "name": run.name, "group": run.group, "setting": run.setting}
    return where | {"factors": dict(run.factors)}


def _place(run: RunHeads) -> dict[str, Any]:
    return {"tower": run.tower, "component": run.component}


def _stats(run: RunHeads, kinds: Mapping[str, str]) -> dict[str, Any]:
    layers, heads = run.shape
    before = None if run.before is None else run.values[run.before]
    after, update = run.values.get(AFTER), run.values.get(UPDATE)
    return _place(run) | {
        "layers": layers,
        "heads": heads,
        "importance_before": run.before,
        "importance_before_with_update": _relation(before, update),
        "importance_after_with_update": _relation(after, update),
        "importance_before_with_after": _relation(before, after),
        "plasticity_before_with_update": _relation(run.values.get(PLASTIC), update),
        "mean": {name: over_heads(values) for name, values in run.values.items()},
        "by_layer": {
            name: [None if found is None else found.value for found in by_layer([run], name)]
            for name in run.values
        },
        "by_projection": {
            name: {part: found.value for part, found in by_component([run], name).items()}
            for name in ("update", UPDATE)
        },
        "intervals": dict(kinds),
    }


def _relation(a: Floats | None, b: Floats | None) -> Any:
    return None if a is None or b is None else _plain(relation(a, b))


def _cases(run: RunHeads) -> dict[str, Any]:
    importance = next((name for name in (run.before, AFTER) if name in run.values), None)
    if importance is None or UPDATE not in run.values:
        return {"importance": importance, "cases": None}
    return {
        "importance": importance,
        "cases": _plain_cases(cases(run.values[importance], run.values[UPDATE])),
    }


def _plain_cases(found: Cases) -> dict[str, Any]:
    quartiles = {"importance": found.importance, "update_relative": found.update_relative}
    return {
        "heads": found.heads,
        "quartiles": {
            name: ends and dict(zip(("low", "high"), ends, strict=True)) for name, ends in quartiles.items()
        },
        "important_but_static": [asdict(case) for case in found.important_but_static],
        "plastic_but_unimportant": [asdict(case) for case in found.plastic_but_unimportant],
        "counter_examples": found.counter_examples,
        "expected_by_chance": {
            "important_but_static": found.expected[0],
            "plastic_but_unimportant": found.expected[1],
            "counter_examples": found.expected_counter_examples,
        },
    }


def _evolution(found: Evolution) -> dict[str, Any]:
    first = early(found)
    return {
        "tower": found.tower,
        "quantity": UPDATE,
        "steps": list(found.steps),
        "length": found.length,
        "mean": [over_heads(look) for look in found.values],
        "by_layer": found.by_layer.tolist(),
        "by_projection": {name: values.tolist() for name, values in found.projections.items()},
        "final": over_heads(found.final),
        "early": None if first is None else _plain(first),
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "setting": side.setting,
        "importance": side.importance,
        "seeds": list(side.seeds),
        "relation": _plain(side.relation),
        "counter_examples": {name: _plain(found) for name, found in side.counts.items()},
        "expected_by_chance": side.expected,
        "update_relative": _plain(side.update),
        "by_layer": [_plain(found) for found in side.layers],
        "by_projection": {name: _plain(found) for name, found in side.projections.items()},
        "runs": [
            {
                "name": run.name,
                "seed": run.seed,
                "update_relative": run.update,
                "relation": _plain(run.relation),
            }
            | {"counter_examples": None if run.cases is None else run.cases.counter_examples}
            for run in side.runs
        ],
    }


def _plain(value: Any) -> Any:
    """A finding as containers; an effect without its name and unit, which its place says."""
    if isinstance(value, Effect):
        return {"value": value.value, "low": value.low, "high": value.high}
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value


def _cell(value: Any) -> str:
    return f"{value:.{DIGITS}g}" if math.isfinite(value) else ""
