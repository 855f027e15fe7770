import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results.runs_on_disk import content, identity_of, write_run

from tunescope.errors import StoreError
from tunescope.results.garbage import Freed
from tunescope.results.row import Row, rows_table, write_rows
from tunescope.results.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "a store [1]*")


def publish(store, *numbers):
    for number in numbers:
        store.publish(identity_of(number), lambda folder, number=number: write_run(folder, number))


def folder_of(store, number):
    return store.root / "runs" / identity_of(number)[:16]


def test_what_is_published_is_read_back(store):
    publish(store, 7)
    spec, rows, arrays = content(7)
    found = store.read(identity_of(7))
    assert found.run == identity_of(7)
    assert found.folder == folder_of(store, 7)
    assert found.spec == spec
    assert found.outcome == {"status": "done"}
    assert found.rows == rows_table(identity_of(7), rows)
    assert {name: array.tolist() for name, array in found.arrays().items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    assert found.weights == found.folder / "weights.safetensors"


texts = st.none() | st.text(max_size=8)
numbers = st.none() | st.integers(0, 2**31 - 1)
values = st.floats(allow_nan=False)
any_row = st.builds(
    Row,
    metric=st.text(min_size=1, max_size=12),
    value=values,
    tower=texts,
    layer=numbers,
    head=numbers,
    component=texts,
    split=texts,
    step=numbers,
    point=st.none() | values,
    std=st.none() | values,
    n=numbers,
)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(any_row, max_size=5), run=st.integers(0, 2**200))
def test_any_rows_are_read_back(tmp_path_factory, rows, run):
    store = Store(tmp_path_factory.mktemp("any"))
    store.publish(
        identity_of(run), lambda folder: write_rows(folder / "rows.parquet", identity_of(run), rows)
    )
    assert store.read(identity_of(run)).rows == rows_table(identity_of(run), rows)
    assert store.verify() == []


def test_a_diverged_run_is_published_without_weights(store):
    outcome = {"status": "failed", "cause": "diverged at step 3"}

    def write(folder):
        (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")

    store.publish(identity_of(0), write)
    found = store.read(identity_of(0))
    assert found.outcome == outcome
    assert found.weights is None
    assert found.arrays() == {}


def test_nothing_is_made_until_something_is_written(store):
    assert not store.has(identity_of(0))
    assert store.ids() == store.verify() == []
    assert store.failure(identity_of(0)) is None
    assert store.gc() == Freed()
    assert store.compact() == store.compact_if_worth(1) == 0
    assert store.unfinished(identity_of(0)).read() is None
    assert store.half_way() == []
    assert not store.root.exists()


def test_of_two_publishings_the_first_stays(store):
    publish(store, 0)
    before = (folder_of(store, 0) / "manifest.json").read_bytes()
    store.publish(identity_of(0), lambda folder: write_run(folder, 1))
    assert (folder_of(store, 0) / "manifest.json").read_bytes() == before
    assert os.listdir(store.root / "tmp") == []


@pytest.mark.parametrize(
    "wrong", ["", "ab12", "../" * 20 + "x" * 4, identity_of(0).upper(), identity_of(0) + "\n"]
)
def test_what_is_no_identity_becomes_no_path(store, wrong):
    for use in (store.has, store.read, store.failure, store.discard, store.clear_failure):
        with pytest.raises(StoreError, match="64 hexadecimal digits"):
            use(wrong)
    with pytest.raises(StoreError, match="64 hexadecimal digits"):
        store.publish(wrong, lambda folder: None)
    with pytest.raises(StoreError, match="64 hexadecimal digits"), store.claim(wrong):
        pass
    assert not store.root.exists()


def test_a_newer_store_is_refused(store):
    publish(store, 0)
    (store.root / "store.json").write_text('{"schema": 7}', encoding="utf-8")
    with pytest.raises(StoreError, match=r"schema 7.* up to schema 2\. Upgrade tunescope"):
        Store(store.root)
    with pytest.raises(StoreError, match="schema 7"):
        publish(store, 1)
    assert len(os.listdir(store.root / "runs")) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "1"}', '{"schema": 0}', "\x00"])
