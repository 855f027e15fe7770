"""Why runs could not be carried out, and how often that was tried."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunescope.results.durable import replace
from tunescope.results.layout import entries, key_of, make
from tunescope.results.writing import writing

RECORD = re.compile(r"[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class Failures:
    """One small record for each run that could not be carried out, below a store's `failures/`.

    Args:
        root: the store's folder.
    """

    root: Path

    def add(self, run_id: str, cause: str, kind: str) -> int:
        """Write down one more failure of a run; returns how many there are now."""
        last = self.find(run_id)
        record = {
            "run": run_id,
            "kind": kind,
            "cause": cause,
            "at": datetime.now(UTC).isoformat("T", "seconds"),
            "tries": last["tries"] + 1 if last else 1,
        }
        with writing(self.root, f"record the failure of run {run_id[:16]}"):
            make(self.root, "failures")
            replace(self._path(run_id), json.dumps(record, indent=1).encode())
        return record["tries"]

    def find(self, run_id: str) -> dict[str, Any] | None:
        """The record of a run, if there is one; of one that cannot be read, that."""
        try:
            record = _read(self._path(run_id))
            return record if record["run"] == run_id else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            cause = f"its failure record cannot be read ({error!r})"
            return {"run": run_id, "kind": "unknown", "cause": cause, "at": "", "tries": 1}

    def keys(self) -> set[str]:
        """The folder names of the runs that have a record."""
        return {name[:16] for name in entries(self.root / "failures") if RECORD.fullmatch(name)}

    def all(self) -> dict[str, dict[str, Any]]:
        """Every record that can be read, by the run's identity."""
        found: dict[str, dict[str, Any]] = {}
        for key in self.keys():
            try:
                record = _read(self.root / "failures" / f"{key}.json")
            except (OSError, ValueError, KeyError, TypeError):
                continue
            found[record["run"]] = record
        return dict(sorted(found.items()))

    def clear(self, run_id: str) -> None:
        """Forget the failures of a run."""
        with writing(self.root, f"forget the failure of run {run_id[:16]}"):
            self._path(run_id).unlink(missing_ok=True)

    def _path(self, run_id: str) -> Path:
        return self.root / "failures" / f"{key_of(run_id)}.json"


def _read(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record["run"], str) or not isinstance(record["cause"], str):
        raise ValueError("a run and a cause, both texts, were expected")
    tries = record.get("tries")  # not written before schema 2
    return record | {"tries": tries if type(tries) is int and tries > 0 else 1}
