"""`tunescope run STUDY.yaml`."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunescope.cli.arguments import count, results, workers

if TYPE_CHECKING:
    from tunescope.api import StudyResult
    from tunescope.engine.events import Tell
    from tunescope.study.study import Study


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("study", type=Path, help="a study file")
    choices(parser)


def choices(parser: argparse.ArgumentParser) -> None:
    """How, how many, which, and what is said of it."""
    results(parser)
    parser.add_argument(
        "--executor",
        choices=("process", "serial", "ray", "slurm"),
        default="process",
        help="one process per run, all in this process, one Ray task or one Slurm job per run (%(default)s)",
    )
    workers(parser)
    parser.add_argument("--address", help="of a Ray cluster (RAY_ADDRESS, or a local one)")
    parser.add_argument(
        "--only", action="append", metavar="GLOB", help="runs whose name or group matches; may stand often"
    )
    parser.add_argument("--limit", type=count, metavar="N", help="carry out at most N runs this time")
    parser.add_argument("--fail-fast", action="store_true", help="the first run that fails ends the rest")
    parser.add_argument("--retry", action="store_true", help="try quarantined runs again")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--json", action="store_true", help="print answers and paths as JSON")


def call(args: argparse.Namespace) -> int:
    """Carry out the study; print its answers and the path of its report."""
    from tunescope import api
    from tunescope.engine.together import follow, follows
    from tunescope.results.store import Store
    from tunescope.study.study import load_study

    study = load_study(args.study)
    if follows():
        follow(Store(args.results / "store"))
        return 0
    return carried_out(args, study, lambda tell: api.run(args.study, args.results, tell, **chosen(args)))


def chosen(args: argparse.Namespace) -> dict[str, Any]:
    """The caller's choices, as `engine.options.Options` takes them."""
    from tunescope.engine.options import Options

    return {name: getattr(args, name) for name in Options.__dataclass_fields__ if name != "runtime"}


def carried_out(args: argparse.Namespace, study: "Study", carry_out: "Callable[[Tell], StudyResult]") -> int:
    """Show a study while `carry_out` does so; print its answers and the path of its report."""
    from tunescope import api
    from tunescope.cli.progress import Progress
    from tunescope.engine.execute import counts
    from tunescope.engine.options import Options
    from tunescope.engine.plan import plan
    from tunescope.results.store import Store

    options, planned = Options(**chosen(args)), plan(study, Store(args.results / "store"))
    with Progress(study.study, planned, options.chosen(planned), quiet=args.quiet) as progress:
        result = carry_out(progress.tell)
    if args.json:
        print(json.dumps(_document(result), indent=1, ensure_ascii=False))
    else:
        for found in result.answers:
            print("\n".join(found.lines()), end="\n\n")
        print(f"report: {result.report}")
    for split, number in api.skipped(result.table):
        progress.say(f"skipped: {number} broken images of {split or 'the task'}")
    standing = counts(result.runs)
    for run in result.runs:
        if run.cause:
            progress.say(f"{run.state}: {run.member.name}: {run.cause}")
    if standing["quarantined"]:
        progress.say("quarantined runs are left alone until they are asked for: --retry tries them again")
    progress.say(f"{standing['done']} of {len(result.runs)} runs done")
    left = {run.id for run in result.runs if options.limit and run.state == "missing" and not run.cause}
    return 0 if all(run.state == "done" or run.id in left for run in options.matching(result.runs)) else 1


def _document(result) -> dict:
    return {
        "study": result.study.study,
        "answers": [found.to_json() for found in result.answers],
        "report": str(result.report),
        "runs": [
            {"run": run.id, "name": run.member.name, "state": run.state, "cause": run.cause}
            for run in result.runs
        ],
    }
