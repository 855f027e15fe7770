"""Our strategies behind the common face: what travels, and what model every client has by it."""

import numpy as np
import pytest

from tunescope.federated.chosen import chosen
from tunescope.federated.combining import Answer
from tunescope.federated.factors import Factors, dense
from tunescope.federated.fed_sb import FedSB
from tunescope.federated.fedex_lora import FedExLoRA
from tunescope.federated.ffa_lora import FFALoRA
from tunescope.federated.flexlora import FlexLoRA
from tunescope.federated.flora import FLoRA
from tunescope.federated.naive import Naive
from tunescope.federated.of_factors import added_of, factors_of, packed
from tunescope.federated.rank_from import RankFrom
from tunescope.federated.robust import check
from tunescope.federated.rolora import RoLoRA
from tunescope.federated.strategy import Strategy
from tunescope.study.component import component_class, names, resolve

CLIENTS = {"ada": 10, "bob": 30, "cyd": 20}
OUT, IN, RANK, SCALE = 5, 4, 2, 1.5


def start(core):
    random = np.random.default_rng(0)
    b = random.standard_normal((OUT, RANK)) if core else np.zeros((OUT, RANK))
    factors = Factors(random.standard_normal((RANK, IN)), b, SCALE, np.zeros((RANK, RANK)) if core else None)
    return packed({"q": factors}, {}, {"head": np.zeros(3)})


def product(arrays):
    """What the model of whoever holds these arrays has more than W₀."""
    parts = [*factors_of(arrays).values(), *added_of(arrays).values()]
    return sum((dense(part) for part in parts), np.zeros((OUT, IN)))


def a_round(combining, arrays, round):
    """The clients' answers, and the mean of their models."""
    given, ideal, total = [], np.zeros((OUT, IN)), sum(CLIENTS.values())
    for number, (client, n) in enumerate(CLIENTS.items()):
        random = np.random.default_rng([round, number])
        sent = combining.sends(round, arrays, client)
        wanted = combining.expects(round, sent)
        back = {name: array + random.standard_normal(array.shape) for name, array in wanted.items()}
        given.append(Answer(client, back, {}, n))
        ideal += n / total * product({**sent, **back})
    return given, ideal


@pytest.mark.parametrize("rule", [FFALoRA(), RoLoRA(), FedExLoRA(), FLoRA(), FedSB()])
def test_exact_strategies_send_the_mean_of_the_clients_models_round_after_round(rule):
    combining = chosen(rule, len(CLIENTS), seed=1)
    arrays = start(core=rule.kind == "fed_sb")
    given = []
    for round in range(1, 5):
        given, ideal = a_round(combining, arrays, round)
        parts = {name.rsplit("/", 1)[1] for name in given[0].arrays if name.startswith("factors/")}
        assert parts == set(rule.trained(round))
        assert "head" in given[0].arrays
        arrays, told = combining.combine(round, arrays, given)
        np.testing.assert_allclose(product(arrays), ideal, atol=1e-12)
        assert told["aggregation_error"] < 1e-12
    added = sum(array.size for name, array in arrays.items() if name.startswith("added/"))
    assert added <= OUT * IN  # it does not grow for ever
    weights = [n / sum(CLIENTS.values()) for n in CLIENTS.values()]
    heads = [answer.arrays["head"] for answer in given]
    np.testing.assert_allclose(arrays["head"], np.tensordot(weights, heads, 1))


OURS = [k for k in names("strategy") if issubclass(component_class("strategy", k), Strategy)]
MIXED = ("flora", "flexlora", "hetlora")  # they take ranks that differ between clients


