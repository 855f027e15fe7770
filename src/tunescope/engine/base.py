"""What the probes see in the base model: measured once per model, data and probe, shared by all runs."""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tunescope.engine.kept import OnDisk
from tunescope.engine.plan import fingerprints
from tunescope.probes.kept import Kept, Make
from tunescope.probes.measure import Observed, observe
from tunescope.probes.probe import Measurement, Probe, Subject, probes_of
from tunescope.results.row import Row, write_rows
from tunescope.results.store import Store
from tunescope.study.identity import base_identity
from tunescope.study.run import RunSpec

POLL = 0.1  # seconds between looks at what another process measures
OUTCOME = {"status": "done", "kind": "base"}


def observe_base(spec: RunSpec, subject: Subject, store: Store | None) -> Observed:
    """What each probe of a run sees in the model before tuning, from the store where it is there already.

    Args:
        spec: the run.
        subject: the base model and the run's examples.
        store: where measurements are shared; None measures here and keeps nothing.
    """
    probes = probes_of(spec)
    if store is None:
        return observe(probes, subject)
    prints = fingerprints(spec)
    return {
        probe.kind: _shared(probe, base_identity(spec, probe, prints), subject, store) for probe in probes
    }


def _shared(probe: Probe, id: str, subject: Subject, store: Store) -> Measurement:
    while True:
        with store.claim(id) as mine:
            if store.has(id):
                return _read(id, store)
            if mine:
                return _measured(probe, id, subject, store)
        time.sleep(POLL)  # another process is at it, and whoever dies lets go


def _measured(probe: Probe, id: str, subject: Subject, store: Store) -> Measurement:
    on_disk = OnDisk(store.unfinished(id), "base", lambda: id)
    found = observe([probe], replace(subject, kept=partial(_first_from, subject.kept, on_disk)))[probe.kind]
    store.publish(id, lambda folder: _write(folder, id, found))
    return found


def _first_from(shared: Kept, own: Kept, key: str, make: Make) -> dict[str, np.ndarray]:
    """What another probe has asked for in this process need not be kept on disk for this one."""
    return shared(key, lambda: own(key, make))


def _write(folder: Path, id: str, found: Measurement) -> None:
    write_rows(folder / "rows.parquet", id, found.rows)
    write_arrays(folder / "arrays.safetensors", found)
    (folder / "outcome.json").write_text(json.dumps(OUTCOME), encoding="utf-8")


def _read(id: str, store: Store) -> Measurement:
    published = store.read(id)
    rows = [Row(**{name: row[name] for name in Row._fields}) for row in published.rows.to_pylist()]
    return Measurement(rows, published.arrays())


def write_arrays(path: Path, found: Measurement) -> None:
    """A measurement's arrays, by name, as safetensors."""
    save_file({name: torch.from_numpy(array.copy()) for name, array in found.arrays.items()}, path)
