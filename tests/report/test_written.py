import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunescope import api
from tunescope.report.written import FILES, NAME, PAGE, basis, current, sign
from tunescope.stats.answer import answer

FROM = basis("study: a", [("full", "ab", "done", "")], 1, {"tunescope": "0.1.0"})


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text(f"this is {name}")
    sign(tmp_path, FROM)
    return tmp_path


def test_what_was_signed_is_current(folder):
    assert current(folder, FROM)
    assert not current(folder.parent, FROM)


@pytest.mark.parametrize("name", [*FILES, NAME])
def test_a_file_that_was_changed_or_lost_is_not(folder, name):
    text = (folder / name).read_text()
    (folder / name).write_text(text + " ")
    assert current(folder, FROM) is (name == NAME)  # JSON does not mind a space
    (folder / name).unlink()
    assert not current(folder, FROM)
    (folder / name).write_text("[")
    assert not current(folder, FROM)


@pytest.mark.parametrize(
    "other",
    [
        ("study: b", [("full", "ab", "done", "")], 1, {"tunescope": "0.1.0"}),
        ("study: a", [("full", "ab", "failed", "")], 1, {"tunescope": "0.1.0"}),
        ("study: a", [("full", "ab", "done", "")] * 2, 1, {"tunescope": "0.1.0"}),
        ("study: a", [("full", "ab", "done", "")], 2, {"tunescope": "0.1.0"}),
        ("study: a", [("full", "ab", "done", "")], 1, {"tunescope": "0.1.1"}),
    ],
    ids=["study", "run", "runs", "schema", "version"],
)
def test_what_was_written_from_something_else_is_not_current(folder, other):
    assert not current(folder, basis(*other))


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_finished_study_is_answered_without_writing(straight, tmp_path):
    shutil.copytree(straight[0] / "results", tmp_path / "results")
    study, folder = straight[0] / "small.yaml", tmp_path / "results" / "small"
    before = stamps(folder)
    first = api.report(study, straight[0] / "results")
    again = api.run(study, tmp_path / "results")
    assert stamps(folder) == before
    assert again.answers == first.answers == answer(again.table, again.study.questions)
    assert again.table.rows.equals(first.table.rows)
    (folder / PAGE).write_text("scribbled over")
    assert api.run(study, tmp_path / "results").report.read_text().startswith("<!doctype html>")
    now = stamps(folder)
    api.report(study, tmp_path / "results")
    assert all(stamps(folder)[name] > stamp for name, stamp in now.items())


def test_nothing_heavy_is_imported_for_a_finished_study(straight):
    command = ["run", str(straight[0] / "small.yaml"), "--results", str(straight[0] / "results")]
    code = (
        "import sys\n"
        "from tunescope.cli.main import main\n"
        f"assert main({command}) == 0\n"
        "heavy = {'torch', 'altair', 'vl_convert', 'scipy', 'statsmodels', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
