"""`create_clip_model`: a thin face over the methods, the heads, and what travels."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from families import IMAGE_SIZE, save_tiny
from federated.small_runs import LORA, job_of
from peft import PeftModel

import tunescope as ts
from tunescope.errors import MethodError, ModelError, StudyError
from tunescope.federated.rank_from import at_rank
from tunescope.methods.load_adapter import load_adapter
from tunescope.models.load import load

Q = {"target_modules": {"vision_encoder": ["q_proj", "fc1"]}}
BOTH = {"r": 2, "target_modules": {"vision_encoder": ["v_proj"], "text_encoder": ["q_proj"]}}

# As the guide has it, but for the import and the model's name.
SNIPPETS = """
# 从配置文件创建模型
config = {
    'model_name': NAME,
    'num_classes': 10,
    'lora': {
        'enabled': True,
        'r': 8,
        'lora_alpha': 16,
        'lora_dropout': 0.05,
        'target_modules': {
            'vision_encoder': ['q_proj', 'v_proj', 'k_proj', 'out_proj']
        }
    }
}

model = create_clip_model(config)

# 检查LoRA是否启用
print(f"LoRA enabled: {model.is_lora_enabled()}")

# 获取LoRA信息
lora_info = model.get_lora_info()
print(f"LoRA trainable parameters: {lora_info['trainable_parameters']}")

# 获取模型摘要
summary = model.get_model_summary()
print(f"Total parameters: {summary['total_parameters']:,}")
print(f"Trainable parameters: {summary['trainable_parameters']:,}")

# 获取LoRA参数（用于联邦学习聚合）
lora_params = model.get_parameters()

aggregated_params = aggregate(lora_params)

# 设置LoRA参数（用于模型更新）
model.set_parameters(aggregated_params)

# 检查LoRA参数
def debug_lora_params(model):
    if model.is_lora_enabled():
        lora_params = model.get_parameters()
        print(f"LoRA parameter count: {len(lora_params)}")
        for name in list(lora_params.keys())[:5]:  # 显示前5个参数
            print(f"  {name}: {lora_params[name].shape}")
    else:
        print("LoRA not enabled")

