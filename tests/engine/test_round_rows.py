"""The rows and lines that rounds become, from rounds as they happen."""

import math

import numpy as np
import pytest

from tunescope.engine.round_rows import lines_of_round, rows_of_clients, rows_of_round
from tunescope.federated.rounds import Exchanged, Outcome, Round
from tunescope.results.metric import declared


def made(number, metrics, **changed):
    said = {"asked": ["a", "b", "c"], "dropped": {"c": "died"}, "examples": {"a": 30, "b": 10}}
    return Round(
        number, metrics=metrics, diagnostics={}, sent=600, received=300, seconds=1.0, **said | changed
    )


def values(rows):
    return {(row.metric, row.component, row.step): row.value for row in rows}


def test_a_round_is_told_and_what_is_not_a_number_is_left_out():
    told = {"a": {"loss": 0.5, "training.memory": 70.0}, "b": {"loss": math.nan, "personal": math.inf}}
    first, later = made(1, told), made(2, {"a": {"personal": 0.75}, "b": {}})
    rows = values(rows_of_round(first, whole=5000))
    assert rows == {
        ("federated.clients", None, 1): 2,
        ("federated.dropped", None, 1): 1,
        ("federated.bytes_down", None, 1): 600,
        ("federated.bytes_up", None, 1): 300,
        ("federated.traffic", None, 1): pytest.approx(900 / (2 * 5000 * 3)),
        ("federated.loss", "a", 1): 0.5,
        ("training.memory", None, None): 70.0,
    }
    second = values(rows_of_round(later, whole=5000))
    assert second["federated.personal", "a", None] == 0.75  # of the whole run, and of no round
    assert not {name for name, _, _ in second} & {"training.memory", "federated.aggregation_error"}
    assert {name for name, _, _ in rows | second} <= declared().keys()
    assert lines_of_round(first)[0] == {"round": 1, "dropped": "c", "because": "died"}
    assert lines_of_round(later)[-1] == {
        "round": 2,
        "loss": {"a": None, "b": None},
        "sent": 600,
        "received": 300,
    }


def test_clients_are_those_whose_answer_was_used_once():
    rounds = [made(1, {}), made(2, {}, examples={"d": 7, "b": 12}, asked=["b", "d"], dropped={})]
    rows = values(rows_of_clients(Outcome({"w": np.zeros(1)}, rounds, Exchanged({}, {}, 0, 0)), {}))
    assert rows == {("federated.examples", name, None): n for name, n in (("a", 30), ("b", 12), ("d", 7))}
