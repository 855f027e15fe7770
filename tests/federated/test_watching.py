"""What the server sees of clients, against models and a CKA that are put together by hand."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from federated.small_runs import LORA, SPLIT, TRAIN, job_of
from tiny_study import images

from tunescope.data.task import task_examples
from tunescope.engine.job import Job
from tunescope.engine.joining import lay_out
from tunescope.engine.kept import OnDisk
from tunescope.engine.monitor import LiveMonitor
from tunescope.engine.plan import plan
from tunescope.engine.questions import check_questions
from tunescope.engine.watching import Watching, drift
from tunescope.engine.work import carry_out, head_for, install, measure, measured, tune
from tunescope.errors import StoreError, StudyError
from tunescope.federated.client import TuningJob
from tunescope.federated.of_factors import factors_of
from tunescope.federated.rounds import Turn
from tunescope.models.load import load
from tunescope.probes.attention import AttentionProbe
from tunescope.probes.probe import Subject
from tunescope.results.metric import declared
from tunescope.results.store import Store
from tunescope.results.table import Table
from tunescope.study.study import Study

CLIENTS = {"rounds": 2, "partition": {"kind": "dirichlet", "clients": 3, "alpha": 1.0}, "outlier": 1e6}
MONITOR = {"probes": ["attention", "transfer"], "every": "epoch"}
WATCHED = TRAIN | {"monitor": MONITOR}


def slow_hsic(x, y):
    """The U-statistic itself, over all quadruples of different examples (Song et al. 2012, eq. 4)."""
    k, m = x @ x.T, y @ y.T
    quadruples = list(permutations(range(len(x)), 4))
    return sum(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in quadruples) / len(quadruples)


def slow_cka(x, y):
    x, y = np.float64(x), np.float64(y)
    return slow_hsic(x, y) / np.sqrt(slow_hsic(x, x) * slow_hsic(y, y))


def found(rows, metric, step=None):
    return {row.component: row.value for row in rows if row.metric == metric and row.step == step}


def test_drift_is_one_less_the_mean_cka_of_all_pairs():
    random = np.random.default_rng(0)
    shared = random.normal(size=(6, 3))
    features = {name: shared + random.normal(size=(6, 3)) for name in ("ada", "bob", "cyd")}
    pairs = {pair: slow_cka(*(features[name] for name in pair)) for pair in combinations(features, 2)}
    broken = features | {"dan": np.ones((6, 3)), "eve": np.full((6, 3), np.inf)}
    for rows in (drift(features), drift(broken)):  # those who see nothing are in no pair
        between = found(rows, "federated.cka_between")
        assert list(between) == ["ada", "bob", "cyd"]
        for name, value in between.items():
            own = [alike for pair, alike in pairs.items() if name in pair]
            assert value == pytest.approx(np.mean(own), abs=1e-12)
        expected = 1 - np.mean(list(pairs.values()))
        assert found(rows, "federated.drift")[None] == pytest.approx(expected, abs=1e-12)
    assert drift({"ada": shared}) == drift({name: x[:3] for name, x in features.items()}) == []


@pytest.fixture(scope="module")
def turns(spec):
    """A run, what looks at it, and a round of its three clients."""
    said = spec({"kind": "lora", "rank": 2}, CLIENTS | {"local_epochs": 4}, train=WATCHED, lr=0.1)
    encoder = load(said.model)
    examples = task_examples(said, encoder.preprocess)
    monitor = LiveMonitor(said.train.monitor, encoder, "vision", measured(examples))
    held, head = lay_out(said, encoder, examples, None), head_for(said, encoder, examples["train"])
    job = TuningJob(said, encoder, install(said, encoder, "vision"), head, held, examples)
    sent = job.initial()
    config = {"round": 1, "seed": 0}
    left = {name: {**sent, **job.client(name).fit(sent, config)[0]} for name in job.clients}
    return job, monitor, {name: Turn(sent, arrays) for name, arrays in left.items()}


def by_hand(job, arrays):
    """A model whose weights are W₀ + s·B·A, summed up in float64."""
    encoder = load(job.spec.model)
    for path, of in factors_of(arrays).items():
        weight = encoder.model.get_parameter(f"{path}.weight")
        summed = weight.detach().double().numpy() + of.scale * (of.b.astype(float) @ of.a.astype(float))
        with torch.no_grad():
            weight.copy_(torch.from_numpy(summed))
    return encoder


def test_what_is_seen_is_of_the_clients_own_models(turns):
    job, _, of = turns
    shown = job.examples["probe"]
    assert len(shown) == 6
    models = {name: by_hand(job, turn.left) for name, turn in of.items()}
    models["sent"] = by_hand(job, job.initial())
    with torch.no_grad():
        features = {name: model.features(shown.inputs).numpy() for name, model in models.items()}
    rows = Watching(job).look(1, of)
    alike = {pair: slow_cka(features[pair[0]], features[pair[1]]) for pair in combinations(features, 2)}
    assert found(rows, "federated.cka", 1) == pytest.approx(
        {name: alike[name, "sent"] for name in of}, abs=1e-5
    )
    pairs = [value for pair, value in alike.items() if "sent" not in pair]
    assert 1e-3 < found(rows, "federated.drift", 1)[None] == pytest.approx(1 - np.mean(pairs), abs=1e-5)
    assert {row.metric for row in rows} == {f"federated.{name}" for name in ("cka", "cka_between", "drift")}


def test_a_client_whose_features_overflow_has_no_rows_and_others_have_theirs(turns):
    job, monitor, of = turns
    first, *others = of
    huge = {n: a * np.float32(1e25) if n.endswith("/b") else a for n, a in of[first].left.items()}
    rows = Watching(job, monitor).look(1, of | {first: Turn(of[first].sent, huge)})
    clients = [row.component for row in rows if row.metric == "attention.entropy.client"]
    assert list(dict.fromkeys(clients)) == others
    assert list(found(rows, "federated.cka", 1)) == list(found(rows, "federated.cka_between", 1)) == others
    expected = found(Watching(job).look(1, {name: of[name] for name in others}), "federated.drift", 1)
    assert found(rows, "federated.drift", 1) == expected


def test_with_ranks_of_their_own_clients_are_held_against_what_each_was_sent(turns, spec):
    _, _, of = turns
    ranks = {"strategy": "flora", "ranks": {"client-0": 2}}
    job = job_of(spec({"kind": "lora", "rank": 2}, CLIENTS | ranks))
    same = {name: Turn(turn.left, turn.left) for name, turn in of.items()}
    assert found(Watching(job).look(2, same), "federated.cka", 2) == dict.fromkeys(of, 1.0)


def test_under_privacy_nobody_is_looked_at(turns, spec):
    private = {"strategy": "naive", "privacy": {"noise": 0.0}}
    assert Watching(job_of(spec("linear_probe", CLIENTS | private))).look(1, turns[2]) == []
    with pytest.raises(StudyError, match="what is seen of one client has no noise in it"):
        spec(LORA, CLIENTS | private | {"watch_clients": True}, train=WATCHED)
    with pytest.raises(StudyError, match=r"look at clients, and there is none; add train: {monitor"):
        spec(LORA, CLIENTS | {"watch_clients": True})
    stopping = {"monitor": MONITOR | {"stop_on_collapse": {"metric": "attention.entropy", "below": 1}}}
    with pytest.raises(StudyError, match="all rounds are carried out; remove it"):
        spec(LORA, CLIENTS, train=TRAIN | stopping)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Other images, of the same classes."""
    return f"folder:{images(tmp_path_factory.mktemp('shifted') / 'images', each=3)}"


