import json
import pickle

import pytest

from tunescope.engine.plan import Planned, plan
from tunescope.results.store import Store
from tunescope.study.study import Study

STUDY = {
    "study": "small",
    "model": "emoji-clip",
    "task": {"data": "emoji/openmoji", "label": "group"},
    "probes": ["attention"],
    "seeds": [0, 1, 2, 3],
    "runs": {"full": {"adapt": "full", "lr": 1e-3}},
}


def publish(store, id, outcome):
    store.publish(id, lambda folder: (folder / "outcome.json").write_text(json.dumps(outcome)))


def states(study, store):
    return [(run.state, run.cause, run.tries) for run in plan(study, store)]


@pytest.mark.parametrize("compacted", [False, True])
def test_where_each_run_stands_and_why(tmp_path, compacted):
    study, store = Study.parse(STUDY, "test"), Store(tmp_path / "store")
    assert states(study, store) == [("missing", "", 0)] * 4
    assert not store.root.exists()
    ids = [run.id for run in plan(study, store)]
    publish(store, ids[0], {"status": "done"})
    publish(store, ids[1], {"status": "failed", "cause": "diverged at step 2"})
    store.fail(ids[2], "its process was ended by SIGKILL")
    if compacted:
        assert store.compact() == 2
    assert states(study, store) == [
        ("done", "", 0),
        ("failed", "diverged at step 2", 0),
        ("missing", "its process was ended by SIGKILL", 1),
        ("missing", "", 0),
    ]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_run_that_failed_more_often_than_allowed_is_quarantined_until_it_is_cleared(tmp_path, retries):
    study, store = Study.parse(STUDY | {"engine": {"retries": retries}}, "test"), Store(tmp_path / "store")
    id = plan(study, store)[0].id
    for tries in range(1, retries + 3):
        store.fail(id, f"try {tries}")
        state = "quarantined" if tries > retries else "missing"
        assert states(study, store)[0] == (state, f"try {tries}", tries)
    store.clear_failure(id)
    assert states(study, store)[0] == ("missing", "", 0)
    for _ in range(retries + 1):
        store.fail(id, "again")
    publish(store, id, {"status": "done"})
    assert states(study, store)[0] == ("done", "", 0)


def test_a_planned_run_travels_to_a_worker(tmp_path):
    planned = plan(Study.parse(STUDY, "test"), Store(tmp_path / "store"))[3]
    sent = pickle.dumps(planned)
    assert len(sent) < 8000
    found = pickle.loads(sent)
    assert found == planned
    assert isinstance(found, Planned)
    with pytest.raises(AttributeError):
        setattr(found, "state", "done")  # noqa: B010
