"""Which runs a study asks for, which are there already, and why the rest are not. No torch."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from tunescope.data.load import fingerprint as data_fingerprint
from tunescope.engine.questions import check_questions
from tunescope.models.fingerprint import fingerprint as model_fingerprint
from tunescope.results.snapshot import Snapshot
from tunescope.results.store import Store
from tunescope.study.identity import identity
from tunescope.study.run import RunSpec
from tunescope.study.study import Member, Study

State = Literal["done", "failed", "quarantined", "missing"]


@dataclass(frozen=True)
class Planned:
    """One run of a study, and where it stands.

    Args:
        member: the run.
        id: its identity.
        state: `done` and `failed` runs are published and are not carried out again; `missing` ones are;
            `quarantined` ones have failed more often than `engine.retries` allows and wait to be asked for.
        cause: why it failed, or why the last try left it missing.
        tries: how often it was tried in vain, where it is missing or quarantined.
    """

    member: Member
    id: str
    state: State
    cause: str = ""
    tries: int = 0


def plan(study: Study, store: Store) -> list[Planned]:
    """Every run of the study against the store.

    Raises:
        StudyError: a question that no run of the study could answer.
        ModelError, DataError: a reference of the study does not exist.
    """
    check_questions(study)
    return list(_plan(study, Snapshot(store)))


def fingerprints(spec: RunSpec, known: Collection[str] = ()) -> dict[str, str]:
    """What the model and every data reference of a run hold, by reference, but for those that are known."""
    found = {ref: data_fingerprint(ref) for ref in spec.data_references() if ref not in known}
    return found if spec.model in known else found | {spec.model: model_fingerprint(spec.model)}


def _plan(study: Study, snapshot: Snapshot) -> Iterator[Planned]:
    prints: dict[str, str] = {}
    for member in study.members():
        prints |= fingerprints(member.spec, known=prints)
        id = identity(member.spec, prints)
        found = snapshot.standing(id)
        quarantined = found.status == "missing" and found.tries > study.engine.retries
        state = "quarantined" if quarantined else found.status
        yield Planned(member, id, state, found.cause or "", found.tries)
