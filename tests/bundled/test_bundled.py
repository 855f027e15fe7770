"""The bundled data and model are whole, lawful, and what their card says."""

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

BUNDLED = Path(__file__).parents[2] / "src" / "tunescope" / "bundled"
FREE = ["noto", "twemoji", "fluent-3d", "fluent-flat"]
SHARE_ALIKE = ["openmoji", "openmoji-line"]
EMPTY_AT_SOURCE = {("openmoji-line", "1f195")}  # OpenMoji 17.0.0 holds no lines for NEW button


@pytest.fixture(scope="module")
def concepts():
    return pq.read_table(BUNDLED / "emoji" / "concepts.parquet").to_pylist()


@pytest.fixture(scope="module")
def images():
    files = {"images.parquet": FREE, "images-openmoji.parquet": SHARE_ALIKE}
    found = {}
    for file, styles in files.items():
        rows = pq.read_table(BUNDLED / "emoji" / file).to_pylist()
        assert [style for style, _ in Counter(row["style"] for row in rows).items()] == styles
        found |= {(row["style"], row["codepoints"]): row["image"] for row in rows}
    return found


@pytest.fixture(scope="module")
def clip():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        folder = BUNDLED / "emoji-clip"
        model = CLIPModel.from_pretrained(folder).eval()
        yield model, AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)


def test_every_file_is_summed_and_the_sums_match():
    lines = (BUNDLED / "SHA256SUMS").read_text("utf-8").splitlines()
    said = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    left_out = {".py", ".pyc", ".tmp"}
    files = [file for file in BUNDLED.rglob("*") if file.is_file() and file.suffix not in left_out]
    found = {
        file.relative_to(BUNDLED).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != "SHA256SUMS"
    }
    assert found == said
    assert sum(file.stat().st_size for file in files) < 20e6
    assert not {file.suffix for file in files} & {".pkl", ".pt", ".pth", ".bin"}


def test_six_styles_draw_the_same_emoji(concepts, images):
    codes = {concept["codepoints"] for concept in concepts}
    assert len(codes) == len(concepts) >= 1500
    assert set(images) == {(style, code) for style in FREE + SHARE_ALIKE for code in codes}


def test_every_picture_is_48_by_48(images):
    for image in images.values():
        with Image.open(io.BytesIO(image)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (48, 48))
    spread = {key: np.array(Image.open(io.BytesIO(image))).std() for key, image in images.items()}
    assert {key for key, value in spread.items() if value < 1} == EMPTY_AT_SOURCE


def test_concepts_are_described(concepts):
    assert len({concept["group"] for concept in concepts}) == 8
    assert len({concept["name"] for concept in concepts}) == len(concepts)
    for concept in concepts:
        points = [chr(int(point, 16)) for point in concept["codepoints"].split("-")]
        assert concept["emoji"].replace("\ufe0f", "") == "".join(points)
        assert concept["subgroup"]
        assert isinstance(concept["keywords"], list)


def test_the_split_is_by_family_and_stratified(concepts):
    parts = Counter(concept["pretraining"] for concept in concepts)
    assert set(parts) == {"train", "val", "test"}
    assert all(abs(parts[part] / len(concepts) - 0.1) < 0.01 for part in ("val", "test"))
    for group, count in Counter(concept["group"] for concept in concepts).items():
        inside = Counter(c["pretraining"] for c in concepts if c["group"] == group)
        assert all(abs(inside[part] - count / 10) <= 2 for part in ("val", "test"))
    of = {}
    for concept in concepts:
        of.setdefault(concept["family"], set()).add((concept["group"], concept["pretraining"]))
    for places in of.values():
        parts_of_group = Counter(group for group, _ in places)
        assert max(parts_of_group.values()) == 1


@pytest.mark.parametrize("style", FREE + SHARE_ALIKE)
def test_each_style_has_its_licence(style):
    notice = (BUNDLED / "NOTICE.md").read_text("utf-8")
    row = next(line for line in notice.splitlines() if line.startswith("| style") and f"`{style}`" in line)
    texts = [cell for cell in row.split("`") if cell.endswith(".txt")]
    assert texts
    assert all(len((BUNDLED / "LICENSES" / text).read_text("utf-8")) > 900 for text in texts)


def test_share_alike_pictures_stand_alone_and_the_card_says_so():
    card = (BUNDLED / "emoji-clip" / "README.md").read_text("utf-8")
    assert "OpenMoji was not used" in card
    assert "CC BY-SA 4.0" in (BUNDLED / "NOTICE.md").read_text("utf-8")


def test_model_loads_plainly_in_float32(clip):
    model, tokenizer, _ = clip
    assert type(model) is CLIPModel
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    config = json.loads((BUNDLED / "emoji-clip" / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["CLIPModel"]
    assert "auto_map" not in config
    assert config["text_config"]["eos_token_id"] == tokenizer.eos_token_id != 2


def test_tokenizer_round_trip(clip, concepts):
    _, tokenizer, _ = clip
    for text in [
        "grinning face",
        "a kind of animal mammal",
        *(concept["name"] for concept in concepts[::50]),
    ]:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert ids.index(tokenizer.eos_token_id) == len(ids) - 1  # nothing inside is unknown
        said = tokenizer.decode(ids, skip_special_tokens=True)
        assert said.replace(" ", "") == text.lower().replace(" ", "")


def _rows(found):
    return torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)


@pytest.mark.parametrize("part", ["train", "test"])
def test_zero_shot_accuracy_is_what_the_card_says(clip, concepts, images, part):
    model, tokenizer, processor = clip
    said = json.loads((BUNDLED / "emoji-clip" / "metrics.json").read_text("utf-8"))["noto"][part]
    groups = sorted({concept["group"] for concept in concepts})
    prompts = [f"a kind of {group.replace('-', ' ')}" for group in groups]
    chosen = [concept for concept in concepts if concept["pretraining"] == part]
    chosen = chosen[:: max(1, len(chosen) // 150)]
    pictures = [Image.open(io.BytesIO(images["noto", c["codepoints"]])).convert("RGB") for c in chosen]
    with torch.inference_mode():
        text = _rows(model.get_text_features(**tokenizer(prompts, padding=True, return_tensors="pt")))
        image = _rows(model.get_image_features(**processor(images=pictures, return_tensors="pt")))
    truth = torch.tensor([groups.index(concept["group"]) for concept in chosen])
    accuracy = 100 * ((image @ text.T).argmax(1) == truth).float().mean().item()
    assert accuracy > 3 * 12.5
    exact = len(chosen) == said["n"]
    assert accuracy == pytest.approx(said["group_top1"], abs=0.7 if exact else 8)
