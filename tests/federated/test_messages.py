"""What travels, who says it is whom, and answers that cannot be read."""

import io

import numpy as np
import pytest
from toy_federation import NAMES, Toy

from tunescope.errors import MethodError, StudyError
from tunescope.federated import local
from tunescope.federated.apps import CLIENT, client_app
from tunescope.federated.exchange import exchange
from tunescope.federated.flower import Context, Message, MetricRecord, RecordDict
from tunescope.federated.nodes import Nodes
from tunescope.federated.records import array_record, arrays_of

CONFIG = {"round": 1, "seed": 0}


def test_arrays_come_back_as_they_were():
    arrays = {
        "b/int": np.array(7),
        "a/fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "c/half": np.array([1, 2], np.float16),
        "d/none": np.zeros((0, 3), np.float32),
        "e/bool": np.array([True, False]),
    }
    record = array_record(arrays)
    assert list(record) == sorted(arrays)
    back = arrays_of(record)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array, strict=True)
    for dtype in ("V2", "complex64", "U3", object):  # a bfloat16 is two bytes of no type to numpy
        with pytest.raises(MethodError, match=r"'w' is \S+, which cannot be sent"):
            array_record({"w": np.zeros(2, dtype)})


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ({"metrics": MetricRecord({"num-examples": 3})}, "0 records of arrays; expected 1"),
        ({"arrays": array_record({"w": np.zeros(1)})}, "0 records of numbers; expected 1"),
        ({"arrays": array_record({}), "metrics": MetricRecord({"num-examples": 0})}, "0 examples; expected"),
        (
            {"arrays": array_record({}), "metrics": MetricRecord({"num-examples": 0.5})},
            "0.5 examples; expected",
        ),
        ({"arrays": array_record({}), "metrics": MetricRecord({})}, "'num-examples'"),
    ],
)
def test_answers_that_cannot_be_read_are_left_out_and_named(content, cause):
    class App:
        def __call__(self, message, context):
            return Message(RecordDict(dict(content)), reply_to=message)

    grid = local.LocalGrid(App(), 1)  # pyright: ignore[reportArgumentType]
    with local.speaking_as_server():
        found = exchange(grid, {"ada": 2}, "train", {"ada": {}, "bob": {}}, CONFIG, None)
    assert found.replies == {}
    assert found.dropped["ada"].startswith(f"sent what cannot be read: {cause}")
    assert found.dropped["bob"] == "is not connected"


def written(write) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


HUGE = {"descr": "<f4", "fortran_order": False, "shape": (10**13,)}


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (written(lambda to: np.save(to, np.array([{"a": 1}], dtype=object))), "allow_pickle=False"),
        (written(lambda to: np.savez(to, w=np.zeros(2))), "'w' is no array"),
        (written(lambda to: np.lib.format.write_array_header_1_0(to, HUGE)), "cannot be read: "),
        (b"PK\x03\x04", "cannot be read: "),
        (b"", "cannot be read: "),
    ],
    ids=["pickle", "archive", "huge", "broken archive", "nothing"],
)
def test_bytes_that_are_no_array_are_no_end_of_the_server(data, cause):
    record = array_record({"w": np.zeros(2)})
    record["w"].data = data

    class App:
        def __call__(self, message, context):
            content = {"arrays": record, "metrics": MetricRecord({"num-examples": 3})}
            return Message(RecordDict(content), reply_to=message)

    with local.speaking_as_server():
        grid = local.LocalGrid(App(), 1)  # pyright: ignore[reportArgumentType]
        found = exchange(grid, {"ada": 2}, "train", {"ada": {}}, CONFIG, None)
    assert found.replies == {}
    assert cause in found.dropped["ada"]


def said_by(*configs):
    """The nodes of a grid whose nodes are configured so."""
    grid = local.LocalGrid(client_app(lambda context: Toy()), 0)
    grid._contexts = {
        number: Context(1, number, config, RecordDict(), {}) for number, config in enumerate(configs, start=2)
    }
    with local.speaking_as_server():
        return Nodes(grid, NAMES, patience=0.1).all()


def test_nodes_say_which_client_they_are():
    assert said_by(*({CLIENT: name} for name in reversed(NAMES))) == {
        name: 5 - index for index, name in enumerate(NAMES)
    }
    with pytest.raises(StudyError, match="two nodes are client 'ada'"):
        said_by({CLIENT: "ada"}, {CLIENT: "ada"})
    with pytest.raises(StudyError, match=r"not connected within 0\.1 s: bob, cyd, dan; expected all of 4"):
        said_by({CLIENT: "ada"}, {CLIENT: "eve"}, {})
