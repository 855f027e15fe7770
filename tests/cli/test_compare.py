import csv
import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

import tunescope as ts
from tunescope.cli.main import main
from tunescope.results.row import Row, rows_table
from tunescope.results.runs import runs_table
from tunescope.results.table import Table

# Cells of a published study of CLIP ViT-B/32, each a mean of three seeds; two lack their CKA.
PUBLISHED = """\
data,method,lr,test,retention,cka
EuroSAT,full,3e-6,96.8,55.0,.844
EuroSAT,full,1e-5,97.2,41.2,.802
EuroSAT,full,3e-5,96.0,22.3,.762
EuroSAT,full,1e-4,94.0,3.7,
Pets,full,1e-5,87.7,44.2,.785
Pets,full,1e-4,79.1,9.2,.561
EuroSAT,lora,3e-5,91.7,94.5,.927
EuroSAT,lora,1e-4,95.2,86.4,
Pets,lora,1e-4,89.9,97.7,.935
EuroSAT,last,1e-4,94.4,83.8,.952
EuroSAT,probe,1e-3,85.1,100,1
"""
ASK = ["--group", "method", "--ask", "{metric: acc, compare: [lora, full]}"]
WIDE = "method,seed,lr,acc,note\n" + "".join(
    f"{method},{seed},{lr},{acc + seed**2 / 100},x\n"
    for method, lr, acc in (("full", 0.1, 0.9), ("lora", 0.01, 0.95))
    for seed in range(3)
)
LONG = "model,block,seed,metric,value\n" + "".join(
    f"{model},{block},{seed},{metric},{(7 * block + 3 * seed * seed * len(model) + seed) % 11}\n"
    for model in ("a", "bb")
    for block in range(3)
    for seed in range(4)
    for metric in ("x", "y")
)


