"""`tunescope plan STUDY.yaml`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.cli.arguments import results, workers

if TYPE_CHECKING:
    from tunescope.engine.cost import Cost, Costs
    from tunescope.engine.plan import Planned


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("study", type=Path, help="a study file")
    results(parser)
    parser.add_argument(
        "--calibrate", action="store_true", help="measure what runs cost, where that is not known yet"
    )
    workers(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def call(args: argparse.Namespace) -> int:
    """Print every run of the study, where it stands and what it will cost. Nothing is carried out."""
    from tunescope.engine.cost import Costs
    from tunescope.engine.plan import plan
    from tunescope.engine.process import shared_out
    from tunescope.results.store import Store
    from tunescope.study.study import load_study

    study, store = load_study(args.study), Store(args.results / "store")
    runs = plan(study, store)
    at_a_time, threads = shared_out(study.engine, args.workers)
    costs = Costs(store, threads)
    missing = list({run.id: run for run in runs if run.state == "missing"}.values())
    code = _calibrate(missing, costs) if args.calibrate else 0
    found = {run.id: costs.of(run) for run in missing}
    if args.json:
        print(json.dumps([_document(run, found.get(run.id)) for run in runs], indent=1))
        return code
    width = max(len(run.member.name) for run in runs)
    for run in runs:
        cost = f"  {_cost(found[run.id])}" if run.id in found else ""
        cause = f": {run.cause}" if run.cause else ""
        print(f"{run.id[:12]}  {run.member.name:{width}}  {run.state}{cost}{cause}")
    print(_sum(runs, found, at_a_time))
    if not args.calibrate and None in found.values():
        print("?: not known on this machine yet; --calibrate measures it with a few steps", file=sys.stderr)
    return code


def _calibrate(missing: "Sequence[Planned]", costs: "Costs") -> int:
    """Measure every shape of run that is not known; the exit code says whether that went well."""
    from tunescope.engine.calibrate import calibrate
    from tunescope.errors import TunescopeError

    code, unknown = 0, costs.unknown(missing)
    for place, run in enumerate(unknown, 1):
        print(f"calibrating {place} of {len(unknown)}: runs like {run.member.name}", file=sys.stderr)
        try:
            calibrate(run, costs)
        except TunescopeError as error:  # the others are of use without it
            print(error, file=sys.stderr)
            code = 1
    return code


def _document(run: "Planned", cost: "Cost | None") -> dict:
    said = {"run": run.id, "name": run.member.name, "state": run.state, "cause": run.cause}
    said |= {name: getattr(cost, name, None) for name in ("seconds", "memory", "gpu_memory")}
    return said | {"spec": run.member.spec.model_dump(mode="json")}


def _sum(runs: "Sequence[Planned]", found: "dict[str, Cost | None]", workers: int) -> str:
    from tunescope.engine.cost import together
    from tunescope.engine.execute import counts

    standing = ", ".join(f"{number} {state}" for state, number in counts(runs).items() if number)
    different = len({run.id for run in runs})
    shared = f" ({different} different)" if different < len(runs) else ""
    said = f"{len(runs)} runs{shared}: {standing}"
    known = [cost for cost in found.values() if cost is not None]
    if not known:
        return said
    of = "" if len(known) == len(found) else f" for the {len(known)} whose cost is known"
    with_ = f"{workers} worker{'' if workers == 1 else 's'}"
    return f"{said}; about {_time(together(known, workers))} with {with_}{of}"


def _cost(cost: "Cost | None") -> str:
    if cost is None:
        return "?"
    gpu = "" if cost.gpu_memory is None else f", {cost.gpu_memory / 1e9:.1f} GB of GPU memory"
    return f"~{_time(cost.seconds)}, {cost.memory / 1e9:.1f} GB{gpu}"


def _time(seconds: float) -> str:
    """Seconds as one number that a person remembers."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 9.95 * size else f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
