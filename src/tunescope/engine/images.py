"""Where a store keeps decoded images: decoded once, mapped into memory by every run."""

from pathlib import Path

from tunescope.results.layout import make
from tunescope.results.store import Store
from tunescope.results.writing import writing

DECODED = "decoded"


def decoded(store: Store) -> Path:
    """The folder of a store's decoded images, made if it is not there.

    Raises:
        StoreError: it cannot be made.
    """
    with writing(store.root, "keep decoded images"):
        make(store.root, DECODED)
    return store.root / DECODED
