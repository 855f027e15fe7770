"""Every method through peft against its formula, written out in float64 with numpy."""

import numpy as np
import pytest
import torch

from tunescope.errors import MethodError, StudyError
from tunescope.methods.dora import DoRA
from tunescope.methods.fourierft import FourierFT
from tunescope.methods.hra import HRA
from tunescope.methods.ia3 import IA3
from tunescope.methods.loha import LoHa
from tunescope.methods.lokr import LoKr
from tunescope.methods.lora import LoRA
from tunescope.methods.oft import OFT
from tunescope.methods.pissa import PiSSA
from tunescope.methods.rslora import RsLoRA
from tunescope.methods.vera import VeRA


def product(a, b):
    """a · b by its definition."""
    return np.array([[sum(x * y for x, y in zip(row, column, strict=True)) for column in b.T] for row in a])


def low_rank(scale):
    return lambda w, p: w + scale * product(p["lora_B"], p["lora_A"])


def dora(w, p):
    changed = low_rank(3.0 / 2)(w, p)
    return np.array(
        [
            m * row / np.sqrt(np.sum(row**2))
            for m, row in zip(p["lora_magnitude_vector"], changed, strict=True)
        ]
    )


def pissa(w, p):
    values, vectors = np.linalg.eigh(w.T @ w)  # the principal directions, without an SVD
    right = vectors[:, np.argsort(values)[-2:]]
    return w - w @ right @ right.T + product(p["lora_B"], p["lora_A"])


def vera(w, p):
    rows, columns = w.shape
    a, b = p["vera_A"][:, :columns], p["vera_B"][:rows]
    return w + product(np.diag(p["vera_lambda_b"]) @ b, np.diag(p["vera_lambda_d"]) @ a)


def loha(w, p):
    first, second = (product(p[f"hada_w{i}_a"], p[f"hada_w{i}_b"]) for i in (1, 2))
    return w + 3.0 / 2 * first * second


def lokr(w, p):
    second = product(p["lokr_w2_a"], p["lokr_w2_b"])
    return w + 3.0 / 2 * np.block([[c * second for c in row] for row in p["lokr_w1"]])


def oft(w, p):
    rotation = np.zeros((w.shape[1],) * 2)
    for i, values in enumerate(p["oft_R"]):
        skew = np.zeros((4, 4))
        skew[np.triu_indices(4, 1)] = values
        skew -= skew.T
        rotation[4 * i : 4 * i + 4, 4 * i : 4 * i + 4] = (np.eye(4) - skew) @ np.linalg.inv(np.eye(4) + skew)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(len(rotation)), atol=1e-12)
    return w @ rotation.T


def hra(w, p):
    chain = np.eye(w.shape[1])
    for u in p["hra_u"].T:
        chain = chain @ (np.eye(len(u)) - 2 * np.outer(u, u) / np.sum(u**2))
    return w @ chain


