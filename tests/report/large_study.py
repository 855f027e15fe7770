"""A made-up study of 200 runs of a model of 12 layers × 12 heads, with every probe and a live monitor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from report import synthetic_study as made_up

from tunescope.results.row import ROWS
from tunescope.results.table import RUNS, Table
from tunescope.stats.answer import Answer
from tunescope.study.study import Study

LAYERS, HEADS, LOOKS, EPOCHS = 12, 12, 12, 10
RATES, SEEDS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2), (0, 1, 2, 3, 4)
GROUPS = ("full", "last-block", "probe", "lora", "dora", "adapters", "prompts", "anchored")
ATTENTION = ("entropy", "gini", "distance", "sink_mass", "erf95", "head_diversity")
PROJECTIONS = {"all": 1.0, "q": 1.4, "k": 1.2, "v": 0.7, "o": 0.8}
TRAINED = {"component": "trained"}

Block = tuple[str, NDArray[np.float64], tuple[str, ...], Mapping[str, Any]]


def study() -> Study:
    """Eight groups at five learning rates and five seeds."""
    runs = {group: {"adapt": "full", "lr": list(RATES)} for group in GROUPS}
    return made_up.study(study="large", runs=runs, seeds=list(SEEDS))


def table(made: Study, heads: Sequence[int] = SEEDS) -> Table:
    """Its table: 200 runs, all done; of these seeds' runs the heads were measured one by one."""
    members = list(made.members())
    factors = pa.schema([*RUNS, ("lr", pa.float64()), ("seed", pa.int64())])
    runs = [
        {"run": f"run{i:03}", "study": made.study, "group": m.group, "name": m.name, "status": "done"}
        | dict(m.factors)
        for i, m in enumerate(members)
    ]
    names = [f"run{i:03}" for i in range(len(members))]
    reach = np.array([(GROUPS.index(m.group) + 1) * (1 + np.log10(m.spec.lr / 1e-6)) / 40 for m in members])
    rows = pa.concat_tables([_rows(names, block) for block in _measured(reach)])
    kept = pa.array([run["run"] for run in runs if run["seed"] in heads])
    rows = rows.filter((pc.field("probe") != "heads") | pc.field("run").isin(kept))
    return Table(rows, pa.Table.from_pylist(runs, schema=factors))


def answers(made: Table) -> list[Answer]:
    """Ten answers, three of each kind and one."""
    three = made_up.answers(made, ("lora", "full"))
    asked = [(three * 4)[place] for place in range(10)]
    return [
        replace(
            answer, question=answer.question.model_copy(update={"ask": f"{answer.question.ask} ({place})"})
        )
        for place, answer in enumerate(asked, 1)
    ]


def _measured(reach: NDArray[np.float64]) -> Iterator[Block]:
    """Metric, values by run and whatever else, the names of those axes, and columns that do not vary."""
    random = np.random.default_rng(0)
    count, vision = len(reach), {"tower": "vision", "split": "probe"}
    by_head, by_layer = ("layer", "head"), ("layer",)

    def spread(*shape: int) -> NDArray[np.float64]:
        return random.standard_normal((count, *shape)) * 0.02

    wide, deep = reach[:, None, None], np.arange(LAYERS)[None, :, None] / LAYERS
    for place, name in enumerate(ATTENTION):
        base = np.full((count, LAYERS, HEADS), 1.0 + place) + random.random((1, LAYERS, HEADS))
        change = -wide * deep + spread(LAYERS, HEADS)
        for form, values in (("", base + change), (".base", base), (".change", change)):
            yield f"attention.{name}{form}", values, by_head, vision
    for name in ("entropy", "gini"):
        looks = 2.0 - wide * deep * np.arange(LOOKS)[None, None] / LOOKS
        yield f"attention.{name}", looks + spread(LAYERS, LOOKS), ("layer", "step"), vision
    for name in ("cka", "drift"):
        yield f"representation.{name}", 1 - reach[:, None] * deep[..., 0] + spread(LAYERS), by_layer, vision
    for head, part in (("trained", 1.0), ("text", 0.5)):
        under = {"tower": "vision", "component": head, "split": "val"}
        for name in ("importance", "importance_pre" if head == "trained" else "importance.base"):
            yield f"heads.{name}", part * random.gamma(1.2, 0.02, (count, LAYERS, HEADS)), by_head, under
    for part, size in PROJECTIONS.items():
        update = size * wide * random.uniform(0.5, 1.5, (count, LAYERS, HEADS))
        yield "heads.update_relative", update, by_head, {"tower": "vision", "component": part}
    yield "weights.update_relative", reach[:, None] * (0.5 + deep[..., 0]) + 0, by_layer, {"tower": "vision"}
    accuracy = 0.3 + 0.3 * np.tanh(2 * reach) + spread()
    falls = {"test": 1.0, "val": 1.0} | {f"shift:{name}": 0.7 for name in made_up.SHIFTS}
    for split, fall in falls.items():
        yield "transfer.acc1", accuracy * fall, (), {"split": split, **TRAINED}
        yield "transfer.acc1", 0.3 - 0.1 * reach, (), {"split": split, "component": "text"}
        yield "transfer.acc1.base", np.full(count, 0.3), (), {"split": split, "component": "text"}
    away = {"split": f"zero_shot:{made_up.ZERO_SHOT}", "component": "text"}
    yield "transfer.acc1.retention", np.clip(1 - 0.6 * reach + spread(), 0, None), (), away
    steps = np.arange(300)[None]
    yield "training.loss", 3 * np.exp(-steps * reach[:, None] / 60) + 0.2 + abs(spread(300)), ("step",), {}
    epochs = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 3)[None]
    yield "training.val_acc1", accuracy[:, None] * epochs, ("epoch",), {}
    for name, size in (("trainable", 1e6), ("share", 1e-2), ("memory", 100.0), ("seconds", 10.0)):
        yield f"training.{name}", size * (1 + reach), (), {}


def _rows(runs: list[str], block: Block) -> pa.Table:
    metric, values, axes, fixed = block
    places = dict(zip(("run", *axes), np.indices(values.shape).reshape(values.ndim, -1), strict=True))
    columns: dict[str, Any] = {"metric": [metric] * values.size, "value": values.ravel()}
    columns |= {"probe": [metric.partition(".")[0]] * values.size}
    columns["run"] = np.array(runs)[places.pop("run")]
    if "epoch" in places:
        columns["step"] = 30 * (1 + places.pop("epoch"))
    if "step" in places:
        columns["step"] = places.pop("step") + (metric == "training.loss")
    columns |= places | {name: [value] * values.size for name, value in fixed.items()}
    none = pa.nulls(values.size)
    return pa.table([pa.array(columns.get(f.name, none)).cast(f.type) for f in ROWS], schema=ROWS)
