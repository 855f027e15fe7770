"""The server's rounds: whom it asks, what it makes of the answers, what it keeps."""

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from numpy.typing import NDArray

from tunescope.errors import StoreError, StudyError
from tunescope.federated.apps import EVALUATE, TRAIN
from tunescope.federated.combining import Answer, Combining, Memory
from tunescope.federated.exchange import Exchanged, exchange
from tunescope.federated.flower import Grid
from tunescope.federated.job import Arrays, Config
from tunescope.federated.keep import Keep, Kept
from tunescope.federated.nodes import Nodes
from tunescope.federated.robust import check
from tunescope.federated.sampling import sampled

ATTEMPT = "attempt"  # in what clients are told: what they kept of rounds that do not count is of another
GRACE = 60.0  # seconds for messages to travel and for processes to start


@dataclass(frozen=True)
class Plan:
    """How many rounds, and who takes part.

    Args:
        rounds: how many.
        clients: the names of all of them.
        per_round: how many train in a round; all, if left out.
        timeout: seconds that a client has for its work; no limit, if left out. The server itself waits for a
            minute more, `at_once` clients working at a time, and then gives up who has not answered.
        at_once: how many clients work at a time, where a runtime has fewer places than clients.
        patience: seconds that clients have for connecting, before the first round.
        closing: whether all clients evaluate what all rounds came to; it is part of none of them.
        norm: k of `robust.limit`: a step is too large beyond median + k·MAD.
        seed: of who takes part; clients are told it.
        config: what clients are told besides.
    """

    rounds: int
    clients: tuple[str, ...]
    per_round: int | None = None
    timeout: float | None = None
    at_once: int | None = None
    patience: float = 120.0
    closing: bool = False
    norm: float = 10.0
    seed: int = 0
    config: Config = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """What happened in one.

    Args:
        number: from 1.
        asked: who was to train, in the order of names.
        dropped: who of them was left out, and why.
        examples: how many each sound answer is from.
        metrics: what each client said about its training.
        diagnostics: about the way of combining, such as `aggregation_error`.
        sent: bytes of arrays to clients.
        received: bytes of arrays from them.
        seconds: from the first message to the last answer.
    """

    number: int
    asked: list[str]
    dropped: dict[str, str]
    examples: dict[str, int]
    metrics: dict[str, dict[str, float]]
    diagnostics: dict[str, float]
    sent: int
    received: int
    seconds: float


class Turn(NamedTuple):
    """One client's in a round.

    Args:
        sent: what it was sent.
        left: the same arrays after its own tuning: those that it sent back, and the rest as they were sent.
    """

    sent: Arrays
    left: Arrays


class Outcome(NamedTuple):
    """What the last round came to, all rounds, and what clients then measured, where the plan asks for it."""

    arrays: Mapping[str, NDArray]
    rounds: list[Round]
    closing: Exchanged = Exchanged({}, {}, 0, 0)


class Unusable(StudyError):
    """Nobody's answer of a round could be used.

    Args:
        number: of the round.
        causes: by client.
    """

    def __init__(self, number: int, causes: Mapping[str, str]):
        self.number, self.causes = number, dict(sorted(causes.items()))
        told = "; ".join(f"{client} {cause}" for client, cause in self.causes.items())
        super().__init__(f"round {number}: nobody's answer could be used: {told}")


Tell = Callable[[Round, Arrays, Mapping[str, Turn]], None]


