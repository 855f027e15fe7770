"""A column of labels → classes with names, or numbers to be predicted."""

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from tunescope.data.prompts import readable
from tunescope.errors import DataError

Labels = tuple[Int64[np.ndarray, " n"] | Float64[np.ndarray, " n"], tuple[str, ...]]


def read_labels(column: pa.ChunkedArray, where: str) -> Labels:
    """The labels of a column, and the names of its classes in order; no names where labels are numbers.

    Strings, truth values and whole numbers are classes, in the order of the alphabet or of size; numbers
    with a point are what a regression predicts.

    Args:
        column: one value per row.
        where: the data and the column, for the message.

    Raises:
        DataError: a row without a label, or a column of another type.

    >>> read_labels(pa.chunked_array([["spam", "ham", "spam"]]), "mail")
    (array([1, 0, 1]), ('ham', 'spam'))
    >>> read_labels(pa.chunked_array([[2.5, 4.0]]), "ratings")
    (array([2.5, 4. ]), ())
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    strings = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    classes = strings or pa.types.is_boolean(kind) or pa.types.is_integer(kind)
    if not classes and not pa.types.is_floating(kind):
        raise DataError(
            f"{where} is {column.type}; expected class labels: strings, whole numbers, true and false; or "
            "numbers with a point, for a regression"
        )
    values = column.to_pylist()
    for row, value in enumerate(values, 1):
        if value is None or value == "" or value != value:
            raise DataError(
                f"{where}: row {row} has no label; remove the row, or choose a split without such"
            )
    if not classes:
        return np.asarray(values, dtype=np.float64), ()
    spelt = sorted(set(values))
    place = {value: i for i, value in enumerate(spelt)}
    names = readable(str(value).lower() if isinstance(value, bool) else str(value) for value in spelt)
    return np.array([place[value] for value in values], dtype=np.int64), names
