"""Penalties beside methods and processes: what does not fit is refused before anything is computed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from colours import TRAIN, VAL, spec
from torch import nn

from tunescope.errors import MethodError, ModelError
from tunescope.methods.method import Method
from tunescope.models.heads import LinearHead
from tunescope.training.loop import train
from tunescope.training.penalties import Penalties

WATCHING = ["entropy_floor", "attention_kl", "ldifs"]
HOLDING = ["l2_sp", "ewc", "weight_decay"]


def penalties(encoder, said, world: int = 1) -> Penalties:
    assert isinstance(said.adapt, Method)
    torch.manual_seed(0)
    return Penalties(encoder, said.adapt.install(encoder), said, TRAIN, world)


@pytest.mark.parametrize("kind", WATCHING)
@pytest.mark.parametrize(
    "adapt", ["linear_probe", {"kind": "per_tower", "text": "full"}], ids=["probe", "text"]
)
def test_a_tower_in_which_nothing_is_trained_is_not_watched(tiny, adapt, kind):
    with pytest.raises(
        MethodError, match=rf"penalty {kind}: it looks at the vision tower, in which .* nothing"
    ):
        penalties(tiny("clip"), spec(adapt, penalties=[kind]))


@pytest.mark.parametrize("kind", ["entropy_floor", "attention_kl"])
def test_a_tower_without_a_pooling_row_has_no_attention_to_hold(tiny, kind):
    encoder = tiny("vit")
    mean = replace(encoder.map.tower("vision"), pooling="mean")
    encoder.map = replace(encoder.map, towers={"vision": mean})
    with pytest.raises(ModelError, match=r"the vision tower of vit pools by 'mean' and has no pooling row"):
        penalties(encoder, spec("full", penalties=[kind]))


@pytest.mark.parametrize("kind", [*WATCHING, "flyp"])
def test_what_couples_a_batch_is_for_one_process(tiny, kind):
    said = spec("full", objective="flyp") if kind == "flyp" else spec("full", penalties=[kind])
    with pytest.raises(MethodError, match=rf"{kind}: a function of the whole batch, which 2 processes share"):
        penalties(tiny("clip"), said, world=2)


@pytest.mark.parametrize("kind", ["attention_kl", "ldifs"])
def test_what_compares_examples_wants_them_as_they_are(tiny, kind):
    with pytest.raises(MethodError, match=rf"penalty {kind}: .* use augment: none"):
        penalties(tiny("vit"), spec("full", penalties=[kind], augment="crop_flip"))


@pytest.mark.parametrize(
    "adapt",
    ["full", {"kind": "lora", "rank": 2}, {"kind": "vpt_shallow", "prompts": 2}],
    ids=["full", "lora", "vpt_shallow"],
)
@pytest.mark.parametrize("kind", [*WATCHING, *HOLDING])
def test_every_penalty_acts_with_every_way_to_tune(tiny, kind, adapt):
    """Two steps; what holds to the start or the base is nothing at first, if the model begins as its base."""
    settings = {"kind": kind, "weight": 1.0} | ({"fraction": 1.5} if kind == "entropy_floor" else {})
    text = {"kind": "cross_entropy", "head": "text"}
    said = spec(
        adapt,
        lr=1e-2,
        objective=text,
        penalties=[settings],
        epochs=1,
        batch_size=11,
        warmup=0,
        clip_norm=None,
    )
    encoder = tiny("clip")
    assert isinstance(said.adapt, Method)
    head = said.objective.build_head(encoder, TRAIN.class_names, TRAIN.templates)  # pyright: ignore[reportAttributeAccessIssue]
    torch.manual_seed(0)
    installed = said.adapt.install(encoder)
    history = train(encoder, installed, head, said, TRAIN, VAL)
    first, second = (row.value for row in history.rows if row.metric == "training.penalty")
    begins_as_its_base = kind in HOLDING or said.adapt.kind != "vpt_shallow"
    if kind in ("entropy_floor", "weight_decay") or not begins_as_its_base:
        assert first > 1e-6
    else:
        assert abs(first) < 1e-6
    assert second > 0
    assert second != first


@pytest.mark.parametrize("family", ["bert", "clip"])
def test_penalties_on_texts_of_many_lengths_begin_at_nothing(tiny, family):
    """The base reads them in other batches than the steps do, padded to other lengths."""
    texts = np.array(
        [f"{'a very ' * (i % 5)}{TRAIN.class_names[i % 3]} one" for i in range(22)], dtype=object
    )
    data = replace(TRAIN, inputs=texts)
    kinds = [{"kind": kind, "weight": 1.0} for kind in ("attention_kl", "ldifs", "l2_sp")]
    said = spec({"kind": "lora", "rank": 2}, lr=1e-2, penalties=kinds, batch_size=6, epochs=1, warmup=0)
    encoder = tiny(family)
    for module in encoder.model.modules():
        if isinstance(
            module, nn.Dropout
        ):  # BERT's: it is off when the base is looked at, and on in the steps
            module.p = 0.0
    assert isinstance(said.adapt, Method)
    torch.manual_seed(0)
    installed = said.adapt.install(encoder, "text")
    history = train(encoder, installed, LinearHead(encoder.feature_dim, 3), said, data, data)
    told = [line["penalties"] for line in history.log if "penalties" in line]
    assert len(told) == 4
    assert all(abs(value) < 1e-5 for value in told[0].values())
    assert all(value > 1e-8 for value in told[-1].values())
