"""Federated runs from their spec to table, answers and page."""

import importlib
import sys

import numpy as np
import pytest
from federated.small_runs import LORA, SPLIT, TRAIN, job_of

from tunescope import api
from tunescope.engine.work import tune
from tunescope.errors import Diverged, StudyError
from tunescope.federated.epsilon import epsilon
from tunescope.federated.of_factors import factors_of
from tunescope.models.load import load
from tunescope.results.metric import FEDERATED
from tunescope.study.study import Study

THREE = {"rounds": 2, "local_epochs": 2, "partition": {"kind": "iid", "clients": 3}}
PRIVATE = {"strategy": "ffa_lora", "privacy": {"noise": 2.0, "clip": 0.01}}
WITHOUT_DROPOUT = {"kind": "lora", "rank": 2}


def values(tuned, metric):
    return [row.value for row in tuned.history.rows if row.metric == f"federated.{metric}"]


@pytest.fixture(scope="module")
def by_strategy(spec):
    kinds = ("naive", "rolora", "fed_sb")
    return {kind: tune(spec(WITHOUT_DROPOUT, THREE | {"strategy": kind})) for kind in kinds}


def test_exact_strategies_are_exact_on_the_way_through_and_naive_is_not(by_strategy):
    errors = {kind: values(tuned, "aggregation_error")[-1] for kind, tuned in by_strategy.items()}
    assert errors.pop("naive") > 1e-3
    assert max(errors.values()) < 1e-6
    traffic = {kind: values(tuned, "traffic")[0] for kind, tuned in by_strategy.items()}
    assert traffic["fed_sb"] < traffic["rolora"] < traffic["naive"] < 0.1
    for tuned in by_strategy.values():
        assert values(tuned, "clients") == [3, 3]
        assert values(tuned, "dropped") == [0, 0]
        assert len(values(tuned, "loss")) == len(values(tuned, "cka")) == 6
        assert len(values(tuned, "personal")) == len(values(tuned, "global")) == 3
        assert sum(values(tuned, "examples")) == len(tuned.examples["train"])
        assert [row.step for row in tuned.history.rows if row.metric == "training.val_acc1"] == [1, 2]


def test_the_model_at_the_end_is_the_mean_of_what_clients_made(spec, by_strategy):
    """One round of FedEx-LoRA: W₀ + Σ p_k·s_k·B_k·A_k, added up here by hand in float64."""
    said = THREE | {"rounds": 1, "strategy": "fedex_lora"}
    tuned, job = tune(spec(WITHOUT_DROPOUT, said)), job_of(spec(WITHOUT_DROPOUT, said))
    answers = [job.client(name).fit(job.initial(), {"round": 1, "seed": 0}) for name in job.clients]
    total = sum(n for _, _, n in answers)
    base = load(spec(WITHOUT_DROPOUT).model)
    scales = {target: of.scale for target, of in factors_of(job.initial()).items()}
    for target, scale in scales.items():
        change = sum(
            n / total * scale * back[f"factors/{target}/b"].astype(float) @ back[f"factors/{target}/a"]
            for back, _, n in answers
        )
        before = base.model.get_parameter(f"{target}.weight").detach().double().numpy()
        after = tuned.encoder.model.get_parameter(f"{target}.weight").detach().double().numpy()
        np.testing.assert_allclose(after, before + change, atol=1e-6)
        assert np.abs(change).max() > 1e-3
    assert tuned.installed.without() is None  # what was added to base weights is no adapter
    assert by_strategy["naive"].installed.without() is not None


def test_ranks_of_clients_and_of_rounds(spec):
    several = THREE | {"strategy": "flora", "ranks": {"client-0": 1, "client-2": 4}}
    assert values(tune(spec(WITHOUT_DROPOUT, several)), "aggregation_error")[-1] < 1e-6
    grown = tune(spec(LORA, THREE | {"rank_from": {2: 4}}))
    assert {min(v.shape) for n, v in grown.weights().items() if "lora_" in n} == {4}


@pytest.fixture(scope="module")
def asked(one_block, federated_images) -> Study:
    sampled = THREE | {"local_epochs": 1, "sample": 0.67, "keep_optimizer": True}
    return Study.parse(
        {
            "study": "federation",
            "model": str(one_block),
            "task": {"data": f"folder:{federated_images}", "split": SPLIT},
            "train": TRAIN | {"epochs": 2, "monitor": {"probes": ["attention"], "every": "epoch"}},
            "federated": sampled,
            "probes": ["transfer"],
            "runs": {
                "central": {"adapt": LORA, "lr": 1e-2, "federated": None},
                "naive": {"adapt": LORA, "lr": 1e-2},
                "flora": {"adapt": LORA, "lr": 1e-2, "federated": {"strategy": "flora"}},
                "private": {"adapt": LORA, "lr": 1e-2, "federated": PRIVATE},
            },
            "questions": [
                {"ask": "Is it lost?", "metric": "transfer.acc1", "compare": ["central", "flora"]}
                | {"where": {"split": "test", "component": "trained"}},
                {"ask": "Does it drift?", "metric": "federated.cka", "compare": ["naive", "flora"]}
                | {"where": {"step": "last"}},
            ],
        },
        "test",
    )


def test_a_study_with_federated_groups_gives_table_answers_and_page(asked, tmp_path):
    done = api.run(asked, tmp_path, executor="serial")
    assert {run.state for run in done.runs} == {"done"}
    found = done.table.sql(
        "select distinct metric, component from rows where probe = 'federated'"
    ).to_pylist()
    metrics = {row["metric"] for row in found}
    assert metrics == {metric.name for metric in FEDERATED}
    assert {row["component"] for row in found} == {None, "client-0", "client-1", "client-2"}
    seen = done.table.sql(
        "select distinct run, step from rows where metric = 'attention.entropy'"
    ).to_pylist()
    assert sorted(row["step"] for row in seen) == sorted([0, 1, 2] * 3 + [0, 2, 4])
    assert [answer.question.ask for answer in done.answers] == ["Is it lost?", "Does it drift?"]
    (private,) = done.table.sql(
        "select runs.group, value from rows join runs using (run) where metric = 'federated.epsilon'"
    ).to_pylist()
    assert private == {"group": "private", "value": epsilon(2.0, rounds=2)}
    page = done.report.read_text()
    assert "joined by naive, flora and ffa_lora; under privacy ε ≤ 2.95 at δ = 1e-5" in page


def test_where_all_clients_diverge_the_run_has(spec):
    with pytest.raises(Diverged) as caught:
        tune(spec("full", THREE, lr=1e30))
    assert list(caught.value.history.log[0]["clients"]) == ["client-0", "client-1", "client-2"]


def test_without_flower_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "tunescope.federated.flower", raising=False)
    monkeypatch.setitem(sys.modules, "flwr.app", None)
    with pytest.raises(StudyError, match=r"pip install 'tunescope\[federated\]'"):
        importlib.import_module("tunescope.federated.flower")
