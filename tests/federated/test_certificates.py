"""Certificates that hold for the hosts they name, and keys that nobody else can read."""

import ipaddress
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tunescope.errors import StudyError
from tunescope.federated import certificates

HOSTS = ["127.0.0.1", "federation.example.org"]


def test_a_chain_that_verifies_and_keys_that_pair(tmp_path):
    made = certificates.make(tmp_path / "made", HOSTS, ["ada", "emoji/noto"], days=30)
    authority, other = (
        x509.load_pem_x509_certificate(of.authority.read_bytes())
        for of in (made, certificates.make(tmp_path / "other", HOSTS, []))
    )
    server = x509.load_pem_x509_certificate(made.server.read_bytes())

    def verified(trusted, host, days):
        policy = PolicyBuilder().store(Store([trusted])).time(datetime.now(UTC) + timedelta(days=days))
        return policy.build_server_verifier(host).verify(server, [])

    named = x509.DNSName(HOSTS[1])
    for host in (named, x509.IPAddress(ipaddress.ip_address(HOSTS[0]))):
        assert verified(authority, host, days=29) == [server, authority]
    for wrong in ((other, named, 1), (authority, x509.DNSName("example.org"), 1), (authority, named, 31)):
        with pytest.raises(VerificationError):
            verified(*wrong)
    assert {path.name for path in (tmp_path / "made" / "clients").iterdir()} == {
        f"{name}.{kind}" for name in ("ada", "emoji%2Fnoto") for kind in ("key", "pub")
    }
    for client in ("ada", "emoji/noto"):
        private = load_ssh_private_key(made.private(client).read_bytes(), None)
        assert isinstance(private, EllipticCurvePrivateKey)
        assert private.curve.name == "secp384r1"
        assert private.public_key() == load_ssh_public_key(made.public(client).read_bytes())
    assert made.public("ada").read_bytes() != made.public("emoji/noto").read_bytes()
    for secret in (made.server_key, made.private("ada")):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_what_cannot_be_made_is_refused_before_anything_is(tmp_path):
    folder = tmp_path / "made"
    with pytest.raises(StudyError, match="no host"):
        certificates.make(folder, [], ["ada"])
    for host in ("", "münchen.example", "lab example"):
        with pytest.raises(StudyError, match="is no name or address"):
            certificates.make(folder, [HOSTS[0], host], ["ada"])
    for name in ("", 70 * "/"):
        with pytest.raises(StudyError, match="cannot be a file's name"):
            certificates.make(folder, HOSTS, [name])
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(StudyError, match="there already"):
        certificates.make(folder, HOSTS, ["ada"])
