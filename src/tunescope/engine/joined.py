"""A client's node on its own machine: it works for the server as long as it is let."""

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from tunescope.data.client import PREFIX
from tunescope.data.load import fingerprint, load
from tunescope.engine.process import cores
from tunescope.errors import StudyError

PAUSE = 2.0  # seconds before a node that ended is started again
# So often in a row it may end at once: the server learns of its key after it has started, and holds a node
# that was killed for connected, and so its successor for a second one, until it has missed it for a minute.
REFUSALS = 30
AT_ONCE = 20.0  # seconds
LOOK = 0.5


def join(
    server: str,
    client: str,
    certificates: Path,
    data: str | None = None,
    keep: Path | None = None,
    threads: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Work for a server until interrupted; a server that is started again is joined again.

    Args:
        server: `host:port`, by a name in the server's certificate.
        client: which of the study's clients this is.
        certificates: the folder with `ca.pem`, and this client's key below `clients/`.
        data: where its data are, in the place of the study's reference.
        keep: where decoded images and optimisers' moments are kept; `node-CLIENT` here, if left out.
        threads: to compute on; this machine's cores, if left out.
        say: told what is going on, a line at a time.

    Raises:
        TunescopeError: an argument does not fit, the server is another one, or it does not let this node in.
        KeyboardInterrupt: as usual; the node has ended.
    """
    from tunescope.federated.certificates import Certificates, quoted
    from tunescope.federated.commands import environment, free_port, supernode
    from tunescope.federated.processes import Process

    host, port = _address(server)
    held = Certificates(certificates)
    key = held.private(client)
    for path, what in ((held.authority, "the server's authority"), (key, f"client {client!r}'s key")):
        if not path.is_file():
            raise StudyError(f"--certificates: {path} is missing ({what}); copy it from where it was made")
    if data is not None:
        if '"' in data:
            raise StudyError(f"--data {data}: a quotation mark cannot be told to the node; rename the folder")
        if data.startswith(PREFIX):
            raise StudyError(
                f"--data {data}: this is what the study calls them; give where they lie, such as folder:PATH"
            )
        (load if data.startswith("folder:") else fingerprint)(data)  # others may ask for the study's label
    folder = (keep or Path(f"node-{quoted(client)}")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not _there(host, port, held.authority):
        say(f"{server} does not answer yet; waiting for it")
    computed = threads or cores()
    config = {"keep": str(folder), "threads": computed} | ({} if data is None else {"data": data})
    refused = 0
    say(f"client {client} works for {server} until Ctrl-C; its log is {folder / 'node.log'}")
    while True:
        command = supernode(client, server, held.authority, key, free_port(), config)
        started = time.monotonic()
        node = Process("node", command, environment(folder, "node", computed), folder / "node.log")
        try:
            while node.wait(LOOK) is None:
                pass
            refused = refused + 1 if time.monotonic() - started < AT_ONCE else 0
            if refused == REFUSALS:
                raise StudyError(f"{server} does not let client {client!r} in; {node.last_words()}")
        finally:
            node.stop()
        _there(host, port, held.authority)
        time.sleep(PAUSE)


def _address(server: str) -> tuple[str, int]:
    """Host and port.

    >>> _address("lab.example.org:9092"), _address("[::1]:9092")
    (('lab.example.org', 9092), ('::1', 9092))
    """
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise StudyError(f"--server {server!r}: expected HOST:PORT, such as lab.example.org:9092")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _there(host: str, port: int, authority: Path) -> bool:
    """Whether somebody answers, who is whom the certificates name.

    Raises:
        StudyError: it is somebody else, or `ca.pem` is none.
    """
    try:
        context = ssl.create_default_context(cafile=authority)
        with socket.create_connection((host, port), timeout=AT_ONCE) as plain:
            context.wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLError as error:
        raise StudyError(
            f"{host}:{port} is not the server of these certificates, at least not by this name ({error}); "
            f"give the name it was made for, and its own {authority.name}"
        ) from None
    except OSError:
        return False
    return True
