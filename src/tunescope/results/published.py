"""One run as it was published."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tunescope.errors import StoreError
from tunescope.results.row import ROWS, encoded


@dataclass(frozen=True)
class Published:
    """A run in the store. Its files are read when they are asked for, each once.

    Args:
        run: the full identity.
        folder: where its files lie. Nothing in it may be changed.

    Raises:
        StoreError: by every attribute, where a file cannot be read.
    """

    run: str
    folder: Path

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The run's settings, every default written out."""
        return self._json("spec.json")

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """`{"status": "done"}`, or `{"status": "failed", "cause": …}` for a run that would fail again."""
        return self._json("outcome.json")

    @cached_property
    def rows(self) -> pa.Table:
        """Its measurements, of schema `ROWS`."""
        with _reading(self, "rows.parquet") as path:
            return encoded(pq.ParquetFile(path).read()).cast(ROWS)  # pq.read_table would import pandas

    @property
    def weights(self) -> Path | None:
        """The safetensors file of what was trained; None for a run that failed before there was any."""
        path = self.folder / "weights.safetensors"
        return path if path.exists() else None

    def arrays(self) -> dict[str, np.ndarray]:
        """What is measured but is no row, such as attention maps, by name; empty for a failed run."""
        if not (self.folder / "arrays.safetensors").exists():
            return {}
        with _reading(self, "arrays.safetensors") as path:
            return load_file(path)

    def _json(self, name: str) -> dict[str, Any]:
        with _reading(self, name) as path:
            return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def _reading(run: Published, name: str) -> Iterator[Path]:
    path = run.folder / name
    try:
        yield path
    except (OSError, ValueError, pa.ArrowException, SafetensorError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}); `tunescope verify` says what is damaged, "
            f"and discarding run {run.run[:16]} has it computed again"
        ) from error
