import math

import numpy as np
import planted_heads as planted
import pytest

from tunescope.stats.head_seeds import aggregate, by_component, by_layer, over_seeds
from tunescope.stats.headwise import headwise

T = 4.302652729911275  # Student's t, two degrees of freedom


def test_every_head_over_its_seeds_against_plain_loops():
    found = aggregate(headwise(planted.table()))
    assert [(each.setting, each.component) for each in found] == [
        ("full lr=0.0001", "trained"),
        ("full lr=0.0001", "text"),
        ("lora lr=0.001", "trained"),
        ("lora lr=0.001", "text"),
    ]
    lora = found[2]
    assert lora.names == tuple(f"lora lr=0.001 seed={seed}" for seed in range(3))
    assert lora.factors == {"lr": 0.001}
    for layer, head in np.ndindex(planted.SHAPE):
        values = [float(planted.update("lora", seed)[layer, head]) for seed in range(3)]
        mean = sum(values) / 3
        half = T * math.sqrt(sum((value - mean) ** 2 for value in values) / 2 / 3)
        over = lora.values["update_relative"]
        assert over.mean[layer, head] == pytest.approx(mean)
        assert (over.low[layer, head], over.high[layer, head]) == pytest.approx((mean - half, mean + half))
        assert over.runs[layer, head] == 3


def test_holes_and_runs_of_another_size():
    found = over_seeds([np.array([[1.0, np.nan]]), np.array([[3.0]]), np.array([[5.0, 2.0], [7.0, np.nan]])])
    np.testing.assert_array_equal(found.mean, [[3.0, 2.0], [7.0, np.nan]])
    np.testing.assert_array_equal(found.runs, [[3, 1], [1, 0]])
    np.testing.assert_array_equal(np.isnan(found.low), [[False, True], [True, True]])
    assert found.high[0, 0] == pytest.approx(3 + T * 2 / math.sqrt(3))


def test_by_layer_and_by_projection():
    runs = [run for run in headwise(planted.table()) if run.group == "full" and run.component == "text"]
    layers = by_layer(runs, "update_relative")
    means = [[planted.update("full", seed)[layer].mean() for seed in range(3)] for layer in range(3)]
    for layer, values in zip(layers, means, strict=True):
        assert layer is not None
        half = T * np.std(values, ddof=1) / math.sqrt(3)
        assert (layer.value, layer.low, layer.high) == pytest.approx(
            (np.mean(values), np.mean(values) - half, np.mean(values) + half)
        )
    parts = by_component(runs, "update_relative")
    whole = np.mean(means)
    assert {name: pytest.approx(effect.value) for name, effect in parts.items()} == {
        "q": whole / 2,
        "k": whole / 2,
        "v": whole * 2,
        "o": whole,
    }
    assert by_layer(runs, "plasticity") == []
    assert by_component(runs, "importance") == {}
