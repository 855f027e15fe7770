"""`tunescope report STUDY.yaml`."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="where runs and reports go (%(default)s)"
    )


def call(args: argparse.Namespace) -> int:
    """Write table, answers and page from the store; print where the page is."""
    from tunescope import api

    print(api.report(args.study, args.results).report)
    return 0
