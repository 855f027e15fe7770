"""A made-up study of a 6-layer × 4-head model, with effects of the size that the real one shows."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tunescope.report.page import Made
from tunescope.results.row import ROWS, Row, rows_table
from tunescope.results.table import RUNS, Table
from tunescope.stats.answer import Answer
from tunescope.stats.finding import Effect, Finding, GroupSummary, Pair
from tunescope.study.question import Question
from tunescope.study.study import Study

LAYERS, HEADS, GRID = 6, 4, 6
STEPS, LOOKS = 45, (0, 9, 18, 27, 36, 45)
SHIFTS = ("emoji/noto", "emoji/twemoji", "emoji/fluent-3d")
ZERO_SHOT = "emoji/noto:name"

YAML = """study: emoji-demo
about: What does tuning on one drawing style do to a small CLIP that knows three others?
model: emoji-clip
task: {data: emoji/openmoji, label: subgroup}
"""

STUDY = {
    "study": "emoji-demo",
    "about": "What does tuning on one drawing style do to a small CLIP that knows three others?",
    "model": "emoji-clip",
    "task": {"data": "emoji/openmoji", "label": "subgroup"},
    "transfer": {"zero_shot": [ZERO_SHOT], "shifts": list(SHIFTS)},
    "runs": {
        "full": {"adapt": "full", "lr": [1e-5, 1e-4, 1e-3]},
        "lora": {"adapt": {"kind": "lora", "rank": 8}, "lr": [1e-4, 1e-3, 5e-3]},
        "probe": {"adapt": "linear_probe", "lr": 1e-2, "seeds": [0]},
        "floor": {
            "adapt": "full",
            "lr": 1e-4,
            "penalties": [{"kind": "entropy_floor", "weight": 0.1}],
            "seeds": [0],
        },
    },
    "seeds": [0, 1, 2],
}

MADE = Made(
    versions={"python": "3.11.9", "tunescope": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
    date="2026-11-22",
    machine="an x86-64 processor, 2 cores, 8 GiB",
    command="tunescope run studies/demo.yaml",
    store_schema=1,
    study_yaml=YAML,
    seconds=231.4,
)

# group → how far it moves: entropy, loss of zero-shot, gain on the task, each at log10(lr) = −4
MOVES = {
    "full": (0.11, 0.45, 0.34),
    "lora": (0.02, 0.04, 0.20),
    "probe": (0.0, 0.0, 0.31),
    "floor": (0.05, 0.40, 0.33),
}


def study(**changes: object) -> Study:
    return Study.parse(STUDY | changes, "synthetic")


def table(
    made: Study, diverged: tuple[str, ...] = ("full lr=0.001 seed=2",), missing: tuple[str, ...] = ()
) -> Table:
    """The table of a study: identities are `run00`, `run01`, … in the order of its members."""
    rows: list[pa.Table] = []
    runs: list[dict[str, str | float | int | None]] = []
    for index, member in enumerate(made.members()):
        failed, absent = member.name in diverged, member.name in missing
        cause = "diverged at step 17" if failed else None
        status = "failed" if failed else "missing" if absent else "done"
        record = {"run": f"run{index:02}", "study": made.study, "group": member.group, "name": member.name}
        runs.append(record | {"status": status, "cause": cause} | dict(member.factors))
        if status == "done":
            rows.append(rows_table(f"run{index:02}", list(_measured(member.group, member.spec.lr, index))))
    factors = [("lr", pa.float64()), ("seed", pa.int64())]
    return Table(
        pa.concat_tables(rows) if rows else ROWS.empty_table(),
        pa.Table.from_pylist(runs, schema=pa.schema([*RUNS, *factors])),
    )


def _measured(group: str, lr: float, index: int):
    random = np.random.default_rng(index)
    moved, lost, gained = MOVES.get(group, (0.1, 0.2, 0.2))
    reach = float(np.clip((lr / 1e-4) ** 0.45, 0.1, 6))
    for layer in range(LAYERS):
        for head in range(HEADS):
            change = -moved * reach * (0.3 + layer / 3) + 0.02 * random.standard_normal()
            place = {"tower": "vision", "layer": layer, "head": head, "split": "probe"}
            yield Row("attention.entropy", 3.1 + change, **place)
            yield Row("attention.entropy.base", 3.1, **place)
            yield Row("attention.entropy.change", change, **place)
    after = float(np.clip(0.1 + gained * (1 - np.exp(-3 * reach)) + 0.01 * random.standard_normal(), 0, 1))
    kept = float(np.clip(1 - lost * reach + 0.02 * random.standard_normal(), 0.02, 1.05))
    yield Row("transfer.acc1", after, split="test", component="trained")
    yield Row("transfer.acc1", 0.14 * kept, split="test", component="text")
    yield Row("transfer.acc1.base", 0.14, split="test", component="text")
    yield Row("transfer.acc1", 0.349 * kept, split=f"zero_shot:{ZERO_SHOT}", component="text")
    yield Row("transfer.acc1.base", 0.349, split=f"zero_shot:{ZERO_SHOT}", component="text")
    yield Row("transfer.acc1.retention", kept, split=f"zero_shot:{ZERO_SHOT}", component="text")
    for place, shift in enumerate(SHIFTS):
        yield Row("transfer.acc1", after * (0.8 - 0.1 * place), split=f"shift:{shift}", component="trained")
        yield Row("transfer.acc1.base", 0.31 - 0.02 * place, split=f"shift:{shift}", component="text")
        yield Row(
            "transfer.acc1", max(0.0, 0.31 * kept - 0.02 * place), split=f"shift:{shift}", component="text"
        )
    for step in range(1, 46):
        loss = 4 * np.exp(-step / 40 * min(reach, 2) * 2 * gained) + 0.1 * random.standard_normal()
        yield Row("training.loss", float(loss), step=step)
    for step in (15, 30, 45):
        yield Row("training.val_acc1", after * (1 - np.exp(-step / 12)), step=step)
    trained = 1_200_000 if group in ("full", "floor") else 31_000
    yield Row("training.trainable", trained)
    yield Row("training.share", trained / 2_200_000)
    yield Row("training.memory", 40 + trained * 12 / 2**20)
    yield Row("training.seconds", 11 + random.random())


def on_texts(made: Table) -> Table:
    """The same on texts: the text tower is tuned, and no prompts make a head to read it under."""
    return _changed(made, lambda row: None if row["component"] == "text" else row)


def of_numbers(made: Table) -> Table:
    """The same where numbers are predicted from texts: correlations in the place of accuracy."""

    def change(row: dict[str, Any]) -> dict[str, Any] | None:
        renamed = {"transfer.acc1": "transfer.spearman", "training.val_acc1": "training.val_loss"}
        return row | {"metric": renamed.get(row["metric"], row["metric"])}

    return _changed(on_texts(made), change)


def _changed(made: Table, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Table:
    rows = [changed for row in made.rows.to_pylist() if (changed := change(row)) is not None]
    rows = [row | {"tower": row["tower"] and "text"} for row in rows]
    return Table(pa.Table.from_pylist(rows, schema=ROWS), made.runs)


def arrays(made: Table, count: int = 4) -> Callable[[str], Mapping[str, NDArray]]:
    """As `published`, by run."""
    return by_run(published(made, count))


def by_run(found: Mapping[str, Mapping[str, NDArray]]) -> Callable[[str], Mapping[str, NDArray]]:
    """What a run published; nothing for the others."""
    return lambda run: found.get(run, {})


def published(made: Table, count: int = 4, steps: tuple[int, ...] = LOOKS) -> dict[str, dict[str, NDArray]]:
    """Attention maps of every run that is done: higher learning rates look at fewer patches, step by step."""
    images = np.stack([_image(i) for i in range(count)])
    found: dict[str, dict[str, NDArray]] = {}
    for index, run in enumerate(made.runs.to_pylist()):
        if run["status"] == "done":
            sharp = min(6.0, 1 + 0.5 * (run["lr"] / 1e-4) ** 0.4 * (run["group"] != "probe"))
            looks = [1 + (sharp - 1) * step / STEPS for step in steps]
            ids = np.arange(8 * count, dtype=np.uint8).reshape(count, 8)
            found[run["run"]] = {
                "attention.rollout": _maps(count, sharp, index),
                "attention.rollout.base": _maps(count, 1.0, 99),
                "attention.pooled": _by_layer(count, sharp, index),
                "attention.pooled.base": _by_layer(count, 1.0, 99),
                "attention.images": images,
                "attention.image_ids": ids,
            }
            if steps:
                found[run["run"]] |= {
                    "monitor.steps": np.array(steps),
                    "monitor.total": np.array(STEPS),
                    "monitor.attention.rollout": np.stack([_maps(count, s, index) for s in looks]),
                    "monitor.attention.pooled": np.stack([_by_layer(count, s, index) for s in looks]),
                    "monitor.attention.image_ids": np.stack([ids] * len(steps)),
                }
    return found


def _by_layer(count: int, sharp: float, seed: int) -> NDArray[np.float16]:
    layers = [_maps(count, 1.5 * sharp * (layer + 2) / LAYERS, seed + layer) for layer in range(LAYERS)]
    return np.stack(layers, axis=1).astype(np.float16)


def _maps(count: int, sharp: float, seed: int) -> NDArray[np.float32]:
    y, x = np.mgrid[0:GRID, 0:GRID] / (GRID - 1) - 0.5
    bump = np.exp(-(x**2 + y**2) * 4)
    noise = np.random.default_rng(seed).uniform(0.7, 1.3, (count, GRID, GRID))
    maps = (bump[None] * noise) ** sharp
    return (maps / maps.sum((1, 2), keepdims=True)).astype(np.float32)


def _image(index: int) -> NDArray[np.uint8]:
    image = Image.new("RGB", (48, 48), "white")
    draw = ImageDraw.Draw(image)
    colour = ("#f2b705", "#d9483b", "#3b82d9", "#4caf6b")[index % 4]
    (draw.ellipse if index % 2 else draw.rectangle)((8, 8, 40, 40), fill=colour, outline="black", width=2)
    draw.ellipse((16, 18, 21, 23), fill="black")
    draw.ellipse((27, 18, 32, 23), fill="black")
    return np.asarray(image)


def summary(made: Table, group: str, metric: str, chosen: dict[str, float] | None = None) -> GroupSummary:
    """A group as an answer holds it, at one learning rate if one was chosen."""
    found = made.per_run(metric, reduce="mean_abs", groups=[group]) if metric in made.metrics() else []
    found = [v for v in found if not chosen or v.factors["lr"] == chosen["lr"]]
    values = np.array([v.value for v in found])
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return GroupSummary(
        name=group,
        n=len(values),
        mean=float(values.mean()) if len(values) else None,
        low=None if half is None else float(values.mean() - half),
        high=None if half is None else float(values.mean() + half),
        values=tuple(float(v) for v in values),
        factors=tuple(v.factors for v in found),
        runs=tuple(v.run for v in found),
        chosen=chosen or {},
    )


def answers(made: Table, names: tuple[str, str] = ("lora", "full")) -> list[Answer]:
    first, second = names
    metric = "attention.entropy.change"
    compare = Answer(
        question=Question(
            ask="Does LoRA keep attention entropy closer to the pretrained model than full fine-tuning?",
            metric=metric,
            reduce="mean_abs",
            compare=names,
        ),
        claim=f"{first} is closer to zero than {second}",
        groups=(summary(made, first, metric), summary(made, second, metric)),
        effect=Effect("difference", -0.148, -0.271, -0.031, "nats"),
        standardised=Effect("Hedges' g", -1.31, -2.33, -0.24),
        p=0.0061,
        p_corrected=0.018,
        correction="Holm over 3 questions",
        test="Welch t test",
        why="two groups of separate runs, spreads may differ",
        detectable=Effect("Hedges' g", 1.44),
        ranking=names,
        beside=("Mann–Whitney U agrees (p = 0.011).", "Cliff's delta −0.68."),
        warnings=(
            "The groups were not run at the same learning rates.",
            "With 8 runs a t interval leans on normality.",
        ),
        sentence="The entropy of lora's heads moved by 0.148 nats less than that of full's.",
        verdict="yes",
        n=17,
        left_out={"diverged at step 17": 1},
    )
    against = Answer(
        question=Question(
            ask="Is the learning rate what drives the change?", metric=metric, reduce="mean_abs", against="lr"
        ),
        claim="the change grows with lr",
        groups=(summary(made, first, metric), summary(made, second, metric)),
        effect=Effect("Spearman rho", 0.83, 0.55, 0.94),
        p=0.00004,
        p_corrected=0.00012,
        correction="Holm over 3 questions",
        test="Spearman rank correlation",
        why="the factor is ordinal in effect",
        sentence="The higher the learning rate, the further the entropy moved (ρ = 0.83).",
        verdict="yes",
        n=17,
        left_out={},
    )
    short = Answer(
        question=Question(
            ask="Does an entropy floor help?", metric=metric, compare=(second, first), at="best"
        ),
        claim=f"{second} is closer to zero than {first}",
        groups=(summary(made, second, metric, {"lr": 1e-4}), summary(made, first, metric, {"lr": 5e-3})),
        pairs=(Pair(second, first, Effect("difference", 0.02, -0.1, 0.14, "nats"), 0.6, 0.6),),
        sentence="One run of floor is too few to compare.",
        verdict="not enough runs",
        p_corrected=None,
        correction="",
        n=4,
        left_out={},
    )
    return [compare, against, short]


__all__ = [
    "MADE",
    "Finding",
    "answers",
    "arrays",
    "by_run",
    "of_numbers",
    "on_texts",
    "published",
    "study",
    "summary",
    "table",
]
