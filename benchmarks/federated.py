"""Rounds of a federated run: what they take beside the clients' own training, and what travels.

Run it with `python benchmarks/federated.py`. emoji-clip is tuned by LoRA of rank 8 on q, k, v and o; six
clients hold one style of emoji each. Ways take turns, so that a busy machine is fair to all. Prints
for each of them the seconds of a round over those in its clients' `train`, without and with looking at the
round's model (validation, how far clients have drifted), and the bytes of all rounds over those of full
fine-tuning.

What comes once is left out of the seconds: loading, the first round, and testing clients in the last.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from tunescope.data.task import task_examples
from tunescope.engine.federation import Federation
from tunescope.engine.joining import lay_out
from tunescope.engine.tower import tower_of
from tunescope.engine.work import head_for, install
from tunescope.federated import client, rounds
from tunescope.models.load import load
from tunescope.study.run import RunSpec

STYLES = ("openmoji", "openmoji-line", "noto", "twemoji", "fluent-3d", "fluent-flat")
LORA = {"kind": "lora", "rank": 8, "targets": ["q", "k", "v", "o"]}
WAYS = ("naive", "ffa_lora", "rolora", "fed_sb", "fedex_lora", "flora")
LEAST = 0.02  # share of the emoji that are trained on, where only bytes are counted


class Taken(NamedTuple):
    """What the rounds of one run took: seconds of each, and bytes over those of full fine-tuning.

    Args:
        training: in the clients' `train`.
        exchanging: from the first message to what the next round begins with, training among it.
        whole: with looking at it.
        traffic: of each round, both ways.
    """

    training: list[float]
    exchanging: list[float]
    whole: list[float]
    traffic: list[float]


def spec(adapt: Any, way: str, number: int, share: float) -> RunSpec:
    """A run of so many rounds, whose clients hold this share of the emoji."""
    split = {"train": share, "val": 0.24, "probe": 0.1, "test": 0.66 - share}
    task = {"data": "emoji/openmoji", "label": "subgroup", "min_per_class": 20, "split": split}
    data = [f"emoji/{style}" for style in STYLES]
    federated = {"rounds": number, "partition": "by_domain", "data": data, "strategy": way}
    said = {"model": "emoji-clip", "task": task, "adapt": adapt, "lr": 1e-3, "train": {"batch_size": 32}}
    return RunSpec.parse(said | {"federated": federated}, "benchmark")


@contextmanager
def timed(module: Any, name: str) -> Iterator[list[float]]:
    """The seconds of every call of a function, inside."""
    taken: list[float] = []
    function = getattr(module, name)

    def called(*arguments: Any, **settings: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **settings)
        finally:
            taken.append(time.perf_counter() - started)

    with mock.patch.object(module, name, called):
        yield taken


def carry_out(run: RunSpec, decoded: Path) -> Taken:
    """The rounds of one run."""
    encoder = load(run.model)
    examples = task_examples(run, encoder.preprocess, decoded)
    held = lay_out(run, encoder, examples, decoded)
    head = head_for(run, encoder, examples["train"])
    installed = install(run, encoder, tower_of(run, encoder))
    ends = [time.perf_counter()]
    federation = Federation(
        run,
        encoder,
        installed,
        head,
        held,
        examples,
        on_step=lambda *_: ends.append(time.perf_counter()),
    )
    with timed(client, "train") as training, timed(rounds, "_round") as exchanging:
        _, history = federation.carry_out()
    each = [sum(training[at : at + len(held)]) for at in range(0, len(training), len(held))]
    whole = [after - before for before, after in pairwise(ends)]
    traffic = [row.value for row in history.rows if row.metric == "federated.traffic"]
    return Taken(each, exchanging, whole, traffic)


def overhead(ways: Sequence[str], number: int, turns: int, share: float, decoded: Path) -> None:
    """What a round takes beside its clients' training, in turns."""
    found: dict[str, list[Taken]] = {way: [] for way in ways}
    for _ in range(turns):
        for way in ways:
            found[way].append(carry_out(spec(LORA, way, number, share), decoded))
    for way, runs in found.items():
        training, exchanging, whole = (
            [seconds for one in runs for seconds in one[part][1:-1]] for part in range(3)
        )
        besides, looking = (
            100 * statistics.median(b / a - 1 for a, b in zip(training, of, strict=True))
            for of in (exchanging, whole)
        )
        print(
            f"{way:10} train {statistics.median(training):6.2f} s a round; besides {besides:5.1f} %, "
            f"with looking at it {looking:5.1f} % (medians of {len(training)} rounds)",
            flush=True,
        )


def traffic(ways: Sequence[str], number: int, decoded: Path) -> None:
    """What travels in all rounds, over what the whole model's arrays would come to."""
    full = carry_out(spec("full", "naive", 1, LEAST), decoded).traffic
    print(f"full       {100 * full[0]:5.1f} % of the whole model's bytes")
    for way in ways:
        found = carry_out(spec(LORA, way, number, LEAST), decoded).traffic
        first, last, all_of_them = (
            100 * part / full[0] for part in (found[0], found[-1], sum(found) / number)
        )
        print(
            f"{way:10} {all_of_them:5.1f} % of full fine-tuning's bytes over {number} rounds (round 1 "
            f"{first:.1f} %, round {number} {last:.1f} %)",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--rounds", type=int, default=4, help="of each run that is timed, three or more")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.16, help="of the emoji that are trained on")
    parser.add_argument("--travels", type=int, default=10, help="rounds whose bytes are counted")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        traffic(arguments.ways, arguments.travels, Path(name))
        overhead(arguments.ways, arguments.rounds, arguments.turns, arguments.share, Path(name))


if __name__ == "__main__":
    main()
