import json
from dataclasses import replace

import pytest
import yaml
from engine_study import STUDY

from tunescope.engine.cost import FOLDER, Cost, Costs, Figures, together
from tunescope.engine.plan import plan
from tunescope.results.store import Store
from tunescope.study.run import RunSpec
from tunescope.study.study import Study

FOUND = Figures(setup=1.0, step=0.1, steps=7.5, validate=0.5, look=0.2, measure=2.0, memory=10**9)


def runs(store, **changes):
    return plan(Study.parse(yaml.safe_load(STUDY) | changes, "small"), store)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_runs_that_differ_in_learning_rate_seed_and_epochs_are_of_one_shape(store):
    costs = Costs(store, threads=1)
    planned = runs(store, seeds=[0, 1])
    assert [run.member.group for run in costs.unknown(planned)] == ["full", "lora", "probe"]
    assert costs.unknown(planned)[0] is planned[0]
    costs.keep(planned[0], FOUND)
    assert [run.member.group for run in costs.unknown(planned)] == ["lora", "probe"]
    longer = runs(store, train={"epochs": 3, "batch_size": 32, "schedule": "constant"})
    assert Costs(store, threads=1).of(longer[1]) == Cost(1 + 3 * (0.75 + 0.5) + 2, 10**9)


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"epochs": 1, "batch_size": 64}},
        {"train": {"epochs": 1, "batch_size": 32, "precision": "bfloat16"}},
        {"probes": ["attention", "transfer"]},
        {"transfer": {"shifts": ["emoji/noto"]}},
        {"runs": {"full": {"adapt": {"kind": "lora"}, "lr": 1e-4}}, "questions": []},
        {"runs": {"full": {"adapt": "full", "lr": 1e-4, "penalties": ["entropy_floor"]}}, "questions": []},
    ],
    ids=["batch", "precision", "probes", "shifts", "adapt", "penalty"],
)
def test_what_costs_something_makes_another_shape(store, changes):
    Costs(store, threads=1).keep(runs(store)[0], FOUND)
    assert Costs(store, threads=1).of(runs(store)[0]) is not None
    assert Costs(store, threads=1).of(runs(store, **changes)[0]) is None


def test_a_penaltys_weight_does_not(store):
    costs = Costs(store, threads=1)
    penalties = [{"kind": "entropy_floor", "weight": [0.1, 1.0]}]
    group = {"full": {"adapt": "full", "lr": 1e-4, "penalties": penalties}}
    planned = runs(store, runs=group, questions=[])
    costs.keep(planned[0], FOUND)
    assert [costs.of(run) for run in planned] == [FOUND.cost(planned[0].member.spec)] * 2


def test_figures_of_another_machine_are_not_known(store):
    run = runs(store)[0]
    Costs(store, threads=1).keep(run, FOUND)
    assert Costs(store, threads=2).of(run) is None
    (path,) = (store.root / FOLDER).iterdir()
    document = json.loads(path.read_text())
    assert document["where"]["threads"] == 1
    path.write_text(json.dumps(document | {"where": document["where"] | {"cores": 99}}))
    assert Costs(store, threads=1).of(run) is None
    path.write_text("not JSON")
    assert Costs(store, threads=1).of(run) is None


def test_a_live_monitor_looks_before_the_first_step_and_every_so_many():
    said = {"model": "m", "task": {"data": "d"}, "adapt": "full", "lr": 1e-3}
    monitor = {"probes": ["attention"], "every": 5}
    plain = RunSpec.parse(said | {"train": {"epochs": 2}}, "test")
    watched = RunSpec.parse(said | {"train": {"epochs": 2, "monitor": monitor}}, "test")
    assert FOUND.cost(watched).seconds - FOUND.cost(plain).seconds == pytest.approx(4 * 0.2)  # 0, 5, 10, 15
    by_epoch = RunSpec.parse(said | {"train": {"epochs": 2, "monitor": monitor | {"every": "epoch"}}}, "test")
    assert FOUND.cost(by_epoch).seconds - FOUND.cost(plain).seconds == pytest.approx(3 * 0.2)
    assert FOUND.cost(plain).gpu_memory is None
    assert replace(FOUND, gpu_memory=5).cost(plain).gpu_memory == 5


def test_rounds_take_their_clients_steps_and_what_comes_besides(store):
    said = {"model": "m", "task": {"data": "d"}, "adapt": "lora", "lr": 1e-3}
    said |= {"train": {"monitor": {"probes": ["attention"], "every": "epoch"}}}
    spec = RunSpec.parse(said | {"federated": {"rounds": 4, "local_epochs": 3}}, "test")
    assert FOUND.cost(spec).seconds == pytest.approx(1 + 4 * 3 * 0.75 + 4 * 0.5 + 5 * 0.2 + 2)
    federated = {"rounds": 2, "partition": {"kind": "iid", "clients": 3}}
    Costs(store, threads=1).keep(runs(store, federated=federated)[0], FOUND)
    others = ({}, federated | {"strategy": "fedex_lora"}, federated | {"sample": 0.5})
    for other in others:
        changes = {"federated": other} if other else {}
        assert Costs(store, threads=1).of(runs(store, **changes)[0]) is None
    longer = runs(store, federated=federated | {"rounds": 5, "local_epochs": 2})[0]
    assert Costs(store, threads=1).of(longer) == Cost(1 + 5 * 2 * 0.75 + 5 * 0.5 + 2, 10**9)


def test_a_soup_takes_all_its_ingredients_and_the_measuring():
    said = {"model": "m", "task": {"data": "d"}, "adapt": "full", "lr": 1e-3}
    plain = RunSpec.parse(said, "test")
    soup = RunSpec.parse(said | {"after": {"kind": "greedy_soup", "seeds": [0, 1, 2]}}, "test")
    assert FOUND.cost(soup).seconds == pytest.approx(3 * FOUND.cost(plain).seconds + 1.0 + 2.0)


def test_runs_begin_as_soon_as_a_worker_is_free():
    costs = [Cost(seconds, 0) for seconds in (5, 1, 1, 1, 2)]
    assert together(costs, 1) == 10
    assert together(costs, 2) == 5
    assert together(costs, 9) == 5
