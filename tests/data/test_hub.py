import sys

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value, disable_progress_bars
from PIL import Image as Pillow

from tunescope.data.hub import NAMED
from tunescope.data.hub import load as load_hub
from tunescope.data.load import fingerprint, load, tower
from tunescope.data.prompts import CIFAR10_NAMES, bare
from tunescope.errors import DataError

disable_progress_bars()


def made(n=8, names=("mail-box", "tree"), shift=0, **more):
    features = {"picture": Image(), "kind": ClassLabel(names=list(names))}
    columns = {
        "picture": [Pillow.new("RGB", (6, 5), (i + shift, 0, 0)) for i in range(n)],
        "kind": [i % len(names) for i in range(n)],
    }
    for name, (feature, values) in more.items():
        features[name], columns[name] = feature, values
    return Dataset.from_dict(columns, features=Features(features))


def red(images, index):
    return np.asarray(images.image(index))[0, 0, 0]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def saved(tmp_path):
    DatasetDict({"train": made(8), "test": made(4, shift=100)}).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_folder_is_found_by_its_types(saved):
    images = load(f"hf:{saved}")
    assert images.class_names == ("mail box", "tree")
    assert images.label == "kind"
    assert len(images) == len(set(images.ids)) == 12
    assert [red(images, i) for i in range(12)] == [100, 101, 102, 103, *range(8)]
    assert images.labels.tolist() == [0, 1] * 6
    assert images.ids[4].endswith("/train/0")
    train = load(f"hf:{saved}#train")
    assert train.ids == images.ids[4:]
    assert train.image(3).getpixel((0, 0)) == (3, 0, 0)


def test_fingerprint_moves_with_content_and_choice_but_not_with_the_place(saved, tmp_path):
    saved.rename(tmp_path / "elsewhere")
    moved = f"hf:{tmp_path / 'elsewhere'}"
    first = fingerprint(moved)
    (tmp_path / "elsewhere").rename(saved)
    assert fingerprint(f"hf:{saved}") == first == load(f"hf:{saved}").fingerprint
    assert len({first, fingerprint(f"hf:{saved}#train"), fingerprint(f"hf:{saved}:kind")}) == 3
    made(8, shift=1).save_to_disk(saved)
    assert fingerprint(f"hf:{saved}") != first


def test_labels_may_be_strings_and_are_named_where_there_are_several(tmp_path):
    names = ["red", "blue", "red", "green"]
    both = made(4, colour=(Value("string"), names), other=(ClassLabel(names=["a", "b"]), [1, 1, 0, 0]))
    both.save_to_disk(tmp_path / "both")
    ref = f"hf:{tmp_path / 'both'}"
    with pytest.raises(
        DataError, match=r"one label column, found \['kind', 'other'\]; name it: hf:.*:COLUMN"
    ):
        load(ref)
    assert load(f"{ref}:other").labels.tolist() == [1, 1, 0, 0]
    assert load(ref, "other").label == "other"
    colours = load(f"{ref}:colour", "other")
    assert [colours.class_names[i] for i in colours.labels] == names
    assert colours.ids == load(f"{ref}:other").ids
    with pytest.raises(DataError, match=r"no column 'color'; did you mean 'colour'"):
        load(f"{ref}:color")
    with pytest.raises(DataError, match=r"column 'picture' is struct.*expected class labels: strings, "):
        load(f"{ref}:picture")


def texts(n=6, label=None, **columns):
    """Texts, or what else is told, with class labels."""
    features = {name: Value("string") for name in columns or ("text",)}
    values = columns or {"text": [f"text {i}" for i in range(n)]}
    kind = ClassLabel(names=["no_way", "yes"]) if label is None else Value("string")
    labels = [i % 2 for i in range(n)] if label is None else label
    return Dataset.from_dict(values | {"label": labels}, features=Features(features | {"label": kind}))


def test_where_there_is_no_image_texts_are_read(tmp_path):
    DatasetDict({"train": texts(6), "test": texts(2)}).save_to_disk(tmp_path / "texts")
    ref = f"hf:{tmp_path / 'texts'}"
    data = load(ref)
    assert (data.tower, tower(ref), data.label) == ("text", "text", "label")
    assert [data.item(i) for i in range(3)] == ["text 0", "text 1", "text 0"]
    assert data.class_names == ("no way", "yes")
    assert len(set(data.ids)) == 8
    assert load(f"{ref}#train").ids == data.ids[:2] + tuple(f"{i}" for i in load(f"{ref}#train").ids[2:])
    pairs = texts(2, ["b", "a"], premise=["p", "q"], hypothesis=["h", "i"])
    pairs.save_to_disk(tmp_path / "pairs")
    found = load(f"hf:{tmp_path / 'pairs'}")
    assert [found.item(i) for i in range(2)] == [("p", "h"), ("q", "i")]
    assert (found.labels.tolist(), found.class_names) == ([1, 0], ("a", "b"))
    scored = texts(2).remove_columns("label").add_column("label", [0.5, 2.5])
    scored.save_to_disk(tmp_path / "scored")
    assert load(f"hf:{tmp_path / 'scored'}").labels.tolist() == [0.5, 2.5]
    made(2).save_to_disk(tmp_path / "images")
    assert tower(f"hf:{tmp_path / 'images'}") == "vision"
    two = texts(2, title=["t", "u"], body=["b", "c"])
    two.save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match=r"columns of strings: title, body; rename yours"):
        load(f"hf:{tmp_path / 'two'}")


