"""Arguments that several verbs take."""

import argparse
from pathlib import Path


def results(parser: argparse.ArgumentParser) -> None:
    """`--results FOLDER`."""
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="where runs and reports go (%(default)s)"
    )


def workers(parser: argparse.ArgumentParser) -> None:
    """`--workers N`."""
    parser.add_argument(
        "--workers", type=count, metavar="N", help="runs at a time (one for each core, at most four)"
    )


def count(text: str) -> int:
    """A whole number from 1.

    >>> count("3")
    3
    """
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return value
