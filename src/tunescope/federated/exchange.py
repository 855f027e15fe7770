"""One message to each of some clients, and who answered what."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunescope.federated.apps import TIMEOUT, late
from tunescope.federated.flower import ArrayRecord, ConfigRecord, Grid, Message, RecordDict
from tunescope.federated.job import Arrays, Config
from tunescope.federated.records import EXAMPLES, LONGEST, array_record, arrays_of, only, size

LOOK = 0.1  # seconds between looks at who has answered


class Reply(NamedTuple):
    """What one client answered: arrays (none where it measured), numbers, from how many examples."""

    arrays: Arrays
    metrics: dict[str, float]
    examples: int


class Exchanged(NamedTuple):
    """The answers by client, why others are missing, and the bytes of arrays each way."""

    replies: dict[str, Reply]
    dropped: dict[str, str]
    sent: int
    received: int


def exchange(
    grid: Grid,
    nodes: Mapping[str, int],
    kind: str,
    sent: Mapping[str, Arrays],
    config: Config,
    timeout: float | None = None,
    wait: float | None = None,
) -> Exchanged:
    """Ask clients to train or to evaluate, and wait for them.

    Args:
        grid: the way to them.
        nodes: the node of each client that is connected.
        kind: `train` or `evaluate`.
        sent: the arrays for each client that is asked.
        config: what all of them are told.
        timeout: seconds that each has for its work; no limit, if left out. It is held where the client is.
        wait: seconds until the server gives up those whose answers have not come, for whatever reason.
    """
    dropped = {client: "is not connected" for client in sent if client not in nodes}
    told = dict(sorted({**config, **({} if timeout is None else {TIMEOUT: timeout})}.items()))
    records: dict[int, ArrayRecord] = {}
    messages: list[Message] = []
    asked = sorted(sent.keys() & nodes.keys())
    outward = received = 0
    for client in asked:
        arrays = sent[client]
        record = records.setdefault(id(arrays), array_record(arrays))  # most are sent the same
        outward += size(record)
        content = RecordDict({"arrays": record, "config": ConfigRecord(told)})
        messages.append(Message(content, nodes[client], kind, group_id=str(config["round"])))
    answered = ask(grid, messages, wait)
    replies: dict[str, Reply] = {}
    for client, reply in zip(asked, answered, strict=True):
        if reply is None:
            dropped[client] = late(wait)
        elif reply.has_error():
            dropped[client] = _cause(reply.error.reason or "failed")
        else:
            received += sum(size(record) for record in reply.content.array_records.values())
            try:
                replies[client] = _read(reply.content, kind)
            except Exception as error:  # numpy's reader raises a dozen kinds, of bytes that a client chose
                dropped[client] = _cause(f"sent what cannot be read: {error}")
    return Exchanged(replies, dict(sorted(dropped.items())), outward, received)


def ask(grid: Grid, messages: Sequence[Message], wait: float | None) -> list[Message | None]:
    """The answer to each message; None where none came within `wait` seconds.

    As `Grid.send_and_receive`, which looks every three seconds only.
    """
    if not messages:
        return []
    ends = float("inf") if wait is None else time.monotonic() + wait
    numbers = list(grid.push_messages(messages))
    found: dict[str, Message] = {}
    while pending := set(numbers) - found.keys() - {None}:
        for reply in grid.pull_messages(pending):
            found[reply.metadata.reply_to_message_id] = reply
        if pending <= found.keys() or time.monotonic() > ends:
            break
        time.sleep(LOOK)
    numbers += [""] * (len(messages) - len(numbers))  # what was too large to be sent has none
    return [found.get(number) for number in numbers]


def _cause(reason: str) -> str:
    """On one line, which may be shown; what Flower says itself, of a process that died, as our apps would.

    >>> _cause("<class 'a.Lost'>:<'gone  away'>"), _cause(chr(27) + "[2Jno")
    ('failed: Lost: gone away', '?[2Jno')
    """
    line = " ".join(reason.split())
    said = "".join(letter if letter.isprintable() else "?" for letter in line)
    return re.sub(r"^<class '(?:\w+\.)*(\w+)'>:<'(.*)'>$", r"failed: \1: \2", said)[:LONGEST]


def _read(content: RecordDict, kind: str) -> Reply:
    numbers: dict[str, Any] = dict(only(content.metric_records.values(), "numbers"))
    examples = numbers.pop(EXAMPLES)
    if not isinstance(examples, int) or examples < 1:
        raise ValueError(f"{examples!r} examples; expected at least 1")
    arrays = arrays_of(only(content.array_records.values(), "arrays")) if kind == "train" else {}
    return Reply(arrays, {name: float(value) for name, value in sorted(numbers.items())}, examples)
