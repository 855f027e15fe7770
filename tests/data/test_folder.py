import shutil

import numpy as np
import pytest
from PIL import Image

from tunescope.data.digest import file_digest
from tunescope.data.load import fingerprint, load, tower
from tunescope.errors import DataError


def picture(path, colour=(200, 30, 30), size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pets"
    for name, red in (("egyptian_mau", 10), ("great-dane", 200)):
        for i in range(5):
            picture(root / name / f"{i}.png", (red + i, 0, 0))
    return root


def test_subfolders_are_classes_in_the_order_of_their_names(folder):
    (folder / "great-dane" / "notes.txt").write_text("not an image")
    (folder / ".cache").mkdir()
    picture(folder / "great-dane" / "deeper" / "9.PNG", (7, 8, 9))
    images = load(f"folder:{folder}")
    assert images.class_names == ("egyptian mau", "great dane")
    assert images.ids == (
        *(f"egyptian_mau/{i}.png" for i in range(5)),
        *(f"great-dane/{i}.png" for i in range(5)),
        "great-dane/deeper/9.PNG",
    )
    assert images.labels.tolist() == [0] * 5 + [1] * 6
    assert images.image(7).getpixel((0, 0)) == (202, 0, 0)
    assert images.image(10).getpixel((0, 0)) == (7, 8, 9)


def test_fingerprint_is_of_the_content_and_not_of_the_place(folder, tmp_path):
    first = fingerprint(f"folder:{folder}")
    assert len(first) == 64
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert fingerprint(f"folder:{tmp_path / 'elsewhere'}") == first
    assert load(f"folder:{folder}").fingerprint == first
    picture(folder / "great-dane" / "0.png", (1, 2, 3))
    changed = fingerprint(f"folder:{folder}")
    assert changed != first
    (folder / "great-dane" / "0.png").rename(folder / "great-dane" / "6.png")
    assert fingerprint(f"folder:{folder}") not in (first, changed)


def test_missing_folder_and_empty_class_are_named_and_one_class_is_read(folder, tmp_path):
    with pytest.raises(DataError, match=r"no such folder; expected folder:PATH"):
        load(f"folder:{tmp_path / 'nowhere'}")
    (folder / "akita").mkdir()
    with pytest.raises(DataError, match=r"class 'akita' is empty"):
        load(f"folder:{folder}")
    shutil.rmtree(folder / "akita")
    shutil.rmtree(folder / "great-dane")
    assert load(f"folder:{folder}").class_names == ("egyptian mau",)  # as a client may have it
    shutil.rmtree(folder / "egyptian_mau")
    with pytest.raises(DataError, match=r"no subfolder; each class is one"):
        load(f"folder:{folder}")


def test_a_broken_image_is_named_or_skipped_and_counted(folder):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "great-dane" / "1.png")
    whole = (folder / "great-dane" / "1.png").read_bytes()
    (folder / "great-dane" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "egyptian_mau" / "2.png").write_bytes(b"")
    images = load(f"folder:{folder}")
    with pytest.raises(DataError, match=r"great-dane/1\.png' is broken .*on_error: skip"):
        images.image(6)
    with pytest.raises(DataError, match=r"egyptian_mau/2\.png' is not an image"):
        images.image(2)
    sound = load(f"folder:{folder}", on_error="skip")
    assert sound.skipped == ("egyptian_mau/2.png", "great-dane/1.png")
    assert len(sound) == 8
    assert sound.labels.tolist() == [0] * 4 + [1] * 4
    assert sound.image(4).getpixel((0, 0)) == (200, 0, 0)


def test_where_there_is_no_image_texts_are_read(folder, tmp_path):
    root = tmp_path / "mail"
    for name in ("spam", "ham"):
        (root / name / "old").mkdir(parents=True)
        for i in range(3):
            (root / name / "old" / f"{i}.txt").write_text(f"{name} {i}\n", encoding="utf-8")
    data = load(f"folder:{root}")
    assert (data.tower, data.class_names, data.templates) == ("text", ("ham", "spam"), ("{}",))
    assert [data.item(i) for i in (0, 5)] == ["ham 0", "spam 2"]
    assert data.ids[0] == "ham/old/0.txt"
    assert (tower(f"folder:{root}"), tower(f"folder:{folder}")) == ("text", "vision")
    before = fingerprint(f"folder:{root}")
    (root / "ham" / "old" / "0.txt").write_bytes(b"\xff")
    assert fingerprint(f"folder:{root}") != before
    with pytest.raises(DataError, match=r"text '.*ham/old/0\.txt' cannot be read as UTF-8"):
        load(f"folder:{root}", on_error="skip").item(0)
    (root / "eggs").mkdir()
    with pytest.raises(DataError, match=r"class 'eggs' is empty: no file in .* ends in \.txt; add texts"):
        load(f"folder:{root}")


def test_a_decompression_bomb_is_refused(folder, monkeypatch):
    picture(folder / "great-dane" / "3.png", size=(40, 40))
    images = load(f"folder:{folder}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 1,600 pixels warn in Pillow
    with pytest.raises(DataError, match=r"great-dane/3\.png' is larger than 1,000 pixels.*scale it down"):
        images.image(8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # and here they are Pillow's error
    with pytest.raises(DataError, match=r"larger than 500 pixels"):
        images.image(8)


def test_names_that_would_become_one_stay_as_they_are(folder):
    (folder / "great-dane").rename(folder / "egyptian-mau")
    assert load(f"folder:{folder}").class_names == ("egyptian-mau", "egyptian_mau")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.parquet cannot be read \(No such file"):
        file_digest(tmp_path / "gone.parquet")


def test_select_and_restrict_keep_labels_ids_and_images_together(folder):
    images = load(f"folder:{folder}")
    chosen = images.select([9, 0, 4]).select([0, 2])
    assert chosen.ids == ("great-dane/4.png", "egyptian_mau/4.png")
    assert chosen.labels.tolist() == [1, 0]
    assert [chosen.image(i).getpixel((0, 0)) for i in range(2)] == [(204, 0, 0), (14, 0, 0)]
    swapped = images.restrict(["zebra", "great dane"])
    assert swapped.class_names == ("zebra", "great dane")
    assert np.unique(swapped.labels).tolist() == [1]
    assert swapped.ids == tuple(f"great-dane/{i}.png" for i in range(5))
    assert swapped.image(0).getpixel((0, 0)) == (200, 0, 0)
