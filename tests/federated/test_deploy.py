"""A deployment for real, once: a study by a server and two nodes, with TLS and a key for each client."""

import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tunescope import api
from tunescope.engine import deployment
from tunescope.engine.deployed import job_of, moments_of, tells
from tunescope.engine.joined import join
from tunescope.errors import DataError, StudyError
from tunescope.federated import certificates, commands, deploy, local
from tunescope.federated.flower import ConfigRecord, Context, Message, RecordDict
from tunescope.federated.processes import Process
from tunescope.results.store import Store

CLIENTS = ("emoji/openmoji-line", "emoji/twemoji")
STUDY = """
study: deployed
model: emoji-clip
task: {data: emoji/openmoji, label: group, split: {train: 0.04, val: 0.01, probe: 0.01, test: 0.94}}
train: {batch_size: 16}
engine: {cpus: 1}
federated: {rounds: 3, partition: by_domain, data: [emoji/openmoji-line, emoji/twemoji], keep_optimizer: true}
runs:
  lora: {adapt: {kind: lora, rank: 4}, lr: 1e-3}
"""
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
        return commands.supernode(CLIENTS[0], address, authority, key, commands.free_port())

    def without(command, word):
        return [*command[: command.index(word)], *command[command.index(word) + 2 :]]

    key = "--auth-supernode-private-key"
    own = ours.private(CLIENTS[0])
    return {
        "stranger": node(ours.authority, theirs.private(CLIENTS[0])),
        "keyless": without(node(ours.authority, own), key),
        "plain": [*without(without(node(ours.authority, own), key), "--root-certificates"), "--insecure"],
        "deceived": node(theirs.authority, own),
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


def test_a_study_on_nodes_of_its_own_is_as_here_and_who_is_refused(made, monkeypatch):
    folder, ours, theirs = made
    monkeypatch.setenv("TUNESCOPE_TEST", str(psutil.Process().pid))
    study, port = folder / "study.yaml", commands.free_port()
    study.write_text(STUDY)
    address = f"127.0.0.1:{port}"
    refused: list[Process] = []
    steps: list[int] = []

    def tell(event):
        if event.kind == "started":
            around = commands.environment(folder, "refused", 1)
            refused.extend(
                Process(name, [*command, "--max-retries", "1"], around, folder / f"{name}.log")
                for name, command in unwelcome(address, ours, theirs).items()
            )
        if event.kind == "step":
            assert flowers()
            steps.append(event.step)

    there = ["--client", CLIENTS[0], "--certificates", ours.folder, "--threads", 1, "--keep", folder / "node"]
    command = ["-m", "tunescope.cli.main", "join", "--server", address, *there, "--data", CLIENTS[0]]
    joined = subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE, text=True)
    try:
        deployment.run(study, folder / "deployed", ours.folder, port=port, here=[CLIENTS[1]], tell=tell)
        for process in refused:
            assert process.wait(10) == 1
            assert REFUSALS[process.name] in process.log.read_text()
    finally:
        joined.send_signal(signal.SIGINT)
        said = joined.communicate(timeout=60)[1]
        for process in refused:
            process.stop()
    assert joined.returncode == 0
    assert f"works for {address}" in said
    for _ in range(150):  # helpers of those that were refused see that they have gone
        if not flowers():
            break
        time.sleep(0.2)
    assert flowers() == set()
    assert [path.name for path in (folder / "deployed").iterdir()] == ["store"]
    assert (len(refused), steps[-1]) == (4, 3)
    (run,) = api.run(study, folder / "here", executor="serial").runs
    here, away = (Store(folder / name / "store").read(run.id) for name in ("here", "deployed"))
    assert here.weights is not None
    assert away.weights is not None
    assert away.weights.read_bytes() == here.weights.read_bytes()
    unlike = ("training.seconds", "federated.held")  # what each class of a client's is, it keeps for itself

    def rows(found):
        return {str(row) for row in found.rows.to_pylist() if row["metric"] not in unlike}

    assert rows(away) == rows(here)


