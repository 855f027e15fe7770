"""`client:NAME`: data that nobody but a federated client has; its own machine says where they lie."""

import hashlib
import re
from typing import NoReturn

from tunescope.data.dataset import Reads
from tunescope.errors import DataError

PREFIX = "client:"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load(ref: str, label: str | None) -> NoReturn:
    """Nothing: they are not here.

    Raises:
        DataError: always, with what is to be done.
    """
    raise DataError(
        f"data {ref!r}: they are on the machine of the client {_named(ref)!r} alone; carry the study out "
        "with `tunescope federate --runtime deploy`, and start its node with `tunescope join --data REF`"
    )


def tower(ref: str) -> Reads:
    """As `load`."""
    load(ref, None)


def fingerprint(ref: str) -> str:
    """sha256 of the name: what such data hold is known to their owner alone, and is in no run's identity.

    >>> fingerprint("client:ada") == fingerprint("client:bob")
    False
    """
    return hashlib.sha256(f"{PREFIX}{_named(ref)}".encode()).hexdigest()


def client_of(ref: str) -> str:
    """The name of the client that a reference makes where each holds the data of one place.

    >>> client_of("client:ada"), client_of("emoji/noto")
    ('ada', 'emoji/noto')
    """
    return _named(ref) if ref.startswith(PREFIX) else ref


def _named(ref: str) -> str:
    name = ref.removeprefix(PREFIX)
    if not NAME.fullmatch(name):
        raise DataError(
            f"data {ref!r}: expected client:NAME, the name of letters, digits, '.', '_' and '-', at most 64"
        )
    return name
