import json

import numpy as np
import pytest
from families import FAMILIES
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from tunescope.errors import ModelError
from tunescope.models.preprocess import HALF, Preprocess, read

DINOV2 = {
    "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
PROCESSORS = {
    "clip": (CLIPImageProcessorPil, {}),
    "siglip": (SiglipImageProcessorPil, {}),
    "vit": (ViTImageProcessorPil, {}),
    "dinov2": (BitImageProcessorPil, DINOV2),
    "small": (CLIPImageProcessorPil, {"size": {"shortest_edge": 48}, "crop_size": 48}),
    "odd": (BitImageProcessorPil, {"size": {"shortest_edge": 41}, "crop_size": 32}),
}
SIZES = [(301, 227), (97, 411), (33, 32), (224, 224), (1, 7), (500, 333)]


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    generator = np.random.default_rng(size[0])
    coarse = generator.integers(0, 256, (5, 5, 4), dtype=np.uint8)
    noise = generator.integers(-40, 40, (size[1], size[0], 4))
    smooth = np.asarray(Image.fromarray(coarse).resize(size, 3)).astype(int)
    image = Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))
    if mode == "P+transparency":
        image = image.convert("RGB").quantize(16, method=Image.Quantize.FASTOCTREE)
        image.info["transparency"] = 3
        return image
    return (
        image.convert("RGB").quantize(16, method=Image.Quantize.FASTOCTREE)
        if mode == "P"
        else image.convert(mode)
    )


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "P+transparency", "1", "CMYK"])
def test_it_equals_the_familys_own_processor(tmp_path, tiny, name, mode):
    cls, settings = PROCESSORS[name]
    processor = cls(**settings)
    processor.save_pretrained(tmp_path)
    preprocess = read(tmp_path)
    encoder = tiny("vit")
    encoder.preprocess = preprocess
    for size in SIZES:
        image = picture(mode, size)
        # ViT's processor leaves other modes to its caller
        given = {"images": image, "do_convert_rgb": True}
        raw = processor(**given, do_rescale=False, do_normalize=False)["pixel_values"][0]
        found = preprocess.array(image)
        assert found.dtype == np.uint8
        assert found.shape == (preprocess.size, preprocess.size, 3)
        np.testing.assert_array_equal(found, np.moveaxis(np.asarray(raw), 0, -1))
        wanted = np.asarray(processor(**given)["pixel_values"][0])
        np.testing.assert_allclose(encoder.pixels(found[None])[0].numpy(), wanted, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tiny_models_preprocessing(tiny, family):
    preprocess = tiny(family).preprocess
    assert preprocess.size == 32
    assert preprocess.resize == ("stretch" if family in ("siglip", "vit") else "shortest")
    assert preprocess.edge == (36 if family.startswith("dinov2") else 32)


def write(folder, **settings):
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def test_old_files_with_numbers_for_sizes(tmp_path):
    old = read(write(tmp_path, feature_extractor_type="CLIPFeatureExtractor", size=224, crop_size=224))
    assert (old.size, old.resize, old.edge, old.crop) == (224, "shortest", 224, True)
    old = read(write(tmp_path, feature_extractor_type="ViTFeatureExtractor", size=384))
    assert (old.size, old.resize, old.crop) == (384, "stretch", False)


def test_a_whole_processors_file(tmp_path):
    part = {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 48}, "crop_size": 48}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": part}))
    assert read(tmp_path).size == 48


def test_without_normalising(tmp_path):
    plain = read(write(tmp_path, image_processor_type="ViTImageProcessor", do_normalize=False))
    assert (plain.mean, plain.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_processor_type": "SamImageProcessor"}, "'SamImageProcessor' is not known"),
        ({"image_processor_type": "ViTImageProcessor", "do_resize": False}, "do_resize"),
        ({"image_processor_type": "ViTImageProcessor", "rescale_factor": 0.5}, "1/255"),
        ({"image_processor_type": "ViTImageProcessor", "do_rescale": False}, "1/255"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"height": 2, "width": 3}}, "square"),
        ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}, "many sizes"),
        ({"image_processor_type": "CLIPImageProcessor", "size": 100}, "crop_size 224 is larger"),
        ({"image_processor_type": "CLIPImageProcessor", "size": {"height": 9, "width": 9}}, "stretched"),
        ({"image_processor_type": "ViTImageProcessor", "image_mean": [0.5]}, "three numbers"),
        ({"image_processor_type": "ViTImageProcessor", "image_std": [0, 1, 1]}, "three numbers"),
    ],
)
def test_what_is_not_done_here_is_an_error(tmp_path, settings, message):
    with pytest.raises(ModelError, match="preprocessor_config.json.*" + message):
        read(write(tmp_path, **settings))


def test_no_file_says_how(tmp_path):
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        read(tmp_path)


def test_another_resolution_keeps_the_share_of_the_crop():
    dinov2 = Preprocess(224, "shortest", True, 256, 3, HALF, HALF)
    assert dinov2.at(224) == dinov2
    assert (dinov2.at(112).size, dinov2.at(112).edge) == (112, 128)
    assert dinov2.at(336).array(Image.new("RGB", (50, 70))).shape == (336, 336, 3)
