"""What lies in a study's folder, and what it was written from, so that nothing is written twice."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunescope.results.durable import replace
from tunescope.study.identity import canonical

ANSWERS, PAGE = "answers.json", "report.html"
FILES = ("rows.parquet", "runs.parquet", "table.csv", ANSWERS, PAGE)
NAME = "written.json"


def basis(study_yaml: str, runs: Sequence[Sequence[str]], schema: int, versions: Mapping[str, str]) -> str:
    """Everything that decides what table, answers and page say, as one sha256.

    Args:
        study_yaml: the study, as a file that says the same.
        runs: for each run of the study, in order, texts that change when the run does: its identity, where it
            stands and why, a digest of what it published.
        schema: version of the store's layout.
        versions: name → version of every package that has a part in the page.

    Returns:
        64 hexadecimal digits.
    """
    made_from = {"study": study_yaml, "runs": [list(run) for run in runs], "schema": schema}
    text = canonical(made_from | {"versions": dict(versions), "code": _code()})
    return hashlib.sha256(text.encode()).hexdigest()


def sign(folder: Path, made_from: str) -> None:
    """Note that the files in the folder were written from `made_from`. Call it last."""
    note = {"from": made_from, "files": {name: _digest(folder / name) for name in FILES}}
    replace(folder / NAME, json.dumps(note, indent=1).encode())


def current(folder: Path, made_from: str) -> bool:
    """Whether the files in the folder were written from `made_from`, and are as they were written."""
    try:
        note = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return note == {"from": made_from, "files": {name: _digest(folder / name) for name in FILES}}
    except (OSError, ValueError):
        return False


def _code() -> str:
    """The package's own source: between two releases it changes, and its version does not."""
    root = Path(__file__).parents[1]
    sources = [*root.rglob("*.py"), *(root / "report" / "page").iterdir()]
    lines = sorted(f"{path.relative_to(root).as_posix()} {_digest(path)}" for path in sources)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