debug_lora_params(model)
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP whose vision tower has two blocks; 3 in the text tower."""
    return save_tiny("clip", tmp_path_factory.mktemp("clip_model") / "clip", num_hidden_layers=2)


@pytest.fixture(scope="module")
def pixels():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)


def made(clip, lora, num_classes: int | None = 4, **settings):
    config = {"model_name": str(clip), "num_classes": num_classes, "lora": lora}
    return ts.create_clip_model(config, **settings)


def moved(arrays, seed=0):
    """Other arrays of the same names, shapes and scales."""
    generator = np.random.default_rng(seed)
    return {
        name: a if name.startswith("scale/") else a + generator.normal(0, 0.1, a.shape).astype(a.dtype)
        for name, a in arrays.items()
    }


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(a, second[n]) for n, a in first.items())


def test_the_guide_runs_as_it_stands(clip, capsys):
    space = {"create_clip_model": ts.create_clip_model, "NAME": str(clip), "aggregate": moved}
    exec(SNIPPETS, space)
    said = capsys.readouterr().out.splitlines()
    matrices, size, rank, classes = 2 * 4, 32, 8, 10
    lora = matrices * rank * 2 * size
    dimension = space["model"].encoder.feature_dim
    head = classes * (dimension + 1)
    base = sum(p.numel() for p in load(clip).model.parameters())
    assert said[:4] == [
        "LoRA enabled: True",
        f"LoRA trainable parameters: {lora}",
        f"Total parameters: {base + lora + head:,}",
        f"Trainable parameters: {lora + head:,}",
    ]
    assert said[4] == f"LoRA parameter count: {3 * matrices + 2}"
    assert said[5] == f"  head.linear.weight: ({classes}, {dimension})"
    assert len(said) == 10
    assert same(space["model"].get_parameters(), space["aggregated_params"])
    info = space["lora_info"]
    assert (info["r"], info["lora_alpha"], info["lora_dropout"]) == (8, 16, 0.05)
    assert info["target_modules"] == {"vision_encoder": ["q_proj", "k_proj", "v_proj", "out_proj"]}
    travels = 4 * (lora + head) + 8 * matrices  # float32, and a scale for each matrix
    assert space["summary"]["bytes_sent"] == travels


def test_what_travels_is_the_whole_difference_between_two_models(clip, pixels):
    one, other = made(clip, Q, seed=1), made(clip, Q, seed=2)
    arrays = moved(one.get_parameters())
    one.set_parameters(arrays)
    assert not torch.equal(one(pixels), other(pixels))
    other.set_parameters(one.get_parameters())
    assert torch.equal(one(pixels), other(pixels))
    raw = np.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    assert torch.equal(one(raw), one(one.encoder.pixels(raw)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, n: {k: v for k, v in a.items() if k != n}, "is missing"),
        (lambda a, n: a | {"more": a[n]}, "'more' was not asked for"),
        (lambda a, n: a | {n: a[n][:1]}, r"is float32 \[1, 32\]; expected float32 \[8, 32\]"),
        (lambda a, n: a | {n: a[n].astype(np.float64)}, "is float64"),
        (lambda a, n: a | {n: a[n] * np.float32("nan")}, "256 values that are not finite"),
    ],
)
def test_parameters_that_do_not_fit_change_nothing(clip, change, message):
    model = made(clip, Q)
    before = model.get_parameters()
    name = next(name for name in before if name.endswith("q_proj/a"))
    with pytest.raises(MethodError, match=f"set_parameters: .*{message}"):
        model.set_parameters(change(moved(before), name))
    assert same(model.get_parameters(), before)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_ranks_by_layer_and_ranks_that_change_are_told_to_peft(clip, pixels, tmp_path):
    model = made(clip, Q | {"r": 4, "rank_pattern": {"vision.blocks[1]": 2}})
    assert sorted(model.get_lora_info()["ranks"].values()) == [2, 2, 4, 4]
    model.set_parameters(moved(model.get_parameters()))
    logits, before = model(pixels), deepcopy(model.get_parameters())
    model.set_rank(6)
    assert torch.allclose(model(pixels), logits, atol=1e-5)
    assert (model.get_lora_info()["r"], model.clip.peft_config["default"].rank_pattern) == (6, {})
    model.set_rank(3)
    for name, b in before.items():  # each product is the nearest of rank 3 to what it was
        if name.endswith("/b"):
            target = name.removeprefix("factors/").removesuffix("/b")
            u, sigma, v = np.linalg.svd(
                np.float64(b) @ before[f"factors/{target}/a"] * before[f"scale/{target}"]
            )
            now = model.get_parameters()
            found = np.float64(now[name]) @ now[f"factors/{target}/a"] * now[f"scale/{target}"]
            assert np.allclose(found, u[:, :3] * sigma[:3] @ v[:3], atol=1e-5)
    model.save_adapter(tmp_path)
    read = PeftModel.from_pretrained(load(clip).model, str(tmp_path))
    expected = model.encoder.image_features(pixels)
    assert torch.allclose(read.get_image_features(pixels).pooler_output, expected, atol=1e-6)
    assert read.peft_config["default"].to_dict()["r"] == 3


def test_a_federated_run_of_changing_rank_ends_as_an_ordinary_adapter(spec, pixels, tmp_path):
    job = job_of(spec(LORA, {"rounds": 2, "rank_from": {2: 3}}))
    arrays = moved(at_rank(job.initial(), 3, scale=0.7))  # a scale that is not α / r
    job.put(arrays)
    expected = job.encoder.image_features(pixels)
    installed = job.shared.finish(arrays)
    assert torch.allclose(job.encoder.image_features(pixels), expected, atol=1e-6)
    installed.save_adapter(tmp_path)
    again = load(job.spec.model)
    loaded = load_adapter(again, tmp_path)
    config = again.model.peft_config["default"]
    assert (config.r, config.rank_pattern, config.lora_alpha) == (3, {}, 16)
    assert torch.allclose(again.image_features(pixels), expected, atol=1e-6)
    assert loaded.trainable.keys() == installed.trainable.keys()


def test_text_adapters_are_trained_where_the_text_encoder_is_at_work(clip, pixels):
    model = made(clip, BOTH, class_names=["cat", "dog"], num_classes=None)
    assert model(pixels).shape == (3, 2)
    assert set(model.get_lora_info()["target_modules"]) == {"vision_encoder", "text_encoder"}
    assert all(name.startswith(("factors/", "scale/")) for name in model.get_parameters())
    before = model(pixels)
    model.train()
    torch.nn.functional.cross_entropy(model(pixels), torch.tensor([0, 1, 1])).backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * (2 + 3)
    assert all(p.grad is not None and p.grad.any() for name, p in trained.items() if "lora_B" in name)
    assert torch.allclose(model.eval()(pixels), before)


def test_tasks_share_one_base_and_nothing_else(clip, pixels):
    plain = load(clip).model.state_dict()
    model = made(clip, Q)
    model.set_parameters(moved(model.get_parameters()))
    first, logits, summary = model.get_parameters(), model(pixels), model.get_model_summary()
    model.add_task("second", BOTH, class_names=["cat", "dog", "bird"])
    assert (model.tasks, model.task) == (("default", "second"), "second")
    q = model.clip.get_submodule("vision_model.encoder.layers.0.self_attn.q_proj")
    assert type(q) is torch.nn.Linear  # the first task's adapter is not on the model
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixels), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    second = model.eval().get_parameters()
    assert any(array.any() for name, array in second.items() if name.endswith("/b"))
    model.use_task("default")
    assert (model.get_model_summary(), model.task) == (summary, "default")
    assert same(model.get_parameters(), first)
    assert torch.equal(model(pixels), logits)
    assert model.clip.get_submodule("vision_model.encoder.layers.0.self_attn.q_proj").base_layer is q
    held = {name.replace(".base_layer", ""): value for name, value in model.clip.state_dict().items()}
    assert all(torch.equal(value, held[name]) for name, value in plain.items())
    with pytest.raises(MethodError, match="merge: it would change the base under the task 'second'"):
        model.merge()
    model.use_task("second")
    assert same(model.get_parameters(), second)
    with pytest.raises(MethodError, match="unknown task 'secnod'; did you mean 'second'"):
        model.use_task("secnod")


def test_merging_leaves_an_ordinary_model(clip, pixels):
    model = made(clip, Q)
    model.set_parameters(moved(model.get_parameters()))
    logits = model(pixels)
    model.merge()
    assert torch.allclose(model(pixels), logits, atol=1e-5)
    assert not model.is_lora_enabled()
    assert model.clip.state_dict().keys() == load(clip).model.state_dict().keys()
    assert sorted(model.get_parameters()) == ["head.linear.bias", "head.linear.weight"]
    assert model.get_lora_info()["trainable_parameters"] == 0
    with pytest.raises(MethodError, match="save_adapter: no LoRA is on"):
        model.save_adapter("nowhere")
    with pytest.raises(MethodError, match="the task 'default' tunes the base itself"):
        model.add_task("second", num_classes=2)


def test_full_fine_tuning_travels_whole(clip):
    model = made(clip, {"enabled": False})
    assert not model.is_lora_enabled()
    names = set(model.get_parameters())
    assert "encoder.vision_model.encoder.layers.0.self_attn.q_proj.weight" in names
    assert not any("text_model" in name for name in names)
    model.set_parameters(moved(model.get_parameters()))


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda clip: made(clip, {"r": 65}), StudyError, r"create_clip_model: lora\.r: .*less than or equal"),
        (lambda clip: made(clip, {"rnak": 4}), StudyError, "unknown key 'rnak'"),
        (lambda clip: made(clip, Q | {"r": 33}), MethodError, "rank=33, but .* is 32 × 32"),
        (lambda clip: made(clip, Q, class_names=["a"]), MethodError, "num_classes is 4, and there are 1"),
        (lambda clip: made(clip, BOTH)(torch.zeros(1, 3, 32, 32)), MethodError, "give class_names"),
        (lambda clip: made(clip, Q).set_rank(33), MethodError, "expected a whole number, 1 to 32"),
        (lambda clip: made(clip, Q).set_rank(2.5), MethodError, "rank=2.5; expected a whole number"),
        (
            lambda clip: made(clip, Q).set_parameters([np.ones(2)]),
            MethodError,
            "is a list; expected a mapping",
        ),
        (lambda clip: made(clip, Q).set_parameters({"b": [1.0]}), MethodError, "'b' is a list; expected"),
        (lambda clip: made(clip, Q).add_task("default"), MethodError, "there is a task 'default' already"),
        (lambda clip: made(clip, Q).add_task("b", {"r": 0}), StudyError, r"add_task 'b': lora\.r"),
        (lambda clip: made(clip, Q).add_task("b", {"enabled": False}), MethodError, "tunes the base itself"),
    ],
)
def test_mistakes_are_named(clip, use, error, message):
    with pytest.raises(error, match=message):
        use(clip)


def test_a_task_that_cannot_be_added_leaves_the_model_as_it_was(clip, pixels):
    model = made(clip, Q)
    logits = model(pixels)
    with pytest.raises(MethodError, match="is 32 × 32"):
        model.add_task("second", Q | {"r": 64}, num_classes=2)
    assert (model.tasks, model.task, model.is_lora_enabled()) == (("default",), "default", True)
    assert torch.equal(model(pixels), logits)


def test_other_families_are_refused(tmp_path):
    with pytest.raises(ModelError, match="is a siglip model; give a CLIP"):
        made(save_tiny("siglip", tmp_path / "siglip", num_hidden_layers=1), Q)
