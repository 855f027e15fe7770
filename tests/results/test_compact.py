import json
import random
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results.runs_on_disk import identity_of, write_run

from tunescope.errors import StoreError
from tunescope.results.compact import LOCK
from tunescope.results.lock import held
from tunescope.results.row import Row, write_rows
from tunescope.results.store import Store
from tunescope.results.table import Table
from tunescope.study.run import RunSpec
from tunescope.study.study import Member

SPEC = RunSpec.parse(
    {"model": "tiny", "task": {"data": "emoji/noto"}, "adapt": {"kind": "full"}, "lr": 1e-3}, "test"
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "a store [1]*")


def publish(store, *numbers, outcome=None):
    for number in numbers:
        store.publish(identity_of(number), lambda folder, number=number: write_run(folder, number, outcome))


def gather(store, numbers):
    members = [
        (identity_of(number), Member(group=f"g{place}", factors={"seed": number}, spec=SPEC))
        for place, number in enumerate(numbers)
    ]
    return Table.gather(store, members, "demo")


def same(one, other):
    return one.rows.equals(other.rows) and one.runs.equals(other.runs)


def file_of(store):
    return store.root / "compact" / "rows.parquet"


def index_of(store):
    return json.loads(pq.read_metadata(file_of(store)).metadata[b"tunescope.index"])


texts = st.none() | st.text(max_size=4)
some_rows = st.lists(
    st.builds(
        Row,
        metric=st.sampled_from(["m.one", "m.two", "é.three"]),
        value=st.floats(),
        tower=texts,
        layer=st.none() | st.integers(0, 3),
        head=st.none() | st.integers(0, 3),
        component=texts,
        split=texts,
        step=st.none() | st.integers(0, 2**40),
        std=st.none() | st.floats(),
        n=st.none() | st.integers(0, 9),
    ),
    max_size=4,
)


@settings(max_examples=10, deadline=None)
@given(
    runs=st.lists(st.none() | some_rows, min_size=1, max_size=4),
    later=st.integers(0, 4),
    dice=st.integers(0, 2**32),
)
def test_the_table_is_the_same_with_and_without(tmp_path_factory, runs, later, dice):
    """Some runs are compacted, some are published later, some not at all; some have no rows."""
    store = Store(tmp_path_factory.mktemp("any"))
    numbers = [*range(len(runs)), 99, random.Random(dice).randrange(len(runs))]  # one missing, one twice
    random.Random(dice).shuffle(numbers)
    for number, rows in enumerate(runs):
        if number == later:
            store.compact()

        def write(folder, number=number, rows=rows):
            (folder / "outcome.json").write_text('{"status": "failed", "cause": "=1+1"}', encoding="utf-8")
            if rows is not None:
                write_rows(folder / "rows.parquet", identity_of(number), rows)

        store.publish(identity_of(number), write)
    partly = gather(store, numbers)
    file_of(store).unlink(missing_ok=True)
    without = gather(store, numbers)
    assert store.compact() == len(runs)
    assert (
        len(partly.rows) == len(without.rows) == sum(len(runs[number] or []) for number in {*numbers} - {99})
    )
    key = [
        (run, float(value).hex() if value is not None else None)
        for run, value in zip(*(without.rows[name].to_pylist() for name in ("run", "value")), strict=True)
    ]
    for table in (partly, gather(store, numbers)):
        assert table.runs.equals(without.runs)
        assert table.rows.schema.equals(without.rows.schema)
        found = zip(*(table.rows[name].to_pylist() for name in ("run", "value")), strict=True)
        assert [(run, float(value).hex()) for run, value in found] == key
        others = [name for name in without.rows.column_names if name not in ("value", "std")]
        assert table.rows.select(others).equals(without.rows.select(others))


def test_the_numbers_of_a_question_are_the_same_with_and_without(store):
    publish(store, 3, 0, 2, 1)
    before = gather(store, [2, 0, 3])
    assert store.compact() == 4
    after = gather(store, [2, 0, 3])
    assert same(before, after)
    assert after.per_run("transfer.acc1") == before.per_run("transfer.acc1")
    assert after.metrics() == ["transfer.acc1"]
    assert after.sql("select distinct run from rows order by run").equals(
        before.sql("select distinct run from rows order by run")
    )


def test_the_file_is_sorted_by_run_and_says_how_each_ended(store):
    publish(store, 0, 1)
    publish(store, 2, outcome={"status": "failed", "cause": "diverged at step 1"})
    store.compact()
    runs = pq.ParquetFile(file_of(store)).read()["run"].to_pylist()
    assert runs == sorted(identity_of(number) for number in (0, 1, 2) for _ in range(3))
    column = pq.read_metadata(file_of(store)).row_group(0).column(0)
    assert (column.compression, "RLE_DICTIONARY" in column.encodings) == ("ZSTD", True)
    ended = {entry[2]: (entry[3], entry[4]) for entry in index_of(store)["held"]}
    assert ended == {
        identity_of(0): ("done", None),
        identity_of(1): ("done", None),
        identity_of(2): ("failed", "diverged at step 1"),
    }


