"""One layer alone on its way, against whole forward passes with a whole state dict for every point."""

import math

import numpy as np
import pytest
import torch
from colours import NAMES, examples
from torch import nn

from tunescope.data.examples import Examples
from tunescope.landscape.criticality import GRID, criticality
from tunescope.landscape.curve import alphas, barrier
from tunescope.landscape.layers import layer_losses, layers
from tunescope.landscape.perturb import noise
from tunescope.landscape.plain import Walk
from tunescope.landscape.stragglers import robust_z, stragglers
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead
from tunescope.models.modelmap import Block

AT = alphas(4)


def split(encoder: Encoder) -> Examples:
    if "vision" in encoder.map.towers:
        return examples(9, "val")
    words = np.array(["a red square", "blue", "two green ones", "red and blue", "no"], dtype=object)
    labels = np.arange(5, dtype=np.int64) % 3
    return Examples(words, labels, tuple("abcde"), NAMES, (), "val")


def noised(encoder: Encoder, scale: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        name: p.detach() + scale * torch.randn(p.shape, generator=generator)
        for name, p in encoder.model.named_parameters()
    }


def head_of(encoder: Encoder) -> LinearHead:
    head = LinearHead(encoder.feature_dim, 3)
    with torch.no_grad():
        for p in head.parameters():
            p.normal_(generator=torch.Generator().manual_seed(6))
    return head


def loss(encoder: Encoder, head: nn.Module, part: Examples) -> tuple[float, float]:
    """Mean loss and share of errors, by one whole forward pass."""
    with torch.no_grad():
        logits = head(torch.cat([encoder.features(part.inputs[i : i + 4]) for i in range(0, len(part), 4)]))
    rows, labels = logits.double().tolist(), part.labels.tolist()
    losses = [math.log(sum(map(math.exp, row))) - row[y] for row, y in zip(rows, labels, strict=True)]
    wrong = [row.index(max(row)) != y for row, y in zip(rows, labels, strict=True)]
    return sum(losses) / len(losses), sum(wrong) / len(wrong)


def inside(block: Block, names) -> list[str]:
    return [name for name in names if name.startswith(f"{block.path}.")]


