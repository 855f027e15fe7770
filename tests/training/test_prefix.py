from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, save_tiny
from torch import Tensor

from tunescope.errors import ModelError
from tunescope.methods.freeze import Freeze
from tunescope.methods.full import Full
from tunescope.methods.linear_probe import LinearProbe
from tunescope.methods.lora import LoRA
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.models.load import load
from tunescope.models.modelmap import module_at
from tunescope.models.seam import gate, watch
from tunescope.training import prefix as subject
from tunescope.training.prefix import Prefix, Refused, prefix

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
TARGET = torch.linspace(-1, 1, 64)
plain = partial(torch.autocast, "cpu", torch.bfloat16, enabled=False)
bfloat16 = partial(torch.autocast, "cpu", torch.bfloat16)


def recorded(
    encoder: Encoder, installed: Installed, autocast: Callable[[], Any] = plain, **settings
) -> Prefix | Refused:
    settings = {"batch_size": 4, "augmented": False, "every_block": False} | settings
    return prefix(encoder, installed, IMAGES, autocast=autocast, **settings)


def kept(encoder: Encoder, installed: Installed, autocast: Callable[[], Any] = plain) -> Prefix:
    found = recorded(encoder, installed, autocast)
    assert isinstance(found, Prefix), found
    return found


def gradients(installed: Installed, features: Tensor) -> dict[str, Tensor]:
    """Of some function of the features that treats no two alike."""
    loss = (features.float() * TARGET[: features.shape[1]]).tanh().square().sum()
    for parameter in installed.trainable.values():
        parameter.grad = None
    loss.backward()
    return {name: p.grad.clone() for name, p in installed.trainable.items() if p.grad is not None}


def both(encoder: Encoder, installed: Installed, found: Prefix, indices, autocast) -> list[tuple]:
    """Features and gradients by the plain forward pass and by the replay."""
    indices = np.asarray(indices)
    outcome = []
    ways = (lambda: encoder.features(IMAGES[indices]), lambda: found.features(indices))
    for way in ways:
        with autocast():
            features = way()
        outcome.append((features.detach(), gradients(installed, features)))
    return outcome


def stir(installed: Installed) -> None:
    """Trained values, so that LoRA's B is not zero any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in installed.trainable.values():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.05, generator=generator))


METHODS = {
    "freeze 1": (Freeze(blocks=1), 1),
    "freeze 2": (Freeze(blocks=2), 2),
    "freeze 3": (Freeze(blocks=3), 3),
    "lora upper": (LoRA(rank=2, targets=("blocks[2].attention.q", "blocks[1-].mlp.fc1")), 1),
}


@pytest.mark.parametrize("autocast", [plain, bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_features_and_gradients_are_those_of_the_plain_forward(tiny, family, method, autocast):
    encoder = tiny(family)
    way, blocks = METHODS[method]
    installed = way.install(encoder)
    stir(installed)
    found = kept(encoder, installed, autocast)
    assert found.blocks == blocks
    stir(installed)  # what is trained may change after the recording
    encoder.model.train()
    for batch in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9]):  # as they were recorded
        (features, grads), (again, grads_again) = both(encoder, installed, found, batch, autocast)
        assert torch.equal(features, again)
        assert grads.keys() == grads_again.keys()
        assert grads
        for name, grad in grads.items():
            assert torch.equal(grad, grads_again[name]), name
    if autocast is plain:
        (features, grads), (again, grads_again) = both(
            encoder, installed, found, [7, 0, 3, 9, 5, 1], autocast
        )
        torch.testing.assert_close(again, features, atol=1e-6, rtol=1e-5)
        for name, grad in grads.items():
            torch.testing.assert_close(grads_again[name], grad, atol=1e-6, rtol=1e-5, msg=name)


TEXTS = np.array(
    [" ".join(["cold", "bird", "in", "a", "tree"][: 1 + i % 5]) for i in range(10)], dtype=object
)
PAIRS = np.stack([TEXTS, TEXTS[::-1]], axis=1)


@pytest.mark.parametrize(
    ("family", "inputs"),
    [("clip", TEXTS), ("siglip", TEXTS), ("modernbert", TEXTS), ("modernbert", PAIRS)],
    ids=["clip", "siglip", "modernbert", "modernbert pairs"],
)
def test_texts_are_padded_again_to_the_longest_of_their_batch(tiny, monkeypatch, family, inputs):
    monkeypatch.setattr(subject, "TEXT_BATCH", 4)
    encoder = tiny(family)
    installed = Freeze(blocks=2).install(encoder, "text")
    settings = {"batch_size": 6, "augmented": False, "every_block": False, "autocast": plain}
    found = prefix(encoder, installed, inputs, **settings)
    assert isinstance(found, Prefix)
    lengths = [encoder.tokens(inputs[i : i + 1].tolist())["input_ids"].shape[1] for i in range(10)]
    assert len(found.entering.kept) == sum(lengths)
    stir(installed)
    for batch in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [7, 0, 3], [5], [9, 2, 4, 0, 6, 1]):
        indices = np.array(batch)
        features, again = encoder.features(inputs[indices]), found.features(indices)
        grads, grads_again = gradients(installed, features), gradients(installed, again)
        assert grads.keys() == grads_again.keys()
        assert grads
        if batch in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9]):  # as they were recorded
            assert torch.equal(again, features)
        torch.testing.assert_close(again, features, atol=1e-5, rtol=1e-5)
        for name, grad in grads.items():
            torch.testing.assert_close(grads_again[name], grad, atol=1e-5, rtol=1e-4, msg=name)


def test_a_text_encoder_with_dropout_is_refused(tiny):
    encoder = tiny("bert")
    installed = Freeze(blocks=2).install(encoder, "text")
    settings = {"batch_size": 6, "augmented": False, "every_block": False, "autocast": plain}
    assert prefix(encoder, installed, TEXTS, **settings) == Refused("there is dropout in what is not trained")


def test_only_what_follows_the_cut_is_computed(tiny):
    encoder = tiny("clip")
    installed = Freeze(blocks=2).install(encoder)
    called: list[str] = []
    tower = encoder.map.tower("vision")
    parts = [f"{tower.embeddings}.patch_embedding", *(block.attention for block in tower.blocks)]
    for path in parts:
        hook = lambda *_, path=path: called.append(path)  # noqa: E731
        module_at(encoder.model, path).register_forward_pre_hook(hook)
    found = kept(encoder, installed)
    assert called == parts[:3] * 5  # three batches, and the look for dropout twice; never block 2
    called.clear()
    found.features(np.array([1, 2]))
    assert called == parts[3:]


def test_the_type_of_the_activations_is_that_of_the_recording(tiny):
    encoder = tiny("vit")
    installed = Freeze(blocks=1).install(encoder)

    def to_bfloat16(module, args, output):
        return output.bfloat16()

    block = module_at(encoder.model, encoder.map.tower("vision").blocks[0].path)
    assert kept(encoder, installed).entering.kept.dtype == torch.float32
    block.register_forward_hook(to_bfloat16)
    assert kept(encoder, installed).entering.kept.dtype == torch.bfloat16


class Tupled(torch.nn.Module):
    """A block that returns a tuple, as those of many families do."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, *args, **kwargs):
        return self.block(*args, **kwargs), None


