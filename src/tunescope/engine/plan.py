"""Which runs a study asks for, which are there already, and why the rest are not. No torch."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from tunescope.data.load import fingerprint as data_fingerprint
from tunescope.engine.questions import check_questions
from tunescope.models.fingerprint import fingerprint as model_fingerprint
from tunescope.results.store import Store
from tunescope.study.identity import identity
from tunescope.study.run import RunSpec
from tunescope.study.study import Member, Study

State = Literal["done", "failed", "missing"]


@dataclass(frozen=True)
class Planned:
    """One run of a study, and where it stands.

    Args:
        member: the run.
        id: its identity.
        state: `done` and `failed` runs are published and are not carried out again; `missing` ones are.
        cause: why it failed, or why an earlier try left it missing.
    """

    member: Member
    id: str
    state: State
    cause: str = ""


def plan(study: Study, store: Store) -> list[Planned]:
    """Every run of the study against the store.

    Raises:
        StudyError: a question that no run of the study could answer.
        ModelError, DataError: a reference of the study does not exist.
    """
    check_questions(study)
    return list(_plan(study.members(), store))


def fingerprints(spec: RunSpec, known: Collection[str] = ()) -> dict[str, str]:
    """What the model and every data reference of a run hold, by reference, but for those that are known."""
    found = {ref: data_fingerprint(ref) for ref in spec.data_references() if ref not in known}
    return found if spec.model in known else found | {spec.model: model_fingerprint(spec.model)}


def _plan(members: list[Member], store: Store) -> Iterator[Planned]:
    prints: dict[str, str] = {}
    for member in members:
        spec = member.spec
        prints |= fingerprints(spec, known=prints)
        id = identity(spec, prints)
        published = store.find(id)
        if published is not None:
            state: State = "done" if published.outcome["status"] == "done" else "failed"
            yield Planned(member, id, state, published.outcome.get("cause", ""))
        else:
            failure = store.failure(id)
            yield Planned(member, id, "missing", failure["cause"] if failure else "")
