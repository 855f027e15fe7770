import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from colours import NAMES, TRAIN, VAL, spec
from torch import Tensor

from tunescope.data.examples import Examples
from tunescope.errors import Diverged
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective, Penalty
from tunescope.study.component import resolve
from tunescope.study.identity import identity
from tunescope.training.history import History
from tunescope.training.loop import train
from tunescope.training.order import order

SGD = {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.02}


def run(encoder: Encoder, said, head: Any = None) -> tuple[History, Installed, dict[str, Tensor]]:
    """What happened, what was installed, and everything that was trained."""
    assert isinstance(said.adapt, Method)
    assert isinstance(said.objective, Objective)
    head = head or said.objective.build_head(encoder, NAMES, TRAIN.templates)
    torch.manual_seed(said.seed)
    installed = said.adapt.install(encoder)
    history = train(encoder, installed, head, said, TRAIN, VAL)
    return history, installed, installed.state_dict() | {f"head.{k}": v for k, v in head.state_dict().items()}


def losses(history: History) -> list[float]:
    return [row.value for row in history.rows if row.metric == "training.loss"]


def by_hand(features: np.ndarray, said, rho: float, adaptive: bool, clip: float | None) -> tuple[dict, list]:
    """Two epochs of softmax regression in float64, its gradients written out: SGD around the ascent."""
    theta = {"weight": np.zeros((3, features.shape[1])), "bias": np.zeros(3)}
    velocity: dict[str, np.ndarray] = {}
    told = []

    def gradients(at: dict[str, np.ndarray], batch: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        x, y = features[batch], np.eye(3)[TRAIN.labels[batch]]
        logits = x @ at["weight"].T + at["bias"]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        error = (p - y) / len(batch)
        return -(y * np.log(p)).sum() / len(batch), {"weight": error.T @ x, "bias": error.sum(0)}

    def norm(of: dict[str, np.ndarray]) -> float:
        return math.sqrt(sum((value**2).sum() for value in of.values()))

    for epoch in range(said.train.epochs):
        shuffled = order(said.seed, epoch, 22)
        for batch in (shuffled[:8], shuffled[8:16], shuffled[16:]):
            loss, g = gradients(theta, batch)
            t = {name: np.abs(value) + 0.01 if adaptive else 1.0 for name, value in theta.items()}
            length = norm({name: t[name] * g[name] for name in g})
            there = {name: theta[name] + rho * t[name] ** 2 * g[name] / length for name in theta}
            _, g = gradients(there, batch)
            told.append((loss, norm(g)))
            factor = min(1.0, clip / (norm(g) + 1e-6)) if clip else 1.0
            for name in theta:
                step = factor * g[name] + (0.02 * theta[name] if name == "weight" else 0.0)
                velocity[name] = 0.9 * velocity[name] + step if name in velocity else step
                theta[name] = theta[name] - said.lr * velocity[name]
    return theta, told


@pytest.mark.parametrize(
    ("adaptive", "rho", "clip"), [(False, 0.3, None), (True, 2.0, None), (False, 0.3, 0.05)]
)
def test_against_softmax_regression_by_hand(tiny, adaptive, rho, clip):
    encoder = tiny("vit")
    optimizer = {"kind": "sam", "base": SGD, "rho": rho, "adaptive": adaptive}
    rates = {"schedule": "constant", "warmup": 0.0, "clip_norm": clip}
    said = spec("linear_probe", lr=0.05, optimizer=optimizer, **rates)
    with torch.no_grad():
        features = encoder.features(TRAIN.inputs).double().numpy()
    expected, told = by_hand(features, said, rho, adaptive, clip)
    plain, _ = by_hand(features, said, 1e-12, adaptive, clip)
    history, _, found = run(encoder, said)
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"head.linear.{name}"], value, atol=2e-6, rtol=1e-5)
        assert np.abs(value - plain[name]).max() > 1e-4  # it is another step
    lines = [(line["loss"], line["grad_norm"]) for line in history.log if "loss" in line]
    np.testing.assert_allclose(lines, told, rtol=2e-5)  # the loss before the ascent, the gradient behind it


FLOOR = {"kind": "entropy_floor", "fraction": 1.2}
DROPOUT = {"kind": "lora", "rank": 2, "dropout": 0.5}


