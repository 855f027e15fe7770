"""Small runs as the engine writes them, for the tests of this room and for the processes that they start."""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tunescope.results.row import Row, write_rows


def identity_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def content(number: int) -> tuple[dict, list[Row], dict[str, np.ndarray]]:
    rows = [Row("transfer.acc1", number + layer / 10, layer=layer, split="test") for layer in range(3)]
    arrays = {"attention/maps": np.arange(6, dtype=np.float32).reshape(2, 3) + number}
    return {"seed": number, "model": "tiny"}, rows, arrays


def write_run(folder: Path, number: int, outcome: dict | None = None) -> None:
    spec, rows, arrays = content(number)
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    (folder / "outcome.json").write_text(json.dumps(outcome or {"status": "done"}), encoding="utf-8")
    (folder / "log.jsonl").write_text('{"step": 1}\n', encoding="utf-8")
    write_rows(folder / "rows.parquet", identity_of(number), rows)
    save_file(arrays, folder / "arrays.safetensors")
    save_file({"head.weight": np.full((2, 2), number, np.float32)}, folder / "weights.safetensors")
