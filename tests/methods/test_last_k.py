import pytest

from tunescope.errors import MethodError, StudyError
from tunescope.methods.freeze import Freeze
from tunescope.methods.last_k import LastK


def tops(installed):
    return {
        ".".join(name.split(".")[:4]).removesuffix(".weight").removesuffix(".bias")
        for name in installed.trainable
    }


def test_the_last_blocks_and_the_final_parts_train(tiny):
    assert tops(LastK(blocks=2).install(tiny("clip"))) == {
        "vision_model.encoder.layers.1",
        "vision_model.encoder.layers.2",
        "vision_model.post_layernorm",
        "visual_projection",
    }


@pytest.mark.parametrize("k", [1, 2, 3])
def test_it_is_freeze_from_the_other_end(tiny, k):
    last = LastK(blocks=k).install(tiny("siglip"))
    assert last.trainable.keys() == Freeze(blocks=3 - k).install(tiny("siglip")).trainable.keys()


def test_more_blocks_than_there_are(tiny):
    with pytest.raises(MethodError, match=r"last_k: blocks=4, but the vision tower .* 3 blocks; give 1 to 3"):
        LastK(blocks=4).install(tiny("vit"))


def test_no_block_at_all_is_refused():
    with pytest.raises(StudyError, match=r"blocks.*greater than or equal to 1, got 0"):
        LastK.parse({"kind": "last_k", "blocks": 0}, "adapt")
