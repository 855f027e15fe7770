"""Landscape measurements for the made-up study: 6 layers, three shifts, under a trained and a text head."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from report import synthetic_study as made_up

from tunescope.results.row import ROWS, Row, rows_table
from tunescope.results.table import Table
from tunescope.study.study import Study

LAYERS = 6
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
ALONG = (0.0, 0.5)
SPLITS = ("val", "test", *(f"shift:{shift}" for shift in made_up.SHIFTS))
KINDS = {"average": 1.0, "linf": 4.0}
STRAGGLER = 4


def table(
    study: Study, alphas: Sequence[float] = ALPHAS, layers: int = LAYERS, along: Sequence[float] = ALONG
) -> Table:
    """The made-up study's table with the rows of `path`, `layer_path` and `sharpness`.

    Runs of a group `probe` have moved nothing that these probes could walk back, and no rows of theirs.
    """
    made = made_up.table(study)
    rows = [made.rows]
    for index, (member, run) in enumerate(zip(study.members(), made.runs.to_pylist(), strict=True)):
        if run["status"] == "done" and member.group != "probe":
            reach = float(np.clip((member.spec.lr / 1e-4) ** 0.5, 0.1, 8))
            found = [*walked(index, reach, alphas), *sharp(index, reach, layers, along)]
            rows.append(rows_table(run["run"], found))
    return Table(pa.concat_tables([part.select(ROWS.names) for part in rows]), made.runs)


def walked(index: int, reach: float, alphas: Sequence[float]) -> Iterator[Row]:
    """What the probe `path` writes: more is lost under a shift the further a run has moved."""
    random = np.random.default_rng(index)
    for component, base in (("trained", 0.3), ("text", 0.31)):
        at: dict[str, Any] = {"tower": "vision", "component": component}
        accuracies: dict[str, np.ndarray] = {}
        walk = np.array(alphas)
        for place, split in enumerate(SPLITS):
            home = split in ("val", "test")
            rise = 0.3 * walk * (2 - walk) ** 0.5 if home else 0.12 * walk**2
            fall = (0.02 if home else 0.03 * (place - 1) - 0.01) * reach * walk**2
            noise = 0.004 * walk * random.standard_normal(len(walk))
            accuracies[split] = np.clip(base - 0.01 * place + rise - fall + noise, 0.02, 0.98)
            for alpha, accuracy in zip(walk.tolist(), accuracies[split].tolist(), strict=True):
                yield Row("landscape.path_acc1", accuracy, split=split, point=alpha, n=200, std=0.4, **at)
                yield Row(
                    "landscape.path_loss", 2 - 2 * accuracy, split=split, point=alpha, n=200, std=1.0, **at
                )
        chosen = int(np.argmax(accuracies["val"]))
        yield Row("landscape.best_alpha", float(walk[chosen]), split="val", **at)
        del accuracies["val"]
        for split, curve in accuracies.items():
            yield Row("landscape.best_loss", float(2 - 2 * curve[chosen]), split=split, **at)
        shifts = [curve for split, curve in accuracies.items() if split != "test"]
        accuracies["shift:mean"] = np.mean(shifts, axis=0)
        for split, curve in accuracies.items():
            yield Row("landscape.best_acc1", float(curve[chosen]), split=split, **at)
            yield Row("landscape.gain", float(curve[chosen] - curve[0]), split=split, **at)
            yield Row("landscape.tuned_gain", float(curve[-1] - curve[0]), split=split, **at)
            if split != "test":
                failed = float(curve.max() <= curve[0])
                yield Row("landscape.failure", failed, split=split, **at)


def sharp(index: int, reach: float, layers: int, along: Sequence[float]) -> Iterator[Row]:
    """What `layer_path` and `sharpness` write: one layer stands out, the more the further a run has moved."""
    random = np.random.default_rng(1000 + index)
    for component in ("trained", "text"):
        at: dict[str, Any] = {"tower": "vision", "component": component, "split": "val", "n": 128}
        barrier = 0.002 * random.gamma(2.0, 1.0, layers)
        straggler = min(STRAGGLER, layers - 1)
        barrier[straggler] += 0.02 * reach
        top = int(np.argmax(barrier))
        for layer, value in enumerate(barrier.tolist()):
            z = 4.0 if layer == top else 0.1
            yield Row("landscape.layer_barrier", value, layer=layer, **at)
            yield Row("landscape.rewind", 0.05 * reach * (layer + 1) - 0.03, layer=layer, **at)
            yield Row("landscape.layer_barrier_z", z, layer=layer, **at)
            yield Row("landscape.straggler", float(z > 2 and reach > 0.5), layer=layer, **at)
            yield Row("landscape.straggler_top", float(layer == top), layer=layer, **at)
        for kind, factor in KINDS.items():
            alone = factor * 0.01 * random.gamma(2.0, 1.0, layers)
            alone[straggler] += factor * 0.05 * reach
            for layer, value in enumerate(alone.tolist()):
                yield Row(f"landscape.layer_sharpness_{kind}", value, layer=layer, **at)
                for alpha in along:
                    name = f"landscape.layer_sharpness_along_{kind}"
                    yield Row(name, value * (0.2 + 0.8 * alpha), layer=layer, point=alpha, **at)
            total = float(alone.sum() * random.uniform(0.7, 1.6))
            yield Row(f"landscape.sharpness_{kind}", total, **at)
            yield Row(f"landscape.sharpness_{kind}", total, point=0.2, **at)
            yield Row(f"landscape.straggler_sharpness_{kind}", float(alone[straggler]), **at)