@pytest.fixture
def compare(tmp_path, capsys):
    """The verb, on a table that is written for it: exit code, stdout, stderr without the folder's name."""

    def call(text: str | bytes, *arguments: str, name: str = "t.csv") -> tuple[int, str, str]:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        code = main(["compare", str(tmp_path / name), *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err.replace(f"{tmp_path}/", "")

    return call


def test_a_wide_table_of_published_numbers_agrees_with_scipy(compare):
    code, out, said = compare(
        PUBLISHED,
        *("--group", "method", "--metric", "test,retention,cka", "--json"),
        *("--ask", "{metric: retention, compare: [lora, full]}"),
        *("--ask", "metric: retention, by: {metric: cka}"),
    )
    assert code == 0
    assert "11 runs, one in each row; groups: full, lora, last, probe" in said
    assert "factors: data, lr" in said
    cells = pd.read_csv(io.StringIO(PUBLISHED))
    groups = [cells.retention[cells.method == method] for method in ("lora", "full")]
    welch, predicted = json.loads(out)
    expected = stats.ttest_ind(*groups, equal_var=False)
    assert welch["test"] == "Welch's t test"
    assert welch["p"] == pytest.approx(expected.pvalue, rel=1e-12)  # pyright: ignore[reportAttributeAccessIssue]
    interval = expected.confidence_interval(0.95)  # pyright: ignore[reportAttributeAccessIssue]
    assert (welch["effect"]["low"], welch["effect"]["high"]) == pytest.approx(tuple(interval), rel=1e-9)
    known = cells.dropna()
    assert predicted["effect"]["value"] == pytest.approx(stats.spearmanr(known.retention, known.cka)[0])
    assert predicted["left_out"] == {"no cka measured": 2}
    assert [found["question"]["ask"] for found in (welch, predicted)] == [
        "retention differs between lora and full?",
        "retention rises or falls with cka?",
    ]
    assert {found["correction"] for found in (welch, predicted)} == {"Holm over 2 questions"}


def test_a_long_table_of_layers_is_one_number_a_run_and_paired_by_seed(compare):
    code, out, said = compare(
        LONG, "--group", "model", "--layer", "block", "--json", "--ask", "{metric: x, compare: [a, bb]}"
    )
    assert code == 0
    assert "8 runs, told apart by model, seed; groups: a, bb; metrics: x, y" in said
    assert "each run's rows by block" in said
    frame = pd.read_csv(io.StringIO(LONG)).query("metric == 'x'")
    a, bb = (frame[frame["model"] == model].groupby("seed")["value"].mean() for model in ("a", "bb"))
    (found,) = json.loads(out)
    assert found["pairing"] == "paired by seed"
    assert found["p"] == pytest.approx(stats.ttest_rel(a, bb)[1], rel=1e-12)
    assert [group["n"] for group in found["groups"]] == [4, 4]


def test_one_table_in_every_form_gives_one_answer(compare, tmp_path):
    frame = pd.read_csv(io.StringIO(WIDE))
    frame.to_parquet(tmp_path / "t.parquet")
    melted = frame.melt(["method", "seed"], ["lr", "acc"], var_name="metric")
    question = "metric: acc, compare: [lora, full]"
    expected = ts.compare(tmp_path / "t.parquet", question, group="method")
    assert expected == ts.compare(
        frame, {"metric": "acc", "compare": ["lora", "full"]}, group="method", seed="seed"
    )
    wide = [
        "\ufeff" + WIDE.replace("\n", "\r\n"),
        WIDE.replace(",", "\t"),
        WIDE.replace(",", ";").replace(".", ","),
        WIDE.replace("method,seed,lr,acc,note", 'group,"seed", lr ,acc,').replace("full,0", '\n"full",0'),
        melted.to_csv(),
    ]
    for text in wide:
        group = () if text.startswith("group") else ("--group", "method")
        code, out, _ = compare(text, *group, "--json", "--ask", question)
        (found,) = json.loads(out)
        assert (code, found["effect"], found["p"]) == (0, vars(expected[0].effect), expected[0].p)


def test_a_folder_of_our_own_is_asked_as_it_is(compare, tmp_path, capsys):
    own = [("full", seed, 0.1 * seed) for seed in range(3)] + [
        ("lora", seed, 0.5 + seed**2) for seed in range(3)
    ]
    records = [
        {"run": f"{g}{s}", "study": "s", "group": g, "name": f"{g} seed={s}", "status": "done", "cause": None}
        for g, s, _ in own
    ]
    rows = [rows_table(f"{g}{s}", [Row("m.x", value)]) for g, s, value in own]
    table = Table(pa.concat_tables(rows), runs_table(records, [{"seed": s} for _, s, _ in own]))
    table.write(tmp_path / "study")
    path = tmp_path / "questions.yaml"
    path.write_text(
        "correction: benjamini_hochberg\nquestions: [{ask: 'So?', metric: m.x, compare: [lora, full]}]\n"
    )
    assert main(["compare", str(tmp_path / "study"), "--questions", str(path)]) == 0
    said = capsys.readouterr()
    (expected,) = ts.compare(
        table, {"ask": "So?", "metric": "m.x", "compare": ["lora", "full"]}, "benjamini_hochberg"
    )
    assert said.out.splitlines() == expected.lines()
    assert "Benjamini–Hochberg over 1 question" in said.out
    assert said.err == ""
    assert main(["compare", str(tmp_path / "study"), "--group", "method", *ASK[2:]]) == 2
    assert "a table of tunescope's own needs none" in capsys.readouterr().err
    assert main(["compare", str(tmp_path), *ASK[2:]]) == 2
    assert "expected rows.parquet and runs.parquet" in capsys.readouterr().err
    with pytest.raises(ts.TunescopeError, match=r"cannot be given as 'gruop'; did you mean 'group'"):
        ts.compare(table, "metric: m.x, compare: [lora, full]", gruop="method")


def test_names_from_a_table_run_in_no_spreadsheet(compare, tmp_path):
    formula, markup = "=cmd|' /C calc'!A0", "<script>alert(1)</script>"
    text = WIDE.replace("full", f'"{formula}"').replace("lora", markup)
    question = json.dumps({"ask": "=1+1", "metric": "acc", "compare": [formula, markup]})
    code, out, _ = compare(
        text, "--group", "method", "--ask", question, "--csv", str(tmp_path / "answers.csv")
    )
    assert code == 0
    assert formula in out
    (row,) = csv.DictReader((tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines())
    assert row["question"] == "'=1+1"
    assert row["sentence"].startswith("'=cmd")
    assert row["groups"].startswith("'=cmd")
    assert float(row["effect_value"]) == pytest.approx(-0.05)
    assert not any(cell.startswith(("=", "+", "@")) for cell in row.values())


def test_numbers_that_are_none_are_left_out_where_that_is_asked(compare):
    text = WIDE.replace("0.91,", "nan,") + "lora,3,0.01,inf,x\nfull,3,0.1,,x\n"
    code, out, _ = compare(text, *ASK, "--drop-nan")
    assert code == 0
    assert "  left out: 2 runs, acc is not a finite number\n  left out: 1 run, no acc measured\n" in out
    assert "not finite: full note=x seed=1 (acc nan) and lora note=x seed=3 (acc inf)" in out


MISTAKES = {
    "no question": (WIDE, ASK[:2], ["6 runs", "metrics: acc, lr", "nothing is asked; say --ask"]),
    "no group": (WIDE, ASK[2:], ["('full', 'lora')", "--group COLUMN (--group method would do)"]),
    "unknown column": (
        WIDE,
        ["--group", "metod", *ASK[2:]],
        ["no column 'metod' (--group); did you mean 'method'?"],
    ),
    "unknown metric": (
        WIDE,
        [*ASK[:2], "--ask", "metric: ac, by_depth: true"],
        ["no metric 'ac'; did you mean 'acc'"],
    ),
    "unknown group": (
        WIDE,
        [*ASK[:2], "--ask", "metric: acc, compare: [lora, ful]"],
        ["no runs of group 'ful' in the table; did you mean 'full'"],
    ),
    "unknown factor": (WIDE, [*ASK[:2], "--ask", "metric: acc, against: rank"], ["no factor 'rank'"]),
    "a factor of names": (
        WIDE,
        [*ASK[:2], "--ask", "metric: acc, against: note"],
        ["'note' is 'x'", "expected numbers"],
    ),
    "a question that is none": (
        WIDE,
        [*ASK[:2], "--ask", "metric: acc, compar: [a]"],
        ["did you mean 'compare'"],
    ),
    "twice": (WIDE, [*ASK, "--seed", "method"], ["the column 'method' is --group and --seed"]),
    "wide and long": (
        WIDE,
        [*ASK, "--metric", "acc", "--long", "note:lr"],
        ["wide (--metric) or long (--long)"],
    ),
    "half of long": (WIDE, [*ASK, "--long", "metric"], ["metric:value; got 'metric'"]),
    "nan": (
        WIDE.replace("0.91,", "nan,").replace("0.95,", "inf,"),
        ASK,
        ["'acc' holds what is no finite number: line 3 (nan), line 5 (inf)", "--drop-nan"],
    ),
    "a word": (WIDE.replace("0.91,", "n.a.,"), ASK, ["'acc' holds line 3 ('n.a.'); expected numbers"]),
    "a nan factor": (
        WIDE.replace("full,1,0.1", "full,1,nan"),
        [*ASK, "--factors", "lr"],
        ["'lr' holds line 3 (nan)", "a factor's values are finite"],
    ),
    "no group in a row": (
        WIDE.replace("lora,1", ",1"),
        ASK,
        ["'method' holds line 6 (empty); every row needs a group"],
    ),
    "a seed twice": (
        WIDE.replace("lora,1", "lora,0"),
        ASK,
        [
            "line 5 and line 6 both hold 'acc' of the run 'lora note=x seed=0'",
            "--run or --factors",
            "metrics are lr, acc",
        ],
    ),
    "a run twice": (
        WIDE.replace("seed", "run"),
        ASK,
        ["the run '0' has two values of 'method': line 2 ('full'), line 5"],
    ),
    "parts or runs": (
        LONG,
        ["--group", "model", "--ask", "metric: x, compare: [a, bb]"],
        [
            "rows of one group and seed differ in 'block': line 2 (0), line 10 (1)",
            "--factors block",
            "--layer block",
        ],
    ),
    "layers that are none": (
        WIDE,
        [*ASK, "--layer", "lr"],
        ["'lr' holds line 2 (0.1)", "and 3 more", "whole numbers"],
    ),
    "a column twice": (WIDE.replace("note", "acc"), ASK, ["2 columns (4, 5) are called 'acc'; rename them"]),
    "ragged": (WIDE.replace("0.91,x", "0.91"), ASK, ["line 3 has 4 cells, the header 5"]),
    "an open quote": (
        WIDE + 'lora,9,"0.01,\nx\n',
        ASK,
        ["line 8 has 3 cells, the header 5 (is a quotation mark"],
    ),
    "empty": ("", ASK, ["the file is empty; expected a CSV or TSV"]),
    "a header alone": ("method,acc\n", ASK, ["there are no rows"]),
    "UTF-16": (WIDE.encode("utf-16"), ASK, ["no text in UTF-8"]),
    "Latin 1": (WIDE.replace("lora", "l\xf6ra").encode("latin-1"), ASK, ["line 5 is not UTF-8: b'\\xf6ra"]),
    "a Latin 1 header": ("\xf6,acc\n1,2\n".encode("latin-1"), ASK, ["line 1 is not UTF-8"]),
    "two decimal marks": (
        WIDE.replace(",", ";").replace("0.91;", "0,91;"),
        ASK,
        ["'acc' holds line 3 ('0,91'); expected numbers"],
    ),
    "a broken Parquet file": (b"PAR1 and no more", ASK, ["cannot be read", "expected a CSV or TSV"]),
    "no file for the answers": (
        WIDE,
        [*ASK, "--csv", "/none/a.csv"],
        ["--csv /none/a.csv: cannot be written"],
    ),
    "no file of questions": (WIDE, [*ASK, "--questions", "none.yaml"], ["none.yaml: cannot be read"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_in_one_message(compare, mistake):
    text, arguments, parts = MISTAKES[mistake]
    code, out, said = compare(text, *arguments)
    assert (code, out) == (2, "")
    assert "\ntunescope compare: " in f"\n{said}"
    for part in parts:
        assert part in said


def test_a_table_of_parts_that_look_like_runs_is_refused():
    frame = pd.DataFrame({"group": np.resize(["a", "b"], 10_001), "acc": np.arange(10_001.0)})
    with pytest.raises(
        ts.TunescopeError, match=r"the table: 10,001 runs, told apart by rows, and at most 10,000"
    ):
        ts.compare(frame, "metric: acc, compare: [a, b]")
    with pytest.raises(ts.TunescopeError, match="got list"):
        ts.compare([1, 2], "metric: acc, compare: [a, b]")


def test_a_table_is_asked_without_torch(tmp_path):
    (tmp_path / "t.csv").write_text(WIDE)
    code = (
        "import sys\n"
        "from tunescope.cli.main import main\n"
        f"assert main(['compare', {str(tmp_path / 't.csv')!r}, *{ASK!r}]) == 0\n"
        "heavy = {'torch', 'transformers', 'ray', 'altair'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
