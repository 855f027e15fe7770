"""What the page shows of federated runs, with the words beside each chart.

A study without federated runs has none of these parts; a part with nothing to draw is not there.
"""

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from tunescope.report import (
    federated_clients,
    federated_gain,
    federated_partition,
    federated_rounds,
    federated_traffic,
)
from tunescope.report.federated_numbers import PREFIX, federated, largest
from tunescope.report.figure import Figure, drawn, left_out
from tunescope.report.quality import ACCURACY, CORRELATION

if TYPE_CHECKING:
    from tunescope.results.table import Table


def federated_figures(table: "Table") -> tuple[Figure, ...]:
    """The parts of the page about federated runs that the table has something for."""
    if not federated(table):
        return ()
    table = _read(table)
    runs = federated(table)
    settings = len({run.setting for run in runs})
    many = left_out(settings, federated_rounds.SETTINGS_AT_MOST)
    parts = (
        drawn(
            "federated-partition",
            "Who holds which examples",
            "Clients across, classes down, the largest class first: the area of a circle is the number of "
            "training examples; above them stands how many a client holds in all. Where there are many, "
            "cells are coloured instead, blank where there is none, and clients stand by the class of which "
            "they hold most. Shown is the run with the smallest seed of each setting; settings whose "
            "clients hold the same share a "
            "picture." + federated_partition.told(table),
            True,
            federated_partition.pictures(table),
        ),
        drawn(
            "federated-rounds",
            "The global model, round by round",
            "Thick lines: the mean over the runs of a setting. Bands: its 95 % interval over runs, from "
            "three runs on. A wider line has others on it. Thin lines: single runs. Dashed: where tuning in "
            "one place, on all examples together, ended. Aggregation error: how far what the next round "
            "begins with is from the sum of the clients’ updates ΔW, as a share of it, on a logarithmic "
            "scale; 0 stands at the bottom, and so does what is below 0.000001, which is rounding." + many,
            False,
            federated_rounds.rounds(table),
        ),
        drawn(
            "federated-clients",
            "Each client, round by round",
            "A panel for each client: choose a quantity. Thin lines: single runs. Thick lines: the mean of "
            "a group. Loss is the mean over the steps of a client’s round; what else there is was measured "
            "of the client’s model after its own tuning, before it was joined with the others. Where "
            "shares are drawn, a client of one name holds other examples under another seed."
            + _fewer(table, federated_clients.CLIENTS_AT_MOST),
            True,
            federated_clients.clients(table),
        ),
        drawn(
            "federated-gain",
            "Who gains by joining",
            "Filled: the global model. Open: the client’s own model, after its tuning in the last round and "
            "before it is joined. Both are read on the same test examples, weighted by the client’s own "
            "mixture of classes; mean over the runs of a setting. Filled to the right of open: the client "
            "is better off with what all made together."
            + _fewer(table, federated_gain.CLIENTS_AT_MOST)
            + left_out(settings, federated_gain.SETTINGS_AT_MOST),
            True,
            federated_gain.gain(table),
        ),
        drawn(
            "federated-traffic",
            "What travels, and what it brings",
            "Bytes of arrays from the server to clients and back, on logarithmic scales. A dot is a run, "
            "mean over its rounds; a tick is the mean of a setting. Dashed: full fine-tuning, where each "
            "client that takes part is sent the whole model and sends it back. Last: the score of the "
            "global model after each round, mean over the runs of a setting, against all that has "
            "travelled until then." + many,
            False,
            federated_traffic.traffic(table),
        ),
    )
    return tuple(part for part in parts if part.draw(table))


def _read(table: "Table") -> "Table":
    """What the parts read of the table: with a client's every head in it, it may be large."""
    read = {*federated_rounds.SCORES, *federated_clients.WATCHED, ACCURACY.metric, CORRELATION.metric}
    own = [metric for metric in table.metrics() if metric.startswith(PREFIX) or metric in read]
    return type(table)(table.rows.filter(pc.field("metric").isin(own)), table.runs)


def _fewer(table: "Table", most: int) -> str:
    """The sentence that says which clients are shown where there are more."""
    shown, every = largest(table, federated(table), most)
    if len(shown) == every:
        return ""
    return f" Shown are the {len(shown)} of {every} clients with the most examples; the table has them all."