def test_what_does_not_fit_is_said_before_anything_is_started(made, tmp_path):
    _, ours, _ = made
    study = tmp_path / "study.yaml"
    study.write_text(STUDY)
    with pytest.raises(StudyError, match=r"did you mean 'emoji/twemoji'"):
        deployment.run(study, tmp_path, here=["emoji/twemojis"])
    with pytest.raises(StudyError, match=r"tunescope certificates FOLDER --host 127\.0\.0\.1"):
        deployment.run(study, tmp_path, here=["emoji/twemoji"])
    with pytest.raises(StudyError, match="listens to this machine alone"):
        deployment.run(study, tmp_path, host="0.0.0.0")
    with pytest.raises(StudyError, match=r"certificates: .*ca\.pem is missing"):
        deployment.run(study, tmp_path, tmp_path / "none")
    with pytest.raises(StudyError, match="expected HOST:PORT"):
        join("example.org", CLIENTS[0], ours.folder)
    with pytest.raises(StudyError, match=r"bob\.key is missing"):
        join("127.0.0.1:1", "bob", ours.folder)
    with pytest.raises(DataError, match="there is no such folder"):
        join("127.0.0.1:1", CLIENTS[0], ours.folder, data="folder:/none")
    with pytest.raises(StudyError, match="give where they lie"):
        join("127.0.0.1:1", CLIENTS[0], ours.folder, data="client:ada")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no subfolder"):
        join("127.0.0.1:1", CLIENTS[0], ours.folder, data=f"folder:{tmp_path / 'empty'}")
    (tmp_path / "empty").rmdir()
    study.write_text(STUDY.replace("[emoji/openmoji-line", "['client:ada'"))
    with pytest.raises(StudyError, match="tunescope join --client ada --data REF"):
        deployment.run(study, tmp_path)
    study.write_text(STUDY.replace("[emoji/openmoji-line", "['client:a b'"))
    with pytest.raises(DataError, match="expected client:NAME"):
        deployment.run(study, tmp_path)
    study.write_text(STUDY + "  one: {adapt: full, lr: 1e-3, federated: {partition: iid, data: []}}\n")
    with pytest.raises(StudyError, match="make it two studies"):
        deployment.run(study, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_a_server_that_cannot_be_reached_by_its_name_is_not_started(made, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESCOPE_TEST", str(psutil.Process().pid))
    elsewhere = certificates.make(tmp_path / "certificates", ["federation.example.org"], CLIENTS)
    with (
        pytest.raises(StudyError, match=r"certificate does not hold for '127\.0\.0\.1'"),
        deploy.Deployment(tmp_path / "flower", elsewhere, CLIENTS, {}),
    ):
        pass
    with socket.create_server(("127.0.0.1", 0)) as other:
        for host, port in (("127.0.0.1", other.getsockname()[1]), ("nobody.invalid", None)):
            with (
                pytest.raises(StudyError, match=f"cannot listen at {host}"),
                deploy.Deployment(tmp_path / "taken", elsewhere, CLIENTS, {}, host, port),
            ):
                pass
    assert flowers() == set()


def test_where_a_nodes_data_lie_is_told_to_nobody_else(spec, tmp_path, capsys):
    own = {"partition": "by_domain", "data": ["client:ada", "client:bob"]}
    told = RecordDict({"config": ConfigRecord({"attempt": "1", **tells(spec("linear_probe", own))})})
    node = {"client": "ada", "data": "folder:/nowhere/jane", "keep": str(tmp_path), "threads": 1}
    with local.speaking_as_server():
        message = Message(told, dst_node_id=2, message_type="train", group_id="1")
    with pytest.raises(DataError, match="the node's own log says why") as caught:
        job_of(message, Context(1, 2, node, RecordDict(), {}))
    assert "jane" not in str(caught.value)
    assert "/nowhere/jane" in capsys.readouterr().err


def test_moments_of_a_try_whose_rounds_do_not_count_are_removed(tmp_path):
    first = moments_of(tmp_path, "run", "first")
    other = moments_of(tmp_path, "another run", "first")
    for folder in (first, other):
        folder.mkdir(parents=True)
    assert moments_of(tmp_path, "run", "first") == first
    second = moments_of(tmp_path, "run", "../../second")
    assert (second.parent, first.exists(), other.exists()) == (first.parent, False, True)
