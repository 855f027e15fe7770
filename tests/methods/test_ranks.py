import pytest
from pydantic import TypeAdapter, ValidationError

from tunescope.errors import MethodError, StudyError
from tunescope.methods.lora import LoRA
from tunescope.methods.ranks import Rank, ranks_by_path
from tunescope.study.study import Study


def ranks(encoder, rank, targets=("q", "fc2")):
    paths = [path for role in targets for path in encoder.map.paths(role)]
    found = ranks_by_path(rank, targets, paths, encoder, "vision")
    assert list(found) == paths
    return list(found.values())


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (3, [3] * 6),
        ({"vision.blocks[0-1]": 4, "vision.blocks[2-]": 16}, [4, 4, 16, 4, 4, 16]),
        ({"q": 1, "mlp.fc2": 2}, [1, 1, 1, 2, 2, 2]),
        ({"blocks[0]": 1, "blocks[1-].attention.q": 2, "blocks[1-2].mlp.fc2": 3}, [1, 2, 2, 1, 3, 3]),
        ({"*": 8, "vision.blocks[1]": 2}, [8, 2, 8, 8, 2, 8]),
        ({"blocks[0-]": 4, "*": 8}, [4] * 6),
    ],
)
def test_every_target_gets_the_rank_of_its_pattern(tiny, rank, expected):
    assert ranks(tiny("clip"), rank) == expected


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        ({"q": 1, "fc1": 2}, r"rank: 'fc1' matches none of the targets; did you mean 'fc2'\? Known: fc2, q"),
        ({"text.blocks[0-]": 1}, r"'text.blocks\[0-\]' matches none of the targets"),
        ({"query": 1}, "unknown role 'query'"),
        ({"vison.blocks[0]": 1}, r"no 'vison' tower; did you mean 'vision'"),
        ({"blocks[2-5]": 1}, "has blocks 0 to 2"),
        ({"blocks[0-]": 1, "q": 2}, r"layers.0.self_attn.q_proj is in 'blocks\[0-\]' and in 'q'"),
        ({"q": 1}, r"no pattern matches .*fc2 \(3 such targets\); add a pattern"),
    ],
)
def test_patterns_that_match_nothing_or_overlap_or_leave_a_target_out(tiny, rank, message):
    with pytest.raises(MethodError, match=message):
        ranks(tiny("clip"), rank)


def test_each_layer_is_of_its_rank_and_scaled_by_it(tiny):
    encoder = tiny("vit")
    installed = LoRA(rank={"blocks[0-1]": 2, "blocks[2]": 4}, alpha=8.0, targets=("q",)).install(encoder)
    layers = [encoder.model.get_submodule(path) for path in installed.paths]
    assert [(layer.r["default"], layer.scaling["default"]) for layer in layers] == [
        (2, 4.0),
        (2, 4.0),
        (4, 2.0),
    ]


def test_a_path_that_ends_like_another_keeps_its_own_rank(tiny):
    encoder = tiny("clip")  # text_model.encoder.layers.0 and vision_model.encoder.layers.0
    targets = ("vision.blocks[0].attention.q", "text.blocks[0].attention.q")
    installed = LoRA(rank={targets[0]: 2, targets[1]: 3}, targets=targets).install(encoder)
    assert [encoder.model.get_submodule(path).r["default"] for path in sorted(installed.paths)] == [3, 2]


def test_a_rank_larger_than_its_matrix_is_named(tiny):
    with pytest.raises(MethodError, match=r"lora: rank=33, but layers.2.*q_proj is 32 × 32"):
        LoRA(rank={"blocks[0-1]": 2, "blocks[2]": 33}, targets=("q",)).install(tiny("vit"))


@pytest.mark.parametrize("value", [0, {}, {"q": 0}, {"q": "four"}, "eight"])
def test_what_is_no_rank(value):
    with pytest.raises(ValidationError):
        TypeAdapter(Rank).validate_python(value)


def test_in_a_study_a_list_is_an_axis_and_a_mapping_is_one_value():
    said = {"study": "s", "model": "m", "task": {"data": "d"}, "seeds": [0]}
    by_role = {"vision.blocks[0-3]": 4, "vision.blocks[4-]": 16}
    runs = {"a": {"adapt": {"kind": "lora", "rank": by_role}, "lr": 1e-3}}
    (member,) = Study.parse(said | {"runs": runs}, "s").members()
    assert member.spec.adapt == LoRA(rank=by_role)
    assert member.spec.model_dump(mode="json")["adapt"]["rank"] == by_role
    runs = {"a": {"adapt": {"kind": "lora", "rank": [4, 8]}, "lr": 1e-3}}
    assert [member.factors["rank"] for member in Study.parse(said | {"runs": runs}, "s").members()] == [4, 8]


def test_a_mistake_in_a_rank_is_told_in_its_place():
    with pytest.raises(StudyError, match=r"adapt: rank.*greater than or equal to 1, got 0"):
        LoRA.parse({"rank": {"q": 0}}, "adapt")
