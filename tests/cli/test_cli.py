import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunescope.cli.main import VERBS, main
from tunescope.results.store import Store

ROOT = Path(__file__).parents[2]


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line as a user has it: another process."""
    return subprocess.run(
        [sys.executable, "-m", "tunescope.cli.main", *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert VERBS[verb][1:] in " ".join(capsys.readouterr().out.split())


def test_without_a_verb_the_help_is_printed(capsys):
    assert main([]) == 0
    assert "VERB" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "tunescope 0.1.0\n"


def test_plan_names_every_run_and_where_it_stands(straight, tmp_path):
    folder, _ = straight
    there = call("plan", folder / "small.yaml", "--results", folder / "results")
    assert there.returncode == 0, there.stderr
    assert there.stdout.count("  done") == 4
    assert there.stdout.endswith("4 runs: 4 done\n")
    fresh = json.loads(call("plan", folder / "small.yaml", "--results", tmp_path, "--json").stdout)
    assert [run["state"] for run in fresh] == ["missing"] * 4
    assert fresh[0]["spec"]["train"]["schedule"] == "cosine"  # defaults are written out
    assert list(tmp_path.iterdir()) == []


def test_run_again_answers_from_the_store(straight):
    folder, _ = straight
    done = call("run", folder / "small.yaml", "--results", folder / "results", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [run["state"] for run in found["runs"]] == ["done"] * 4
    assert found["answers"][0]["verdict"] == "not enough runs"
    assert Path(found["report"]).is_file()
    assert done.stderr == ""


def test_a_flipped_byte_is_found_and_only_that_run_is_made_again(straight, tmp_path):
    folder, _ = straight
    shutil.copytree(folder / "results", tmp_path / "results")
    broken = sorted((tmp_path / "results" / "store" / "runs").glob("*/weights.safetensors"))[0]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = call("verify", "--results", tmp_path / "results")
    assert found.returncode == 1
    assert broken.parent.name in found.stdout
    assert "weights.safetensors" in found.stdout
    assert call("verify", "--results", tmp_path / "results", "--discard").returncode == 0
    missing = call("plan", folder / "small.yaml", "--results", tmp_path / "results").stdout
    assert missing.endswith("4 runs: 3 done, 1 missing\n")
    again = call("run", folder / "small.yaml", "--results", tmp_path / "results")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("] done ") == 1
    assert broken.read_bytes() == whole


def test_status_and_gc(straight):
    folder, _ = straight
    standing = json.loads(call("status", "--results", folder / "results", "--json").stdout)
    assert standing == {
        "done": 4,
        "failed": 0,
        "base measurements": 1,
        "checkpoints": 0,
        "failed tries": {},
    }
    freed = call("gc", "--results", folder / "results")
    assert freed.returncode == 0
    assert "files of decoded images" in freed.stdout
    assert freed.stdout.endswith("; 4 runs are compacted\n")


def test_status_says_what_failed_how_often_and_what_is_half_way(tmp_path):
    store = Store(tmp_path / "store")
    once, twice = "a" * 64, "b" * 64
    for id in (once, twice, twice):
        store.fail(id, f"{id[0]} was killed")
    store.unfinished(twice).write(lambda folder: (folder / "state").touch())
    standing = json.loads(call("status", "--results", tmp_path, "--json").stdout)
    assert standing["checkpoints"] == 1
    assert standing["failed tries"] == {
        once: {"tries": 1, "cause": "a was killed"},
        twice: {"tries": 2, "cause": "b was killed"},
    }
    plain = call("status", "--results", tmp_path).stdout
    assert "runs half-way, with a checkpoint to go on from: 1\n" in plain
    assert f"{once[:12]}  not there; failed once: a was killed" in plain
    assert f"{twice[:12]}  not there; failed 2 times, the last time: b was killed" in plain


def test_report_writes_the_page_again(straight, tmp_path):
    folder, _ = straight
    shutil.copytree(folder / "results", tmp_path / "results")
    page = tmp_path / "results" / "small" / "report.html"
    page.unlink()
    assert call("report", folder / "small.yaml", "--results", tmp_path / "results").stdout == f"{page}\n"
    assert page.is_file()
    drawn = call("report", folder / "small.yaml", "--results", tmp_path / "results", "--figures", "svg")
    assert drawn.stdout == f"{page}\n{page.parent / 'figures'}\n"
    assert (page.parent / "figures" / "training-1.svg").is_file()


def test_listings_name_what_there_is(capsys):
    for verb, said in {
        "methods": ["lora", "entropy_floor", "Hu et al."],
        "probes": ["attention.entropy", "nats", ".retention"],
        "models": ["emoji-clip", "dinov2"],
        "datasets": ["emoji/STYLE", "folder:PATH", "eurosat"],
    }.items():
        assert main([verb]) == 0
        plain = capsys.readouterr().out
        assert main([verb, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
        for part in said:
            assert part in plain, (verb, part)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "none.yaml"], "none.yaml: cannot be read"),
        (["run", "x.yaml", "--workers", "0"], "expected a whole number from 1, got '0'"),
        (["rum", "x.yaml"], "invalid choice: 'rum'"),
    ],
)
def test_a_mistake_is_said_without_a_traceback(arguments, said):
    done = call(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_readme_names_the_commands_that_are_tested():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
    assert "tunescope run studies/demo.yaml" in readme
    assert "tunescope run studies/demo.yaml" in makefile
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("make test")
