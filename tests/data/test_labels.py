import numpy as np
import pyarrow as pa
import pytest

from tunescope.data.labels import read_labels
from tunescope.errors import DataError


@pytest.mark.parametrize(
    ("column", "labels", "names"),
    [
        (["not_entailment", "entailment"], [1, 0], ("entailment", "not entailment")),
        ([10, 2, 10], [1, 0, 1], ("2", "10")),
        ([True, False], [1, 0], ("false", "true")),
        (pa.array(["b", "a", "b"]).dictionary_encode(), [1, 0, 1], ("a", "b")),
    ],
)
def test_what_is_counted_is_classes(column, labels, names):
    found, spelt = read_labels(pa.chunked_array([column]), "x")
    assert found.dtype == np.int64
    assert (found.tolist(), spelt) == (labels, names)


def test_what_is_measured_is_numbers():
    found, names = read_labels(
        pa.chunked_array([pa.array([0.5, 3], pa.float32()), pa.array([2], pa.float32())]), "x"
    )
    assert found.dtype == np.float64
    assert (found.tolist(), names) == ([0.5, 3.0, 2.0], ())


@pytest.mark.parametrize("column", [["a", None], ["a", ""], [1, None], [1.5, float("nan")]])
def test_a_row_without_a_label_is_named(column):
    with pytest.raises(DataError, match=r"mail: row 2 has no label"):
        read_labels(pa.chunked_array([column]), "mail")


def test_what_is_no_label_is_named():
    with pytest.raises(DataError, match=r"mail is list<.*>; expected class labels"):
        read_labels(pa.chunked_array([[[1]]]), "mail")
