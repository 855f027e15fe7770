"""Rows of single layers' paths, against whole forward passes with whole state dicts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from colours import NAMES, examples

from tunescope.engine.change import weight_change
from tunescope.errors import StudyError
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead, text_head
from tunescope.probes.layer_path import LayerPathProbe
from tunescope.probes.probe import Subject
from tunescope.study.component import resolve

SETS = {split: examples(9, split) for split in ("val", "probe")}
ALPHAS = [0.0, 0.5, 1.0]


def installed(encoder: Encoder, adapt) -> Installed:
    method = resolve("adapt", adapt)
    assert isinstance(method, Method)
    found = method.install(encoder)
    with torch.no_grad():
        for p in found.trainable.values():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    return found


def subject(base: Encoder, found: Installed, **more) -> Subject:
    head = LinearHead(24, 3)
    with torch.no_grad():
        head.linear.weight.normal_(generator=torch.Generator().manual_seed(1))
    return Subject(found.encoder, head, "vision", SETS, change=lambda: weight_change(base, found), **more)


@pytest.mark.parametrize("adapt", ["full", {"kind": "per_tower", "vision": "ia3", "text": "full"}], ids=str)
def test_rows_are_plain_loops(tiny, adapt):
    base, encoder = tiny("clip"), tiny("clip")
    found_by = installed(encoder, adapt)
    looked = subject(base, found_by)
    probe = LayerPathProbe(points=3, criticality=True, top=2, threshold=1.0)
    rows = probe.measure(looked).rows
    found = {(r.metric.removeprefix("landscape."), r.component, r.layer): r.value for r in rows}
    assert len(found) == len(rows)
    by_rewind = LayerPathProbe(points=3, top=2, score="rewind").measure(looked).rows
    rewound = {(r.metric.removeprefix("landscape."), r.component, r.layer): r.value for r in by_rewind}
    declared = {metric.name: metric for metric in LayerPathProbe.metrics}
    assert {row.metric for row in rows} == declared.keys()
    assert {(row.tower, row.split, row.n, row.point) for row in rows} == {("vision", "val", 9, None)}
    change = weight_change(base, found_by)
    start = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    end = {name: value.detach() for name, value in change.tuned.items()}
    part = SETS["val"]
    base.model.load_state_dict(base.model.state_dict() | end)
    heads = {"trained": looked.head, "text": text_head(base, NAMES, part.templates)}
    losses = {name: np.empty((3, 3)) for name in heads}
    for layer, block in enumerate(base.map.tower("vision").blocks):
        for i, alpha in enumerate(ALPHAS):
            mixed = {n: torch.lerp(start[n], end[n], alpha) for n in end if n.startswith(f"{block.path}.")}
            base.model.load_state_dict(base.model.state_dict() | end | mixed)
            for name, head in heads.items():
                assert head is not None
                with torch.no_grad():
                    logits = head(base.features(part.inputs)).double().tolist()
                each = [
                    math.log(sum(map(math.exp, z))) - z[y] for z, y in zip(logits, part.labels, strict=True)
                ]
                losses[name][layer, i] = sum(each) / len(each)
    for name, table in losses.items():
        barriers = [max(0.0, middle - (low + high) / 2) for low, middle, high in table]
        ordered = sorted(barriers)
        apart = [abs(value - ordered[1]) for value in barriers]
        scale = 1.4826 * sorted(apart)[1] or 1.2533 * sum(apart) / 3
        for layer, value in enumerate(barriers):
            z = (value - ordered[1]) / scale if scale else 0.0
            assert found["layer_barrier", name, layer] == pytest.approx(value, rel=1e-5, abs=1e-6)
            assert found["rewind", name, layer] == pytest.approx(table[layer, 0] - table[layer, 2], abs=1e-6)
            assert found["straggler_z", name, layer] == pytest.approx(z, rel=1e-2, abs=1e-3)
            assert found["straggler", name, layer] == float(z > 1 and value > 0)
        top = [layer for layer in range(3) if found["straggler_top", name, layer] == 1]
        assert set(top) == {layer for layer in np.argsort(barriers)[-2:].tolist() if barriers[layer] > 0}
        cost = table[:, 0] - table[:, 2]
        marked = [layer for layer in range(3) if rewound["straggler_top", name, layer] == 1]
        assert set(marked) == {layer for layer in np.argsort(cost)[-2:].tolist() if cost[layer] > 0}


def test_what_is_measured_once_is_kept_layer_by_layer(tiny):
    told, asked = [], []
    looked = subject(
        tiny("clip"), installed(tiny("clip"), "full"), progress=lambda what, done, of: told.append((done, of))
    )
    probe = LayerPathProbe(split="probe", points=3, subset=4)
    rows = probe.measure(looked).rows
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert {(row.split, row.n) for row in rows} == {("probe", 4)}

    def kept(key, make):
        asked.append(key)
        return looked.kept(key, lambda: pytest.fail("it was measured before"))

    assert probe.measure(replace(looked, kept=kept)).rows == rows
    assert len(set(asked)) == 3


def test_what_has_no_path_has_no_rows(tiny):
    base = tiny("clip")
    assert LayerPathProbe().measure(Subject(base, None, "vision", SETS)).rows == []
    assert LayerPathProbe().measure(subject(base, installed(tiny("clip"), "houlsby"))).rows == []
    with pytest.raises(StudyError, match="no split 'tset'"):
        LayerPathProbe(split="tset").measure(subject(base, installed(tiny("clip"), "full")))
