import base64
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report import synthetic_study as made_up

from tunescope.report import frames, map_drawing, map_pictures, map_section, maps, page
from tunescope.report.map_section import Section


@pytest.fixture(scope="module")
def published(table):
    return made_up.published(table)


@pytest.fixture(scope="module")
def found(table, published):
    grid = maps.grid(frames.runs(table), made_up.by_run(published))
    assert grid is not None
    return grid


def names(grid: maps.Grid | None) -> list[str]:
    assert grid is not None
    return [column.name for column in grid.columns]


def pixels(picture: map_pictures.Picture) -> np.ndarray:
    data = picture.uri.split(";base64,")[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def decoded(code: str, kind: dict[str, Any], grid: tuple[int, ...]) -> np.ndarray:
    """A column's maps in multiples of an even share, as the script has them."""
    low, high = (float(end.removesuffix(" ×")) for end in kind["ends"])
    levels = np.frombuffer(base64.b64decode(code), np.uint8).reshape(-1, *grid)
    return low + levels / 255 * (high - low)


def test_columns_are_the_base_and_the_first_seed_of_each_setting(found):
    assert names(found)[:2] == ["before tuning", "full lr=1e-05 seed=0"]
    assert len(names(found)) == 1 + 8
    assert all(column.name.endswith("seed=0") and column.seed == 0 for column in found.columns[1:])
    assert [found.columns[i].group for i in (0, 1, 4)] == ["", "full", "lora"]
    shown = Section(found)
    assert len(shown.images) == len(shown.rows) == 4
    assert all(len(row) == len(found.columns) for row in shown.rows)
    assert all(pixels(picture).shape == (88, 88, 3) for picture in (*shown.rows[0], *shown.images))
    assert shown.rows[1][1].alt == "attention over image 2: full lr=1e-05 seed=0"


def test_the_next_seed_steps_in_for_a_run_that_failed(study):
    again = made_up.table(study, diverged=("lora lr=0.001 seed=0",))
    assert "lora lr=0.001 seed=1" in names(maps.grid(frames.runs(again), made_up.arrays(again)))


def test_fair_shares_have_a_mean_of_one_and_keep_proportions():
    found = maps.fair_shares(np.random.default_rng(0).uniform(0, 1, (3, 49)))
    assert found.shape == (3, 7, 7)
    assert found.mean((1, 2)) == pytest.approx(1)
    assert maps.fair_shares(np.zeros((1, 2, 2))).tolist() == [[[0, 0], [0, 0]]]


def test_patches_that_are_no_square_are_refused():
    with pytest.raises(ValueError, match="5 patches are no square grid"):
        maps.fair_shares(np.ones((1, 5)))


def test_more_attention_is_brighter():
    heat = np.array([[0.05, 0.05], [0.05, 0.85]])
    for image in (None, np.full((8, 8, 3), 128, np.uint8)):
        drawn = map_pictures.overlay(image, heat).astype(int).sum(-1)
        assert drawn[-1, -1] > drawn[0, 0] + 100


def test_maps_without_images_and_without_a_base_stand_alone(table, published):
    bare = {run: {maps.AFTER: found[maps.AFTER]} for run, found in published.items()}
    found = maps.grid(frames.runs(table), made_up.by_run(bare))
    assert found is not None
    assert names(found)[0] == "full lr=1e-05 seed=0"
    shown = Section(found)
    assert (shown.images, shown.shares, len(shown.kept)) == ((), (), 1)
    assert "(left)" not in shown.caption
    assert [name for name, _, _ in map_drawing.drawings(found)] == ["maps"]


def test_no_maps_no_grid(table):
    assert maps.grid(frames.runs(table), made_up.by_run({})) is None
    assert map_section.section(None) is None
    empty = {"run00": {maps.AFTER: np.zeros((0, 6, 6))}}
    assert maps.grid(frames.runs(table), made_up.by_run(empty)) is None


def test_settings_for_which_there_is_no_room_are_named():
    rates = [round(1e-4 * (i + 1), 6) for i in range(maps.COLUMNS_AT_MOST)]
    study = made_up.study(runs={"full": {"adapt": "full", "lr": rates}}, seeds=[0])
    table = made_up.table(study)
    found = maps.grid(frames.runs(table), made_up.arrays(table, 1))
    assert found is not None
    assert len(found.columns) == maps.COLUMNS_AT_MOST - 1
    assert found.left_out == ("full lr=0.0013", "full lr=0.0014")
    assert "Left out for room: full lr=0.0013, full lr=0.0014." in Section(found).caption


def test_the_scale_spans_what_is_there_and_does_not_blow_up_noise(table):
    for shares, ends in ((np.full(16, 1 / 16), (1.0, 1.5)), (np.eye(16)[0], (0.0, 16.0))):
        arrays = made_up.by_run({"run00": {maps.AFTER: np.tile(shares, (2, 1))}})
        grid = maps.grid(frames.runs(table), arrays)
        assert grid is not None
        assert (grid.kinds[0].bottom, grid.kinds[0].top) == ends


def test_arrays_are_read_of_the_runs_that_are_shown_and_no_others(table, published):
    asked: list[str] = []

    def read(run):
        asked.append(run)
        return published[run]

    maps.grid(frames.runs(table), read)
    assert len(asked) == 8  # one of each setting


def test_the_script_gets_every_kind_at_every_look(found, published):
    shown = Section(found)
    data = json.loads(json.dumps(shown.data))
    assert [kind["label"] for kind in data["kinds"]][:3] == [
        "rollout through all layers",
        "layer 5, the last",
        "layer 4",
    ]
    assert data["places"][0] == "step 0 of 45, before the first"
    assert data["places"][-2:] == ["step 36 of 45", "tuned, as published"]  # the look at step 45 is no other
    assert data["said"][1][:2] == ["", "step 9 of 45"]
    assert [data["said"][-1][i] for i in (0, 1)] == ["", "tuned"]
    full = published["run00"]
    for place, name, kind, layer in ((2, "rollout", 0, None), (2, "pooled", 1, 5), (-1, "pooled", 2, 4)):
        source = full[f"monitor.attention.{name}"][place] if place > 0 else full[f"attention.{name}"]
        expected = maps.fair_shares(source if layer is None else source[:, layer])
        said = data["kinds"][kind]
        ours = decoded(said["maps"][place][1], said, (6, 6))
        low, high = shown.kept[kind][0].bottom, shown.kept[kind][0].top
        np.testing.assert_allclose(ours, expected.clip(low, high), atol=(high - low) / 255)
    assert {kind["maps"][2][0] for kind in data["kinds"]} == {""}  # the base stays as it is
    assert all(kind["maps"][-1][0] for kind in data["kinds"])
    assert (shown.kept[1][0].bottom, shown.kept[1][0].top) == (shown.kept[6][0].bottom, shown.kept[6][0].top)


def test_models_of_unlike_lengths_grids_and_ages_stand_side_by_side(table, published):
    runs = {run.name: run.id for run in frames.runs(table)}
    given = {run: dict(found) for run, found in published.items()}
    short, wide, old, other, alone = (
        given[runs[f"{name} seed=0"]]
        for name in ("full lr=0.0001", "full lr=0.001", "lora lr=0.0001", "lora lr=0.001", "lora lr=0.005")
    )
    short |= {"monitor.total": np.array(20)}  # looks after 0, 9 and 18 of 20
    wide |= {name: np.repeat(np.repeat(wide[name], 6, -1), 6, -2) for name in wide if "rollout" in name}
    wide["attention.pooled"] = wide["attention.pooled"][:, :, :5, :4]
    for name in [name for name in old if name not in (maps.AFTER, maps.AFTER + maps.BASE, maps.IMAGES)]:
        del old[name]
    other["monitor.attention.image_ids"] = other["monitor.attention.image_ids"] + 1
    for name in [name for name in alone if name.startswith("monitor.") and "rollout" in name]:
        del alone[name]
    grid = maps.grid(frames.runs(table), made_up.by_run(given))
    assert grid is not None
    columns = {column.name.removesuffix(" seed=0"): column for column in grid.columns}
    assert columns["full lr=0.0001"].steps == (0, 9, 18)
    assert columns["full lr=0.0001"].said(0.4) == "step 9 of 20"
    assert [columns[name].said(0.4) for name in ("lora lr=0.0001", "lora lr=0.001")] == ["tuned"] * 2
    assert columns["lora lr=0.005"].steps == ()
    data = Section(grid).data
    place = list(columns).index
    assert data["grids"][place("full lr=0.001")] == (24, 24)
    assert data["grids"][place("full lr=0.0001")] == (6, 6)
    assert data["places"][1] == "20.0 % of the steps"
    assert data["kinds"][1]["maps"][-1][place("lora lr=0.0001")] is None  # an old store has the rollout alone


def test_where_an_attention_head_pools_there_is_one_kind(table, published):
    probe = {
        run: {name: found[name] for name in found if "pooled" not in name and "monitor" not in name}
        | {"attention.pooled": found["attention.rollout"][:, None].astype(np.float16)}
        | {"attention.pooled.base": found["attention.rollout.base"][:, None].astype(np.float16)}
        for run, found in published.items()
    }
    grid = maps.grid(frames.runs(table), made_up.by_run(probe))
    assert grid is not None
    assert [kind.label for kind in grid.kinds] == ["the pooling head's own row"]
    assert "rollout" not in Section(grid).caption


def test_what_has_no_room_is_left_out_from_the_end(found, monkeypatch):
    everything = len(json.dumps(Section(found).data))
    sizes = []
    for room in (21_000, 12_000, 6_000, 2_700):
        monkeypatch.setattr(map_section, "BYTES_AT_MOST", room)
        shown = Section(found)
        sizes.append((len(shown.shares), [len(when) for _, when in shown.kept]))
        data = len(json.dumps(shown.data))
        assert data < everything
        assert sum(
            len(code or "") for kind in shown.data["kinds"] for row in kind["maps"] for code in row
        ) < (room * 1.4 + 100)
    assert sizes == [(5, [6, 6, 1, 1, 1, 1, 1]), (4, [5, 5]), (1, [2, 2]), (0, [1, 1])]


def test_a_strip_over_the_steps_is_drawn_for_a_paper(found):
    (name, words, _), (strip, told, chart) = map_drawing.drawings(found)
    assert (name, strip) == ("maps", "maps-over-steps")
    assert "The same images (left)" in words
    assert "as many steps as stand above" in told
    values = chart.to_dict()["data"]["values"]
    assert [" ".join(value["column"].split()) for value in values[:7]] == [
        "image",
        "step 0 of 45, before the first",
        *(f"step {step} of 45" for step in (9, 18, 27, 36)),
        "tuned, as published",
    ]
    assert len(values) == 8 * 7  # the base has no steps


def test_kind_and_step_are_chosen_with_the_keyboard(browser, written, found):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    heard: list[str] = []
    tab.on("console", lambda message: heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.goto(written.as_uri())
    table, slider = tab.locator("table.maps"), tab.locator("#maps-step")
    picture = tab.locator("tr:nth-child(2) td.map").nth(3)

    def shown(state: str) -> np.ndarray:
        tab.wait_for_selector(f'table.maps[data-shown="{state}"]')
        code = picture.locator("canvas").evaluate("canvas => canvas.toDataURL()").split(",")[1]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB")).astype(int)

    assert picture.locator("img").is_visible()  # until something is chosen
    assert slider.get_attribute("aria-valuetext") == "tuned, as published"
    slider.focus()
    slider.press("ArrowLeft")
    before = shown("0 4")
    slider.press("ArrowRight")
    after = shown("0 5")
    assert not picture.locator("img").is_visible()
    column, kind = found.columns[3], found.kinds[0]
    for ours, maps_then in ((before, column.at("rollout", 0.8)), (after, column.maps["rollout"])):
        heat = map_pictures.heat(maps_then[1], kind)
        expected = map_pictures.overlay(found.images[1], heat).astype(int)
        assert np.abs(ours - expected).mean() < 1  # as Pillow draws it
    assert np.abs(before - after).mean() > 1.5
    slider.press("Home")
    start = shown("0 0")
    assert slider.get_attribute("aria-valuetext") == "step 0 of 45, before the first"
    assert tab.locator(".map-controls output").inner_text() == "step 0 of 45, before the first"
    assert table.locator(".when").nth(1).inner_text() == "step 0 of 45"
    tab.locator(".map-controls select").focus()
    tab.keyboard.press("ArrowDown")
    assert np.abs(shown("1 0") - start).mean() > 2
    assert tab.locator(".ramp span").nth(1).inner_text() == f"{found.kinds[1].top:g} × an even share"
    assert picture.locator("canvas").get_attribute("aria-label") == (
        "attention over image 2: full lr=0.001 seed=0, layer 5, the last, step 0 of 45"
    )
    assert not tab.locator(".none-left").is_visible()
    tab.evaluate("document.querySelectorAll('#maps [data-group]').forEach((part) => (part.hidden = true))")
    tab.evaluate("document.dispatchEvent(new Event('narrowed'))")  # as the page's filters tell it
    assert tab.locator(".none-left").is_visible()
    assert heard == []
    tab.close()


def test_the_section_is_small_and_the_same_every_time(study, table, found, written):
    text = written.read_text(encoding="utf-8")
    again = page.render(study, table, made_up.answers(table), made_up.arrays(table), made_up.MADE)
    section = re.compile(r'<section id="maps".*?</section>', re.DOTALL)
    one, other = (section.search(html) for html in (text, again))
    assert one is not None
    assert other is not None
    assert one[0] == other[0]
    assert len(one[0]) < 750_000
    assert one[0].count('data-group="full" data-seed="0"') == 3 * 5
