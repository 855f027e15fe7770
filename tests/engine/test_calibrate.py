from math import ceil

import pytest
import yaml
from engine_study import STUDY

from tunescope.data.task import task_examples
from tunescope.engine.calibrate import calibrate, figures
from tunescope.engine.cost import Costs
from tunescope.engine.joining import lay_out
from tunescope.engine.plan import plan
from tunescope.errors import StudyError
from tunescope.models.load import load
from tunescope.results.store import Store
from tunescope.study.study import Study

MONITOR = {"probes": ["attention"], "every": 2, "examples": 4}
CHANGES = {"train": {"epochs": 2, "batch_size": 32, "monitor": MONITOR, "converged": {}}, "questions": []}


def planned(store, **groups):
    return plan(Study.parse(yaml.safe_load(STUDY) | CHANGES | {"runs": groups}, "small"), store)


def test_a_few_real_steps_say_what_every_run_of_the_shape_costs(tmp_path):
    store = Store(tmp_path / "store")
    runs = planned(store, lora={"adapt": {"kind": "lora", "rank": 2}, "lr": [1e-3, 1e-2]})
    costs = Costs(store, threads=1)
    found = calibrate(runs[0], costs)
    assert min(found.setup, found.step, found.validate, found.look, found.measure) > 0
    assert found.steps == pytest.approx(0.1 * 1_500 / 32, rel=0.5)  # a tenth of some 1,500 images
    assert 5e7 < found.memory < 5e10
    assert [costs.of(run) for run in runs] == [found.cost(run.member.spec) for run in runs]
    assert Costs(store, threads=1).of(runs[1]) == costs.of(runs[1])
    assert costs.unknown(runs) == []
    assert store.ids() == []  # nothing was carried out
    assert store.verify() == []


def test_of_a_federated_run_its_own_clients_meet(tmp_path):
    """Three clients, of whom two take part in a round; at its end the adapter is merged."""
    store = Store(tmp_path / "store")
    federated = {"rounds": 50, "local_epochs": 7, "sample": 2 / 3, "strategy": "fedex_lora"}
    federated |= {"partition": {"kind": "iid", "clients": 3}, "watch_clients": True}
    watching = CHANGES["train"] | {"monitor": MONITOR | {"every": "epoch"}}
    said = yaml.safe_load(STUDY) | CHANGES | {"train": watching, "federated": federated}
    said |= {"runs": {"fedex": {"adapt": {"kind": "lora", "rank": 2}, "lr": 1e-3}}}
    (run,) = plan(Study.parse(said, "small"), store)
    found = figures(run.member.spec, store)
    encoder = load("emoji-clip")
    examples = task_examples(run.member.spec, encoder.preprocess)
    held = lay_out(run.member.spec, encoder, examples, None)
    everybody = sum(ceil(len(one.train) / 32) for one in held.values())
    assert found.steps == pytest.approx(2 / 3 * everybody)
    assert found.validate > 2 * found.look > 0  # two clients are looked at in a round
    assert min(found.setup, found.step, found.measure) > 0
    assert store.ids() == []


def test_what_cannot_be_carried_out_is_named_and_not_kept(tmp_path):
    store = Store(tmp_path / "store")
    runs = planned(store, lora={"adapt": {"kind": "lora", "rank": 100_000}, "lr": 1e-3})
    costs = Costs(store, threads=1)
    with pytest.raises(StudyError, match=r"lora lr=0.001 seed=0: cannot be calibrated: .*rank"):
        calibrate(runs[0], costs)
    assert costs.unknown(runs) == runs