@pytest.fixture(scope="module")
def watched(spec, elsewhere):
    """The same run with its clients watched, and without."""
    said = {"train": WATCHED, "transfer": {"shifts": [elsewhere], "zero_shot": [elsewhere]}}
    said |= {"probes": ["transfer"]}
    return [tune(spec(LORA, CLIENTS | {"watch_clients": on}, **said)) for on in (True, False)]


def test_watching_changes_nothing_but_adds_rows_of_other_names(watched):
    with_it, without = (
        [row for row in run.history.rows if row.metric != "training.seconds"] for run in watched
    )
    of_clients = [row for row in with_it if row.metric.endswith(".client")]
    assert [row for row in with_it if row not in of_clients] == without
    expected, weights = watched[1].weights(), watched[0].weights()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert {row.metric for row in of_clients} < declared().keys()
    assert {row.step for row in of_clients} == {1, 2}
    for row in of_clients:
        known = declared()[row.metric]
        assert {"component", "step"} <= set(known.dims)
        part, at, client = (row.component or "").rpartition("@")
        assert client in {"client-0", "client-1", "client-2"}
        assert bool(at) == (row.metric.startswith("transfer.")) == (part in ("trained", "text"))
    global_ones = [row for row in without if row.metric == "attention.entropy"]
    each = len(global_ones) // 3  # before the first round, and after each
    assert len([row for row in of_clients if row.metric == "attention.entropy.client"]) == 3 * 2 * each


def test_the_probes_see_a_clients_model_and_not_the_global_one(turns):
    job, monitor, of = turns
    rows = Watching(job, monitor).look(1, of)
    for client, turn in of.items():
        subject = Subject(by_hand(job, turn.left), None, "vision", measured(job.examples))
        alone = AttentionProbe().measure(subject).rows
        expected = [row for row in alone if row.metric == "attention.entropy"]
        seen = [row for row in rows if row.metric == "attention.entropy.client" and row.component == client]
        assert [row[2:5] for row in seen] == [row[2:5] for row in expected]
        assert [row.value for row in seen] == pytest.approx([row.value for row in expected], abs=1e-5)