def by_hand(arrays, target, shape):
    """ΔW as a sum over single entries of the arrays' names, without a line of the code that is tested."""
    total = np.zeros(shape)
    if f"added/{target}/whole" in arrays:
        total += arrays[f"added/{target}/whole"]
    for place, scale in (("added", 1.0), ("factors", float(arrays[f"scale/{target}"][0]))):
        if f"{place}/{target}/a" in arrays:
            a, b = arrays[f"{place}/{target}/a"], arrays[f"{place}/{target}/b"]
            core = arrays.get(f"{place}/{target}/core", np.eye(len(a)))
            total += scale * np.einsum("oi,ij,jn->on", b, core, a)
    return total


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("seed", range(8))
def test_over_rounds_of_random_federations(kind, seed):
    """Random shapes, ranks by layer and by client, scales and weights; three rounds, one after the other."""
    random = np.random.default_rng([seed, OURS.index(kind)])
    shapes = {
        target: tuple(int(n) for n in random.integers(6, 14, 2)) for target in ("blocks.0.q", "blocks.1.v")
    }
    own = {target: int(random.integers(1, 5)) for target in shapes}
    sizes = {f"client-{k}": int(random.integers(1, 40)) for k in range(int(random.integers(2, 6)))}
    mixed = kind in MIXED and seed % 2 == 1
    fits = {
        (client, target): (rank, 8.0 / rank)
        for client in sizes
        for target in shapes
        for rank in (int(random.integers(1, 5)) if mixed else own[target],)
    }
    rule = resolve("strategy", kind)
    assert isinstance(rule, Strategy)
    core = kind == "fed_sb"
    made = {}
    for target, (out, into) in shapes.items():
        r = own[target]
        b = random.standard_normal((out, r)) if core else np.zeros((out, r))
        made[target] = Factors(
            random.standard_normal((r, into)), b, 8.0 / r, np.zeros((r, r)) if core else None
        )
    combining = chosen(rule, len(sizes), fit=(lambda c, t: fits[c, t]) if mixed else None, seed=seed)
    arrays = packed(made, {}, {"head": np.zeros(3)})
    total, errors = sum(sizes.values()), []
    for round in (1, 2, 3):
        answers, ideal = [], {target: np.zeros(shape) for target, shape in shapes.items()}
        for client, n in sizes.items():
            sent = combining.sends(round, arrays, client)
            asked = combining.expects(round, sent)
            back = {name: array + random.standard_normal(array.shape) for name, array in asked.items()}
            for target, shape in shapes.items():
                rank, scale = fits[client, target]
                assert sent[f"factors/{target}/a"].shape == (rank, shape[1])
                assert sent[f"scale/{target}"].tolist() == [scale]
                ideal[target] += n / total * by_hand({**sent, **back}, target, shape)
            answers.append(Answer(client, back, {}, n))
        arrays, told = combining.combine(round, arrays, answers)
        errors.append(told["aggregation_error"])
        for target, shape in shapes.items():
            rank = max(fits[client, target][0] for client in sizes)
            widest = next(client for client in sizes if fits[client, target][0] == rank)
            found = by_hand(combining.sends(round + 1, arrays, widest), target, shape)
            if kind == "flexlora":
                u, sigma, vt = np.linalg.svd(ideal[target])
                np.testing.assert_allclose(found, (u[:, :rank] * sigma[:rank]) @ vt[:rank], atol=1e-9)
            elif rule.exact:
                np.testing.assert_allclose(found, ideal[target], atol=1e-9)
        added = sum(array.size for name, array in arrays.items() if name.startswith("added/"))
        assert added <= sum(out * into for out, into in shapes.values())
    assert (min(errors) < 1e-9) == rule.exact


def test_who_moves_what_is_frozen_is_left_out_and_named():
    for rule, round, frozen in ((FFALoRA(), 2, "a"), (RoLoRA(), 1, "a"), (RoLoRA(), 2, "b")):
        combining = chosen(rule, 1)
        sent = combining.sends(round, start(core=False), "ada")
        wanted = combining.expects(round, sent)
        moved = {f"factors/q/{frozen}": sent[f"factors/q/{frozen}"] + 1.0}
        found = check({"ada": {**wanted, **moved}, "bob": wanted}, {"ada": wanted, "bob": wanted})
        assert list(found.sound) == ["bob"]
        assert found.dropped[0].cause.startswith(f"'factors/q/{frozen}' was not asked for")


