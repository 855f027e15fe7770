"""What a client does in its round, against the central loop."""

import numpy as np
import pytest
import torch
from federated.small_runs import LORA, job_of

from tunescope.engine.joining import combining_of
from tunescope.engine.work import tune
from tunescope.errors import MethodError
from tunescope.federated.of_factors import factors_of

ALONE = {"rounds": 2, "local_epochs": 2, "partition": {"kind": "iid", "clients": 1}, "keep_optimizer": True}


@pytest.mark.parametrize(
    ("adapt", "strategy", "settings"),
    [
        ("full", "fedavg", {"penalties": [{"kind": "l2_sp", "weight": 0.1}]}),
        (LORA, "naive", {}),
        (LORA, "fedex_lora", {"penalties": [{"kind": "entropy_floor", "weight": 0.1}]}),
    ],
)
def test_one_client_that_holds_everything_is_the_central_run_bit_for_bit(spec, adapt, strategy, settings):
    federated = ALONE | {"strategy": strategy}
    central, alone = tune(spec(adapt, **settings)), tune(spec(adapt, federated, **settings))
    expected, found = central.weights(), alone.weights()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    losses = [(line["epoch"], line["loss"]) for line in central.history.log if "loss" in line]
    means = [np.mean([loss for epoch, loss in losses if epoch // 2 == round]) for round in range(2)]
    told = [row.value for row in alone.history.rows if row.metric == "federated.loss"]
    assert told == means
    scores = {
        run: [row.value for row in run_history.rows if row.metric == "training.val_acc1"]
        for run, run_history in (("central", central.history), ("alone", alone.history))
    }
    assert scores["alone"] == scores["central"][1::2]


def test_moments_are_fresh_where_they_are_not_kept(spec):
    kept, fresh = (tune(spec("linear_probe", ALONE | {"keep_optimizer": keeps})) for keeps in (True, False))
    assert any(not torch.equal(value, fresh.weights()[name]) for name, value in kept.weights().items())


def test_only_what_is_trained_travels_and_what_a_strategy_freezes_is_frozen(spec):
    three = {"rounds": 2, "local_epochs": 2, "partition": {"kind": "iid", "clients": 3}}
    job = job_of(spec(LORA, three | {"strategy": "ffa_lora"}))
    sent = job.initial()
    trained = job.installed.trainable
    size = sum(p.numel() for p in [*trained.values(), *job.head.parameters()]) + len(factors_of(sent))
    assert sum(array.size for array in sent.values()) == size  # and a scale for each target
    back, told, examples = job.client("client-1").fit(sent, {"round": 1, "seed": 0})
    assert examples == len(job.held["client-1"].train) > 0
    assert sorted(back) == sorted(n for n in sent if n.endswith("/b") or n.startswith("head."))
    now = factors_of(job.shared.arrays())
    assert all(np.array_equal(of.a, now[target].a) for target, of in factors_of(sent).items())
    assert any(array.any() for name, array in back.items() if name.endswith("/b"))
    assert {"loss"} <= told.keys()
    whole = factors_of(job_of(spec(LORA, three | {"strategy": "fed_sb"})).initial())
    for of in whole.values():
        assert of.core is not None
        assert not of.core.any()
        np.testing.assert_allclose(of.b.T @ of.b, np.eye(2), atol=1e-6)


def test_proximal_steps_stay_nearer(spec):
    job = job_of(spec("linear_probe", ALONE | {"strategy": "fedprox"}))

    def step(mu: float) -> float:
        back, _, _ = job.client("client-0").fit(job.initial(), {"round": 1, "seed": 0, "proximal-mu": mu})
        return sum(float(np.square(back[name] - job.initial()[name]).sum()) for name in back)

    assert step(100.0) < 0.9 * step(0.0)


@pytest.mark.parametrize(
    ("said", "renewed"),
    [({"strategy": "naive"}, False), ({"strategy": "flexlora"}, True), ({"rank_from": {2: 4}}, True)],
    ids=str,
)
def test_moments_of_factors_that_are_others_now_are_left_behind(spec, said, renewed):
    job = job_of(spec(LORA, ALONE | {"local_epochs": 1} | said))
    job.client("client-0").fit(job.initial(), {"round": 1, "seed": 0})
    kept, taken_up = job.kept.read("client-0", 2), job.moments("client-0", 2)
    factors = {name for name in kept if ".lora_" in name}
    assert len(factors) > 1
    assert kept.keys() - taken_up.keys() == (factors if renewed else set())
    assert any(name.startswith("head.") for name in taken_up)
    assert job.moments("client-0", 1) == {}


def test_a_scale_follows_the_rank_as_the_method_has_it(spec):
    ranks = {"rounds": 1, "partition": {"kind": "iid", "clients": 2}, "strategy": "hetlora"}
    said = spec({"kind": "rslora", "rank": 1, "alpha": 8.0}, ranks | {"ranks": {"client-0": 4}})
    job = job_of(said)
    sent = combining_of(said, job).sends(1, job.initial(), "client-0")
    assert {of.scale for of in factors_of(sent).values()} == {8.0 / 4**0.5}


def test_what_does_not_fit_is_refused(spec):
    with pytest.raises(MethodError, match="adapt: full has none; take adapt: lora, or strategy: naive"):
        job_of(spec("full", {"strategy": "flora"}))
    with pytest.raises(MethodError, match="ranks are of LoRA's A and B"):
        job_of(spec("full", {"rank_from": {2: 4}}))
