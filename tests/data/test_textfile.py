import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunescope.data.load import fingerprint, load, tower
from tunescope.errors import DataError

ROWS = [('It\'s "good", really', 1), ("007", 0), ("naïve\nline", 1), ("bad", 0)]


def csv(path, header, rows):
    """A file whose strings are quoted."""
    doubled = [[v.replace('"', '""') if isinstance(v, str) else v for v in row] for row in rows]
    cells = [",".join(f'"{v}"' if isinstance(v, str) else str(v) for v in row) for row in doubled]
    path.write_text("\n".join([header, *cells]) + "\n", encoding="utf-8")
    return path


def items(data):
    return [data.item(i) for i in range(len(data))]


def test_every_format_says_the_same(tmp_path):
    one_line = [(text.replace("\n", " "), label) for text, label in ROWS]
    csv(tmp_path / "a.csv", "text,label", ROWS)
    (tmp_path / "a.tsv").write_text(
        "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in one_line), encoding="utf-8"
    )
    lines = [json.dumps({"text": text, "label": label, "more": [1]}) for text, label in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    table = pa.table({"text": [t for t, _ in ROWS], "label": [y for _, y in ROWS]})
    pq.write_table(table.set_column(0, "text", table["text"].cast(pa.large_string())), tmp_path / "a.parquet")
    for suffix, rows in {"csv": ROWS, "tsv": one_line, "jsonl": ROWS, "parquet": ROWS}.items():
        ref = f"text:{tmp_path / 'a'}.{suffix}"
        data = load(ref)
        assert items(data) == [text for text, _ in rows]
        assert data.labels.tolist() == [1, 0, 1, 0]
        assert data.labels.dtype == np.int64
        assert (data.class_names, data.templates) == (("0", "1"), ("{}",))
        assert (data.tower, tower(ref), data.label) == ("text", "text", "label")
        assert fingerprint(ref) == data.fingerprint
    assert load(f"text:{tmp_path / 'a.csv'}").ids == load(f"text:{tmp_path / 'a.jsonl'}").ids


def test_a_folder_has_splits_and_a_reference_may_name_one_and_a_label(tmp_path):
    csv(tmp_path / "train.csv", "sentence,label,stars", [("a", "pos", 2.5), ("b", "neg", 1)])
    csv(tmp_path / "test.csv", "sentence,label,stars", [("c", "pos", 4)])
    (tmp_path / "notes.csv").write_text("x\n1\n")
    ref = f"text:{tmp_path}"
    assert items(load(ref)) == ["a", "b", "c"]
    assert load(ref).class_names == ("neg", "pos")
    assert items(load(f"{ref}#test")) == ["c"]
    assert load(ref, "stars").labels.tolist() == [2.5, 1.0, 4.0]
    stars = load(f"{ref}#train:stars")
    assert (stars.labels.dtype, stars.class_names, stars.label) == (np.float64, (), "stars")
    assert load(f"{ref}:label", "stars").label == "label"
    assert len({fingerprint(r) for r in (ref, f"{ref}#train", f"{ref}:stars")}) == 3
    first = fingerprint(ref)
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert fingerprint(f"text:{moved}") == first
    csv(moved / "test.csv", "sentence,label,stars", [("d", "pos", 4)])
    assert fingerprint(f"text:{moved}") != first


@pytest.mark.parametrize(
    "names",
    [
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question", "sentence"),
        ("question", "passage"),
    ],
)
def test_pairs_are_found_by_their_columns(tmp_path, names):
    path = csv(tmp_path / "pairs.csv", f"{names[0]},{names[1]},label", [("a", "b", "x"), ("c", "", "y")])
    assert items(load(f"text:{path}")) == [("a", "b"), ("c", "")]


def test_a_text_is_its_own_concept_unless_a_column_names_it(tmp_path):
    first = load(f"text:{csv(tmp_path / 'a.csv', 'text,label', [('hi', 1), ('ho', 0), ('hi', 1)])}")
    other = load(f"text:{csv(tmp_path / 'b.csv', 'text,label', [('ho', 1)])}")
    assert first.ids[1] == other.ids[0]
    assert len(set(first.ids)) == 3
    assert first.groups[0] == first.groups[2] != first.groups[1]
    named = load(f"text:{csv(tmp_path / 'c.csv', 'id,text,label', [(7, 'hi', 1), (8, 'hi', 0)])}")
    assert named.ids == ("7", "8")
    assert named.groups[0] == named.groups[1]
    with pytest.raises(DataError, match=r"column 'id' has '7' twice, again in row 2"):
        load(f"text:{csv(tmp_path / 'd.csv', 'id,text,label', [(7, 'hi', 1), (7, 'ho', 0)])}")


def test_the_only_column_of_strings_is_the_text(tmp_path):
    assert items(load(f"text:{csv(tmp_path / 'a.csv', 'review,label', [('fine', 1)])}")) == ["fine"]
    path = csv(tmp_path / "b.csv", "title,body,label", [("fine", "well", 1)])
    with pytest.raises(DataError, match=r"columns of strings: title, body; rename yours"):
        load(f"text:{path}")


def test_mistakes_name_file_column_and_row(tmp_path):
    def wrong(name, content, match, more=""):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=match):
            load(f"text:{tmp_path / name}{more}")

    wrong("a.csv", b"text,label\na,1\nb\n", r"file .*a\.csv: cannot be read as csv .*Row #3: Expected 2")
    wrong("b.csv", b"text,label\n\xff,1\n", r"b\.csv: .*Row #2.*invalid UTF8.*in UTF-8")
    wrong("c.csv", b"text,label\n", r"c\.csv: no row")
    wrong("d.csv", b"text,lable\na,1\n", r"d\.csv: no column 'label' of labels; did you mean 'lable'.*COLUMN")
    wrong("d.csv", b"text,lable\na,1\n", r"no column 'tab' of labels; known: lable, text", ":tab")
    wrong("e.csv", b"text,label\na,1\nb,\n", r"column 'label': row 2 has no label")
    wrong("f.jsonl", b'{"text": "a", "label": 1}\n{"text": null, "label": 0}', r"'text', row 2: no text")
    wrong("g.jsonl", b'{"text": "a", "label": 1}\n{"text":', r"g\.jsonl: cannot be read as jsonl")
    wrong("h.jsonl", b'{"text": "\xff", "label": 1}', r"h\.jsonl: cannot be read .*UTF")
    wrong("i.jsonl", b'{"text": "a", "label": [1]}', r"'label' is list.*; expected class labels")
    wrong("j.csv", b"text,label\na,1\n", r"a file has no split 'train'; give its folder", "#train")
    wrong("k.xlsx", b"", r"\.xlsx is not read; expected one of \.csv, \.tsv")
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        load(f"text:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match=r"expected text:PATH\[#SPLIT\]"):
        load("text:")


def test_a_folder_whose_files_do_not_fit_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file called train, .* one subfolder per class is folder:"):
        load(f"text:{tmp_path}")
    csv(tmp_path / "train.csv", "text,label", [("a", 1)])
    with pytest.raises(DataError, match=r"no split 'tran'; did you mean 'train'"):
        load(f"text:{tmp_path}#tran")
    csv(tmp_path / "test.csv", "sentence,label", [("a", 1)])
    with pytest.raises(DataError, match=r"test\.csv: no column 'text' of strings, as train\.csv has"):
        load(f"text:{tmp_path}")
    csv(tmp_path / "test.csv", "text,label", [("a", "one")])
    with pytest.raises(DataError, match=r"the files' columns differ in name or type"):
        load(f"text:{tmp_path}")
    csv(tmp_path / "train.tsv", "text,label", [("a", 1)])
    with pytest.raises(DataError, match=r"train\.csv and train\.tsv"):
        load(f"text:{tmp_path}")
