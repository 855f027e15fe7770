import pytest

from tunescope.errors import MethodError, StudyError
from tunescope.methods.freeze import Freeze


def test_the_first_blocks_and_everything_before_them_are_frozen(tiny):
    encoder = tiny("clip")
    installed = Freeze(blocks=1).install(encoder)
    tops = {
        ".".join(name.split(".")[:4]).removesuffix(".weight").removesuffix(".bias")
        for name in installed.trainable
    }
    assert tops == {
        "vision_model.encoder.layers.1",
        "vision_model.encoder.layers.2",
        "vision_model.post_layernorm",
        "visual_projection",
    }


def test_all_blocks_frozen_leaves_the_final_parts(tiny):
    installed = Freeze(blocks=3).install(tiny("vit"))
    assert list(installed.trainable) == ["layernorm.weight", "layernorm.bias"]


def test_more_blocks_than_there_are(tiny):
    with pytest.raises(MethodError, match=r"blocks=4, but the vision tower .* has 3 blocks; give 0 to 3"):
        Freeze(blocks=4).install(tiny("vit"))


def test_fewer_than_none():
    with pytest.raises(StudyError, match="blocks"):
        Freeze.parse({"kind": "freeze", "blocks": -1}, "adapt")
