"""The toy's apps as a deployment runs them, with the server's part; sent to every node."""

from pathlib import Path

from toy_federation import Toy

from tunescope.federated import rounds
from tunescope.federated.apps import client_app, server_app
from tunescope.federated.chosen import chosen
from tunescope.federated.flower_rules import FedAvg
from tunescope.federated.keep import KeptFile

CLIENTS = ("ada", "bob")


def serve(grid, context):
    plan = rounds.Plan(int(context.run_config["rounds"]), CLIENTS, timeout=60)
    keep = KeptFile(Path(str(context.run_config["results"])) / "server.safetensors")
    rounds.run(grid, plan, chosen(FedAvg(), len(CLIENTS)), Toy(CLIENTS).initial, keep)


client = client_app(lambda context: Toy(CLIENTS))
server = server_app(serve)