@pytest.mark.parametrize("family", ["clip", "siglip", "vit", "dinov2", "bert", "deberta"])
def test_losses_are_those_of_whole_models(tiny, family):
    base, other = tiny(family), tiny(family)
    end, head, part = noised(base, 0.1), head_of(base), split(base)
    tower = part.tower
    start = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    told = []
    with Walk(base, end) as walk:
        found = layer_losses(walk, tower, head, part, AT, 4, lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert all(torch.equal(p, start[name]) for name, p in base.model.named_parameters())
    for row, block in zip(found, base.map.tower(tower).blocks, strict=True):
        for value, alpha in zip(row, AT.tolist(), strict=True):
            mixed = {n: torch.lerp(start[n], end[n], alpha) for n in inside(block, end)}
            # Assigned, as the walk's are: a file's lie at odd addresses, where float32 sums may be rounded
            # otherwise (on AMD's cores by 1e-8 of the loss).
            other.model.load_state_dict(other.model.state_dict() | end | mixed, assign=True)
            assert value == pytest.approx(loss(other, head, part)[0], rel=1e-12)
    assert np.ptp(found[:, -1]) == 0
    assert np.ptp(found[:, 0]) > 0


def test_a_layer_that_was_moved_by_hand_is_the_straggler(tiny):
    """Every block moves a little; one has its outputs turned over, and the head was made for those."""
    base = tiny("vit")
    end = noised(base, 1e-4)
    blocks, part = base.map.tower("vision").blocks, split(base)
    for path in (blocks[1].o, blocks[1].fc2):
        end[f"{path}.weight"] = -3 * end[f"{path}.weight"]
    head = head_of(base)
    with Walk(base, end) as walk:
        with walk.at(1.0), torch.no_grad():  # a head that knows the tuned model's features
            features = walk.encoder.features(part.inputs)
            fit = torch.linalg.lstsq(
                torch.cat([features, torch.ones(9, 1)], 1),
                8 * nn.functional.one_hot(torch.tensor(part.labels)).float(),
            ).solution
            head.linear.weight.copy_(fit[:-1].T)
            head.linear.bias.copy_(fit[-1])
        losses = layer_losses(walk, "vision", head, part, alphas(9))
    found = stragglers(barrier(alphas(9), losses), k=2)
    assert found.marked.tolist() == [False, True, False]
    assert found.top[0] == 1
    assert losses[1, 0] - losses[1, -1] > 100 * abs(losses[[0, 2], 0] - losses[[0, 2], -1]).max()


def test_criticality_is_a_search_over_the_whole_grid(tiny):
    base, other = tiny("vit"), tiny("vit")
    end, head, part = noised(base, 0.1), head_of(base), split(base)
    with torch.no_grad():
        for p in other.model.named_parameters():
            p[1].copy_(end[p[0]])
        labels = head(other.features(part.inputs)).argmax(1).numpy()
    part = Examples(part.inputs, labels, part.ids, part.class_names, part.templates, "val")
    start = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    found, expected = [], []
    with Walk(base, end) as walk, walk.at(1.0):
        for layer in layers(walk, "vision", {"own": head}, part):
            found.append(criticality(layer, "own", AT))
    for block in base.map.tower("vision").blocks:
        names = inside(block, end)
        count = sum(end[n].numel() for n in names)
        size = math.sqrt(sum(float((end[n].double() ** 2).sum()) for n in names) / count)
        far = sum(float(((end[n].double() - start[n]) ** 2).sum()) for n in names)
        drawn = dict(zip(names, noise(names, [end[n] for n in names], 0, 0), strict=True))
        least = math.inf
        for alpha in AT.tolist():
            for share in GRID:
                wrong = []
                for sign in (1, -1):
                    mixed = {
                        n: torch.lerp(start[n], end[n], alpha) + sign * share * size * drawn[n] for n in names
                    }
                    other.model.load_state_dict(other.model.state_dict() | end | mixed)
                    wrong.append(loss(other, head, part)[1])
                if sum(wrong) / 2 > 0.01:
                    break
                least = min(least, alpha**2 * far / (share * size) ** 2)
        expected.append(least)
    assert found == pytest.approx(expected, rel=1e-4)
    assert max(expected) > min(expected)


def test_criticality_of_a_layer_that_did_not_move_or_of_numbers(tiny):
    base, head, part = tiny("vit"), LinearHead(32, 3), split(tiny("vit"))
    block = base.map.tower("vision").blocks[1]
    end = {name: value for name, value in noised(base, 0.1).items() if name.startswith(f"{block.path}.")}
    numbers = Examples(part.inputs, part.labels.astype(np.float64), part.ids, (), (), "val")
    with Walk(base, end) as walk, walk.at(1.0):
        first, second, _ = (
            criticality(layer, "h", AT) for layer in layers(walk, "vision", {"h": head}, part)
        )
        assert first == second == 0.0  # the head says the same of everything, so nothing is worse at θ₀
        assert criticality(next(layers(walk, "vision", {"h": LinearHead(32, 1)}, numbers)), "h", AT) is None


def test_robust_z_by_sorting():
    values = [0.3, -1.0, 2.5, 0.0, 9.0, 0.4]
    ordered = sorted(values)
    middle = (ordered[2] + ordered[3]) / 2
    apart = sorted(abs(value - middle) for value in values)
    expected = [(value - middle) / (1.4826 * (apart[2] + apart[3]) / 2) for value in values]
    assert robust_z(np.array(values)).tolist() == pytest.approx(expected)
    found = stragglers(np.array(values), k=3)
    assert found.marked.tolist() == [z > 2 for z in expected]
    assert found.top.tolist() == [4, 2, 5]
    same = stragglers(np.full(4, 0.7), k=9)
    assert same.z.tolist() == [0.0] * 4
    assert same.top.tolist() == [0, 1, 2, 3]
    assert not same.marked.any()
