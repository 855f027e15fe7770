"""Clients on machines of their own: Flower's SuperLink and SuperNodes, with TLS and a key for each client.

A node runs the code that its SuperLink sends it: whoever runs a client trusts whoever runs the server that
far, as with every deployment of Flower. The apps that are sent here name this package's own and hold no code.
"""

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tunescope.errors import StudyError
from tunescope.federated.certificates import Certificates, quoted
from tunescope.federated.commands import Scalar, environment, free_port, superlink, supernode
from tunescope.federated.processes import Process, scripts

READY = 60.0  # seconds for a SuperLink to answer
LOOK = 0.2  # seconds between looks at whether a process has started, or ended
CONNECTION = "here"  # the name of the SuperLink in the configuration of Flower's command line
DONE, WELL = "finished", "finished:completed"


class Deployment:
    """A SuperLink and nodes as processes of this machine, as long as the `with` block lasts.

    Nodes on other machines are started there, with `supernode`; the names of their clients are in `clients`
    here, and not in `nodes`.

    Args:
        folder: for logs and for what Flower keeps; a new one.
        certificates: of the server and of all clients.
        clients: who is let in.
        nodes: what each node started here knows besides its name.
        host: where the server listens.
        port: a free one, if left out.
        threads: of each process that computes.

    Raises:
        StudyError: on entering: the server does not start, or refuses a key.
    """

    def __init__(
        self,
        folder: Path,
        certificates: Certificates,
        clients: Sequence[str],
        nodes: Mapping[str, Mapping[str, Scalar]],
        host: str = "127.0.0.1",
        port: int | None = None,
        threads: int = 1,
    ):
        self.folder, self.certificates = folder, certificates
        self.clients, self.nodes = list(clients), dict(nodes)
        self.host, self.port = host, port or free_port()
        self.threads = threads
        self._processes: list[Process] = []

    @property
    def address(self) -> str:
        """Of the server, for nodes on this machine."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._check_free()
        self.folder.mkdir(parents=True)
        try:
            self._until_ready(self._start("superlink", superlink(self.certificates, self.host, self.port)))
            self._connect()
            for client in self.clients:
                public = str(self.certificates.public(client))
                self._flower("supernode", "register", public, CONNECTION, "--name", client)
            for client, config in self.nodes.items():
                key, authority = self.certificates.private(client), self.certificates.authority
                command = supernode(client, self.address, authority, key, free_port(), config)
                self._start(f"node-{quoted(client)}", command)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        """Nodes first, all at once: they tell the server that they leave."""
        for node in self._processes[1:]:
            node.end()
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()

    def run(self, app: Path, look: Callable[[], None] = lambda: None) -> None:
        """Hand an app to the SuperLink, and wait until the server's part of it has ended.

        A node that ends meanwhile is nobody's end but its own: the rounds leave it out, and name it.

        Args:
            app: the folder that `write_app` wrote.
            look: called every now and then.

        Raises:
            StudyError: it failed, or the SuperLink or all nodes of this machine ended.
        """
        number = self._flower("run", str(app), CONNECTION)["run-id"]
        command = [str(scripts() / "flwr"), "log", number, CONNECTION]  # ends with the run
        run = {"status": ""}
        while not run["status"].startswith(DONE):
            logging = Process("log", command, self.environment("flwr"), self.folder / "server.log")
            try:
                while logging.wait(LOOK) is None:
                    self._check()
                    look()
            finally:
                logging.stop()
            run = self._flower("list", CONNECTION, "--run-id", number)["runs"][0]
        if run["status"] != WELL:
            raise StudyError(
                f"the federated run ended as {run['status']!r} ({run['status-details']}); "
                f"see the logs in {self.folder}"
            )

    def environment(self, home: str) -> dict[str, str]:
        """What a process of this deployment finds around it. As the function."""
        return environment(self.folder, home, self.threads)

    def _start(self, name: str, command: Sequence[str]) -> Process:
        started = Process(name, command, self.environment(name), self.folder / f"{name}.log")
        self._processes.append(started)
        return started

    def _check(self) -> None:
        link, *nodes = self._processes
        link.check()
        if nodes and len(nodes) == len(self.clients) and all(node.wait(0) is not None for node in nodes):
            nodes[0].check()

    def _check_free(self) -> None:
        """Or whoever listens there, another server of the same certificates, would be taken for ours."""
        try:
            family, *_, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
        except OSError as error:
            raise StudyError(
                f"the server cannot listen at {self.address} ({error.strerror}); expected a name or address "
                "of this machine, and a port that nobody listens on: wait for a server that is ending, or "
                "give another --port"
            ) from None

    def _until_ready(self, link: Process) -> None:
        context, ends = (
            ssl.create_default_context(cafile=self.certificates.authority),
            time.monotonic() + READY,
        )
        while True:
            link.check()
            try:
                with socket.create_connection((self.host, self.port), timeout=READY) as plain:
                    context.wrap_socket(plain, server_hostname=self.host).close()
                return
            except ConnectionError:
                if time.monotonic() > ends:
                    raise StudyError(
                        f"the server does not answer within {READY:g} s; {link.last_words()}"
                    ) from None
            except ssl.SSLError as error:
                raise StudyError(
                    f"the server's certificate does not hold for {self.host!r} ({error}); make certificates "
                    "with this name among their hosts"
                ) from None
            time.sleep(LOOK)

    def _connect(self) -> None:
        home = self.folder / "flwr"
        home.mkdir()
        lines = [
            f"[superlink.{CONNECTION}]",
            f"address = {json.dumps(self.address)}",
            f"root-certificates = {json.dumps(str(self.certificates.authority.absolute()))}",
        ]
        (home / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _flower(self, *arguments: str) -> dict[str, Any]:
        """One command of Flower's command line, which answers in JSON."""
        command = [str(scripts() / "flwr"), *arguments, "--format", "json"]
        done = subprocess.run(command, env=self.environment("flwr"), capture_output=True, text=True)
        try:
            said = json.loads(done.stdout)
        except json.JSONDecodeError:
            said = {}
        if not said.get("success"):
            reason = said.get("error-message") or done.stderr or done.stdout
            raise StudyError(f"flwr {' '.join(arguments[:2])}: {' '.join(reason.split())[-500:]}")
        return said
