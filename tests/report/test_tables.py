"""Tables for a paper: whatever a name holds, LaTeX prints it, and the numbers are the table's."""

import csv
import re
import statistics
from dataclasses import replace

import pytest
from report import synthetic_study as made_up

from tunescope.cli.report import kinds
from tunescope.report import tables
from tunescope.report.latex import escaped, tabular

HOSTILE = (
    r"""\input{/etc/passwd} $x$ & 50% #1 a_b {~^} <b>|"quoted" 'it' `cmd` --- [opt] * λρΩ±−×é字🙂""" + "\n\tx"
)


def outside(text):
    """The text without comments, escaped specials and commands."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    return re.sub(r"\\([{}$&#_%]|[a-zA-Z]+)", "", "\n".join(lines))


def assert_sound(text, columns):
    left = outside(text)
    assert not re.search(r"[^\x00-\x7f\u00c0-\u017f]", left)
    depth = 0
    for character in left:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert left.count("$") % 2 == 0
    assert not set("#%~_<>|\"'`") & set(left)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {outside(row).count("&") for row in rows} == {columns - 1}
    assert not [row for row in rows if row.lstrip().startswith(("[", "*"))]
    return rows


def test_a_hostile_name_is_printed_and_never_read():
    text = escaped(HOSTILE)
    assert_sound(tabular("ll", ["a", "b"], [[text, "1"], [escaped("*[x]"), "2"]], [HOSTILE]), 2)
    assert text.startswith(r"\textbackslash{}input\{/etc/passwd\} \$x\$ \& 50\% \#1 a\_b ")
    assert r"$\lambda$$\rho$$\Omega$$\pm$$-$$\times$é\texttt{U+5B57}\texttt{U+1F642} x" in text
    assert "-{}-{}-" in text
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert "input" not in commands
    assert not [line for line in tabular("l", ["a"], [], [HOSTILE]).splitlines() if line == "x"]


@pytest.fixture(scope="module")
def hostile():
    runs = {
        HOSTILE: {"adapt": "full", "lr": [1e-4, 1e-3]},
        "=lora": {"adapt": "lora", "lr": 1e-3},
    }
    return made_up.table(made_up.study(runs=runs), diverged=())


def test_settings_are_means_and_deviations_of_the_table(hostile, tmp_path):
    answers = [
        replace(answer, test=HOSTILE, question=answer.question.model_copy(update={"ask": HOSTILE}))
        for answer in made_up.answers(hostile, ("=lora", HOSTILE))
    ]
    written = tables.write(tmp_path, hostile, answers, ["latex", "csv"])
    assert [path.name for path in written] == ["settings.tex", "settings.csv", "answers.tex", "answers.csv"]
    first = [path.read_bytes() for path in written]
    assert first == [path.read_bytes() for path in tables.write(tmp_path, hostile, answers, ["latex", "csv"])]
    text = written[0].read_text(encoding="utf-8")
    heads = text.split(r"\toprule")[1].split(r"\\")[0].count("&") + 1
    rows = assert_sound(text, heads)
    assert len(rows) == 1 + 3
    assert text.count("\\mathbf") >= 3
    assert_sound(written[2].read_text(encoding="utf-8"), 8)
    values = {}
    where = {"split": "test", "component": "trained"}
    for found in hostile.per_run("transfer.acc1", where):
        values.setdefault((found.group, found.factors["lr"]), []).append(found.value)
    with written[1].open(newline="", encoding="utf-8") as file:
        sheet = list(csv.DictReader(file))
    assert sheet[-1]["group"] == "'=lora"
    for row, own, line in zip(sheet, values.values(), rows[1:], strict=True):
        assert float(row["test accuracy: mean"]) == pytest.approx(statistics.fmean(own))
        assert float(row["test accuracy: sd"]) == pytest.approx(statistics.stdev(own))
        assert f"{100 * statistics.fmean(own):.1f} \\pm {100 * statistics.stdev(own):.1f}" in line


def test_a_long_table_goes_over_pages_and_no_questions_make_no_table(tmp_path, hostile):
    long = tabular("l", ["a"], [["1"]] * 41, [])
    assert long.count("longtable}") == 3
    assert r"\endhead" in long
    written = tables.write(tmp_path / "x", hostile, [], kinds("latex"))
    assert [path.name for path in written] == ["settings.tex"]
