import csv
import json
import math

import numpy as np
import planted_heads as planted
import pytest

from tunescope.errors import TableError
from tunescope.report.head_files import write_head_files
from tunescope.results.tablefile import inert

FULL = "full lr=0.0001 seed=1"
PAIR = "compare/full lr=0.0001 vs lora lr=0.001"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    found = write_head_files(folder, planted.study(), planted.table(), planted.arrays)
    assert found == folder / "heads"
    return found


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def document(path):
    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_files_are_those_of_the_runs_and_of_the_pair(written):
    runs = {f"{group} seed={seed}" for group in ("full lr=0.0001", "lora lr=0.001") for seed in range(3)}
    names = ("heads.csv", "stats.json", "cases.json", "eval_subset.json")
    wanted = {f"{run}/{name}" for run in runs for name in names}
    wanted |= {f"{PAIR}/compare_metrics.json", f"{PAIR}/compare_summary.txt"}
    for setting in ("full lr=0.0001", "lora lr=0.001"):
        wanted |= {f"seeds/{setting}/heads vision {head}.csv" for head in ("trained", "text")}
    assert set(everything(written)) == wanted


def test_a_row_for_each_head_with_its_intervals(written):
    found = rows(written / FULL / "heads.csv")
    assert len(found) == 2 * planted.LAYERS * planted.HEADS
    for row in found:
        at = int(row["layer"]), int(row["head"])
        worth, far = planted.importance("full", 1)[at], planted.update("full", 1)[at]
        trained = row["component"] == "trained"
        before = "importance_pre" if trained else "importance.base"
        assert float(row[before]) == pytest.approx(worth, rel=1e-6)
        assert float(row["update_relative.v"]) == pytest.approx(2 * far, rel=1e-6)
        shift = 0 if trained else 1  # the published intervals, in the place of those made of std and n
        assert (float(row["importance_low"]), float(row["importance_high"])) == (shift, 1 + shift)
        half = 2.570581835636314 * 0.01 / math.sqrt(6)  # t of five degrees of freedom, from the tables
        assert float(row["gate_gradient_high"]) == pytest.approx(abs(worth) + half, rel=1e-6)
        if trained:
            assert row["importance.base"] == ""
            assert (float(row["importance_pre_low"]), float(row["importance.change_high"])) == (3, 5)
        else:
            assert (float(row["importance.base_low"]), float(row["importance.base_high"])) == (2, 3)


def test_the_planted_cases_are_written(written):
    found = document(written / FULL / "cases.json")
    assert (found["name"], found["factors"]) == (FULL, {"lr": 0.0001, "seed": 1})
    for part in found["heads"]:
        static, plastic = (
            [(case["layer"], case["head"]) for case in part["cases"][which]]
            for which in ("important_but_static", "plastic_but_unimportant")
        )
        assert (static, plastic) == ([planted.STATIC], [planted.PLASTIC])
        assert part["cases"]["expected_by_chance"]["counter_examples"] == 1.5
    assert document(written / FULL / "eval_subset.json") == {
        "run": "0001" * 16,
        "name": FULL,
        "split": "val",
        "examples": 6,
        "indices": [0, 3, 5, 6, 8, 9],
    }


def test_statistics_of_a_run(written):
    found = document(written / FULL / "stats.json")
    trained = found["heads"][0]
    assert (trained["tower"], trained["layers"], trained["heads"]) == ("vision", 3, 4)
    assert trained["importance_before_with_after"]["spearman"] == {"value": 1.0, "low": None, "high": None}
    rho = trained["importance_before_with_update"]["spearman"]
    assert rho["value"] == pytest.approx(0.1538462)  # 1 − 6·242/(12·143), ranks by hand
    assert rho["low"] < rho["value"] <= rho["high"]
    assert trained["by_projection"]["update_relative"]["v"] == pytest.approx(
        2 * planted.update("full", 1).mean(), rel=1e-6
    )
    growth = found["evolution"][0]
    assert (growth["steps"], growth["length"], growth["early"]["step"]) == ([10, 20, 30], 36, 10)
    assert growth["early"]["share"]["value"] == 0.25


