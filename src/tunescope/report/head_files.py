"""The files of a study's heads: one folder for each run, one for each pair of settings."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import TableError
from tunescope.report import head_documents as documents
from tunescope.report.file_names import file_names
from tunescope.report.folder import replace_folder
from tunescope.report.maps import Arrays
from tunescope.results.table import Table
from tunescope.stats.head_comparison import compare
from tunescope.stats.head_evolution import Evolution, evolutions
from tunescope.stats.head_pairs import pairs, settings_of
from tunescope.stats.head_seeds import aggregate
from tunescope.stats.head_sentences import sentences
from tunescope.stats.headwise import AFTER, CHANGE, RunHeads, headwise
from tunescope.study.study import Study

Floats = NDArray[np.float64]
Files = dict[str, bytes]

FOLDER, COMPARE, SEEDS = "heads", "compare", "seeds"
SUBSET, INTERVAL = "heads.subset", "heads.interval"


def write_head_files(folder: Path, study: Study, table: Table, arrays: Arrays) -> Path | None:
    """Write what the table and the runs' arrays say of attention heads into `folder / "heads"`.

    For each run, in a folder of its name: `heads.csv` (a row for each head), `stats.json`, `cases.json`, and
    `eval_subset.json` where importance was measured on examples. For each setting of several runs
    `seeds/<setting>/heads <tower> <component>.csv`, means and intervals over runs. For each pair of settings
    that `stats.head_pairs` names, `compare/<a> vs <b>/` with `compare_metrics.json` and
    `compare_summary.txt`.

    The folder is replaced whole or not at all; a table without heads leaves none. The same table gives the
    same bytes.

    Args:
        folder: of the study; must exist.
        study: what was asked: which run is on which task.
        table: what was measured.
        arrays: what a run that is done published, by name.

    Returns:
        the folder; None where the table says nothing of heads.

    Raises:
        TableError: the folder cannot be written, or the table speaks of a head that no model has.
    """
    heads = headwise(table)
    files = _runs(heads, table, arrays) | _seeds(heads) | _compared(heads, study)
    try:
        replace_folder(folder / FOLDER, files)
    except OSError as error:
        raise TableError(
            f"{folder / FOLDER}: the files of heads cannot be written: {error.strerror or error}"
        ) from error
    return folder / FOLDER if files else None


def _runs(heads: Sequence[RunHeads], table: Table, arrays: Arrays) -> Files:
    by_name: defaultdict[str, list[RunHeads]] = defaultdict(list)
    for each in heads:
        by_name[each.name].append(each)
    grown: defaultdict[str, list[Evolution]] = defaultdict(list)
    for each in evolutions(table):
        grown[each.name].append(each)
    splits = _splits(table)
    files: Files = {}
    names = file_names(by_name, (COMPARE, SEEDS))
    for name, own in by_name.items():
        published = arrays(own[0].run)
        ends, kinds = zip(*(_intervals(each, published) for each in own), strict=True)
        at = names[name]
        files[f"{at}/heads.csv"] = documents.heads_csv(own, ends)
        files[f"{at}/stats.json"] = documents.document(documents.stats_json(own, kinds, grown[name]))
        files[f"{at}/cases.json"] = documents.document(documents.cases_json(own))
        if SUBSET in published:
            indices = [int(i) for i in published[SUBSET]]
            subset = {"run": own[0].run, "name": name, "split": splits.get(own[0].run)}
            subset |= {"examples": len(indices), "indices": indices}
            files[f"{at}/eval_subset.json"] = documents.document(subset)
    return files


def _intervals(run: RunHeads, published: Mapping[str, NDArray]) -> tuple[dict[str, Floats], dict[str, str]]:
    """The intervals of a run's quantities, published ones before those of the rows, and what they are."""
    found = dict(run.intervals)
    kinds = dict.fromkeys(found, documents.STUDENT)
    for quantity, name in (
        (AFTER, f"{INTERVAL}.{run.component}"),
        (CHANGE, f"{INTERVAL}.change.{run.component}"),
        ("importance_pre", f"{INTERVAL}.importance_pre"),
        ("importance.base", f"{INTERVAL}.{run.component}.base"),
    ):
        given = published.get(name)
        if given is None or quantity not in run.values or given.ndim != 3 or given.shape[2] != 2:
            continue
        layers, heads = given.shape[:2]
        if layers <= run.shape[0] and heads <= run.shape[1]:
            found[quantity] = np.full((*run.shape, 2), np.nan)
            found[quantity][:layers, :heads] = given
            kinds[quantity] = documents.BOOTSTRAP
    return found, kinds


def _splits(table: Table) -> dict[str, str]:
    """Which split each run's importance was measured on."""
    found = table.sql(
        "SELECT run, min(split) AS split FROM rows WHERE metric = 'heads.importance' AND step IS NULL "
        "AND point IS NULL AND split IS NOT NULL GROUP BY run"
    )
    return {row["run"]: row["split"] for row in found.to_pylist()}


def _seeds(heads: Sequence[RunHeads]) -> Files:
    settled = [each for each in aggregate(heads) if len(each.names) > 1]
    names = file_names(dict.fromkeys(each.setting for each in settled))
    files: Files = {}
    for each in settled:
        parts = [part for part in (each.tower, each.component) if part]
        name = " ".join(["heads", *parts])
        files[f"{SEEDS}/{names[each.setting]}/{name}.csv"] = documents.seeds_csv(each.values)
    return files


def _compared(heads: Sequence[RunHeads], study: Study) -> Files:
    settings = settings_of(heads)
    names = file_names(settings)
    files: Files = {}
    for first, second in pairs(settings, study):
        if found := compare(settings[first], settings[second]):
            at = f"{COMPARE}/{names[first]} vs {names[second]}"
            files[f"{at}/compare_metrics.json"] = documents.document(documents.compare_json(found))
            text = "\n".join(map(_printable, sentences(found)))
            files[f"{at}/compare_summary.txt"] = f"{text}\n".encode(errors="replace")
    return files


def _printable(line: str) -> str:
    """A line without anything that a terminal would obey or that would end it; names come from data."""
    return "".join(c if c.isprintable() else "\ufffd" for c in line)
