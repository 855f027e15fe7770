import base64
import io

import numpy as np
import pytest
from PIL import Image
from report import synthetic_study as made_up

from tunescope.report import frames, maps


@pytest.fixture(scope="module")
def published(table):
    return made_up.published(table)


def pixels(picture: maps.Picture) -> np.ndarray:
    data = picture.uri.removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_columns_are_image_base_and_the_first_seed_of_each_setting(table):
    found = maps.grid(frames.runs(table), made_up.arrays(table))
    assert found is not None
    assert found.columns[:3] == ("image", "before tuning", "full lr=1e-05 seed=0")
    assert len(found.columns) == 2 + 8
    assert all(name.endswith("seed=0") for name in found.columns[2:])
    assert len(found.rows) == 4
    assert all(len(row) == len(found.columns) for row in found.rows)
    assert all(pixels(picture).shape == (maps.SIDE, maps.SIDE, 3) for picture in found.rows[0])
    assert found.rows[1][2].alt == "attention over image 2: full lr=1e-05 seed=0"


def test_the_next_seed_steps_in_for_a_run_that_failed(study, table):
    again = made_up.table(study, diverged=("lora lr=0.001 seed=0",))
    found = maps.grid(frames.runs(again), made_up.arrays(again))
    assert found is not None
    assert "lora lr=0.001 seed=1" in found.columns


def test_fair_shares_have_a_mean_of_one_and_keep_proportions():
    found = maps.fair_shares(np.random.default_rng(0).uniform(0, 1, (3, 49)))
    assert found.shape == (3, 7, 7)
    assert found.mean((1, 2)) == pytest.approx(1)
    assert maps.fair_shares(np.zeros((1, 2, 2))).tolist() == [[[0, 0], [0, 0]]]


def test_patches_that_are_no_square_are_refused():
    with pytest.raises(ValueError, match="5 patches are no square grid"):
        maps.fair_shares(np.ones((1, 5)))


def test_more_attention_is_brighter():
    shares = np.array([[0.2, 0.2], [0.2, 3.4]])
    for image in (None, np.full((8, 8, 3), 128, np.uint8)):
        drawn = maps.overlay(image, shares, bottom=0.0, top=4.0).astype(int).sum(-1)
        assert drawn[-1, -1] > drawn[0, 0] + 100


def test_maps_without_images_and_without_a_base_stand_alone(table, published):
    bare = {run: {maps.AFTER: found[maps.AFTER]} for run, found in published.items()}
    found = maps.grid(frames.runs(table), made_up.by_run(bare))
    assert found is not None
    assert found.columns[0] == "full lr=1e-05 seed=0"


def test_no_maps_no_grid(table):
    assert maps.grid(frames.runs(table), made_up.by_run({})) is None
    empty = {"run00": {maps.AFTER: np.zeros((0, 6, 6))}}
    assert maps.grid(frames.runs(table), made_up.by_run(empty)) is None


def test_settings_for_which_there_is_no_room_are_named():
    rates = [round(1e-4 * (i + 1), 6) for i in range(maps.COLUMNS_AT_MOST)]
    study = made_up.study(runs={"full": {"adapt": "full", "lr": rates}}, seeds=[0])
    table = made_up.table(study)
    found = maps.grid(frames.runs(table), made_up.arrays(table, count=1))
    assert found is not None
    assert len(found.columns) == maps.COLUMNS_AT_MOST
    assert found.left_out == ("full lr=0.0013", "full lr=0.0014")


def test_the_scale_spans_what_is_there_and_does_not_blow_up_noise(table):
    even = np.full((2, 16), 1 / 16)
    quiet = maps.grid(frames.runs(table), made_up.by_run({"run00": {maps.AFTER: even}}))
    assert quiet is not None
    assert (quiet.bottom, quiet.top) == (1.0, 1.5)
    one = {"run00": {maps.AFTER: np.tile(np.eye(16)[0], (2, 1))}}
    sharp = maps.grid(frames.runs(table), made_up.by_run(one))
    assert sharp is not None
    assert (sharp.bottom, sharp.top) == (0.0, 16.0)


def test_arrays_are_read_of_the_runs_that_are_shown_and_no_others(table, published):
    asked: list[str] = []

    def read(run):
        asked.append(run)
        return published[run]

    maps.grid(frames.runs(table), read)
    assert len(asked) == 8  # one of each setting
