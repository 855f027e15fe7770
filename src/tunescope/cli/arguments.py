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


def port(text: str) -> int:
    """A number of a port.

    >>> port("9092")
    9092
    >>> port("0")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a port from 1 to 65535, got '0'
    """
    value = int(text) if text.isdigit() else 0
    if not 0 < value < 65536:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return value
