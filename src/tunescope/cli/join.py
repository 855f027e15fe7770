"""`tunescope join`."""

import argparse
import sys
from pathlib import Path

from tunescope.cli.arguments import count

EPILOG = """\
examples:
  tunescope join --server lab.example.org:9092 --client ada --certificates federation --data folder:/mnt/scans
  tunescope join --server 127.0.0.1:9092 --client emoji/noto --certificates federation

A node may be started before the server, and waits for it. It carries out what the server's tunescope asks
for with this client's data; arrays and numbers leave this machine, data do not.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("--server", required=True, metavar="HOST:PORT", help="by a name in its certificate")
    parser.add_argument(
        "--client", required=True, metavar="NAME", help="which of the study's clients this is"
    )
    parser.add_argument(
        "--certificates",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="with ca.pem, and this client's key below clients/",
    )
    parser.add_argument(
        "--data", metavar="REF", help="where this client's data are, such as folder:/mnt/scans"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="for decoded images and moments (node-NAME, here)"
    )
    parser.add_argument("--threads", type=count, metavar="N", help="cores to compute on (all)")


def call(args: argparse.Namespace) -> int:
    """Work for the server until Ctrl-C."""
    from tunescope.engine.joined import join

    try:
        join(args.server, args.client, args.certificates, args.data, args.keep, args.threads, _say)
    except KeyboardInterrupt:
        _say("left")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
