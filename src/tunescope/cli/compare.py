"""`tunescope compare TABLE --ask QUESTION`."""

import argparse
import json
import sys
from pathlib import Path

COLUMNS = {
    "group": "names the group of a run",
    "seed": "names the seed; runs of two groups with the same seed are pairs",
    "run": "names the run; without it, group, seed and factors tell runs apart, or each row is a run",
    "layer": "tells the rows of one run apart, as the next six do: which layer",
    "head": "which head",
    "tower": "which tower",
    "component": "which component",
    "split": "which split of the data",
    "step": "after which step of training",
    "point": "where on a curve",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "table",
        type=Path,
        help="a CSV, TSV or Parquet file, wide (a row is a run) or long (a row is a number); or a study's "
        "folder of results",
    )
    parser.add_argument(
        "--ask",
        action="append",
        default=[],
        metavar="QUESTION",
        help="a question as study files have them, such as '{metric: accuracy, compare: [lora, full]}'; "
        "several, said one by one, are corrected together",
    )
    parser.add_argument(
        "--questions", type=Path, metavar="FILE", help="a YAML file with a list of questions, or a study file"
    )
    parser.add_argument(
        "--correction", choices=("holm", "benjamini_hochberg"), help="over all questions (holm)"
    )
    columns = parser.add_argument_group(
        "columns of a foreign table", "a column that is called like its flag need not be given"
    )
    for name, help in COLUMNS.items():
        columns.add_argument(f"--{name}", metavar="COLUMN", help=help)
    columns.add_argument("--metric", metavar="A,B", help="wide: the columns of numbers to ask about")
    columns.add_argument("--long", metavar="METRIC:VALUE", help="long: the metric's column, and its value's")
    columns.add_argument("--factors", metavar="A,B", help="what varies between runs (the remaining columns)")
    columns.add_argument(
        "--drop-nan", action="store_true", help="leave out runs whose number is NaN or infinite"
    )
    parser.add_argument("--json", action="store_true", help="print the answers as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the answers as a flat table")


def call(args: argparse.Namespace) -> int:
    """Print the answers."""
    from tunescope import api
    from tunescope.errors import TableError
    from tunescope.report.answer_sheet import answer_sheet
    from tunescope.study.asked import question_of, questions_in

    asked = [question_of(said, f"--ask {said!r}") for said in args.ask]
    correction = args.correction
    if args.questions is not None:
        declared, named = questions_in(args.questions)
        asked += declared
        correction = correction or named
    columns = {name: getattr(args, name) for name in (*COLUMNS, "metric", "long", "factors")}
    answers = api.compare(
        args.table,
        asked,
        correction or "holm",
        args.drop_nan,
        lambda said: print(said, file=sys.stderr),
        **columns,
    )
    if not answers:
        raise TableError(
            "nothing is asked; say --ask '{metric: …, compare: [one group, another]}', or --questions FILE"
        )
    if args.csv is not None:
        try:
            args.csv.write_text(answer_sheet(answers), encoding="utf-8")
        except OSError as error:
            raise TableError(f"--csv {args.csv}: cannot be written ({error.strerror})") from None
    if args.json:
        print(json.dumps([found.to_json() for found in answers], indent=1, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(found.lines()) for found in answers))
    return 0
