import pytest
from results.runs_on_disk import content, identity_of, write_run

from tunescope.errors import StoreError
from tunescope.results.row import Row, rows_table, write_rows
from tunescope.results.store import Store
from tunescope.results.table import Table
from tunescope.study.run import RunSpec
from tunescope.study.study import Member

SPEC = RunSpec.parse(
    {"model": "tiny", "task": {"data": "emoji/noto"}, "adapt": {"kind": "full"}, "lr": 1e-3}, "test"
)


def member(group, **factors):
    return Member(group=group, factors=factors, spec=SPEC)


@pytest.fixture
def store(tmp_path):
    return Store(
        tmp_path / "a store [1]*" / "lr=1"
    )  # none of it may mean anything to whoever reads the files


def test_the_table_of_a_study_is_what_its_store_holds(store):
    store.publish(identity_of(0), lambda folder: write_run(folder, 0))
    diverged = {"status": "failed", "cause": "diverged at step 3"}
    store.publish(identity_of(1), lambda folder: write_run(folder, 1, diverged))
    store.publish(identity_of(9), lambda folder: write_run(folder, 9))  # of another study
    store.fail(identity_of(2), "its process was ended by SIGKILL")
    members = [
        (identity_of(2), member("lora", lr=1e-3, rank=8, seed=0)),
        (identity_of(0), member("full", lr=1e-3, seed=0)),
        (identity_of(1), member("full", lr=1, seed=1)),
        (identity_of(0), member("floor", lr=1e-3, seed=0)),
        (identity_of(3), member("lora", lr=1e-3, rank=4, seed=0)),
    ]
    table = Table.gather(store, members, "demo")
    rows = [*rows_table(identity_of(0), content(0)[1]).to_pylist()]
    rows += rows_table(identity_of(1), content(1)[1]).to_pylist()
    assert table.rows.to_pylist() == rows
    assert table.runs.to_pydict() == {
        "run": [run for run, _ in members],
        "study": ["demo"] * 5,
        "group": ["lora", "full", "full", "floor", "lora"],
        "name": [
            "lora lr=0.001 rank=8 seed=0",
            "full lr=0.001 seed=0",
            "full lr=1 seed=1",
            "floor lr=0.001 seed=0",
            "lora lr=0.001 rank=4 seed=0",
        ],
        "status": ["missing", "done", "failed", "done", "missing"],
        "cause": ["its process was ended by SIGKILL", None, "diverged at step 3", None, None],
        "lr": [1e-3, 1e-3, 1.0, 1e-3, 1e-3],
        "rank": [8, None, None, None, 4],
        "seed": [0, 0, 1, 0, 0],
    }
    assert [(value.group, value.value) for value in table.per_run("transfer.acc1")] == [
        ("full", pytest.approx(0.1)),
        ("floor", pytest.approx(0.1)),
    ]


def test_an_empty_store_gives_a_table_of_missing_runs(store):
    table = Table.gather(store, [(identity_of(0), member("full", lr=1e-3))], "demo")
    assert table.rows.num_rows == 0
    assert table.runs.column("status").to_pylist() == ["missing"]


def test_a_run_without_rows_has_none(store):
    outcome = '{"status": "failed", "cause": "diverged at step 1"}'
    store.publish(identity_of(0), lambda folder: (folder / "outcome.json").write_text(outcome, "utf-8"))
    table = Table.gather(store, [(identity_of(0), member("full", lr=1e-3))], "demo")
    assert table.rows.num_rows == 0
    assert table.runs.column("cause").to_pylist() == ["diverged at step 1"]


def test_a_run_that_cannot_be_read_is_named(store):
    for number in (0, 1):
        store.publish(identity_of(number), lambda folder, number=number: write_run(folder, number))
    path = store.root / "runs" / identity_of(1)[:16] / "rows.parquet"
    path.write_bytes(bytes(path.stat().st_size))
    members = [(identity_of(number), member("full", seed=number)) for number in (0, 1)]
    with pytest.raises(
        StoreError, match=rf"runs/{identity_of(1)[:16]}/rows\.parquet: has other contents"
    ) as error:
        Table.gather(store, members, "demo")
    assert identity_of(0)[:16] not in str(error.value)


def test_rows_of_another_run_are_refused(store):
    def write(folder):
        write_run(folder, 0)
        write_rows(folder / "rows.parquet", identity_of(1), [Row("transfer.acc1", 1.0)])

    store.publish(identity_of(0), write)
    with pytest.raises(StoreError, match=f"rows of run '{identity_of(1)}' stand in another"):
        Table.gather(store, [(identity_of(0), member("full", seed=0))], "demo")
