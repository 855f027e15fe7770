"""What a study says of a federation, and what that is to a run."""

import pytest

from tunescope.errors import StudyError
from tunescope.study.identity import identity
from tunescope.study.run import RunSpec
from tunescope.study.study import Study

RUN = {"model": "m", "task": {"data": "d"}, "adapt": {"kind": "lora", "rank": 4}, "lr": 1e-3}
PRINTS = {"m": "m", "d": "d", "e": "e", "f": "f"}


def of(**settings) -> RunSpec:
    return RunSpec.parse(RUN | settings, "test")


def study(federated, **groups) -> Study:
    runs = {group: {"adapt": "full", "lr": 1e-3} | settings for group, settings in groups.items()}
    said = {"study": "s", "model": "m", "task": {"data": "d"}, "train": {"epochs": 7}, "runs": runs}
    return Study.parse(said | ({} if federated is None else {"federated": federated}), "test")


def test_groups_say_what_differs_from_the_study():
    asked = study(
        {"rounds": 5, "sample": 0.5, "strategy": "fedex_lora"},
        shared={},
        own={"federated": {"strategy": {"kind": "fedprox", "mu": 0.5}, "local_epochs": 2}},
        central={"federated": None},
    )
    shared, own, central = (member.spec for member in asked.members())
    assert shared.federated is not None
    assert own.federated is not None
    assert (shared.federated.strategy.kind, shared.federated.rounds, shared.train.epochs) == (
        "fedex_lora",
        5,
        5,
    )
    assert (own.federated.strategy.kind, own.federated.sample, own.train.epochs) == ("fedprox", 0.5, 10)
    assert central.federated is None
    assert central.train.epochs == 7
    alone = study(None, central={}, clients={"federated": {"rounds": 2}})
    assert [member.spec.federated is None for member in alone.members()] == [True, False]


def test_strategies_and_settings_of_partitions_are_axes():
    partition = {"kind": "dirichlet", "alpha": [0.1, 1.0]}
    asked = study(
        {"rounds": [2, 3][0]}, grid={"federated": {"strategy": ["naive", "flora"], "partition": partition}}
    )
    assert [member.name for member in asked.members()] == [
        f"grid lr=0.001 strategy={kind} alpha={alpha} seed=0"
        for kind in ("naive", "flora")
        for alpha in ("0.1", "1")
    ]
    rounds = study(None, grid={"federated": {"rounds": [2, 4], "local_epochs": 3}})
    assert [member.spec.train.epochs for member in rounds.members()] == [6, 12]


def test_a_run_that_is_not_federated_has_the_identity_it_always_had():
    assert identity(of(federated=None), PRINTS) == identity(of(), PRINTS)
    federated = [
        {},
        {"rounds": 3},
        {"strategy": "flora"},
        {"partition": {"kind": "iid", "clients": 3}},
        {"data": ["d", "e"], "partition": "by_domain"},
        {"data": ["d", "f"], "partition": "by_domain"},
        {"privacy": {"noise": 1.0}},
        {"rank_from": {2: 8}},
    ]
    found = [identity(of(federated=said), PRINTS) for said in federated]
    assert len({*found, identity(of(), PRINTS)}) == len(federated) + 1
    short, long = ({"epochs": epochs} for epochs in (1, 9))  # not read: rounds say how long it is
    assert identity(of(federated={}, train=short), PRINTS) == identity(of(federated={}, train=long), PRINTS)
    moved = PRINTS | {"elsewhere/e": "e"}
    said = {"partition": "by_domain", "data": ["d", "elsewhere/e"]}
    assert identity(of(federated=said), moved) == found[4]


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"federated": {"strategy": "flaro"}}, "unknown strategy 'flaro'; did you mean 'flora'"),
        ({"federated": {"partition": "by_domain"}}, "name two or more under 'data'"),
        ({"federated": {"ranks": {"a": 2}, "rank_from": {2: 2}}}, "give one of them"),
        ({"federated": {"rounds": 3, "rank_from": {4: 2}}}, "there is no round 4, but 3 in all"),
        ({"federated": {"sampel": 0.5}}, "unknown key 'sampel'; did you mean 'sample'"),
        ({"federated": {}, "train": {"ema": 0.9}}, "has no moving average"),
        ({"federated": {}, "adapt": "lp_ft"}, "no stage before its rounds"),
        ({"federated": {}, "after": "wise_ft"}, "nothing follows a federated run"),
        ({"federated": {}, "train": {"monitor": {"probes": ["attention"]}}}, "say every: epoch"),
    ],
)
def test_what_has_no_meaning_over_rounds_is_refused(settings, mistake):
    with pytest.raises(StudyError, match=mistake):
        of(**settings)


def test_epochs_of_a_federated_group_are_refused():
    with pytest.raises(StudyError, match="rounds × local_epochs long; remove it"):
        study({}, own={"train": {"epochs": 3}}).members()