def test_a_rank_that_changes_keeps_the_nearest_product_and_every_direction_alive():
    """Other scales by layer; where FLoRA begins anew there is no product, and A must not be cut to zeros."""
    scales = {"q": lambda rank: 8.0 / rank, "v": lambda rank: 8.0 / rank**0.5}
    random = np.random.default_rng(0)
    made = {
        target: Factors(random.standard_normal((rank, 7)), np.zeros((9, rank)), scales[target](rank))
        for target, rank in (("q", 4), ("v", 2))
    }
    for rule in (Naive(), FLoRA(), FlexLoRA(), FedExLoRA()):
        for rank in (1, 3, 6):
            combining = RankFrom(rule, {2: rank}, scales, seed=0)
            arrays = packed(made, {}, {})
            wanted = combining.expects(1, arrays)
            given = [
                Answer(client, {n: x + random.standard_normal(x.shape) for n, x in wanted.items()}, {}, 1)
                for client in ("ada", "bob")
            ]
            as_sent = {target: (of.rank, of.scale) for target, of in made.items()}
            plain, _ = chosen(rule, 2, fit=lambda _, t, of=as_sent: of[t]).combine(1, arrays, given)
            now, _ = combining.combine(1, arrays, given)
            for target, of in factors_of(now).items():
                assert (of.rank, of.scale) == (rank, scales[target](rank))
                u, sigma, vt = np.linalg.svd(factors_of(plain)[target].product())
                best = (u[:, :rank] * sigma[:rank]) @ vt[:rank]
                np.testing.assert_allclose(of.product(), best, atol=1e-9)
                assert np.linalg.matrix_rank(of.a) == rank
                assert np.abs(of.a).sum(1).min() > 0.1


def test_naive_averaging_misses_it_and_says_by_how_much():
    combining = chosen(Naive(), len(CLIENTS))
    arrays = start(core=False)
    given, ideal = a_round(combining, arrays, 1)
    arrays, told = combining.combine(1, arrays, given)
    missed = np.linalg.norm(product(arrays) - ideal) / np.linalg.norm(ideal)
    assert told["aggregation_error"] == pytest.approx(missed)
    assert missed > 0.05


def test_factors_that_begin_anew_change_nothing_and_are_drawn_from_seed_and_round():
    def after(seed, round):
        combining = chosen(FLoRA(), len(CLIENTS), seed=seed)
        arrays = start(core=False)
        return factors_of(combining.combine(round, arrays, a_round(combining, arrays, round)[0])[0])["q"]

    fresh = after(seed=1, round=1)
    assert fresh.norm() == 0
    assert fresh.a.shape == (RANK, IN)
    np.testing.assert_array_equal(fresh.a, after(seed=1, round=1).a)
    for other in (after(seed=2, round=1), after(seed=1, round=2)):
        assert not np.array_equal(fresh.a, other.a)


def test_each_client_is_sent_its_own_rank_and_scale():
    ranks = {"ada": (1, 8.0), "bob": (2, 4.0), "cyd": (3, 8 / 3)}
    combining = chosen(FlexLoRA(), len(CLIENTS), fit=lambda client, target: ranks[client])
    arrays = start(core=False)
    for round in (1, 2):
        given, ideal = a_round(combining, arrays, round)
        for answer in given:
            sent = factors_of(combining.sends(round, arrays, answer.client))["q"]
            assert (sent.rank, sent.scale) == ranks[answer.client]
            assert answer.arrays["factors/q/a"].shape == (ranks[answer.client][0], IN)
        arrays, _ = combining.combine(round, arrays, given)
        widest = product(combining.sends(round + 1, arrays, "cyd"))
        u, sigma, vt = np.linalg.svd(ideal)
        np.testing.assert_allclose(widest, (u[:, :3] * sigma[:3]) @ vt[:3], atol=1e-10)
