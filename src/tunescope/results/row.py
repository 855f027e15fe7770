"""The row of the one table."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = pa.schema(
    [
        ("run", pa.string()),  # identity of the run
        ("probe", pa.string()),  # attention, transfer, training, …
        ("metric", pa.string()),  # attention.entropy, attention.entropy.change, …
        ("tower", pa.string()),  # vision, text
        ("layer", pa.int32()),  # from 0
        ("head", pa.int32()),  # from 0
        ("component", pa.string()),  # which part: the head read under (trained, text), q/k/v/o, …
        ("split", pa.string()),  # val, test, shift:<data>, zero_shot:<data>, probe
        ("step", pa.int64()),  # optimiser step, from 1; null = after training
        ("point", pa.float64()),  # where on a curve: α on a path, share of heads taken out; null = on none
        ("value", pa.float64()),
        ("std", pa.float64()),  # over examples, where the value is a mean of them
        ("n", pa.int64()),  # number of those examples
    ]
)

TEXTS = [field.name for field in ROWS if field.type == pa.string()]
TEXT_BY_NUMBER = pa.dictionary(pa.int32(), pa.string())
ENCODED = pa.schema([field.with_type(TEXT_BY_NUMBER) if field.name in TEXTS else field for field in ROWS])


class Row(NamedTuple):
    """One measurement. The run's identity is added when the run is published."""

    metric: str
    value: float
    tower: str | None = None
    layer: int | None = None
    head: int | None = None
    component: str | None = None
    split: str | None = None
    step: int | None = None
    point: float | None = None
    std: float | None = None
    n: int | None = None

    @property
    def key(self) -> tuple:
        """Everything that tells this row from others of its run but the metric."""
        return (self.tower, self.layer, self.head, self.component, self.split, self.step, self.point)


def rows_table(run: str, rows: list[Row]) -> pa.Table:
    """The rows of one run as an Arrow table of schema `ROWS`.

    >>> rows_table("ab12", [Row("attention.entropy", 3.2, layer=0)]).to_pylist()[0]["probe"]
    'attention'
    """
    columns = {name: [getattr(row, name) for row in rows] for name in Row._fields}
    columns["run"] = [run] * len(rows)
    columns["probe"] = [row.metric.split(".", 1)[0] for row in rows]
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in ROWS}, schema=ROWS)


def encoded(rows: pa.Table) -> pa.Table:
    """The columns of `ROWS` of a table, each text stored once and stood for by a number: schema `ENCODED`.

    Rows from before there was a `point` are on no curve.

    Raises:
        pa.ArrowInvalid, pa.ArrowNotImplementedError: a column holds something else than it should.

    >>> encoded(rows_table("ab12", [Row("transfer.acc1", 0.5)])).cast(ROWS).to_pylist()[0]["probe"]
    'transfer'
    """
    columns = []
    for field in ENCODED:
        if field.name == "point" and field.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, field.type))
            continue
        column = rows.column(field.name)
        if field.name in TEXTS and not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=ENCODED).unify_dictionaries().combine_chunks()


def write_rows(path: Path, run: str, rows: list[Row]) -> None:
    """Write one run's rows as Parquet."""
    pq.write_table(rows_table(run, rows), path, compression="zstd")
