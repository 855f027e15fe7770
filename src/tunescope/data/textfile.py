"""`text:PATH[#SPLIT][:LABEL]`: texts or pairs of texts with labels, from CSV, TSV, JSON Lines or Parquet."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from tunescope.data.dataset import DataSet, Reads
from tunescope.data.digest import files_digest
from tunescope.data.labels import read_labels
from tunescope.data.place import Place, parse
from tunescope.data.texts import PAIRS, SINGLES, TEMPLATES, items_of, text_columns, text_set
from tunescope.errors import DataError, nearest

DEFAULT_LABEL = "label"
CONCEPT = "id"  # a column of this name says which rows of two files are the same thing
SPLITS = ("train", "validation", "val", "dev", "test")
_NAMED = dict.fromkeys((*SINGLES, *(name for pair in PAIRS for name in pair)), pa.string())


def _csv(path: Path, delimiter: str = ",", quotes: str | bool = '"') -> pa.Table:
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(use_threads=False),  # with threads, errors have no row
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, quote_char=quotes, newlines_in_values=bool(quotes)
        ),
        convert_options=pyarrow.csv.ConvertOptions(column_types=_NAMED),
    )


def _tsv(path: Path) -> pa.Table:
    return _csv(
        path, "\t", quotes=False
    )  # text/tab-separated-values has no quotes: GLUE's texts hold single ones


READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": pyarrow.json.read_json,
    ".ndjson": pyarrow.json.read_json,
    ".parquet": pyarrow.parquet.read_table,
}


def load(ref: str, label: str | None) -> DataSet:
    """All rows of a file, or of the files `train`, `validation`, `test` of a folder.

    tunescope makes its own splits of them. Columns of texts are found by their names (see `text_columns`).
    Labels are in the column that the reference names, else `label`. A column `id`, where there is one, names
    the concept of each row: two files that say the same things in other words (a shift) share ids; else a
    text is its own concept. In a TSV file quotes are letters like others.

    Raises:
        DataError: no such file, split or column; a file that is not UTF-8 or not of its format, with the row;
            a row without a text or a label.
    """
    place, files = _place(ref)
    tables = {path: _read(path) for path in files}
    first = next(iter(tables.values()))
    chosen = place.label or label or DEFAULT_LABEL
    for path, table in tables.items():
        if chosen not in table.column_names:
            raise DataError(
                f"file {path}: no column {chosen!r} of labels; {nearest(chosen, table.column_names)}. "
                f"Name it: {ref}:COLUMN"
            )
    apart = (chosen, CONCEPT)
    columns = text_columns([name for name in _strings(first) if name not in apart], f"data {ref!r}")
    for path, table in tables.items():
        for name in columns:
            if name not in _strings(table):
                raise DataError(f"file {path}: no column {name!r} of strings, as {files[0].name} has")
    kept = [name for name in (*columns, *apart) if name in first.column_names]
    try:
        parts = [table.select(kept) for table in tables.values()]
        whole = pa.concat_tables(parts, promote_options="permissive")  # whole numbers beside 2.5 are numbers
    except (pa.ArrowException, KeyError) as error:
        cause = str(error).splitlines()[0]
        raise DataError(f"data {ref!r}: the files' columns differ in name or type ({cause})") from None
    items = [item for path, table in tables.items() for item in items_of(table, columns, f"file {path}")]
    return text_set(
        ref,
        items,
        read_labels(whole.column(chosen), f"data {ref!r}: column {chosen!r}"),
        fingerprint=fingerprint(ref),
        label=chosen,
        ids=_concepts(whole, ref),
    )


def fingerprint(ref: str) -> str:
    """sha256 over prompts, what was chosen, and the files' names, sizes and contents; not where they lie."""
    place, files = _place(ref)
    return files_digest(files[0].parent, files, repr(TEMPLATES), place.split or "", place.label or "")


def tower(ref: str) -> Reads:
    """Texts are for the text tower."""
    return "text"


def _place(ref: str) -> tuple[Place, list[Path]]:
    """The reference's parts, and the files that it names, in the order of `SPLITS`."""
    place = parse(ref, "PATH")
    path = place.path
    known = ", ".join(READERS)
    if path is None:
        raise DataError(
            f"data {ref!r}: there is no {place.where}; expected a file ({known}) or a folder of such"
        )
    if path.is_file():
        if path.suffix.lower() not in READERS:
            raise DataError(
                f"data {ref!r}: {path.suffix or 'no suffix'} is not read; expected one of {known}"
            )
        if place.split is not None:
            raise DataError(
                f"data {ref!r}: a file has no split {place.split!r}; give its folder, or leave #SPLIT out"
            )
        return place, [path]
    entries = [entry for entry in sorted(path.iterdir()) if entry.suffix.lower() in READERS]
    files = {entry.stem: entry for entry in entries if entry.stem in SPLITS}
    for entry in entries:
        if (other := files.get(entry.stem, entry)) != entry:
            raise DataError(f"data {ref!r}: {entry.name} and {other.name} are the same split; keep one")
    if not files:
        raise DataError(
            f"data {ref!r}: no file called {', '.join(SPLITS)} ({known}) in the folder; a folder of texts "
            f"with one subfolder per class is folder:{place.where}"
        )
    if place.split is not None:
        if place.split not in files:
            raise DataError(f"data {ref!r}: no split {place.split!r}; {nearest(place.split, files)}")
        return place, [files[place.split]]
    return place, [files[split] for split in SPLITS if split in files]


def _read(path: Path) -> pa.Table:
    """A file's table; rows are counted from 1, a header not among them."""
    try:
        table = READERS[path.suffix.lower()](path)
        table.validate(full=True)  # JSON and Parquet are not held to UTF-8 before
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"file {path}: cannot be read as {path.suffix[1:]} ({str(error).splitlines()[0]}); save it "
            "again, in UTF-8"
        ) from None
    if not table.num_rows:
        raise DataError(f"file {path}: no row")
    return table


def _strings(table: pa.Table) -> list[str]:
    """The names of the columns of strings."""
    kinds = (pa.types.is_string, pa.types.is_large_string)
    return [field.name for field in table.schema if any(kind(field.type) for kind in kinds)]


def _concepts(table: pa.Table, ref: str) -> list[str] | None:
    if CONCEPT not in table.column_names:
        return None
    ids = [str(value) for value in table.column(CONCEPT).to_pylist()]
    seen: set[str] = set()
    for row, value in enumerate(ids, 1):
        if value in seen:
            raise DataError(
                f"data {ref!r}: column {CONCEPT!r} has {value!r} twice, again in row {row}; it names the "
                "concept of a row: make it unique, or rename the column"
            )
        seen.add(value)
    return ids