def run(
    grid: Grid,
    plan: Plan,
    combining: Combining,
    initial: Callable[[], Arrays],
    keep: Keep | None = None,
    tell: Tell | None = None,
) -> Outcome:
    """Carry out the rounds that are not done yet.

    Everything is in the order of the clients' names, and what is drawn is drawn from the seed and the round:
    the same plan comes to the same arrays bit for bit, whatever answers arrive first, in whatever runtime,
    stopped and resumed or not.

    Args:
        grid: the way to the clients, of any runtime.
        plan: what to do.
        combining: what the server makes of the answers.
        initial: what the first round begins with; not asked when rounds are resumed.
        keep: where the state after each round is kept; nowhere, if left out.
        tell: is told of each round, what it came to, and the turn of every client whose answer was used, in
            the order of their names, before the round is kept: of a round that is carried out again because
            the server was killed in between, it is told again.

    Raises:
        StudyError: clients do not connect.
        Unusable: nobody's answer of a round could be used; what was kept is of the round before.
        StoreError: what was kept is of other clients or another seed.
    """
    kept = keep.read() if keep else None
    arrays, rounds = (initial(), []) if kept is None else _resumed(kept, plan, combining)
    attempt = secrets.token_hex(8) if kept is None else kept.values[ATTEMPT]
    plan = replace(plan, config={**plan.config, ATTEMPT: attempt})
    combining.check(arrays)
    nodes = Nodes(grid, plan.clients, plan.patience)
    if len(rounds) < plan.rounds or plan.closing:
        nodes.all()
    for number in range(len(rounds) + 1, plan.rounds + 1):
        arrays, done, turns = _round(grid, nodes.present(), plan, combining, arrays, number)
        if tell:
            tell(done, arrays, turns)
        del turns  # or they would be held while the next round is carried out
        rounds.append(done)
        if keep:
            keep.write(_kept(arrays, rounds, plan, combining))
    if not plan.closing:
        return Outcome(arrays, rounds)
    return Outcome(arrays, rounds, _closing(grid, nodes.present(), plan, combining, arrays))


def _round(
    grid: Grid, nodes: Mapping[str, int], plan: Plan, combining: Combining, arrays: Arrays, number: int
) -> tuple[Arrays, Round, dict[str, Turn]]:
    began = time.monotonic()
    asked = sampled(plan.clients, plan.per_round, plan.seed, number)
    config = {**plan.config, **combining.tells(number, arrays), "round": number, "seed": plan.seed}
    sent = {client: combining.sends(number, arrays, client) for client in asked}
    trained = exchange(grid, nodes, TRAIN, sent, config, plan.timeout, _wait(plan, len(sent)))
    received = {client: reply.arrays for client, reply in trained.replies.items()}
    expected = {client: combining.expects(number, sent[client]) for client in received}
    checked = check(received, expected, plan.norm, combining.most())
    dropped = trained.dropped | {one.client: one.cause for one in checked.dropped}
    if not checked.sound:
        raise Unusable(number, dropped)
    sound = {client: trained.replies[client] for client in sorted(checked.sound)}
    answers = [Answer(client, *reply) for client, reply in sound.items()]
    arrays, diagnostics = combining.combine(number, arrays, answers)
    turns = {client: Turn(sent[client], {**sent[client], **reply.arrays}) for client, reply in sound.items()}
    done = Round(
        number,
        asked,
        dict(sorted(dropped.items())),
        {client: reply.examples for client, reply in sound.items()},
        {client: reply.metrics for client, reply in sound.items()},
        diagnostics,
        trained.sent,
        trained.received,
        time.monotonic() - began,
    )
    return arrays, done, turns


def _wait(plan: Plan, asked: int) -> float | None:
    if plan.timeout is None:
        return None
    return GRACE + plan.timeout * math.ceil(asked / (plan.at_once or asked))


def _closing(
    grid: Grid, nodes: Mapping[str, int], plan: Plan, combining: Combining, arrays: Arrays
) -> Exchanged:
    config = {**plan.config, "round": plan.rounds, "seed": plan.seed}
    sent = {client: combining.sends(plan.rounds, arrays, client) for client in plan.clients}
    return exchange(grid, nodes, EVALUATE, sent, config, plan.timeout, _wait(plan, len(sent)))


def _kept(arrays: Arrays, rounds: list[Round], plan: Plan, combining: Combining) -> Kept:
    memory = combining.memory()
    told: dict[str, Any] = {"rounds": [asdict(one) for one in rounds], "memory": memory.values}
    told |= {ATTEMPT: plan.config[ATTEMPT], "seed": plan.seed, "clients": sorted(plan.clients)}
    return Kept(arrays, memory.arrays, told)


def _resumed(kept: Kept, plan: Plan, combining: Combining) -> tuple[Arrays, list[Round]]:
    for name, own in (("seed", plan.seed), ("clients", sorted(plan.clients))):
        if kept.values[name] != own:
            raise StoreError(
                f"the rounds that were kept are of {name} {kept.values[name]}, and these are of {own}; "
                "expected the same: keep these elsewhere, or remove what was kept"
            )
    combining.recall(Memory(kept.memory, kept.values["memory"]))
    return kept.arrays, [Round(**one) for one in kept.values["rounds"]]