def fourierft(w, p):
    rows, columns = w.shape
    order = torch.randperm(w.size, generator=torch.Generator().manual_seed(777))
    changed = w.copy()
    for place, value in zip(order.tolist(), p["fourierft_spectrum"], strict=False):
        down = np.arange(rows)[:, None] * (place // columns) / rows
        across = np.arange(columns) * (place % columns) / columns
        changed += 40.0 * value * np.cos(2 * np.pi * (down + across)) / w.size
    return changed


FORMULAS = {
    "lora": (LoRA(rank=2, alpha=3.0, targets=("blocks[1].mlp.fc1",)), low_rank(3.0 / 2)),
    "rslora": (RsLoRA(rank=2, alpha=3.0, targets=("blocks[1].mlp.fc1",)), low_rank(3.0 / 2**0.5)),
    "dora": (DoRA(rank=2, alpha=3.0, targets=("blocks[1].mlp.fc1",)), dora),
    "pissa": (PiSSA(rank=2, targets=("blocks[1].mlp.fc1",)), pissa),
    "vera": (VeRA(rank=5, targets=("blocks[1].mlp.fc1",)), vera),
    "loha": (LoHa(rank=2, alpha=3.0, targets=("blocks[1].mlp.fc1",)), loha),
    "lokr": (LoKr(rank=2, alpha=3.0, targets=("blocks[1].mlp.fc1",)), lokr),
    "oft": (OFT(block_size=4, targets=("blocks[1].mlp.fc1",)), oft),
    "hra": (HRA(rank=4, targets=("blocks[1].mlp.fc1",)), hra),
    "fourierft": (FourierFT(entries=600, scale=40.0, targets=("blocks[1].mlp.fc1",)), fourierft),
    "ia3": (IA3(targets=("blocks[1].mlp.fc1",)), lambda w, p: p["ia3_l"] * w),
    "ia3 fc2": (IA3(targets=("blocks[1].mlp.fc2",)), lambda w, p: w * p["ia3_l"]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_change_of_the_weight_is_what_the_formula_says(tiny, name):
    method, formula = FORMULAS[name]
    encoder = tiny("clip")
    (path,) = encoder.map.paths(method.targets[0])
    before = encoder.model.get_parameter(f"{path}.weight").detach().double().numpy().copy()
    torch.manual_seed(0)
    installed = method.install(encoder)
    for parameter in installed.trainable.values():
        torch.nn.init.normal_(parameter, std=0.5)
    said = {  # model.block.1.fc1.lora_A.default.weight → lora_A
        full.removeprefix(f"{path}.").split(".")[0]: value.double().numpy()
        for full, value in installed.state_dict().items()
    }
    expected = formula(before, said)
    assert np.abs(expected - before).max() > 0.1
    changed = installed.update(tiny("clip"))[f"{path}.weight"].numpy()
    np.testing.assert_allclose(changed, expected - before, atol=2e-5)
    installed.merge()
    merged = encoder.model.get_parameter(f"{path}.weight").detach().numpy()
    np.testing.assert_allclose(merged, expected, atol=2e-5)


def test_scales_of_outputs_scale_the_bias_and_scales_of_inputs_do_not(tiny):
    encoder = tiny("clip")
    installed = IA3(targets=("v", "fc2")).install(encoder)
    assert not any(name.endswith("bias") for name in installed.update(tiny("clip")))
    for parameter in installed.trainable.values():
        torch.nn.init.constant_(parameter, 3.0)
    update = installed.update(tiny("clip"))
    assert {name for name in update if name.endswith("bias")} == {
        f"{path}.bias" for path in encoder.map.paths("v")
    }
    bias = tiny("clip").model.get_parameter(f"{encoder.map.paths('v')[0]}.bias")
    torch.testing.assert_close(update[f"{encoder.map.paths('v')[0]}.bias"], 2 * bias)


def test_the_seed_decides_the_matrices_that_are_shared_and_they_are_saved(tiny):
    torch.manual_seed(0)
    first = VeRA(rank=2).install(tiny("vit")).state_dict()
    torch.manual_seed(1)
    second = VeRA(rank=2).install(tiny("vit")).state_dict()
    shared = [name for name in first if "vera_A" in name or "vera_B" in name]
    assert len(shared) == 2
    assert all(not torch.equal(first[name], second[name]) for name in shared)


def test_a_weight_that_the_start_has_changed_is_given_back(tiny):
    encoder = tiny("vit")
    weights = {
        path: encoder.model.get_parameter(f"{path}.weight").detach().clone()
        for path in encoder.map.paths("q")
    }
    installed = PiSSA(rank=3, targets=("q",)).install(encoder)
    assert installed.replaced.keys() == weights.keys()
    for path, weight in weights.items():
        at = f"{path}.base_layer.weight"
        residual = encoder.model.get_parameter(at).detach().clone()
        assert np.linalg.matrix_rank(residual.numpy(), tol=1e-5) == 32 - 3
        off = installed.without()
        assert off is not None
        with off:
            assert torch.equal(encoder.model.get_parameter(at), weight)
        assert torch.equal(encoder.model.get_parameter(at), residual)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (OFT(block_size=5), r"block_size=5 does not divide the 32 inputs of .*q_proj; give a divisor of 32"),
        (LoKr(targets=("norm1",)), r"norm1|layernorm_before is a LayerNorm, not a plain linear layer"),
        (VeRA(targets=("query",)), "unknown role 'query'"),
        (FourierFT(entries=1025), r"entries=1025, but .*q_proj has 1024"),
        (DoRA(rank=40), "dora: rank=40, but .* is 32 × 32"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_and_nothing_is_changed(tiny, method, message):
    encoder = tiny("vit")
    names = [name for name, _ in encoder.model.named_parameters()]
    with pytest.raises(MethodError, match=message):
        method.install(encoder)
    assert [name for name, _ in encoder.model.named_parameters()] == names


def test_one_model_takes_one_adapter(tiny):
    encoder = tiny("vit")
    IA3(targets=("k",)).install(encoder)
    with pytest.raises(MethodError, match=r"lora: an adapter is installed .* freshly loaded"):
        LoRA(rank=1, targets=("q",)).install(encoder)


def test_settings_that_make_no_sense():
    for method, setting in (
        (OFT, {"block_size": 1}),
        (VeRA, {"rank": 0}),
        (PiSSA, {"alpha": 1.0}),
        (HRA, {"rank": 3}),
    ):
        with pytest.raises(StudyError, match=next(iter(setting))):
            method.parse(setting, "adapt")


def test_the_change_is_told_of_the_model_it_belongs_to(tiny):
    installed = LoRA(rank=1).install(tiny("vit"))
    with pytest.raises(MethodError, match=r"is no weight of .*: either that is another model"):
        installed.update(tiny("clip"))
