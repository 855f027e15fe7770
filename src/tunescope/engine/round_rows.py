"""What the rounds of a federated run were, as rows of the table and lines of the log."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tunescope.data.examples import Examples
from tunescope.federated.epsilon import epsilon_of
from tunescope.federated.holdings import Holding
from tunescope.federated.partition import counts
from tunescope.results.row import Row
from tunescope.study.federated import Federated

if TYPE_CHECKING:
    from tunescope.federated.rounds import Outcome, Round


def rows_of_round(one: "Round", whole: int) -> list[Row]:
    """Who took part in a round, what it moved, and what clients say of it; the round is the `step`.

    `federated.traffic` is the bytes that went either way as a share of what full fine-tuning would have sent:

        (sent + received) / (2 · whole · clients asked)

    Args:
        one: the round.
        whole: bytes of the whole model.
    """
    at: dict[str, Any] = {"step": one.number}
    rows = [
        Row("federated.clients", len(one.examples), **at),
        Row("federated.dropped", len(one.dropped), **at),
        Row("federated.bytes_down", one.sent, **at),
        Row("federated.bytes_up", one.received, **at),
        Row("federated.traffic", (one.sent + one.received) / (2 * whole * len(one.asked)), **at),
    ]
    error = one.diagnostics.get("aggregation_error")
    if error is not None and math.isfinite(error):
        rows.append(Row("federated.aggregation_error", error, **at))
    for client, told in one.metrics.items():
        for name, where in (("loss", at), ("personal", {})):
            if math.isfinite(value := told.get(name, math.nan)):  # a client may say what it likes
                rows.append(Row(f"federated.{name}", value, component=client, **where))
    if one.number == 1:
        held = [told["training.memory"] for told in one.metrics.values() if "training.memory" in told]
        rows += [Row("training.memory", max(held))] if held else []
    return rows


def lines_of_round(one: "Round") -> list[dict[str, Any]]:
    """For the log: a line for each client that was left out, and one for the round."""
    losses = {client: told.get("loss") for client, told in one.metrics.items()}
    return [
        *({"round": one.number, "dropped": name, "because": cause} for name, cause in one.dropped.items()),
        {"round": one.number, "loss": losses, "sent": one.sent, "received": one.received},
    ]


def rows_of_clients(outcome: "Outcome", held: Mapping[str, Holding]) -> list[Row]:
    """From what each client learns, and how well the last global model does on its own test examples.

    How many examples it has is its own word, of those whose answer was used once; of which classes they are
    is known of those that work in this process, `held`.
    """
    sizes = {client: n for one in outcome.rounds for client, n in one.examples.items()}
    return [
        *(Row("federated.examples", n, component=name) for name, n in sorted(sizes.items())),
        *(row for name, own in held.items() for row in _classes(name, own.train)),
        *(
            Row("federated.global", value, component=name)
            for name, reply in outcome.closing.replies.items()
            if math.isfinite(value := reply.metrics.get("global", math.nan))
        ),
    ]


def rows_of_privacy(federated: Federated) -> list[Row]:
    """What clipping and noise come to, where that can be told."""
    found = epsilon_of(federated)
    return [] if found is None else [Row("federated.epsilon", found)]


def _classes(client: str, train: Examples) -> list[Row]:
    """How many examples of each class a client holds; nothing of numbers."""
    if train.regression:
        return []
    found = counts({client: np.arange(len(train))}, train.labels, train.class_names)
    return [
        Row("federated.held", one.n, component=client, split=f"class:{one.label}") for one in found if one.n
    ]
