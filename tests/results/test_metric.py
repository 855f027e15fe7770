import pytest

from tunescope.results.metric import Metric, declared

ENTROPY = Metric("a.b", ("layer",), "nats", (0.0, None), "higher", "H", "x")
SHARE = Metric("a.c", (), "1", (0.0, 1.0), "higher", "share", "x", ("base", "change", "retention"))


@pytest.mark.parametrize(
    ("metric", "derived", "unit", "range"),
    [
        (ENTROPY, "base", "nats", (0.0, None)),
        (ENTROPY, "change", "nats", (None, None)),
        (ENTROPY, "change_relative", "1", (None, None)),
        (SHARE, "change", "1", (-1.0, 1.0)),
        (SHARE, "retention", "1", (0.0, None)),
    ],
)
def test_a_comparison_declares_its_own_unit_and_range(metric, derived, unit, range):
    found = metric.derive(derived)
    assert found.name == f"{metric.name}.{derived}"
    assert (found.unit, found.range, found.dims, found.derived) == (unit, range, metric.dims, ())
    assert found.definition.endswith(metric.definition)


def test_every_declared_metric_says_what_it_is():
    metrics = declared()
    assert {"training.loss", "attention.entropy.change", "transfer.acc1.retention"} <= set(metrics)
    for name, metric in metrics.items():
        low, high = metric.range
        assert metric.name == name
        assert metric.definition
        assert metric.source
        assert low is None or high is None or low < high
        assert metric.unit != "%"
