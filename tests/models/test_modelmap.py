from dataclasses import replace

import pytest
from families import FAMILIES

from tunescope.errors import MethodError, ModelError
from tunescope.models.modelmap import grid, module_at

LAYER = "vision_model.encoder.layers"
Q = [f"{LAYER}.{i}.self_attn.q_proj" for i in range(3)]


@pytest.fixture(scope="module")
def clip(tiny):
    return tiny("clip").map


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("q", Q),
        ("attention.q", Q),
        ("blocks[1].attention.q", Q[1:2]),
        ("vision.blocks[1].attention.q", Q[1:2]),
        ("vision.blocks[0-1].attention.q", Q[:2]),
        ("vision.blocks[1-].attention.q", Q[1:]),
        ("vision.blocks[-1].attention.q", Q[:2]),
        ("vision.attention.q", Q),
        ("fc2", [f"{LAYER}.{i}.mlp.fc2" for i in range(3)]),
        ("o", [f"{LAYER}.{i}.self_attn.out_proj" for i in range(3)]),
        ("norm1", [f"{LAYER}.{i}.layer_norm1" for i in range(3)]),
        ("text.blocks[2].mlp.fc1", ["text_model.encoder.layers.2.mlp.fc1"]),
    ],
)
def test_a_pattern_names_paths(clip, pattern, expected):
    assert clip.paths(pattern) == expected


def test_a_pattern_without_a_tower_uses_the_one_given(clip):
    assert clip.paths("q", "text") == [f"text_model.encoder.layers.{i}.self_attn.q_proj" for i in range(3)]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("query", "unknown role 'query'"),
        ("attention.qq", "did you mean 'attention.q'"),
        ("vision.blocks[3].attention.q", "blocks 0 to 2"),
        ("vision.blocks[0-3].attention.q", "blocks 0 to 2"),
        ("vision.blocks[2-1].attention.q", "blocks 0 to 2"),
        ("audio.blocks[0].attention.q", "no 'audio' tower"),
        ("gate", "no gate; use fc1 and fc2"),
        ("", "unknown role ''"),
        ("vision.blocks[x].attention.q", "unknown role"),
    ],
)
def test_a_wrong_pattern_is_an_error_that_says_what_there_is(clip, pattern, message):
    with pytest.raises(MethodError, match=message.replace("[", r"\[")):
        clip.paths(pattern)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_role_names_a_module_of_the_right_shape(tiny, family):
    encoder = tiny(family)
    found = {role: module_at(encoder.model, path) for role, path in encoder.map.roles()}
    assert len(found) == len(encoder.map.towers) * 3 * 8
    for role, module in found.items():
        wanted = {"fc1": (64, 32), "fc2": (32, 64)}.get(role.rsplit(".", 1)[-1], (32, 32))
        assert module.get_parameter("weight").shape == (wanted if ".norm" not in role else (32,)), role


@pytest.mark.parametrize("family", FAMILIES)
def test_the_other_paths_stand(tiny, family):
    encoder = tiny(family)
    for tower in encoder.map.towers.values():
        for path in (tower.path, tower.embeddings, *tower.final, *(b.path for b in tower.blocks)):
            module_at(encoder.model, path)
        assert tower.heads * tower.head_dim == 32
        owner, name = tower.positions.rsplit(".", 1)
        assert hasattr(module_at(encoder.model, owner), name)
    if family == "siglip":
        module_at(encoder.model, encoder.map.tower("vision").pooler)


@pytest.mark.parametrize(
    ("family", "prefix", "pooling"),
    [
        ("clip", 1, "cls"),
        ("siglip", 0, "probe"),
        ("vit", 1, "cls"),
        ("dinov2", 1, "cls"),
        ("dinov2_registers", 5, "cls"),
    ],
)
def test_the_geometry_of_a_vision_tower(tiny, family, prefix, pooling):
    tower = tiny(family).map.tower("vision")
    assert (tower.prefix_tokens, tower.pooling) == (prefix, pooling)
    assert (tower.grid, tower.patch_size, tower.image_size) == ((4, 4), 8, 32)


def test_the_pooling_of_text_towers(tiny):
    assert tiny("clip").map.tower("text").pooling == "eos"
    assert tiny("siglip").map.tower("text").pooling == "last"


def test_a_pictures_sides_must_agree(tiny):
    config = tiny("vit").model.config
    config.image_size = (32, 48)
    with pytest.raises(ModelError, match="only square"):
        grid(config)


def test_a_map_without_the_tower_says_what_there_is(clip):
    with pytest.raises(MethodError, match="known: text"):
        replace(clip, towers={"text": clip.tower("text")}).tower("vision")
