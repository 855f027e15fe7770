import numpy as np
import pytest
import torch
from colours import NAMES, TRAIN, VAL, spec
from torch import Tensor, nn

from tunescope.errors import MethodError
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective
from tunescope.training.history import History
from tunescope.training.loop import Looked, train

STEPS = 6  # two epochs of 22 examples in batches of 8


class Look:
    """Notes the head that it is shown."""

    every = 2

    def __init__(self):
        self.seen: dict[int, Tensor] = {}

    def look(self, step: int, head: nn.Module) -> Looked:
        self.seen[step] = head.get_parameter("linear.weight").detach().clone()
        return Looked([])


def run(encoder: Encoder, said, look: Look | None = None) -> tuple[History, Installed, nn.Module, list]:
    """What happened, what was made, and the trained parameters after every step, the start first."""
    assert isinstance(said.adapt, Method)
    assert isinstance(said.objective, Objective)
    head = said.objective.build_head(encoder, NAMES, TRAIN.templates)
    torch.manual_seed(said.seed)
    installed = said.adapt.install(encoder)

    def now() -> dict[str, np.ndarray]:
        params = dict(head.named_parameters()) | installed.trainable
        return {name: p.detach().numpy().copy() for name, p in params.items()}

    path = [now()]
    history = train(
        encoder, installed, head, said, TRAIN, VAL, monitor=look, on_step=lambda step, of: path.append(now())
    )
    return history, installed, head, path


def averages(path: list[dict[str, np.ndarray]], decay: float) -> list[dict[str, np.ndarray]]:
    """The definition, in float64: the weight that every step of the path has in the average, by its own."""
    found = []
    for last in range(len(path)):
        d = [min(decay, (1 + t) / (10 + t)) for t in range(1, last + 1)]
        weights = [float(np.prod(d))] + [(1 - d[t]) * float(np.prod(d[t + 1 :])) for t in range(last)]
        assert sum(weights) == pytest.approx(1)
        found.append(
            {
                name: np.sum([w * p[name].astype(np.float64) for w, p in zip(weights, path, strict=False)], 0)
                for name in path[0]
            }
        )
    return found


@pytest.mark.parametrize("decay", [0.3, 0.999])
@pytest.mark.parametrize("adapt", ["full", {"kind": "lora", "rank": 2, "dropout": 0.3}], ids=["full", "lora"])
def test_the_average_is_what_is_watched_validated_and_kept(tiny, adapt, decay):
    encoder, look = tiny("vit"), Look()
    history, installed, head, path = run(encoder, spec(adapt, lr=1e-2, ema=decay), look)
    expected = averages(path, decay)
    assert len(path) == STEPS + 1
    kept = dict(head.named_parameters()) | installed.trainable
    for name, value in kept.items():
        np.testing.assert_allclose(value.detach().numpy(), expected[-1][name], atol=2e-6, err_msg=name)
    assert not np.allclose(head.get_parameter("linear.weight").detach(), path[-1]["linear.weight"], atol=1e-4)
    assert look.seen.keys() == {0, 2, 4, 6}
    for step, seen in look.seen.items():
        np.testing.assert_allclose(seen, expected[step]["linear.weight"], atol=2e-6)
    with torch.no_grad():
        right = head(encoder.features(VAL.inputs)).argmax(-1).numpy() == VAL.labels
    assert [row.value for row in history.rows if row.metric == "training.val_acc1"][-1] == right.mean()


def test_the_steps_are_what_they_are_without_it(tiny):
    averaged, *_, path = run(tiny("vit"), spec("full", lr=1e-2, ema=0.9), Look())
    plain, *_, alone = run(tiny("vit"), spec("full", lr=1e-2))
    for one, other in zip(path, alone, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    losses = [[row.value for row in h.rows if row.metric == "training.loss"] for h in (averaged, plain)]
    assert losses[0] == losses[1]


def test_what_is_pruned_on_the_way_is_refused(tiny):
    with pytest.raises(MethodError, match=r"train.ema: adalora prunes .* take lora"):
        run(tiny("vit"), spec("adalora", ema=0.9))


@pytest.mark.parametrize("decay", [0, 1])
def test_settings_that_make_no_sense(decay):
    with pytest.raises(ValueError, match="ema"):
        spec("full", ema=decay)