def test_the_pair_is_written_and_told(written):
    found = document(written / PAIR / "compare_metrics.json")
    assert (found["first"], found["second"]) == ("full lr=0.0001", "lora lr=0.001")
    trained = found["heads"][0]
    assert trained["update_difference"]["how"] == "paired by seed"
    assert trained["second"]["counter_examples"]["counter_examples"]["value"] == 0
    assert [run["counter_examples"] for run in trained["first"]["runs"]] == [2, 2, 2]
    assert trained["rank_agreement"]["update_relative"]["both"] == [[2, 2], [2, 3]]
    lines = (written / PAIR / "compare_summary.txt").read_text(encoding="utf-8").splitlines()
    assert 12 <= len(lines) <= 24
    assert "2 counter-examples, where chance alone would give 1.5" in "\n".join(lines)


def test_seeds_together(written):
    row = rows(written / "seeds" / "lora lr=0.001" / "heads vision trained.csv")[5]
    values = [planted.update("lora", seed)[1, 1] for seed in range(3)]
    assert (row["layer"], row["head"], row["update_relative_runs"]) == ("1", "1", "3")
    assert float(row["update_relative"]) == pytest.approx(np.mean(values), rel=1e-6)
    half = 4.302652729911275 * np.std(values, ddof=1) / math.sqrt(3)
    assert float(row["update_relative_high"]) == pytest.approx(np.mean(values) + half, rel=1e-6)


def test_the_same_table_gives_the_same_bytes_whatever_the_order_of_its_rows(written, tmp_path):
    write_head_files(tmp_path, planted.study(), planted.shuffled(planted.table()), planted.arrays)
    assert everything(tmp_path / "heads") == everything(written)


def test_hostile_names_stay_inside_and_inert(tmp_path):
    names = ('=HYPERLINK("http://x")', "../../up", 'q"uo\\te\n\x1b[31m,', "full")
    made = planted.table([(name, {"data": "glue/rte"}) for name in names], seeds=(0, 1))
    folder = tmp_path / "study"
    folder.mkdir()
    found = write_head_files(folder, planted.study(), made, planted.arrays)
    assert found is not None
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    assert [path.name for path in folder.iterdir()] == ["heads"]
    assert len(list((found / "compare").iterdir())) == 3
    assert len(list(found.iterdir())) == 2 + 8
    for path in found.rglob("*"):
        assert path.resolve().is_relative_to(found)
        assert path.name.isprintable()
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                assert all(cell == inert(cell) for row in csv.reader(stream) for cell in row)
        elif path.suffix == ".json":
            document(path)
        elif path.suffix == ".txt":
            assert "\x1b" not in path.read_text(encoding="utf-8")
    told = {document(path)["name"] for path in found.glob("*/cases.json")}
    assert told == {f"{name} data=glue/rte seed={seed}" for name in names for seed in (0, 1)}


def test_without_heads_there_is_no_folder_and_an_old_one_goes(tmp_path):
    study = planted.study()
    made = planted.table(seeds=(0,))
    assert write_head_files(tmp_path, study, made, planted.arrays)
    empty = type(made)(made.rows.slice(0, 0), made.runs)
    assert write_head_files(tmp_path, study, empty, planted.arrays) is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TableError, match="cannot be written"):
        write_head_files(tmp_path / "nowhere", study, made, planted.arrays)


def test_runs_that_published_no_arrays_have_students_intervals_and_no_subset(tmp_path):
    found = write_head_files(tmp_path, planted.study(), planted.table(seeds=(0,)), lambda run: {})
    assert found is not None
    run = found / "full lr=0.0001 seed=0"
    assert sorted(path.name for path in run.iterdir()) == ["cases.json", "heads.csv", "stats.json"]
    assert "Student" in document(run / "stats.json")["heads"][0]["intervals"]["importance"]
    assert rows(run / "heads.csv")[0]["importance_low"] != ""
    assert not (found / "seeds").exists()
