"""The command line as another process, and what it leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from tunescope.results.table import Table

CHAOS = Path(__file__).parent / "engine" / "chaos"


def start(*args: object, **options) -> subprocess.Popen:
    """`tunescope ARGS`, its plug-ins those of `chaos/`."""
    found = os.environ | {"PYTHONPATH": str(CHAOS), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tunescope.cli.main", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=found,
        **options,
    )


def run(*args: object, timeout: float = 300) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    process = start(*args)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


def comparable(folder: Path) -> pa.Table:
    """The rows of a study's table but for wall-clock seconds, in a fixed order."""
    rows = Table.read(folder).rows
    rows = rows.filter(pa.compute.not_equal(rows["metric"], "training.seconds"))  # pyright: ignore[reportAttributeAccessIssue]
    return rows.sort_by([(name, "ascending") for name in rows.column_names])
