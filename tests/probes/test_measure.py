from typing import Any, ClassVar

import numpy as np
import pytest

from tunescope.errors import StudyError
from tunescope.probes.measure import derive, derived_rows, measure, observe
from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.probes.transfer import TransferProbe
from tunescope.results.metric import Metric
from tunescope.results.row import Row

ALL = ("base", "base_only", "change", "change_relative", "retention")


def metric(name, derived):
    return Metric(name, ("layer",), "1", (None, None), None, "made up", "test", derived)


class Made(Probe):
    """Measures what its subject's head says."""

    kind: str = "made"
    metrics: ClassVar[tuple[Metric, ...]] = (
        metric("made.all", ALL),
        metric("made.some", ("base", "change")),
        metric("made.none", ()),
    )

    def measure(self, subject):
        values: Any = subject.examples
        rows = [
            Row(f"made.{name}", value, layer=int(layer), std=0.5, n=7)
            for (name, layer), value in values.items()
        ]
        return Measurement(rows, {"made.map": np.array([len(values)])})


def subject(**values):
    said = {(key.rstrip("0123456789"), int(key[-1])): value for key, value in values.items()}
    return Subject(encoder=None, head=None, tower="vision", examples=said)  # pyright: ignore[reportArgumentType]


def table(measurement):
    return {(row.metric, row.layer): row.value for row in measurement.rows}


def test_every_declared_comparison_and_no_other():
    found = measure(
        [Made()],
        subject(all0=-4.0, some0=2.0, none0=1.0),
        subject(all0=-1.0, some0=3.0, none0=2.0),
        subject(all0=-3.0, some0=9.0, none0=8.0),
    )
    assert table(found) == {
        ("made.all", 0): -1.0,
        ("made.some", 0): 3.0,
        ("made.none", 0): 2.0,
        ("made.all.base", 0): -4.0,
        ("made.some.base", 0): 2.0,
        ("made.all.base_only", 0): -3.0,
        ("made.all.change", 0): 3.0,
        ("made.all.change_relative", 0): 0.75,
        ("made.all.retention", 0): 0.25,
        ("made.some.change", 0): 1.0,
    }
    assert len(found.rows) == 10
    spread = {row.metric: (row.std, row.n) for row in found.rows}
    assert spread["made.all"] == spread["made.all.base"] == spread["made.all.base_only"] == (0.5, 7)
    assert spread["made.all.change"] == spread["made.all.retention"] == (None, 7)
    assert {name: array.tolist() for name, array in found.arrays.items()} == {
        "made.map": [3],
        "made.map.base": [3],
    }


def test_rows_match_by_their_place():
    found = table(measure([Made()], subject(all0=1.0, all1=2.0), subject(all1=6.0, all0=4.0)))
    assert found["made.all.change", 0] == 3.0
    assert found["made.all.change", 1] == 4.0
    assert not any(name.endswith("base_only") for name, _ in found)


def test_a_row_without_a_counterpart_is_written_plain():
    found = table(measure([Made()], subject(all0=1.0), subject(all1=2.0), subject(all1=3.0)))
    assert found == {("made.all", 1): 2.0, ("made.all.base", 0): 1.0, ("made.all.base_only", 1): 3.0}


def test_ratios_to_zero_are_left_out():
    found = table(measure([Made()], subject(all0=0.0, all1=2.0), subject(all0=1.0, all1=1.0)))
    assert found["made.all.change", 0] == 1.0
    assert ("made.all.change_relative", 0) not in found
    assert ("made.all.retention", 0) not in found
    assert found["made.all.retention", 1] == 0.5


def test_one_encoder_may_be_observed_in_its_time():
    values = subject(all0=1.0)
    before = observe([Made()], values)
    values.examples[("all", 0)] = 5.0  # pyright: ignore[reportArgumentType]
    found = table(derive([Made()], before, observe([Made()], values)))
    assert found["made.all.change", 0] == 4.0


def test_two_probes_of_a_kind_are_refused():
    with pytest.raises(StudyError, match=r"'made' stands twice"):
        observe([Made(), Made()], subject(all0=1.0))


def test_undeclared_and_doubled_rows_are_refused():
    with pytest.raises(ValueError, match=r"wrote 'made.other', which it does not declare"):
        derived_rows(Made(), [], [Row("made.other", 1.0)], None)
    with pytest.raises(ValueError, match=r"wrote 'made.all' twice"):
        derived_rows(Made(), [Row("made.all", 1.0), Row("made.all", 2.0)], [], None)


def test_a_trained_head_has_no_base():
    def row(value, component, metric="acc1"):
        return Row(f"transfer.{metric}", value, component=component, split="test", std=0.1, n=20)

    base = [row(0.4, "text"), row(2.0, "text", "loss")]
    active = [row(0.9, "trained"), row(0.3, "text"), row(1.0, "text", "loss")]
    rows = derived_rows(TransferProbe(), base, active, [row(0.4, "text")])
    found = {(r.metric.removeprefix("transfer."), r.component): r.value for r in rows}
    assert found == {
        ("acc1", "trained"): 0.9,
        ("acc1", "text"): 0.3,
        ("loss", "text"): 1.0,
        ("acc1.base", "text"): 0.4,
        ("loss.base", "text"): 2.0,
        ("acc1.change", "text"): pytest.approx(-0.1),
        ("acc1.retention", "text"): pytest.approx(0.75),
        ("loss.change", "text"): -1.0,
        ("acc1.base_only", "text"): 0.4,
    }
