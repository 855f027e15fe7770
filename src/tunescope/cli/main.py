"""The command line: one file per verb.

Progress goes to stderr, results to stdout. Exit codes: 0 all well; 1 some runs failed, or a check found
something broken; 2 a mistake to mend, said in one message; 130
stopped by Ctrl-C (the first one checkpoints, the second one ends at once).
"""

import argparse
import os
import sys
from importlib import import_module

from tunescope.errors import Stopped, TunescopeError

VERBS = {
    "run": "carry out a study, or what is missing of it, and write its report",
    "federate": "carry out a study whose data stay with their owners, and write its report",
    "certificates": "make the certificates and keys of a federated study on several machines",
    "join": "work for a federated study on another machine, with data that stay on this one",
    "plan": "the runs of a study: which are there, which are not, and why",
    "report": "write a study's table, answers and page again from its store",
    "compare": "answer questions of anybody's table: a CSV, TSV or Parquet file, or a study's results",
    "status": "how many runs the store holds, and which tries failed",
    "verify": "check every published run against its checksums",
    "gc": "remove leftovers and caches, and compact; published runs are never touched",
    "methods": "the ways to tune, the objectives, penalties and optimisers, partitions and strategies",
    "probes": "the measurements, and what each number means",
    "models": "the model that ships with tunescope, and the families it can map",
    "datasets": "the data that ships with tunescope, and the references it understands",
}


def parser() -> argparse.ArgumentParser:
    """The parser of every verb."""
    made = argparse.ArgumentParser(
        prog="tunescope", description="What fine-tuning did to your model, and what to do about it."
    )
    made.add_argument("--version", action="store_true", help="print the version and stop")
    verbs = made.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for verb, help in VERBS.items():
        sub = verbs.add_parser(verb, help=help, description=help[0].upper() + help[1:] + ".")
        import_module(f"tunescope.cli.{verb}").arguments(sub)
    return made


def main(argv: list[str] | None = None) -> int:
    """Carry out one verb; the return value is the exit code."""
    made = parser()
    args = made.parse_args(argv)
    if args.version:
        from tunescope import __version__

        print(f"tunescope {__version__}")
        return 0
    if args.verb is None:
        made.print_help()
        return 0
    try:
        return import_module(f"tunescope.cli.{args.verb}").call(args)
    except TunescopeError as error:
        print(f"tunescope {args.verb}: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"\ntunescope {args.verb}: {stopped}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print(f"\ntunescope {args.verb}: ended; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
