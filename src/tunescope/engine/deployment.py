"""Carry out a study whose clients are on machines of their own."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.data.client import PREFIX, client_of
from tunescope.engine.events import Event, Tell
from tunescope.engine.plan import Planned, plan
from tunescope.engine.process import cores
from tunescope.errors import Stopped, StudyError, nearest
from tunescope.federated.holdings import clients_of
from tunescope.results.store import Store
from tunescope.study.study import Study, load_study

if TYPE_CHECKING:
    from tunescope.federated.certificates import Certificates

SERVER, CLIENT = "tunescope.engine.deployed:server", "tunescope.engine.deployed:client"
HERE, THERE = 120.0, 3600.0  # seconds that nodes of this machine, and of others, have for connecting


def run(
    study: Path,
    results: Path,
    certificates: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    here: Sequence[str] | None = None,
    tell: Tell = lambda event: None,
) -> None:
    """Carry out what is missing of a study, one run after the other, each by all nodes.

    A server that ended, for whatever reason, is started again with the same arguments and goes on after the
    last whole round. Where Flower keeps things is removed at the end, and left where it or a run goes wrong.

    Args:
        study: its file.
        results: the folder of the store.
        certificates: what `certificates.make` made; None makes some for this once, which only nodes of this
            machine can have.
        host: the name or address at which the server listens, which is in its certificate.
        port: a free one, if left out.
        here: the clients whose nodes are started on this machine; None = all where there are no certificates,
            and none where there are. The others `join`.
        tell: called with every `Event`.

    Raises:
        TunescopeError: something does not fit, found before anything is started; or the deployment failed.
        Stopped: somebody asked the server to stop.
    """
    from tunescope.federated import certificates as made
    from tunescope.federated.commands import write_app
    from tunescope.federated.deploy import Deployment

    asked = load_study(study)
    clients = clients_in(asked, str(study))
    nodes = list(clients if certificates is None else ()) if here is None else list(here)
    for client in nodes:
        if client not in clients:
            raise StudyError(f"--here {client!r}: the study has no such client; {nearest(client, clients)}")
    for ref in private(asked):
        if client_of(ref) in nodes:
            raise StudyError(
                f"data {ref!r} are known to their own node alone, and no node that is started here is told "
                f"where they lie; start it with `tunescope join --client {client_of(ref)} --data REF`, for "
                "which there are --certificates"
            )
    if certificates is None and set(nodes) != set(clients):
        raise StudyError(
            "nodes on other machines need certificates; make them with `tunescope certificates FOLDER "
            f"--host {host} --study {study}` and give --certificates FOLDER"
        )
    if certificates is None and not _loopback(host):
        raise StudyError(
            f"--host {host}: without certificates the server listens to this machine alone; leave it out, "
            "or make certificates and give --certificates FOLDER"
        )
    if certificates is not None:
        made.Certificates(certificates).check(clients, nodes)
    planned = plan(asked, Store(results / "store"))
    if all(run.state != "missing" for run in planned):
        return
    results.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="deployed-", dir=results)).absolute()
    own = _certificates(folder, certificates, host, clients)
    threads = asked.engine.cpus or max(1, cores() // max(1, len(nodes)))
    known = {
        client: {"keep": str(folder / "nodes" / made.quoted(client)), "threads": threads} for client in nodes
    }
    told = Told(folder / "told.jsonl", planned, tell)
    config = {
        "study": str(study.absolute()),
        "results": str(results.absolute()),
        "told": str(told.path),
        "patience": HERE if set(nodes) == set(clients) else THERE,
    }
    write_app(folder / "app", SERVER, CLIENT, config)
    with Deployment(folder / "flower", own, clients, known, host, port, threads) as running:
        try:
            running.run(folder / "app", told.look)
        finally:
            told.look()
    if not told.failed:
        shutil.rmtree(folder)
    told.check()


def clients_in(study: Study, where: str) -> tuple[str, ...]:
    """The clients of a study's federated runs.

    Raises:
        StudyError: no run is federated, or not all have the same clients.
    """
    of = {m.name: clients_of(m.spec.federated) for m in study.members() if m.spec.federated is not None}
    if not of:
        raise StudyError(f"{where}: none of its runs is federated; say how, under 'federated:'")
    (first, clients), *others = of.items()
    for name, other in others:
        if other != clients:
            raise StudyError(
                f"{where}: the clients of {first!r} are {', '.join(clients)}, and those of {name!r} are "
                f"{', '.join(other)}; a deployment has the same nodes for all runs: make it two studies"
            )
    return clients


def private(study: Study) -> list[str]:
    """The data of a study's federated runs that only their clients have."""
    found = (m.spec.federated.data for m in study.members() if m.spec.federated is not None)
    return sorted({ref for data in found for ref in data if ref.startswith(PREFIX)})


@dataclass
class Told:
    """What the server tells, line by line, in a file.

    Args:
        path: of the file.
        planned: the runs that it tells of.
        tell: told of every event.

    Attributes:
        ended: what ended it before its end, as it was told: an `error`, or that it was `stopped`.
        failed: whether it was an error, or some run has failed.
    """

    path: Path
    planned: Sequence[Planned]
    tell: Tell
    ended: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    _read: int = 0

    def look(self) -> None:
        """Pass on what has been told since."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._read)
            found = stream.read()
        found = found[: found.rfind(b"\n") + 1]
        self._read += len(found)
        runs = {run.id: run for run in self.planned}
        for line in map(json.loads, found.splitlines()):
            self.failed |= "error" in line or line.get("kind") == "failed"
            if "kind" in line:
                self.tell(Event(**line | {"run": runs[line["run"]]}))
            else:
                self.ended |= line

    def check(self) -> None:
        """Whether it ended well.

        Raises:
            StudyError: it said what does not fit.
            Stopped: it was asked to stop.
        """
        if "error" in self.ended:
            raise StudyError(self.ended["error"])
        if "stopped" in self.ended:
            raise Stopped(self.ended["stopped"])


def _certificates(folder: Path, given: Path | None, host: str, clients: Sequence[str]) -> "Certificates":
    from tunescope.federated.certificates import Certificates, make

    return make(folder / "certificates", [host], clients) if given is None else Certificates(given.absolute())


def _loopback(host: str) -> bool:
    """Whether an address or name is this machine's own.

    >>> _loopback("127.0.0.1"), _loopback("localhost"), _loopback("example.org")
    (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
