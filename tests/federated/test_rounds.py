"""The server's rounds against a loop by hand, killed and resumed, and with clients that fail."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from toy_federation import NAMES, Toy

from tunescope.errors import Stopped, StoreError, StudyError
from tunescope.federated import local, rounds
from tunescope.federated.chosen import chosen
from tunescope.federated.flower_rules import FedAdam, FedAvg, FedYogi
from tunescope.federated.keep import KeptFile
from tunescope.study.federated import Privacy

PLAN = rounds.Plan(4, NAMES, per_round=3, closing=True, seed=7)


def carried_out(plan=PLAN, rule=None, privacy=None, keep=None, tell=None, trouble=None):
    job, number = Toy(plan.clients, trouble), plan.per_round or len(plan.clients)
    combining = chosen(rule or FedAvg(), number, privacy=privacy)
    return local.run(job, lambda grid: rounds.run(grid, plan, combining, job.initial, keep, tell))


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name], strict=True)


def attempt_in(keep):
    kept = keep.read()
    assert kept is not None
    return kept.values["attempt"]


def lasting(outcome):
    """All that is told but the seconds."""
    return [{**asdict(one), "seconds": 0} for one in outcome.rounds]


def test_local_is_the_loop_by_hand_bit_for_bit():
    outcome = carried_out()
    job = Toy()
    arrays = job.initial()
    for done in outcome.rounds:
        config = {"round": done.number, "seed": 7}
        answers = [job.client(name).fit(arrays, config) for name in done.asked]
        total = sum(n for _, _, n in answers)
        summed = {}
        for name in ("w", "b"):
            for sent, _, n in answers:
                term = sent[name] * (n / total)
                summed[name] = term if name not in summed else summed[name] + term
        arrays = {**summed, "steps": answers[0][0]["steps"]}
        assert done.metrics == {
            name: metrics for name, (_, metrics, _) in zip(done.asked, answers, strict=True)
        }
        assert done.examples == {name: n for name, (_, _, n) in zip(done.asked, answers, strict=True)}
        one_way = 3 * (12 + 4 + 8 + 3 * 128)  # three clients; w, b and steps, each behind a header
        assert done.received == done.sent == one_way
    same(dict(outcome.arrays), arrays)
    assert arrays["steps"] == 12
    closing = {name: reply.metrics for name, reply in outcome.closing.replies.items()}
    assert closing == {name: job.client(name).evaluate(arrays, {})[0] for name in NAMES}
    drawn = [tuple(done.asked) for done in outcome.rounds]
    assert all(len(asked) == 3 for asked in drawn)
    assert len(set(drawn)) > 1
    assert drawn == [tuple(done.asked) for done in carried_out().rounds]


@pytest.mark.parametrize(
    ("rule", "privacy"),
    [
        (FedAvg(), None),
        (FedAdam(), None),
        (FedYogi(), None),
        (FedAvg(), Privacy(noise=0.1, clip=0.5)),
        (FedAvg(), Privacy(noise=0.1, clip=0.5, adaptive=True)),
    ],
)
def test_a_server_killed_after_a_round_comes_to_the_same_result(rule, privacy, tmp_path):
    """Moments, the clipping norm and the seed of the noise, drawn once, are kept."""

    class Floats(Toy):
        def initial(self):
            return {name: array for name, array in super().initial().items() if name != "steps"}

        def client(self, name):
            client = super().client(name)
            fit = client.fit

            def without_steps(arrays, config):
                sent, metrics, n = fit({**arrays, "steps": np.array(0)}, config)
                return {"w": sent["w"], "b": sent["b"]}, metrics, n

            client.fit = without_steps
            return client

    def until(stop, keep, combining):
        job = Floats()

        def tell(done, arrays, turns):
            if done.number == stop:
                raise Stopped

        return local.run(job, lambda grid: rounds.run(grid, PLAN, combining, job.initial, keep, tell))

    straight = chosen(rule, 3, privacy=privacy)
    keep = KeptFile(tmp_path / "server.safetensors")
    seeded = privacy and privacy.model_copy(update={"noise_seed": getattr(straight, "noise_seed", 0)})
    expected = until(0, None, straight)
    with pytest.raises(Stopped):
        until(2, keep, chosen(rule, 3, privacy=seeded))
    attempt = attempt_in(keep)
    resumed = until(0, keep, chosen(rule, 3, privacy=privacy))
    assert attempt_in(keep) == attempt
    same(dict(resumed.arrays), dict(expected.arrays))
    assert lasting(resumed) == lasting(expected)
    same(
        dict(until(0, keep, chosen(rule, 3, privacy=privacy)).arrays), dict(expected.arrays)
    )  # nothing left to do


def test_it_is_told_what_every_sound_client_was_left_with_before_the_round_is_kept(tmp_path):
    keep, told = KeptFile(tmp_path / "server.safetensors"), []

    def tell(done, arrays, turns):
        told.append((done.number, turns))
        assert keep.read() is None
        raise Stopped

    plan, trouble = rounds.Plan(1, NAMES, seed=7), {"bob": {1: "nan"}}
    for _ in range(2):  # it was not kept, and is told again
        with pytest.raises(Stopped):
            carried_out(plan, keep=keep, tell=tell, trouble=trouble)
    job = Toy()
    for number, turns in told:
        assert (number, list(turns)) == (1, ["ada", "cyd", "dan"])
        for name, turn in turns.items():
            same(dict(turn.sent), job.initial())
            back, _, _ = Toy().client(name).fit(job.initial(), {"round": 1, "seed": 7})
            same(dict(turn.left), {**turn.sent, **back})


def test_what_was_kept_belongs_to_a_plan(tmp_path):
    keep = KeptFile(tmp_path / "server.safetensors")
    carried_out(replace(PLAN, rounds=1), keep=keep)
    with pytest.raises(StoreError, match="are of seed 7, and these are of 8"):
        carried_out(replace(PLAN, seed=8), keep=keep)
    keep.path.write_bytes(b"not this")
    with pytest.raises(StoreError, match="no checkpoint of federated rounds"):
        carried_out(keep=keep)


def test_clients_that_raise_hang_or_send_nonsense_are_left_out_and_named():
    plan = rounds.Plan(3, NAMES, timeout=3)
    trouble = {"ada": {1: "raise"}, "bob": {1: "nan", 2: "hang"}, "dan": {3: "shape"}}
    outcome = carried_out(plan, trouble=trouble)
    assert [done.dropped for done in outcome.rounds] == [
        {"ada": "failed: RuntimeError: no more disk", "bob": "'w' holds 3 values that are not finite, of 3"},
        {"bob": "did not answer within 3 s"},
        {"dan": "'w' is float32 [2]; expected float32 [3]"},
    ]
    assert [sorted(done.examples) for done in outcome.rounds] == [
        ["cyd", "dan"],
        ["ada", "cyd", "dan"],
        ["ada", "bob", "cyd"],
    ]
    straight = carried_out(replace(plan, rounds=1, clients=("cyd", "dan")))
    same(dict(straight.arrays), dict(carried_out(replace(plan, rounds=1), trouble=trouble).arrays))


def test_a_round_that_nobody_survives_ends_the_run_and_keeps_the_one_before(tmp_path):
    keep = KeptFile(tmp_path / "server.safetensors")
    plan = rounds.Plan(3, ("ada", "bob"))
    trouble = {"ada": {2: "raise"}, "bob": {2: "nan"}}
    with pytest.raises(
        StudyError, match=r"round 2: nobody's answer could be used: ada failed: .*; bob 'w' holds"
    ):
        carried_out(plan, trouble=trouble, keep=keep)
    same(dict(carried_out(plan, keep=keep).arrays), dict(carried_out(plan).arrays))


def test_somebody_asking_to_stop_is_no_failing_client():
    with pytest.raises(Stopped):
        carried_out(trouble={name: {1: "stop"} for name in NAMES})
