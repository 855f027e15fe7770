"""The certificates and keys of a deployment: an authority, a server's certificate, a key for each client."""

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tunescope.errors import StudyError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DAYS = 365
LONGEST = 200  # characters of a file's name, without its ending
LEEWAY = timedelta(minutes=5)  # clocks of two machines differ


@dataclass(frozen=True)
class Certificates:
    """Where the files are.

    Args:
        folder: `ca.pem` goes to everybody; `server.pem` and `server.key` stay with the server; each client's
            `clients/NAME.key` goes to that client alone, its `clients/NAME.pub` stays with the server. The
            authority's own key is not kept: new certificates are new files for everybody.
    """

    folder: Path

    @property
    def authority(self) -> Path:
        """What a node trusts the server by."""
        return self.folder / "ca.pem"

    @property
    def server(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.pem"

    @property
    def server_key(self) -> Path:
        """The server's private key."""
        return self.folder / "server.key"

    def private(self, client: str) -> Path:
        """What a client's node proves itself with."""
        return self.folder / "clients" / f"{quoted(client)}.key"

    def public(self, client: str) -> Path:
        """What the server knows that client's node by."""
        return self.folder / "clients" / f"{quoted(client)}.pub"

    def check(self, clients: Iterable[str], nodes: Iterable[str]) -> None:
        """Whether a server finds here what it needs, for these clients and the nodes beside it.

        Raises:
            StudyError: a file is missing; names it.
        """
        public = [self.public(client) for client in clients]
        private = [self.private(client) for client in nodes]
        for path in (self.authority, self.server, self.server_key, *public, *private):
            if not path.is_file():
                raise StudyError(
                    f"certificates: {path} is missing; give the folder that `tunescope certificates` made "
                    "with all clients of the study, or make a new one"
                )


def make(folder: Path, hosts: Sequence[str], clients: Iterable[str], days: int = DAYS) -> Certificates:
    """Make all of them, with keys on the curve P-384; private ones can be read by their owner alone.

    Args:
        folder: a new one.
        hosts: the names and addresses by which nodes reach the server.
        clients: their names; in a file's name whatever is no letter, digit, '_', '.', '-' or '~' is quoted.
        days: how long the certificates hold.

    Raises:
        StudyError: the folder is there already, no host is named or one that is none, a client's name is
            empty or too long, or a package is missing.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise StudyError(
            f"certificates need a package that could not be imported ({error}); "
            "install it with: pip install 'tunescope[federated]'"
        ) from error

    clients = list(clients)
    _check(folder, hosts, clients)
    (folder / "clients").mkdir(parents=True, mode=0o700)
    made = Certificates(folder)
    authority_key, server_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    authority = _authority(authority_key, days)
    server = _server(server_key, hosts, authority, authority_key, days)
    _write(made.authority, _pem(authority))
    _write(made.server, _pem(server))
    _write(made.server_key, _private(server_key, openssh=False))
    for client in clients:
        key = ec.generate_private_key(ec.SECP384R1())
        _write(made.private(client), _private(key, openssh=True))
        _write(made.public(client), _public(key))
    return made


def _check(folder: Path, hosts: Sequence[str], clients: Sequence[str]) -> None:
    if folder.exists():
        raise StudyError(
            f"certificates: {folder} is there already; expected a new folder: nodes that hold the old files "
            "would be shut out"
        )
    if not hosts:
        raise StudyError(
            "certificates: no host; expected the names or addresses by which nodes reach the server"
        )
    for host in hosts:
        if not host or not host.isascii() or any(letter.isspace() for letter in host):
            raise StudyError(
                f"certificates: host {host!r} is no name or address; expected one such as lab.example.org, "
                "names with other letters as the network has them (xn--…)"
            )
    for client in clients:
        if not client or len(quoted(client)) > LONGEST:
            raise StudyError(
                f"certificates: client {client!r} cannot be a file's name; expected 1 to {LONGEST} "
                "characters, of which all but letters and digits count as three or more"
            )


def quoted(client: str) -> str:
    """A client's name as a file's.

    >>> quoted("emoji/noto"), quoted("../ada")
    ('emoji%2Fnoto', '..%2Fada')
    """
    return quote(client, safe="")


def _name(common: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _begun(
    subject: str, issuer: "x509.Name", key: "EllipticCurvePrivateKey", days: int
) -> "x509.CertificateBuilder":
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LEEWAY)
        .not_valid_after(now + timedelta(days=days))
    )


def _authority(key: "EllipticCurvePrivateKey", days: int) -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    signs = {"key_cert_sign": True, "crl_sign": True, "digital_signature": True}
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = x509.KeyUsage(**signs, **dict.fromkeys(others, False), encipher_only=False, decipher_only=False)
    return (
        _begun("tunescope federation", _name("tunescope federation"), key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )


def _server(
    key: "EllipticCurvePrivateKey",
    hosts: Sequence[str],
    authority: "x509.Certificate",
    authority_key: "EllipticCurvePrivateKey",
    days: int,
) -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _begun("tunescope server", authority.subject, key, days)  # hosts are below, of any length
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issued_by, critical=False)
        .sign(authority_key, hashes.SHA384())
    )


def _host(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _private(key: "EllipticCurvePrivateKey", openssh: bool) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    form = PrivateFormat.OpenSSH if openssh else PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def _public(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
