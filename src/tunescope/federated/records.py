"""Named arrays and numbers as Flower's records, and back."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import MethodError
from tunescope.federated.flower import Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from tunescope.federated.job import Arrays, Metrics

LONGEST = 500  # characters that are told of what somebody else has said
EXAMPLES = "num-examples"  # Flower's own name for the weight of an answer


def array_record(arrays: Arrays) -> ArrayRecord:
    """Arrays in the order of their names, each in its own type.

    Raises:
        MethodError: a type that does not survive the way, such as bfloat16.

    >>> list(array_record({"b": np.zeros(1), "a": np.zeros(2, np.int64)}))
    ['a', 'b']
    """
    found: dict[str, Array] = {}
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        if array.dtype.kind not in "biuf":
            raise MethodError(
                f"{name!r} is {array.dtype}, which cannot be sent; expected float16, float32, float64, "
                "integers or booleans: keep what is trained in float32"
            )
        found[name] = Array(array)
    return ArrayRecord(found)


def arrays_of(record: ArrayRecord) -> dict[str, NDArray]:
    """The arrays of a record; they belong to the caller.

    Raises:
        ValueError: one of them is none, or, of bytes made by somebody else, whatever reading them raises.

    >>> arrays_of(array_record({"a": np.float32([1, 2])}))["a"].dtype
    dtype('float32')
    """
    found = {name: record[name].numpy() for name in sorted(record)}
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # an archive of them, which numpy's reader takes as well
            raise ValueError(f"{name[:LONGEST]!r} is no array")
    return found


def size(record: ArrayRecord) -> int:
    """Bytes of the arrays as they are sent, the 128 of each one's header among them.

    >>> size(array_record({"a": np.zeros(4, np.float32)}))
    144
    """
    return sum(len(array.data) for array in record.values())


def metric_record(metrics: Metrics, examples: int) -> MetricRecord:
    """Numbers about a client, and from how many examples they are.

    >>> dict(metric_record({"loss": np.float32(0.5)}, 3))
    {'loss': 0.5, 'num-examples': 3}
    """
    values: dict[str, Any] = {name: float(value) for name, value in sorted(metrics.items())}
    return MetricRecord(values | {EXAMPLES: int(examples)})


def only(records: Iterable[Any], what: str) -> Any:
    """The one record of its kind.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = list(records)
    if len(found) != 1:
        raise ValueError(f"{len(found)} records of {what}; expected 1")
    return found[0]


def answer(arrays: Arrays, metrics: MetricRecord) -> Message:
    """An answer as Flower's strategies read it, which look at its content alone."""
    content = RecordDict({"arrays": array_record(arrays), "metrics": metrics})
    metadata = Metadata(0, "", 0, 0, "", "", created_at=0.0, ttl=1.0, message_type="train")
    return Message(metadata=metadata, content=content)  # pyright: ignore[reportCallIssue]