def test_a_configuration_stands_behind_the_id(monkeypatch):
    asked = []
    monkeypatch.setattr("datasets.load_dataset", lambda *of: asked.append(of) or texts(4))
    assert len(load("hf:somebody/many/part#train:label")) == 4
    assert asked == [("somebody/many", "part")]


def test_parquet_files_are_read(tmp_path):
    (tmp_path / "files").mkdir()
    for i in range(2):
        made(4, shift=10 * i).to_parquet(tmp_path / "files" / f"part-{i}.parquet")
    images = load(f"hf:{tmp_path / 'files'}")
    assert [red(images, i) for i in range(8)] == [0, 1, 2, 3, 10, 11, 12, 13]
    one = load(f"hf:{tmp_path / 'files' / 'part-1.parquet'}")
    assert red(one, 0) == 10
    assert fingerprint(f"hf:{tmp_path / 'files'}") != fingerprint(one.name)


def test_broken_rows_are_named_or_skipped(tmp_path):
    rows = made(5).cast_column("picture", Image(decode=False)).to_list()
    rows[2]["picture"]["bytes"] = b"not an image"
    rows[4]["picture"] = None
    features = Features({"picture": Image(decode=False), "kind": ClassLabel(names=["a", "b"])})
    broken = Dataset.from_list(rows, features=features).cast_column("picture", Image())
    broken.save_to_disk(tmp_path / "broken")
    ref = f"hf:{tmp_path / 'broken'}"
    with pytest.raises(DataError, match=r"broken: train, row 2' is not an image"):
        load(ref).image(2)
    with pytest.raises(DataError, match=r"row 4' is missing"):
        load(ref).image(4)
    assert [name.rsplit("/", 1)[1] for name in load(ref, on_error="skip").skipped] == ["2", "4"]


def test_what_cannot_be_loaded_says_why(saved, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no split 'tran'; did you mean 'train'"):
        load(f"hf:{saved}#tran")
    with pytest.raises(DataError, match=r"nobody/nothing' cannot be loaded; give an id that is on the hub"):
        load("hf:nobody/nothing")
    with pytest.raises(DataError, match=r"expected hf:ID_OR_PATH"):
        load("hf:")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither saved by save_to_disk nor Parquet.* say folder:"):
        load(f"hf:{tmp_path / 'empty'}")
    made(2).remove_columns("picture").save_to_disk(tmp_path / "imageless")
    with pytest.raises(DataError, match=r"expected one image column, or texts, found \['kind'\]"):
        load(f"hf:{tmp_path / 'imageless'}")
    made(2, target=(ClassLabel(names=["a", "b"]), [-1, 0])).save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(DataError, match=r"split 'train' has unlabelled rows"):
        load(f"hf:{tmp_path / 'unlabelled'}:target")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'tunescope\[datasets\]'"):
        load(f"hf:{saved}")


@pytest.mark.parametrize("name", sorted(NAMED))
def test_named_sets_offline_say_what_is_missing(name):
    with pytest.raises(DataError, match=rf"{NAMED[name].ref.split(':')[1]}' cannot be loaded"):
        load(name)


def test_named_sets_take_the_names_and_templates_of_clip(tmp_path, monkeypatch):
    spelt = ("SeaLake", "AnnualCrop", "River")
    made(6, spelt).save_to_disk(tmp_path / "land")
    local = NAMED["eurosat"]._replace(ref=f"hf:{tmp_path / 'land'}:kind")
    monkeypatch.setitem(NAMED, "eurosat", local)
    images = load_hub("eurosat", None)
    assert images.class_names == ("lake or sea", "annual crop land", "river")
    assert images.templates[0] == "a centered satellite photo of {}."
    assert fingerprint("eurosat") != fingerprint(local.ref)
    made(6, ("SeaLake", "Rivver", "Forest")).save_to_disk(tmp_path / "land")
    with pytest.raises(DataError, match=r"has a class 'Rivver'; did you mean 'river'"):
        load_hub("eurosat", None)


def test_counts_of_named_classes():
    assert {name: len(named.names) for name, named in NAMED.items()} == {
        "eurosat": 10,
        "oxford_pets": 37,
        "cifar10": 10,
        "cifar100": 100,
    }
    assert NAMED["cifar10"].names[bare("Truck")] == CIFAR10_NAMES[-1] == "truck"
    assert NAMED["oxford_pets"].names["egyptianmau"] == "Egyptian Mau"
    assert NAMED["cifar100"].names[bare("pickup_truck")] == "pickup truck"
    assert all("{}" in template for named in NAMED.values() for template in named.templates)
    assert np.unique([len(named.templates) for named in NAMED.values()]).tolist() == [1, 3, 18]
