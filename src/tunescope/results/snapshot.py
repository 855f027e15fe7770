"""Where many runs stand, by one listing of the store instead of a question for each."""

from dataclasses import dataclass
from typing import Literal

from tunescope.results.compact import Compact, Held
from tunescope.results.layout import folders_of_runs, key_of
from tunescope.results.published import Published
from tunescope.results.store import Store


@dataclass(frozen=True)
class Standing:
    """Where one run stands.

    Args:
        status: `missing`, or what it was published as.
        cause: why it failed, or why the last try left it missing.
        tries: how often it was tried in vain, where it is missing.
    """

    status: Literal["done", "failed", "missing"]
    cause: str | None = None
    tries: int = 0


class Snapshot:
    """A store at one moment.

    Args:
        store: the store.
    """

    def __init__(self, store: Store):
        self.store = store
        self.compact = Compact(store.root)
        self._present = folders_of_runs(store.root)
        self._held = {one.run: one for one in self.compact.of(self._present).values()}
        self._failed = store.failed_keys()

    def held(self, run_id: str) -> Held | None:
        """The run in the compact file, where its folder is there and unchanged since it was taken in."""
        return self._held.get(run_id)

    def find(self, run_id: str) -> Published | None:
        """The run's own files, or None where it is not published whole."""
        return self.store.find(run_id) if key_of(run_id) in self._present else None

    def standing(self, run_id: str) -> Standing:
        """Where the run stands.

        Raises:
            StoreError: it is published and its outcome cannot be read.
        """
        held = self.held(run_id)
        if held is not None:
            return Standing(held.status, held.cause)  # pyright: ignore[reportArgumentType]
        found = self.find(run_id)
        if found is not None:
            status = "done" if found.outcome["status"] == "done" else "failed"
            return Standing(status, found.outcome.get("cause"))
        failure = self.store.failure(run_id) if key_of(run_id) in self._failed else None
        return Standing("missing", failure["cause"], failure["tries"]) if failure else Standing("missing")