class Opened(torch.nn.Module):
    """Takes the tuple of the block before it."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, hidden, *args, **kwargs):
        return self.block(hidden[0], *args, **kwargs)


def test_blocks_that_return_tuples_go_on_returning_them(tiny):
    encoder = tiny("dinov2")
    layers = encoder.model.encoder.layer
    layers[1], layers[2] = Tupled(layers[1]), Opened(layers[2])
    installed = Freeze(blocks=2).install(encoder)
    found = kept(encoder, installed)
    (features, grads), (again, grads_again) = both(encoder, installed, found, [0, 1, 2, 3], plain)
    assert torch.equal(features, again)
    assert all(torch.equal(grads[name], grads_again[name]) for name in grads)


def test_dropout_after_the_cut_draws_as_it_would(tiny):
    encoder = tiny("siglip")
    installed = LoRA(rank=2, dropout=0.5, targets=("blocks[1-].attention.q",)).install(encoder)
    stir(installed)
    found = kept(encoder, installed)
    encoder.model.train()
    torch.manual_seed(3)
    expected = encoder.features(IMAGES[:4])
    torch.manual_seed(3)
    assert torch.equal(found.features(np.arange(4)), expected)
    torch.manual_seed(4)
    assert not torch.equal(found.features(np.arange(4)), expected)


def reason(found: Prefix | Refused) -> str:
    assert isinstance(found, Refused)
    return found.reason


@pytest.mark.parametrize(
    ("method", "settings", "expected"),
    [
        (Freeze(blocks=2), {"augmented": True}, "the images are augmented"),
        (Freeze(blocks=2), {"every_block": True}, "a penalty looks into every block"),
        (Full(), {}, "the embeddings are trained"),
        (Freeze(blocks=0), {}, "only the embeddings come before what is trained"),
        (LoRA(rank=2, targets=("q", "v")), {}, "only the embeddings come before what is trained"),
        (
            LinearProbe(),
            {},
            "nothing is trained in the vision tower: its features can be computed once",
        ),
    ],
)
def test_refusals(tiny, method: Method, settings, expected):
    encoder = tiny("clip")
    assert reason(recorded(encoder, method.install(encoder), **settings)) == expected


def test_what_stands_between_the_embeddings_and_the_blocks_counts_as_embeddings(tiny):
    encoder = tiny("clip")
    norm = "vision_model.pre_layrnorm.weight"
    installed = Installed(encoder, "vision", {norm: encoder.model.get_parameter(norm)})
    assert reason(recorded(encoder, installed)) == "the embeddings are trained"


def test_another_tower_trained_leaves_nothing_here(tiny):
    encoder = tiny("clip")
    found = recorded(encoder, Freeze(blocks=1).install(encoder, "text"))
    assert "nothing is trained in the vision tower" in reason(found)


@pytest.mark.parametrize(
    ("family", "setting", "value"),
    [
        ("vit", "hidden_dropout_prob", 0.1),
        ("clip", "attention_dropout", 0.1),
        ("dinov2", "drop_path_rate", 1e-6),  # drawn for, and next to never dropped
    ],
)
def test_dropout_before_the_cut_is_refused(tmp_path, family, setting, value):
    encoder = load(save_tiny(family, tmp_path / family, **{setting: value}))
    installed = Freeze(blocks=2).install(encoder)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert reason(recorded(encoder, installed)) == "there is dropout in what is not trained"
    assert torch.equal(torch.rand(3), expected)
    free = load(save_tiny(family, tmp_path / "free", **{setting: 0.0}))
    assert kept(free, Freeze(blocks=2).install(free)).blocks == 2


def test_too_many_activations_are_refused_before_they_are_made(tiny, monkeypatch):
    encoder = tiny("dinov2")
    installed = Freeze(blocks=1).install(encoder)
    needed = 10 * 17 * 32 * 4
    monkeypatch.setattr(subject, "LIMIT", needed)
    assert kept(encoder, installed).entering.kept.nbytes == needed
    monkeypatch.setattr(subject, "LIMIT", needed - 1)
    seen: list[int] = []
    embeddings = encoder.model.embeddings
    embeddings.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    found = recorded(encoder, installed)
    assert "would take 2.027e-05 GiB, more than the limit of 2.026e-05 GiB" in reason(found)
    assert seen == [4]


def state(encoder: Encoder) -> list[tuple]:
    return [
        (name, module.training, "forward" in module.__dict__, len(module._forward_hooks))
        for name, module in encoder.model.named_modules()
    ]


@pytest.mark.parametrize("training", [False, True])
def test_the_model_and_the_random_numbers_are_as_before(tiny, training):
    encoder = tiny("clip")
    installed = Freeze(blocks=1).install(encoder)
    encoder.model.train(training)
    encoder.model.vision_model.encoder.layers[0].mlp.train(not training)
    before = state(encoder)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    found = kept(encoder, installed)
    found.features(np.arange(3))
    assert state(encoder) == before
    assert torch.equal(torch.rand(3), expected)


def test_an_exception_leaves_nothing_behind(tiny):
    encoder = tiny("vit")
    installed = Freeze(blocks=2).install(encoder)
    encoder.model.train()
    found = kept(encoder, installed)
    before = state(encoder)
    working = encoder.model.layers[2].mlp.fc1
    encoder.model.layers[2].mlp.fc1 = torch.nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        found.features(np.arange(3))
    encoder.model.layers[2].mlp.fc1 = working
    assert state(encoder) == before
    working = encoder.model.layers[0].mlp.fc1
    encoder.model.layers[0].mlp.fc1 = torch.nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        recorded(encoder, installed)
    encoder.model.layers[0].mlp.fc1 = working
    assert state(encoder) == before


def test_a_forward_that_somebody_else_put_there_is_put_back(tiny):
    encoder = tiny("vit")
    installed = Freeze(blocks=2).install(encoder)
    block = encoder.model.layers[0]
    block.forward = mine = block.forward
    kept(encoder, installed).features(np.arange(3))
    assert block.__dict__["forward"] is mine


def test_gates_act_in_the_blocks_that_run(tiny):
    encoder = tiny("vit")
    found = kept(encoder, Freeze(blocks=1).install(encoder))
    gates = torch.ones(3, 4)
    gates[2, 1] = 0
    with gate(encoder, "vision", gates):
        expected = encoder.features(IMAGES[:4])
        again = found.features(np.arange(4))
    assert torch.equal(again, expected)
    assert not torch.equal(again, found.features(np.arange(4)))


def test_a_watch_sees_the_pooling_head_and_misses_skipped_blocks(tiny):
    encoder = tiny("siglip")
    found = kept(encoder, Freeze(blocks=2).install(encoder))
    with watch(encoder, "vision") as expected:
        encoder.features(IMAGES[:4])
    with watch(encoder, "vision") as seen:
        found.features(np.arange(4))
    assert torch.equal(seen.rows, expected.rows)
    encoder = tiny("clip")
    found = kept(encoder, Freeze(blocks=2).install(encoder))
    with (
        pytest.raises(ModelError, match=r"did not call the attention of layers \[0, 1\]"),
        watch(encoder, "vision"),
    ):
        found.features(np.arange(4))
