import csv
import re
from xml.etree import ElementTree

import pytest
from report import synthetic_heads as made_up_heads
from report import synthetic_study as made_up

from tunescope.cli.main import main
from tunescope.cli.report import formats
from tunescope.errors import TableError
from tunescope.report import each_choice, paper

NOTHING = made_up.by_run({})


@pytest.fixture(scope="module")
def study():
    runs = {"=full": {"adapt": "full", "lr": [1e-4, 1e-3]}, "lora": {"adapt": "lora", "lr": 1e-3}}
    return made_up.study(runs=runs, seeds=[0])


@pytest.fixture(scope="module")
def table(study):
    return made_up.table(study)


@pytest.fixture(scope="module")
def written(study, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper") / "figures"
    answers = made_up.answers(table, ("lora", "=full"))
    return {
        path.name: path for path in paper.write(folder, table, answers, made_up.arrays(table, 2), ["svg"])
    }


def test_every_chart_is_drawn_with_its_caption_and_its_numbers(written, table):
    stems = {path.stem for path in written.values() if path.suffix == ".svg"}
    assert stems >= {
        "answer-1",
        "entropy",
        "sweeps",
        "trade-off",
        "cost",
        "shifts",
    }
    assert {path.name for path in next(iter(written.values())).parent.iterdir()} == set(written)
    for stem in stems:
        root = ElementTree.parse(written[f"{stem}.svg"]).getroot()
        assert root.tag.endswith("svg")
        assert root.find(".//*[@fill='white']") is not None, stem  # the paper
        caption = written[f"{stem}.txt"].read_text(encoding="utf-8")
        for name in re.findall(r"\S+\.csv", caption):
            assert written[name.rstrip(".,")].stat().st_size
    assert "Each dot is one run" in written["trade-off.txt"].read_text(encoding="utf-8")


def test_attention_maps_are_pictures_without_numbers(written):
    drawing = written["maps.svg"].read_text(encoding="utf-8")
    assert drawing.count("<image ") == 2 * (2 + 3)
    assert "maps.csv" not in written
    assert "All pictures share one scale" in written["maps.txt"].read_text(encoding="utf-8")


def test_the_numbers_are_those_of_the_table(written, table):
    with written["trade-off.csv"].open(newline="", encoding="utf-8") as file:
        found = {row["run"]: float(row["x"]) for row in csv.DictReader(file)}
    values = table.per_run("transfer.acc1", {"split": "test", "component": "trained"})
    expected = {value.name: value.value for value in values}
    assert found == {f"'{name}" if name[0] == "=" else name: value for name, value in expected.items()}
    assert written["training-1.csv"].read_text(encoding="utf-8").count("\n") == 1 + 3 * 45  # unfolded


def test_no_cell_is_a_formula(written):
    for path in written.values():
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                assert not [
                    cell for row in csv.reader(file) for cell in row if cell.startswith(("=", "@", "+"))
                ]


def test_a_chart_that_fills_the_page_is_seven_inches_wide(written):
    root = ElementTree.parse(written["trade-off.svg"]).getroot()
    assert float(root.get("width", "0")) == pytest.approx(504, abs=1)


def test_the_same_table_gives_the_same_files(written, study, table, tmp_path):
    (tmp_path / "entropy.svg").write_text("of an earlier table")
    (tmp_path / "mine.svg").write_text("of somebody else")
    again = paper.write(
        tmp_path, table, made_up.answers(table, ("lora", "=full")), made_up.arrays(table, 2), ["svg"]
    )
    assert {path.name for path in again} == written.keys()
    for path in again:
        assert path.read_bytes() == written[path.name].read_bytes(), path.name
    assert {path.name for path in tmp_path.iterdir()} == {*written, "mine.svg"}


def test_pdf_and_png_hold_a_drawing(study, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "figures", lambda table, answers: [])
    made = made_up.table(study)
    answer = made_up.answers(made, ("lora", "=full"))[:1]
    for folder in ("first", "again"):
        paper.write(tmp_path / folder, made, answer, NOTHING, ["pdf", "png"])
    pdf, png = ((tmp_path / "first" / f"answer-1.{format}").read_bytes() for format in ("pdf", "png"))
    assert pdf.startswith(b"%PDF-")
    assert b"/Date" not in pdf
    assert len(pdf) == len((tmp_path / "again" / "answer-1.pdf").read_bytes())
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == pytest.approx(2100, abs=5)  # 7 inches at 300 dots
    assert png == (tmp_path / "again" / "answer-1.png").read_bytes()


def test_a_select_becomes_a_drawing_for_each_choice(study):
    made = made_up_heads.table(study)
    plates = {plate.name: plate for plate in paper.plates(made, [], NOTHING)}
    drawn = each_choice.each_choice("heads", plates["heads"].spec)
    assert len(drawn) == 3 * 2 * 2
    name, words, spec = drawn[0]
    assert name == "heads-full-lr-0.0001-vision-tower-trained-head-before-tuning"
    assert words == "Shown: setting =full lr=0.0001, part vision tower, trained head, when before tuning."
    assert {p["name"]: p["value"] for p in spec["params"]}["when"] == "before tuning"
    assert not [p for p in spec["params"] if "bind" in p]
    pairs = [words for _, words, _ in each_choice.each_choice("pairs", plates["head-comparison"].spec)]
    assert len(pairs) == 3 * 2  # of three settings, two parts
    assert len(set(pairs)) == len(pairs)


def test_of_too_many_choices_the_last_selects_stay_as_the_page_shows_them(monkeypatch):
    monkeypatch.setattr(each_choice, "CHOICES_AT_MOST", 3)
    params = [
        {"name": "setting", "value": "b", "bind": {"options": ["a", "b", "c"]}},
        {"name": "part", "value": "y", "bind": {"options": ["x", "y"], "labels": ["the x", "the y"]}},
    ]
    found = each_choice.each_choice("maps", {"params": params})
    assert [name for name, _, _ in found] == ["maps-a-the-y", "maps-b-the-y", "maps-c-the-y"]
    beside = "The page has it for other choices of part as well."
    assert found[0][1] == f"Shown: setting a, part the y. {beside}"
    monkeypatch.setattr(each_choice, "CHOICES_AT_MOST", 2)
    assert [name for name, _, _ in each_choice.each_choice("maps", {"params": params})] == ["maps-b-the-y"]


def test_names_that_look_alike_stay_apart():
    params = [{"name": "run", "bind": {"options": ["a=1", "a 1", "∅"]}}]
    names = [name for name, _, _ in each_choice.each_choice("maps", {"params": params})]
    assert names == ["maps-a-1", "maps-a-1-again", "maps-none"]


def test_a_folder_that_cannot_be_written_is_named(table, tmp_path):
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(TableError, match="figures cannot be written"):
        paper.write(tmp_path / "figures", table, [], NOTHING, ["svg"])


def test_formats_may_be_said_often_or_with_commas(capsys):
    assert formats("pdf, png") == ["pdf", "png"]
    with pytest.raises(SystemExit) as stopped:
        main(["report", "study.yaml", "--figures", "svg", "--figures", "svg,gif"])
    assert stopped.value.code == 2
    assert "unknown format 'gif'; expected pdf, svg or png" in capsys.readouterr().err


def test_nothing_to_draw_writes_nothing(study, tmp_path):
    names = tuple(member.name for member in study.members())
    empty = made_up.table(study, diverged=names)
    assert paper.write(tmp_path, empty, [], NOTHING, ["svg"]) == []
