import math
from typing import Literal

import pytest

from tunescope.training.schedule import factor


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7, 45])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
def test_it_rises_to_one_and_falls_and_never_rests(
    schedule: Literal["cosine", "linear", "constant"], steps, warmup
):
    factors = [factor(step, steps, schedule, warmup) for step in range(steps)]
    peak = factors.index(1.0)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert all(0 < value <= 1 for value in factors)
    assert peak == min(round(warmup * steps), steps - 1)


def test_cosine_against_its_formula():
    for step in range(4, 20):
        expected = (1 + math.cos(math.pi * (step - 4) / 16)) / 2
        assert factor(step, 20, "cosine", 0.2) == pytest.approx(expected, abs=1e-15)
