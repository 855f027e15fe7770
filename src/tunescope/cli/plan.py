"""`tunescope plan STUDY.yaml`."""

import argparse
import json
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="where runs and reports go (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def call(args: argparse.Namespace) -> int:
    """Print every run of the study and where it stands. Nothing is carried out."""
    from tunescope.engine.execute import counts
    from tunescope.engine.plan import plan
    from tunescope.results.store import Store
    from tunescope.study.study import load_study

    runs = plan(load_study(args.study), Store(args.results / "store"))
    if args.json:
        print(
            json.dumps(
                [
                    {"run": run.id, "name": run.member.name, "state": run.state, "cause": run.cause}
                    | {"spec": run.member.spec.model_dump(mode="json")}
                    for run in runs
                ],
                indent=1,
            )
        )
        return 0
    width = max(len(run.member.name) for run in runs)
    for run in runs:
        print(f"{run.id[:12]}  {run.member.name:{width}}  {run.state}{': ' + run.cause if run.cause else ''}")
    standing = counts(runs)
    print(f"{len(runs)} runs: {', '.join(f'{number} {state}' for state, number in standing.items())}")
    return 0
