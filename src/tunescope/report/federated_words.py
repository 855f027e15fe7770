"""How a study is federated, in a sentence."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunescope.report import frames
from tunescope.report.federated_numbers import EPSILON, EXAMPLES, by_client, federated
from tunescope.stats.words import count, listed
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.results.table import Table


def told(table: "Table", study: Study) -> str:
    """How many groups are federated, over how many clients and rounds, joined how; empty for none."""
    groups = {
        member.group: member.spec.federated for member in study.members() if member.spec.federated is not None
    }
    if not groups:
        return ""
    held = by_client(table, EXAMPLES)
    clients = [len(held[run.id]) for run in federated(table) if run.id in held]
    rounds = [one.rounds for one in groups.values()]
    strategies = list(dict.fromkeys(one.strategy.kind for one in groups.values()))
    whole = len(groups) == len(study.runs)
    where = "Federated" if whole else f"Federated in {len(groups)} of {count(len(study.runs), 'group')}"
    over = [_span(clients, "client")] if clients else []
    private = [record["value"] for record in frames.read(table, EPSILON, by=("run",))]
    so_private = f"; under privacy ε ≤ {math.ceil(100 * max(private)) / 100} at δ = 1e-5" if private else ""
    return (
        f"{where}: {', '.join([*over, _span(rounds, 'round')])}, joined by {listed(strategies)}{so_private}."
    )


def _span(numbers: Sequence[int], noun: str) -> str:
    """From the fewest to the most.

    >>> _span([4, 4], "client"), _span([3, 10], "round")
    ('4 clients', '3 to 10 rounds')
    """
    low, high = min(numbers), max(numbers)
    return count(low, noun) if low == high else f"{low} to {count(high, noun)}"
