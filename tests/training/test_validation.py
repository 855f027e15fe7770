from dataclasses import replace

import numpy as np
import pytest
import torch
from colours import TRAIN, VAL, spec

from tunescope.methods.method import Method
from tunescope.objectives.squared_error import SquaredError
from tunescope.results.metric import TRAINING
from tunescope.training.loop import train

NUMBERS = [
    replace(part, labels=np.linspace(-1, 1, len(part)) + part.labels, class_names=()) for part in (TRAIN, VAL)
]


@pytest.mark.parametrize("adapt", ["full", {"kind": "lp_ft", "epochs": 2}], ids=["full", "lp_ft"])
def test_numbers_are_validated_by_their_loss(tiny, adapt):
    encoder = tiny("vit")
    converged = {"metric": "val_loss", "within": 0.0}
    said = spec(adapt, lr=1e-3, epochs=3, objective="squared_error", converged=converged)
    assert isinstance(said.adapt, Method)
    head = SquaredError().build_head(encoder, (), ())
    history = train(encoder, said.adapt.install(encoder), head, said, *NUMBERS)
    with torch.no_grad():
        found = head(encoder.features(VAL.inputs)).double().numpy()[:, 0]
    rows = [row for row in history.rows if row.split == "val" and row.step is not None]
    assert [(row.metric, row.n) for row in rows] == [("training.val_loss", 9)] * 3
    assert rows[-1].value == pytest.approx(((found - NUMBERS[1].labels) ** 2).mean(), rel=1e-5)
    assert [line["val_loss"] for line in history.log if "val_loss" in line] == [row.value for row in rows]
    better = rows[-1].value < min(row.value for row in rows[:-1])
    assert [row.value for row in history.rows if row.metric == "training.converged"] == [float(not better)]
    probed = [row for row in history.rows if row.metric == "training.probe_val_loss"]
    assert len(probed) == (adapt != "full")
    assert {row.metric for row in history.rows} <= {metric.name for metric in TRAINING}
