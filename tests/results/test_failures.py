import json

import pytest
from results.runs_on_disk import identity_of, write_run

from tunescope.results.snapshot import Snapshot, Standing
from tunescope.results.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def record_of(store, number):
    return store.root / "failures" / f"{identity_of(number)[:16]}.json"


def test_failures_are_counted_and_remembered_until_cleared(store):
    assert store.fail(identity_of(0), "OSError: =cmd|' /C calc'!A0 \u2028", "machine") == 1
    record = store.failure(identity_of(0))
    assert record is not None
    assert {name: record[name] for name in ("run", "kind", "cause", "tries")} == {
        "run": identity_of(0),
        "kind": "machine",
        "cause": "OSError: =cmd|' /C calc'!A0 \u2028",
        "tries": 1,
    }
    assert store.fail(identity_of(0), "again") == 2
    assert store.fail(identity_of(0), "and again") == 3
    assert not store.has(identity_of(0))
    assert store.failures() == {identity_of(0): store.failure(identity_of(0))}
    assert store.failures()[identity_of(0)]["cause"] == "and again"
    store.clear_failure(identity_of(0))
    store.clear_failure(identity_of(0))
    assert store.failure(identity_of(0)) is None
    assert store.failed_keys() == set()
    assert store.fail(identity_of(0), "anew") == 1


@pytest.mark.parametrize("tries", [None, 0, -3, "2", True, 1.5])
def test_a_record_without_a_count_is_of_one_try(store, tries):
    store.fail(identity_of(0), "killed")
    record = json.loads(record_of(store, 0).read_text("utf-8")) | {"tries": tries}
    if tries is None:
        del record["tries"]
    record_of(store, 0).write_text(json.dumps(record), encoding="utf-8")
    assert store.failures()[identity_of(0)]["tries"] == 1
    assert store.fail(identity_of(0), "killed") == 2


@pytest.mark.parametrize("text", ["?", "{}", "[]", '{"run": 1, "cause": "x"}', "\x00"])
def test_a_record_that_cannot_be_read_is_one_try_and_says_so(store, text):
    store.fail(identity_of(0), "killed")
    record_of(store, 0).write_text(text, encoding="utf-8")
    record = store.failure(identity_of(0)) or {}
    assert "cannot be read" in record["cause"]
    assert record["tries"] == 1
    assert store.failures() == {}
    assert store.fail(identity_of(0), "killed") == 2


def test_what_a_killed_writer_left_is_no_record(store):
    store.fail(identity_of(0), "killed")
    aside = record_of(store, 0).with_name(f"{record_of(store, 0).name}.{'0' * 32}")
    aside.write_text(json.dumps({"run": identity_of(5), "cause": "half"}), encoding="utf-8")
    assert set(store.failures()) == {identity_of(0)}
    assert store.failed_keys() == {identity_of(0)[:16]}


@pytest.mark.parametrize("compacted", [False, True])
def test_where_runs_stand(store, compacted):
    store.publish(identity_of(0), lambda folder: write_run(folder, 0))
    diverged = {"status": "failed", "cause": "diverged at step 3"}
    store.publish(identity_of(1), lambda folder: write_run(folder, 1, diverged))
    store.fail(identity_of(2), "killed")
    store.fail(identity_of(2), "killed again")
    store.fail(identity_of(0), "before it was done")
    if compacted:
        assert store.compact() == 2
    snapshot = Snapshot(store)
    assert [snapshot.standing(identity_of(number)) for number in range(4)] == [
        Standing("done"),
        Standing("failed", "diverged at step 3"),
        Standing("missing", "killed again", 2),
        Standing("missing"),
    ]
    alike = identity_of(0)[:16] + "0" * 48
    assert snapshot.standing(alike) == Standing("missing")