@pytest.mark.parametrize("base", ["adamw", SGD], ids=["adamw", "sgd"])
def test_with_almost_no_ascent_it_is_the_base(tiny, base):
    """Dropout and augmentation draw the same in both passes, and penalties are in both."""
    settings = {"penalties": [FLOOR, "l2_sp"], "lr": 3e-3, "augment": "crop_flip"}
    plain, _, expected = run(tiny("clip"), spec(DROPOUT, optimizer=base, **settings))
    near, _, found = run(
        tiny("clip"), spec(DROPOUT, optimizer={"kind": "sam", "base": base, "rho": 1e-30}, **settings)
    )
    assert losses(near) == pytest.approx(losses(plain), abs=1e-6)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-4, msg=name)
    _, _, far = run(
        tiny("clip"), spec(DROPOUT, optimizer={"kind": "sam", "base": base, "rho": 0.5}, **settings)
    )
    assert (far["head.linear.weight"] - expected["head.linear.weight"]).abs().max() > 1e-3


class Seen(Penalty):
    """Worth nothing; notes the weights that it is asked at."""

    kind: str = "seen"
    weight: float = 1.0
    at: ClassVar[list[Tensor]] = []

    def prepare(self, encoder: Encoder, tower: str, examples: Examples) -> Tensor:
        return torch.cat([p.flatten() for p in encoder.model.parameters() if p.requires_grad]), encoder  # pyright: ignore[reportReturnType]

    def value(self, state: Any, shown: object, indices: object) -> Tensor:
        now = torch.cat([p.flatten() for p in state[1].model.parameters() if p.requires_grad])
        self.at.append(now.detach().clone())
        return 0 * now.sum()


def test_the_ascent_is_rho_long_and_taken_back_to_the_bit(tiny):
    """With a learning rate of almost nothing, every step begins where the first one did."""
    Seen.at.clear()
    base = {"kind": "sgd", "momentum": 0.0}
    said = spec("full", lr=1e-30, epochs=1, optimizer={"kind": "sam", "base": base, "rho": 3.0})
    encoder = tiny("vit")
    start = torch.cat([p.detach().flatten() for p in encoder.model.parameters()])
    # a head that is not zero, so that gradients reach the encoder
    head = said.objective.build_head(encoder, NAMES, ())  # pyright: ignore[reportAttributeAccessIssue]
    torch.nn.init.normal_(head.linear.weight, generator=torch.Generator().manual_seed(0))
    run(encoder, said.model_copy(update={"penalties": (Seen(),)}), head)
    assert len(Seen.at) == 2 * 3
    for first, second in zip(Seen.at[::2], Seen.at[1::2], strict=True):
        assert torch.equal(first, start)
        assert 2.5 < (second - start).norm() < 3.0  # the head has the rest
    assert torch.equal(torch.cat([p.flatten() for p in encoder.model.parameters()]), start)


def test_methods_that_read_gradients_after_a_step_still_find_them(tiny):
    said = spec({"kind": "adalora", "rank": 1, "initial": 3}, lr=1e-2, optimizer={"kind": "sam", "rho": 0.1})
    _, installed, _ = run(tiny("vit"), said)
    kept = [value for name, value in installed.buffers.items() if name.endswith(".kept")]
    assert sum(value.sum() for value in kept) == len(kept)  # one triplet for each matrix, of three
    scores = [value for name, value in installed.buffers.items() if name.endswith(".sensitivity")]
    assert all(value.any() for value in scores)


def test_what_diverges_ends_before_it_reaches_the_weights(tiny):
    encoder = tiny("vit")
    hot = {"kind": "sam", "base": {"kind": "sgd"}}
    with pytest.raises(Diverged, match="diverged at step 2"):
        run(encoder, spec("full", lr=1e30, optimizer=hot, warmup=0, clip_norm=None))
    assert all(p.isfinite().all() for p in encoder.model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base": {"kind": "sam"}}, "sam around sam"),
        ({"base": "adam"}, "did you mean 'adamw'"),
        ({"base": {"kind": "sgd", "beta": 1}}, "unknown key 'beta'"),
        ({"rho": 0}, "rho"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve("optimizer", {"kind": "sam"} | settings)


def test_the_base_is_part_of_the_runs_identity(monkeypatch):
    said = [spec("full", optimizer={"kind": "sam", "base": base}) for base in ("adamw", "sgd")]
    prints = {"tiny": "t", "colours": "c"}
    assert identity(said[0], prints) != identity(said[1], prints)
    assert resolve("optimizer", said[1].train.optimizer.model_dump(mode="json")) == said[1].train.optimizer
    before = identity(said[1], prints)
    monkeypatch.setattr(type(said[1].components()["optimizer.base"]), "version", 2)
    assert identity(said[1], prints) != before