def test_shift_and_zero_shot_accuracy_of_the_global_model_are_told_of_every_round(watched, elsewhere):
    run = watched[1]
    seen = {
        (row.split, row.component, row.step): row.value
        for row in run.history.rows
        if row.metric == "transfer.acc1"
    }
    at = [
        (f"shift:{elsewhere}", "trained"),
        (f"shift:{elsewhere}", "text"),
        (f"zero_shot:{elsewhere}", "text"),
    ]
    assert all((*place, step) in seen for place in at for step in (1, 2))
    assert all((*place, 0) in seen for place in at[1:])  # the base has no trained head
    after = {(r.split, r.component): r.value for r in measure(run).rows if r.metric == "transfer.acc1"}
    assert {place: seen[*place, 2] for place in at} == {place: after[place] for place in at}


class Killed(BaseException):
    """As good as SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def asked(one_block, federated_images) -> Study:
    said = {
        "study": "watched",
        "model": str(one_block),
        "task": {"data": f"folder:{federated_images}", "split": SPLIT},
        "train": TRAIN | {"epochs": 2, "monitor": MONITOR},
        "federated": CLIENTS | {"watch_clients": True, "sample": 0.67},
        "runs": {
            "naive": {"adapt": LORA, "lr": 1e-2},
            "central": {"adapt": LORA, "lr": 1e-2, "federated": None},
        },
    }
    return Study.parse(said, "test")


def test_a_round_is_looked_at_once_killed_before_it_was_kept_or_not(asked, tmp_path):
    """Killed when round 2 had been looked at and not kept; the look of that try is another's then."""

    def kill(number, rounds):
        if number == 2:
            raise Killed

    def published(root, killed):
        store = Store(root)
        run = next(run for run in plan(asked, store) if run.member.group == "naive")
        job, unfinished = Job(run, store.root, asked.engine), store.unfinished(run.id)
        with store.claim(run.id) as mine:
            assert mine
            notes = OnDisk(unfinished, "rounds", lambda: run.id)
            if killed:
                with pytest.raises(Killed):
                    carry_out(job, store, kill)
                first = notes("round 1", dict)
                notes.forget("round 2")
                notes("round 2", lambda: first)
            if killed == "lost":
                notes.forget("round 1")
                with pytest.raises(StoreError, match="what was seen of round 1 has been lost"):
                    carry_out(job, store)
            carry_out(job, store)
        there = store.read(run.id)
        rows = [row for row in there.rows.to_pylist() if row["metric"] != "training.seconds"]
        return rows, (there.folder / "arrays.safetensors").read_bytes()

    straight = published(tmp_path / "straight", None)
    assert {row["step"] for row in straight[0] if row["metric"] == "attention.gini.client"} == {1, 2}
    assert published(tmp_path / "killed", "killed") == straight
    assert published(tmp_path / "lost", "lost") == straight
    members = [(run.id, run.member) for run in plan(asked, Store(tmp_path / "straight"))]
    table = Table.gather(Store(tmp_path / "straight"), members, "watched")
    for look, step in (("first", 1), ("last", 2)):
        where = {"component": "trained@client-*", "split": "val", "step": look}
        values = [
            row["value"]
            for row in straight[0]
            if (row["metric"], row["step"], row["split"]) == ("transfer.acc1.client", step, "val")
            and row["component"].startswith("trained@")
        ]
        assert len(values) == 2
        assert table.per_run("transfer.acc1.client", where)[0].value == pytest.approx(np.mean(values))


@pytest.mark.parametrize(
    ("metric", "where", "among", "said"),
    [
        ("attention.entropy.client", {"step": "last"}, ["naive"], None),
        ("federated.drift", {"step": "last"}, ["naive"], None),
        ("federated.examples", {}, ["naive"], None),
        ("federated.drift", {}, ["naive"], "has rows of rounds: say which by 'step' in 'where'"),
        ("attention.entropy.client", {}, ["naive"], "has rows of rounds: say which by 'step' in 'where'"),
        (
            "heads.importance.client",
            {"step": "last"},
            ["naive"],
            "say federated: {watch_clients: true}",
        ),
        ("federated.drift", {"step": "last"}, ["central"], "those of 'central' have no such rows"),
    ],
)
def test_questions_about_clients_are_checked(asked, metric, where, among, said):
    question = {"ask": "What of clients?", "metric": metric, "where": where, "compare": among, "than": 0}
    raw = asked.model_dump(mode="json") | {"questions": [question]}
    study = Study.parse(raw, "test")
    if said is None:
        check_questions(study)
    else:
        with pytest.raises(StudyError) as caught:
            check_questions(study)
        assert said in str(caught.value)
