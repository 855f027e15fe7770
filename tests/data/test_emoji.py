import sys
from subprocess import run

import numpy as np
import pyarrow.parquet as pq
import pytest

from tunescope.data.emoji import FOLDER, STYLES
from tunescope.data.load import fingerprint, load, tower
from tunescope.errors import DataError


def test_every_style_draws_the_same_concepts():
    sets = {style: load(f"emoji/{style}", "subgroup") for style in STYLES}
    first = sets["noto"]
    for images in sets.values():
        assert images.ids == first.ids
        assert images.class_names == first.class_names
        assert np.array_equal(images.labels, first.labels)
    pixels = {np.asarray(images.image(3).convert("RGB")).tobytes() for images in sets.values()}
    assert len(pixels) == len(STYLES)


def test_labels_are_those_of_the_concepts_table():
    table = {row["codepoints"]: row for row in pq.read_table(FOLDER / "concepts.parquet").to_pylist()}
    for label in ("group", "subgroup", "name"):
        images = load(f"emoji/twemoji:{label}")
        assert images.label == label
        for index in range(0, len(images), 97):
            said = images.class_names[images.labels[index]]
            assert said.replace(" ", "-") == table[images.ids[index]][label].replace(" ", "-")
    assert load("emoji/noto").label == "group"
    assert load("emoji/noto", "subgroup").label == "subgroup"
    assert load("emoji/noto:name", "subgroup").label == "name"


def test_the_image_is_the_one_of_its_concept():
    table = pq.read_table(FOLDER / "images-openmoji.parquet").to_pylist()
    wanted = next(row for row in table if row["style"] == "openmoji-line" and row["codepoints"] == "1f427")
    images = load("emoji/openmoji-line")
    image = images.image(images.ids.index("1f427"))
    assert image.size == (48, 48)
    from io import BytesIO

    from PIL import Image

    assert image.tobytes() == Image.open(BytesIO(wanted["image"])).tobytes()


def test_names_and_keywords_tell_the_same_concepts():
    table = {row["codepoints"]: row for row in pq.read_table(FOLDER / "concepts.parquet").to_pylist()}
    names, keywords, drawn = (load(f"emoji/{style}", "subgroup") for style in ("names", "keywords", "noto"))
    assert names.ids == tuple(table)
    assert set(drawn.ids) <= set(names.ids)
    assert set(names.ids) - set(keywords.ids) == {c for c, row in table.items() if not row["keywords"]}
    for data in (names, keywords):
        assert (data.tower, data.templates, data.small_classes) == ("text", ("{}",), "drop")
        for index in range(0, len(data), 97):
            row = table[data.ids[index]]
            assert data.item(index) in (row["name"], ", ".join(row["keywords"]))
            assert data.class_names[data.labels[index]].replace(" ", "-") == row["subgroup"].replace(" ", "-")
            assert data.groups[index] == row["family"]
    assert names.item(0) != keywords.item(0)
    assert [tower(f"emoji/{of}") for of in ("names", "keywords:group", "noto")] == ["text", "text", "vision"]
    assert load("emoji/names").label == "group"
    for ref, label in (("emoji/names:name", None), ("emoji/keywords", "name")):
        with pytest.raises(
            DataError, match=r"names are what its texts tell; take the label group or subgroup"
        ):
            load(ref, label)


def test_unknown_style_and_label_name_the_nearest():
    with pytest.raises(DataError, match=r"unknown style 'notto'; did you mean 'noto'"):
        load("emoji/notto")
    with pytest.raises(DataError, match=r"unknown label 'names'; did you mean 'name'"):
        load("emoji/noto:names")
    with pytest.raises(DataError, match=r"unknown label 'groups'; did you mean 'group'"):
        load("emoji/noto", "groups")


def test_fingerprints_differ_by_reference():
    refs = [
        "emoji/names",
        "emoji/keywords",
        "emoji/noto",
        "emoji/twemoji",
        "emoji/noto:name",
        "emoji/openmoji",
    ]
    assert len({fingerprint(ref) for ref in refs}) == 6


@pytest.mark.parametrize("ref", ["emojis/noto", "cifar", "cifar10:label", "folderr:x", ""])
def test_unknown_references_list_the_known(ref):
    with pytest.raises(DataError, match=r"unknown data .*folder:PATH"):
        load(ref)
    with pytest.raises(DataError, match=r"unknown data"):
        fingerprint(ref)


def test_fingerprints_and_loading_need_no_torch():
    code = (
        "import sys; from tunescope.data.load import load, fingerprint; fingerprint('emoji/noto'); "
        "load('emoji/noto').image(0); fingerprint('emoji/names'); sys.exit('torch' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
