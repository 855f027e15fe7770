"""What the local runtime needs of Flower's insides: this fails where Flower moves it."""

import random
import threading

import numpy as np
import pytest
from toy_federation import NAMES, Toy

from tunescope.errors import StudyError
from tunescope.federated import local, rounds
from tunescope.federated.apps import client_app
from tunescope.federated.chosen import chosen
from tunescope.federated.flower import ConfigRecord, Message, RecordDict
from tunescope.federated.flower_rules import FedAvg
from tunescope.federated.nodes import Nodes


def test_who_speaks_in_this_process_is_put_back():
    from flwr.supercore.task_identity import (
        TaskIdentity,
    )  # behind the import that hushes Flower's own warnings

    with pytest.raises(RuntimeError, match="not set"):
        _ = TaskIdentity.run_id
    with local.speaking_as_server():
        message = Message(RecordDict({"config": ConfigRecord({"x": 1})}), 5, "train")
        assert (message.metadata.src_node_id, message.metadata.dst_node_id) == (local.SERVER, 5)
        message.metadata.__dict__["_message_id"] = "m"
        reply = Message(RecordDict(), reply_to=message)
        assert (reply.metadata.src_node_id, reply.metadata.reply_to_message_id) == (5, "m")
    with pytest.raises(RuntimeError, match="not set"):
        _ = TaskIdentity.task_id


def test_messages_are_answered_in_the_order_of_the_nodes():
    asked = []
    app = client_app(lambda context: Toy())

    class App:
        def __call__(self, message, context):
            asked.append(context.node_id)
            return app(message, context)

    grid = local.LocalGrid(App(), len(NAMES))  # pyright: ignore[reportArgumentType]
    with local.speaking_as_server():
        assert Nodes(grid, NAMES).all() == {name: index + 2 for index, name in enumerate(NAMES)}
        content = RecordDict({"config": ConfigRecord({"round": 1})})
        asked.clear()
        numbers = list(grid.push_messages([Message(content, node, "train") for node in (5, 3)]))
        replies = list(grid.pull_messages([*numbers, "unknown"]))
    assert asked == [3, 5]
    assert [reply.metadata.src_node_id for reply in replies] == [5, 3]
    assert {reply.error.reason for reply in replies} == {
        "failed: ValueError: 0 records of arrays; expected 1"
    }
    assert list(grid.pull_messages(numbers)) == []


def test_a_timeout_needs_the_main_thread():
    failed = []

    def threaded():
        job = Toy()
        plan = rounds.Plan(1, NAMES, timeout=5)
        try:
            local.run(job, lambda grid: rounds.run(grid, plan, chosen(FedAvg(), 4), job.initial))
        except StudyError as error:
            failed.append(str(error))

    thread = threading.Thread(target=threaded)
    thread.start()
    thread.join()
    assert "only the main one is interrupted" in failed[0]


def test_random_states_of_the_process_are_left_alone():
    random.seed(1)
    np.random.seed(1)
    expected = (random.random(), np.random.random())
    random.seed(1)
    np.random.seed(1)
    job = Toy()
    plan = rounds.Plan(2, NAMES)
    local.run(job, lambda grid: rounds.run(grid, plan, chosen(FedAvg(), 4), job.initial))
    assert (random.random(), np.random.random()) == expected
