"""The line from the base model to a tuned one, for every method of the contract."""

import pytest
import torch
from methods.test_contract import CASES, Case, features, install, three_steps
from torch import Tensor

from tunescope.errors import MethodError
from tunescope.methods.line import Line
from tunescope.methods.load_adapter import load_adapter
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder

CURVED = {
    "dora": "dora divides by the norm",
    "pissa": r"residual \(pissa\)",
    "oft": "oft: .* Cayley",
    "hra": "hra: .* reflections",
    "houlsby": "houlsby cannot be folded",
    "pfeiffer": "pfeiffer cannot be folded",
    "parallel_adapter": "parallel_adapter cannot be folded",
    "adapter_plus": "adapter_plus cannot be folded",
    "vpt_shallow": "vpt_shallow cannot be folded",
    "vpt_deep": "vpt_deep cannot be folded",
    "prefix": "cannot be folded",
    "prompt": "cannot be folded",
}
straight = pytest.mark.parametrize(
    ("case", "family"),
    [
        *(
            pytest.param(case, "vit", id=name)
            for name, case in CASES.items()
            if case.method.kind not in CURVED
        ),
        *(pytest.param(CASES[name], "clip", id=f"{name} of clip") for name in ("full", "lora", "ia3")),
    ],
)
curved = pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in CASES.items() if case.method.kind in CURVED]
)


def tuned(case: Case, encoder: Encoder) -> tuple[Installed, dict[str, Tensor]]:
    installed = install(case, encoder)
    origin = installed.origin()
    three_steps(installed)
    return installed, origin


def plain(installed: Installed) -> dict[str, Tensor]:
    """The plain model's weights as they stand once merged, float64."""
    return {name: value.detach().double() for name, value in installed.weights().items()}


@straight
def test_between_the_ends_the_merged_weights_are_the_mean_of_the_ends(tiny, case, family):
    base = tiny(family)
    installed, origin = tuned(case, tiny(family))
    encoder, end, state = installed.encoder, plain(installed), installed.state_dict()
    at_end = features(encoder)
    line = installed.line(origin)

    line.at(0.0)
    assert torch.equal(features(encoder), features(base))
    for alpha in (0.5, 0.3):
        line.at(alpha)
        for name, value in plain(installed).items():
            start = base.model.get_parameter(name).detach().double()
            expected = (1 - alpha) * start + alpha * end[name]
            torch.testing.assert_close(value, expected, atol=2e-7, rtol=2e-6, msg=name)

    line.at(0.5)
    merged = base  # an ordinary model, its weights averaged by hand
    with torch.no_grad():
        for name, value in end.items():
            weight = merged.model.get_parameter(name)
            weight.copy_((weight.double() + value) / 2)
    torch.testing.assert_close(features(encoder), features(merged), atol=2e-5, rtol=1e-4)

    line.at(1.0)
    assert torch.equal(features(encoder), at_end)
    assert all(torch.equal(value, state[name]) for name, value in installed.state_dict().items())


@curved
def test_where_there_is_no_line_the_reason_is_told(tiny, case):
    installed = install(case, tiny("vit"))
    before = features(installed.encoder)
    with pytest.raises(MethodError, match=f"{CURVED[case.method.kind]}.*tune with full or lora"):
        installed.origin()
    assert torch.equal(features(installed.encoder), before)


def test_an_adapter_of_plain_peft_has_its_line_after_training(tiny, tmp_path):
    first, origin = tuned(CASES["lora"], tiny("vit"))
    first.save_adapter(tmp_path)
    second = load_adapter(tiny("vit"), tmp_path)
    for installed, start in ((first, origin), (second, second.origin())):
        installed.line(start).at(0.3)
    torch.testing.assert_close(features(second.encoder), features(first.encoder), atol=1e-6, rtol=0)
    second.merge()
    with pytest.raises(MethodError, match="has been merged"):
        second.origin()


def test_walking_to_and_fro_does_not_drift():
    start, end = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    weight = torch.nn.Parameter(end.clone())
    line = Line({"w": weight}, {"w": start})
    for alpha in [*(i / 7 for i in range(8)), -0.5, 1.5] * 5:
        line.at(alpha)
        expected = (1 - alpha) * start.double() + alpha * end.double()
        torch.testing.assert_close(weight.detach().double(), expected, atol=1e-6, rtol=1e-6)
    for alpha, there in ((1.0, end), (0.0, start)):
        line.at(alpha)
        assert torch.equal(weight, there)
