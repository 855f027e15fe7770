"""`tunescope certificates FOLDER`."""

import argparse
from pathlib import Path

EPILOG = """\
examples:
  tunescope certificates federation --host lab.example.org --study fed.yaml
  tunescope certificates federation --host 10.0.0.5 --client ada --client bob

ca.pem goes to every client's machine; clients/NAME.key goes to that client's machine alone and is nobody
else's business; server.pem, server.key and clients/*.pub stay with the server.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new one")
    parser.add_argument(
        "--host",
        action="append",
        required=True,
        metavar="NAME",
        help="a name or address by which clients reach the server; may stand often",
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--client", action="append", metavar="NAME", help="a client's name; may stand often")
    who.add_argument("--study", type=Path, metavar="FED.yaml", help="the clients of this study")


def call(args: argparse.Namespace) -> int:
    """Make them; print where they are, and where each goes."""
    from tunescope.engine.deployment import clients_in
    from tunescope.federated.certificates import DAYS, make
    from tunescope.study.study import load_study

    clients = args.client or clients_in(load_study(args.study), str(args.study))
    made = make(args.folder, args.host, dict.fromkeys(clients))
    print(f"server: {made.folder}, for {', '.join(args.host)}, {DAYS} days from now")
    for client in clients:
        print(f"client {client}: {made.authority} and {made.private(client)}")
    return 0