def test_what_is_measured_of_base_models_is_left_out_and_not_counted_as_missing(store):
    publish(store, 0, outcome={"status": "done", "kind": "base"})
    publish(store, 1)
    assert store.compact_if_worth(3) == 0
    assert store.compact_if_worth(2) == 1
    assert set(pq.ParquetFile(file_of(store)).read()["run"].to_pylist()) == {identity_of(1)}
    before = file_of(store).stat().st_ino
    assert store.compact_if_worth(1) == 0
    assert store.compact() == 1
    assert file_of(store).stat().st_ino == before, "written again though nothing had changed"
    publish(store, 2)
    assert store.compact_if_worth(1) == 2


@pytest.mark.parametrize("name", ["rows.parquet", "outcome.json"])
def test_only_what_is_as_it_was_published_goes_in(store, name):
    publish(store, 0, 1)
    path = store.root / "runs" / identity_of(1)[:16] / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert store.compact() == 1
    with pytest.raises(StoreError):
        gather(store, [0, 1])
    path.write_bytes(content)
    assert store.compact() == 2


def test_a_run_with_the_rows_of_another_does_not_go_in(store):
    def write(folder):
        write_run(folder, 0)
        write_rows(folder / "rows.parquet", identity_of(1), [Row("transfer.acc1", 1.0)])

    store.publish(identity_of(0), write)
    assert store.compact() == 0
    with pytest.raises(StoreError, match="stand in another"):
        gather(store, [0])


def test_a_run_is_there_only_if_its_folder_is(store):
    publish(store, 0, 1)
    store.compact()
    shutil.rmtree(store.root / "runs" / identity_of(1)[:16])
    assert gather(store, [0, 1]).runs["status"].to_pylist() == ["done", "missing"]
    assert set(gather(store, [0, 1]).rows["run"].to_pylist()) == {identity_of(0)}
    assert store.compact() == 1
    assert set(pq.ParquetFile(file_of(store)).read()["run"].to_pylist()) == {identity_of(0)}


def test_a_file_that_goes_missing_is_seen_though_the_run_is_compacted(store):
    publish(store, 0, 1)
    store.compact()
    (store.root / "runs" / identity_of(1)[:16] / "weights.safetensors").unlink()
    assert gather(store, [0, 1]).runs["status"].to_pylist() == ["done", "missing"]


def test_discarding_removes_it_and_what_is_published_anew_counts(store):
    publish(store, 0, 1)
    store.compact()
    store.discard(identity_of(1))
    assert not file_of(store).exists()
    store.publish(identity_of(1), lambda folder: write_rows(folder / "rows.parquet", identity_of(1), []))
    with pytest.raises(StoreError, match=r"outcome\.json"):  # the one that is there now
        gather(store, [1])


def test_a_compact_file_from_before_a_run_was_made_again_is_not_believed(store):
    publish(store, 0, 1)
    store.compact()
    old = file_of(store).read_bytes()
    store.discard(identity_of(1))
    outcome = {"status": "failed", "cause": "another end"}
    publish(store, 1, outcome=outcome)
    file_of(store).write_bytes(old)  # as of a writer that was under way meanwhile
    assert gather(store, [0, 1]).runs["cause"].to_pylist() == [None, "another end"]


def test_no_flipped_bit_of_it_reaches_the_table(store):
    publish(store, *range(4))
    expected = gather(store, range(4))
    store.compact()
    content, dice = file_of(store).read_bytes(), np.random.default_rng(0)
    for place in dice.choice(len(content), 60, replace=False):
        broken = bytearray(content)
        broken[place] ^= 1 << int(dice.integers(0, 8))
        file_of(store).write_bytes(broken)
        assert same(gather(store, range(4)), expected), place
    assert store.compact() == 4
    assert same(gather(store, range(4)), expected)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100])
def test_a_compact_file_that_is_none_is_as_if_it_were_not_there(store, content):
    publish(store, 0, 1)
    before = gather(store, [0, 1])
    store.compact()
    file_of(store).write_bytes(content)
    assert same(gather(store, [0, 1]), before)
    assert store.compact() == 2
    assert pq.read_metadata(file_of(store)).num_rows == 6


def test_somebody_elses_parquet_file_in_its_place_is_not_believed(store):
    publish(store, 0)
    before = gather(store, [0])
    store.compact()
    write_rows(file_of(store), identity_of(0), [Row("transfer.acc1", 7.0)])
    assert same(gather(store, [0]), before)


def test_one_process_at_a_time_writes_it(store):
    publish(store, 0)
    (store.root / "compact").mkdir()
    with held(store.root / "compact" / LOCK) as mine:
        assert mine
        assert store.compact() == 0
    assert not file_of(store).exists()
    assert store.compact() == 1


def test_a_copied_store_keeps_it(store, tmp_path):
    publish(store, 0, 1)
    store.compact()
    shutil.copytree(store.root, tmp_path / "copy")
    copy = Store(tmp_path / "copy")
    assert copy.compact_if_worth(1) == 0
    assert same(gather(copy, [0, 1]), gather(store, [0, 1]))