def test_a_broken_store_file_is_named(store, text):
    publish(store, 0)
    (store.root / "store.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"store\.json: cannot be read"):
        Store(store.root)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear reader", encoding="utf-8")
    with pytest.raises(StoreError, match=r"is not a store, and not empty \(it holds 'thesis.tex'\)"):
        publish(Store(tmp_path), 0)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_an_exception_while_writing_leaves_nothing(store):
    def write(folder):
        write_run(folder, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.publish(identity_of(0), write)
    assert os.listdir(store.root / "tmp") == os.listdir(store.root / "runs") == []


def link(folder):
    (folder / "rows.parquet").symlink_to("/etc/hostname")


def subfolder(folder):
    (folder / "more").mkdir()


def second_manifest(folder):
    (folder / "manifest.json").write_text("{}", encoding="utf-8")


def fifo(folder):
    os.mkfifo(folder / "rows.parquet")


@pytest.mark.parametrize("write", [link, subfolder, second_manifest, fifo])
def test_only_plain_files_are_published(store, write):
    with pytest.raises(StoreError, match="nothing was changed"):
        store.publish(identity_of(0), write)
    assert store.verify() == []
    assert os.listdir(store.root / "tmp") == []


def test_a_flipped_bit_is_found_wherever_it_is_and_names_only_its_run(store):
    publish(store, 0, 1, 2)
    dice = np.random.default_rng(0)
    for path in sorted(folder_of(store, 1).iterdir()):
        whole = path.read_bytes()
        for place in dice.integers(0, len(whole), 4):
            broken = bytearray(whole)
            broken[place] ^= 1 << int(dice.integers(0, 8))
            path.write_bytes(broken)
            assert {problem.key for problem in store.verify()} == {identity_of(1)[:16]}
            assert [problem.file for problem in store.verify([identity_of(1)])] == [path.name]
        path.write_bytes(whole)
    assert store.verify() == []


def test_damage_is_named_and_only_that_run_is_computed_again(store):
    publish(store, 0, 1)
    (folder_of(store, 1) / "rows.parquet").unlink()
    (folder_of(store, 1) / "notes.txt").write_text("mine", encoding="utf-8")
    key = identity_of(1)[:16]
    assert [str(problem) for problem in store.verify()] == [
        f"runs/{key}/rows.parquet: missing",
        f"runs/{key}/notes.txt: was not published with the run",
    ]
    assert store.ids() == [identity_of(0)]
    with pytest.raises(StoreError, match=r"rows\.parquet: missing.*run the study again"):
        store.read(identity_of(1))
    with store.claim(identity_of(1)) as mine:
        assert mine
        publish(store, 1)
    assert store.verify() == []
    assert len(os.listdir(store.root / "discarded")) == 1


def test_contents_that_changed_behind_its_back_are_an_error_when_read(store):
    publish(store, 0)
    path = folder_of(store, 0) / "outcome.json"
    path.write_bytes(b"[" + path.read_bytes()[1:])
    with pytest.raises(StoreError, match=r"outcome\.json: cannot be read .*tunescope verify"):
        store.read(identity_of(0)).outcome  # noqa: B018


def test_discard_takes_an_identity_or_a_key(store):
    publish(store, 0, 1)
    away = store.discard(identity_of(0))
    assert (away / "rows.parquet").exists()
    store.discard(identity_of(1)[:16])
    (store.root / "runs" / "somebody").mkdir()
    store.discard("somebody")
    assert os.listdir(store.root / "runs") == []
    with pytest.raises(StoreError, match="64 hexadecimal digits"):
        store.discard("../runs")
    with pytest.raises(StoreError, match=r"no run .* to discard"):
        store.discard(identity_of(0))


def test_a_folder_without_a_sound_manifest_is_reported_and_never_used(store):
    publish(store, 0, 1, 2, 3, 4)
    (folder_of(store, 0) / "manifest.json").unlink()
    (folder_of(store, 1) / "manifest.json").write_text("{", encoding="utf-8")
    shutil.copytree(folder_of(store, 2), store.root / "runs" / "0123456789abcdef")
    (store.root / "runs" / "somebody").mkdir()
    shutil.move(folder_of(store, 3), store.root.parent / "elsewhere")
    folder_of(store, 3).symlink_to(store.root.parent / "elsewhere")
    newer = folder_of(store, 4) / "manifest.json"
    newer.write_text(newer.read_text("utf-8").replace('"schema": 1', '"schema": 2'), encoding="utf-8")
    assert store.ids() == [identity_of(2)]
    reasons = {problem.key: problem.reason for problem in store.verify()}
    assert reasons == {
        identity_of(0)[:16]: "missing, or not a plain file",
        identity_of(1)[:16]: "is not JSON",
        "0123456789abcdef": f"is that of run {identity_of(2)}",
        "somebody": "is not a run's folder; remove it",
        identity_of(3)[:16]: "is not a folder",
        identity_of(4)[:16]: "has schema 2; this tunescope reads up to 1",
    }
    assert [problem.reason for problem in store.verify([identity_of(9)])] == ["not published"]
    publish(store, 0, 1, 3, 4)
    assert store.verify([identity_of(number) for number in range(5)]) == []
    assert (store.root.parent / "elsewhere" / "rows.parquet").exists()


@pytest.mark.parametrize("name", ["../../store.json", "/etc/hostname", "a/b", "", ".", ".."])
def test_a_manifest_names_no_file_elsewhere(store, name):
    publish(store, 0)
    path = folder_of(store, 0) / "manifest.json"
    value = json.loads(path.read_text("utf-8"))
    value["files"] = {name: {"size": 1, "sha256": "0" * 64}}
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert [problem.reason for problem in store.verify()] == ["is not what tunescope wrote"]


def test_a_published_file_that_became_a_link_is_refused(store):
    publish(store, 0)
    path = folder_of(store, 0) / "rows.parquet"
    path.rename(store.root.parent / "moved")
    path.symlink_to(store.root.parent / "moved")
    assert not store.has(identity_of(0))
    assert [problem.reason for problem in store.verify()] == ["is not a plain file"]


def test_another_run_whose_identity_begins_alike_is_not_overwritten(store):
    publish(store, 0)
    alike = identity_of(0)[:16] + "0" * 48
    assert not store.has(alike)
    with pytest.raises(StoreError, match="begins alike"):
        store.publish(alike, lambda folder: write_run(folder, 1))
    assert store.ids() == [identity_of(0)]


def test_a_claim_is_one_holders_and_looks_again_after_locking(store):
    with store.claim(identity_of(0)) as first, store.claim(identity_of(0)) as second:
        assert (first, second) == (True, False)
        with store.claim(identity_of(1)) as other:
            assert other
    with store.claim(identity_of(0)) as again:
        assert again
        publish(store, 0)
    with store.claim(identity_of(0)) as late:
        assert not late
    assert os.listdir(store.root / "claims") == []


def test_a_store_moves_with_its_folder(store):
    publish(store, 0)
    store.root.rename(store.root.with_name("moved"))
    moved = Store(store.root.with_name("moved"))
    assert moved.ids() == [identity_of(0)]
    assert moved.verify() == []


def test_a_root_that_cannot_be_a_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="Not a directory"):
        publish(Store(tmp_path / "file" / "store"), 0)
