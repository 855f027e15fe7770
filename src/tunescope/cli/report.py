"""`tunescope report STUDY.yaml`."""

import argparse
from pathlib import Path

from tunescope.cli.arguments import results

FORMATS = ("pdf", "svg", "png")
TABLES = ("latex", "csv")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("study", type=Path, help="a study file")
    results(parser)
    parser.add_argument(
        "--figures",
        type=formats,
        action="extend",
        default=[],
        metavar="FORMAT",
        help="also write every chart for a paper, as pdf, svg or png (several: with commas, or said often), "
        "with its caption and its numbers",
    )
    parser.add_argument(
        "--tables",
        type=kinds,
        action="extend",
        default=[],
        metavar="FORMAT",
        help="also write the settings and the answers as tables for a paper, as latex or csv",
    )


def formats(text: str) -> list[str]:
    """Formats of figures, from a list with commas.

    >>> formats("pdf,svg")
    ['pdf', 'svg']
    """
    return _among(FORMATS, text)


def kinds(text: str) -> list[str]:
    """Formats of tables, from a list with commas.

    >>> kinds("latex, csv")
    ['latex', 'csv']
    """
    return _among(TABLES, text)


def _among(known: tuple[str, ...], text: str) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    for part in found:
        if part not in known:
            expected = f"{', '.join(known[:-1])} or {known[-1]}"
            raise argparse.ArgumentTypeError(f"unknown format {part!r}; expected {expected}")
    return found


def call(args: argparse.Namespace) -> int:
    """Write table, answers and page from the store, and the charts if asked; print where they are."""
    from tunescope import api

    result = api.report(args.study, args.results)
    print(result.report)
    if args.figures:
        from tunescope.report import paper
        from tunescope.results.store import Store

        store, folder = Store(args.results / "store"), result.folder / "figures"
        wanted = list(dict.fromkeys(args.figures))
        paper.write(folder, result.table, result.answers, lambda run: store.read(run).arrays(), wanted)
        print(folder)
    if args.tables:
        from tunescope.report import tables

        tables.write(result.folder / "tables", result.table, result.answers, args.tables)
        print(result.folder / "tables")
    return 0
