"""A deployment for real, once: a server and two nodes as processes, with TLS and a key for each client."""

from pathlib import Path

import numpy as np
import psutil
import pytest
import toy_deployed
import toy_federation
from toy_federation import Toy

from tunescope.errors import StudyError
from tunescope.federated import certificates, deploy, local, rounds
from tunescope.federated.chosen import chosen
from tunescope.federated.flower_rules import FedAvg
from tunescope.federated.keep import KeptFile
from tunescope.federated.processes import Process

CLIENTS = toy_deployed.CLIENTS
REFUSALS = {  # what Flower tells each of them
    "stranger": "Failed to activate SuperNode",
    "keyless": "SuperNode authentication is enabled. All SuperNodes must be registered",
    "plain": "Server disconnected without sending a response",
    "deceived": "CERTIFICATE_VERIFY_FAILED",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the deployment is about: its folder, its certificates, and those of somebody else."""
    folder = tmp_path_factory.mktemp("deploy")
    ours, theirs = (
        certificates.make(folder / name, ["127.0.0.1", "localhost"], CLIENTS) for name in ("ours", "theirs")
    )
    return folder, ours, theirs


def unwelcome(address, ours, theirs):
    """Commands of nodes that must not be let in, or must not trust the server."""

    def node(authority, key):
        return deploy.supernode("ada", address, authority, key, deploy.free_port())

    def without(command, word):
        return [*command[: command.index(word)], *command[command.index(word) + 2 :]]

    key = "--auth-supernode-private-key"
    ada = ours.private("ada")
    return {
        "stranger": node(ours.authority, theirs.private("ada")),
        "keyless": without(node(ours.authority, ada), key),
        "plain": [*without(without(node(ours.authority, ada), key), "--root-certificates"), "--insecure"],
        "deceived": node(theirs.authority, ada),
    }


def flowers() -> set[int]:
    """The processes of Flower that this test started, whoever their parents are by now."""
    mine = psutil.Process().pid
    found = set()
    for process in psutil.process_iter(["pid", "cmdline", "status", "environ"]):
        line = " ".join(process.info["cmdline"] or [])
        inside = (process.info["environ"] or {}).get("TUNESCOPE_TEST") == str(mine)
        if inside and ("flower-" in line or "flwr" in line) and process.info["status"] != "zombie":
            found.add(process.pid)
    return found


def test_three_rounds_of_a_deployment_and_who_is_refused(made, monkeypatch):
    folder, ours, theirs = made
    monkeypatch.setenv("TUNESCOPE_TEST", str(psutil.Process().pid))
    sources = {f"{m.__name__}.py": Path(m.__file__).read_text() for m in (toy_federation, toy_deployed)}  # pyright: ignore[reportArgumentType]
    config = {"rounds": 3, "results": str(folder)}
    deploy.write_app(folder / "app", "toy_deployed:server", "toy_deployed:client", config, sources)
    with deploy.Deployment(folder / "flower", ours, CLIENTS, {name: {} for name in CLIENTS}) as running:
        refused = [
            Process(name, [*command, "--max-retries", "1"], running.environment(name), folder / f"{name}.log")
            for name, command in unwelcome(running.address, ours, theirs).items()
        ]
        running.run(folder / "app")
        for process in refused:
            assert process.wait(10) == 1
            process.stop()
            assert REFUSALS[process.name] in process.log.read_text()
        assert flowers()
    assert flowers() == set()
    kept = KeptFile(folder / "server.safetensors").read()
    assert kept is not None
    job, plan = Toy(CLIENTS), rounds.Plan(3, CLIENTS)
    expected = local.run(
        job, lambda grid: rounds.run(grid, plan, chosen(FedAvg(), len(CLIENTS)), job.initial)
    )
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(kept.arrays[name], array, strict=True)
    for one, other in zip(kept.values["rounds"], expected.rounds, strict=True):
        assert one["metrics"] == other.metrics
        assert (one["sent"], one["received"], one["dropped"]) == (other.sent, other.received, {})


def test_a_server_that_cannot_be_reached_by_its_name_is_not_started(made, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESCOPE_TEST", str(psutil.Process().pid))
    elsewhere = certificates.make(tmp_path / "certificates", ["federation.example.org"], CLIENTS)
    with (
        pytest.raises(StudyError, match=r"certificate does not hold for '127\.0\.0\.1'"),
        deploy.Deployment(tmp_path / "flower", elsewhere, CLIENTS, {}),
    ):
        pass
    assert flowers() == set()
