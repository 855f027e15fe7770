"""`tunescope run STUDY.yaml`."""

import argparse
import json
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="where runs and reports go (%(default)s)"
    )
    parser.add_argument("--executor", choices=("process", "serial"), default="process", help="(%(default)s)")
    parser.add_argument("--workers", type=_count, help="runs at a time (one for each core, at most four)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--json", action="store_true", help="print answers and paths as JSON")


def call(args: argparse.Namespace) -> int:
    """Carry out the study; print its answers and the path of its report."""
    from tunescope import api
    from tunescope.cli.progress import Progress
    from tunescope.engine.execute import counts
    from tunescope.engine.plan import plan
    from tunescope.results.store import Store
    from tunescope.study.study import load_study

    study = load_study(args.study)
    before = plan(study, Store(args.results / "store"))
    with Progress(study.study, before, quiet=args.quiet) as progress:
        result = api.run(study, args.results, args.executor, args.workers, progress.tell)
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
        if run.state != "done":
            progress.say(f"failed: {run.member.name}: {run.cause}")
    progress.say(f"{standing['done']} of {len(result.runs)} runs done")
    return 0 if standing["done"] == len(result.runs) else 1


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


def _count(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return value
