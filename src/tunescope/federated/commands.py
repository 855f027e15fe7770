"""The commands that start Flower's processes, what these find around them, and the app they are handed."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from tunescope.federated.apps import CLIENT
from tunescope.federated.certificates import Certificates
from tunescope.federated.flower import QUIET
from tunescope.federated.processes import scripts

POLL = "0.1"  # seconds between looks of Flower's for what is to be started; its own default is 1
Scalar = str | int | float | bool


def superlink(certificates: Certificates, host: str, port: int) -> list[str]:
    """The command that starts the server, which lets in nodes whose keys were registered and nobody else."""
    return [
        str(scripts() / "flower-superlink"),
        *("--host", host, "--port", str(port)),
        *("--ssl-ca-certfile", str(certificates.authority)),
        *("--ssl-certfile", str(certificates.server), "--ssl-keyfile", str(certificates.server_key)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",  # else it installs what an app asks for
    ]


def supernode(
    client: str,
    server: str,
    authority: Path,
    key: Path,
    port: int,
    config: Mapping[str, Scalar] | None = None,
) -> list[str]:
    """The command that starts a client's node.

    Args:
        client: which one it is.
        server: the SuperLink's address, `host:port`, by a name that is in its certificate.
        authority: `ca.pem`.
        key: the client's private key.
        port: free on this machine; it is open to this machine alone.
        config: what else the node knows, such as where its data is.
    """
    said = {**(config or {}), CLIENT: client}
    return [
        str(scripts() / "flower-supernode"),
        *("--superlink", server, "--root-certificates", str(authority)),
        *("--auth-supernode-private-key", str(key)),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--node-config", " ".join(f"{name}={json.dumps(value)}" for name, value in said.items())),
    ]


def write_app(
    folder: Path,
    server: str,
    client: str,
    config: Mapping[str, Scalar],
) -> None:
    """Write what a SuperLink hands to its nodes: which apps to run, and what they are told.

    Args:
        folder: a new one.
        server: the server's app, `module:attribute`.
        client: the clients' app.
        config: what both are told.
    """
    folder.mkdir(parents=True)
    lines = [
        "[project]",
        'name = "tunescope-federation"',
        'version = "1.0.0"',
        'license = "Apache-2.0"',
        "dependencies = []",
        "[tool.flwr.app]",
        'publisher = "tunescope"',
        "[tool.flwr.app.components]",
        f"serverapp = {json.dumps(server)}",
        f"clientapp = {json.dumps(client)}",
        "[tool.flwr.app.config]",
        *(f"{name} = {json.dumps(value)}" for name, value in config.items()),
    ]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def environment(folder: Path, home: str, threads: int) -> dict[str, str]:
    """What a process of Flower's finds around it: its own folder for what it keeps, and no telemetry.

    Args:
        folder: of the node or deployment.
        home: the process's own folder below it.
        threads: to compute on.
    """
    path = os.pathsep.join([str(scripts()), os.environ.get("PATH", "")])
    cores = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    kept = {"FLWR_HOME": str(folder / home), "PATH": path}
    return {**os.environ, **QUIET, **cores, **kept, "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": POLL}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
