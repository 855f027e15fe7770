"""A study on a user's own folder of images, and what is said when the folder is not right."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tunescope import api
from tunescope.errors import DataError

STUDY = """
study: mine
model: emoji-clip
task: {{data: "folder:{folder}", on_error: {on_error}}}
train: {{epochs: 1, batch_size: 16}}
probes: [transfer]
runs:
  probe: {{adapt: linear_probe, lr: 1e-2}}
"""


def picture(path: Path, shade: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 40, (40, 60, 3))
    Image.fromarray((noise + shade).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path) -> Path:
    for shade, name in ((30, "night"), (200, "day")):
        for i in range(20):
            picture(tmp_path / "photos" / name / f"{i}.png", shade, i)
    return tmp_path / "photos"


def carry_out(photos: Path, on_error: str = "raise") -> api.StudyResult:
    path = photos.parent / "mine.yaml"
    path.write_text(STUDY.format(folder=photos, on_error=on_error))
    return api.run(path, photos.parent / "results", workers=2)


def test_a_folder_of_images_is_learnt(photos):
    table = carry_out(photos).table
    (found,) = table.per_run("transfer.acc1", {"split": "test", "component": "trained"})
    assert found.value == 1.0


def test_a_broken_image_is_named_or_counted(photos):
    (photos / "day" / "3.png").write_bytes(b"this is no picture")
    with pytest.raises(DataError, match=r"runs\.probe: .*day/3\.png.*skip"):
        carry_out(photos)
    assert not (photos.parent / "results" / "store" / "runs").exists()
    assert api.skipped(carry_out(photos, "skip").table) == [(None, 1)]


def test_an_empty_class_is_named(photos):
    (photos / "dusk").mkdir()
    with pytest.raises(DataError, match="dusk"):
        carry_out(photos)


def test_one_class_only_is_no_task(photos):
    for image in (photos / "night").iterdir():
        image.unlink()
    (photos / "night").rmdir()
    with pytest.raises(DataError, match="only the class 'day'"):
        carry_out(photos)


def test_too_few_images_for_the_split_are_counted(photos):
    for image in sorted((photos / "night").iterdir())[3:]:
        image.unlink()
    with pytest.raises(DataError, match=r"night.*3.*4"):
        carry_out(photos)


def test_a_folder_that_is_not_there_is_named(photos):
    with pytest.raises(DataError, match="nowhere"):
        carry_out(photos.parent / "nowhere")
