"""Every strategy against the dense mean of the clients' changes, made target by target in float64."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tunescope.errors import MethodError
from tunescope.federated.factors import Factors, stacked, svd
from tunescope.federated.ranks import fitted
from tunescope.federated.strategy import Strategy
from tunescope.federated.update import Aggregated, ClientUpdate
from tunescope.study.component import component_class, names, resolve

OUT, IN, RANK = 9, 12, 3
SHAPES = {"vision.blocks[0].attention.q": (OUT, IN), "vision.blocks[1].attention.v": (IN, OUT)}
# of LoRA factors; Flower's own rules join whatever arrays come
STRATEGIES = [k for k in names("strategy") if issubclass(component_class("strategy", k), Strategy)]


def strategy(kind: str) -> Strategy:
    found = resolve("strategy", kind)
    assert isinstance(found, Strategy)
    return found


def drawn(seed: int, shape: tuple[int, int], rank: int = RANK, scale: float = 2.0, core=False) -> Factors:
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((rank, shape[1])), random.standard_normal((shape[0], rank))
    return Factors(a, b, scale, random.standard_normal((rank, rank)) if core else None)


def clients(kind: str, round: int = 1, ranks=(RANK,) * 3, scales=(2.0,) * 3) -> list[ClientUpdate]:
    """What clients of this strategy could have sent: what it freezes is the same for all."""
    trained = strategy(kind).trained(round)
    found = []
    for k, (rank, scale, n) in enumerate(zip(ranks, scales, (10, 3, 47), strict=True)):
        factors = {}
        for t, (target, shape) in enumerate(SHAPES.items()):
            own = drawn(100 * k + t, shape, rank, scale, core="core" in trained)
            common = drawn(t, shape, rank, scale)
            frozen = {part: getattr(common, part) for part in ("a", "b") if part not in trained}
            factors[target] = replace(own, **frozen)
        head = np.random.default_rng(k).standard_normal((4, 5)).astype(np.float32)
        found.append(ClientUpdate(f"client-{k}", n, factors, {"head": head, "seen": np.array([7])}))
    return found


def ideal(updates: list[ClientUpdate], target: str) -> np.ndarray:
    total = sum(update.examples for update in updates)
    change = np.zeros(SHAPES[target])
    for update in updates:
        f = update.factors[target]
        core = np.eye(f.rank) if f.core is None else f.core
        for i in range(f.rank):  # a sum of outer products: no code shared with the factors
            for j in range(f.rank):
                change += update.examples / total * f.scale * core[i, j] * np.outer(f.b[:, i], f.a[j])
    return change


def change(aggregated: Aggregated, target: str) -> np.ndarray:
    made = np.zeros(SHAPES[target])
    for of in (aggregated.factors, aggregated.additions):
        if target in of:
            made = made + of[target].product()
    return made


@pytest.mark.parametrize("kind", STRATEGIES)
@pytest.mark.parametrize("round", [1, 2])
def test_the_mean_of_the_changes(kind, round):
    """Exact ones reach it within 1e-10; naive does not; the error that is told is the dense one."""
    updates = clients(kind, round)
    found = strategy(kind).aggregate(updates, round)
    missed = whole = 0.0
    for target in SHAPES:
        wanted = ideal(updates, target)
        gap = np.abs(change(found, target) - wanted).max()
        if strategy(kind).exact:
            assert gap < 1e-10
        sent = found.factors.get(target)
        if kind == "flexlora":  # what is told is of the highest rank that a client has
            assert sent is not None
            sent = fitted(sent, RANK, sent.scale)
        made = (0 if sent is None else sent.product()) + (
            found.additions[target].product() if target in found.additions else 0
        )
        error = np.linalg.norm(made - wanted)
        assert found.diagnostics[f"aggregation_error/{target}"] == pytest.approx(
            error / np.linalg.norm(wanted), rel=1e-9, abs=1e-13
        )
        missed, whole = missed + error**2, whole + np.linalg.norm(wanted) ** 2
    told = found.diagnostics["aggregation_error"]
    assert told == pytest.approx((missed / whole) ** 0.5, rel=1e-9, abs=1e-13)
    assert (told > 0.1) == (kind in ("naive", "hetlora", "flexlora"))


@pytest.mark.parametrize("kind", STRATEGIES)
def test_neither_order_nor_one_client_makes_a_difference(kind):
    updates = clients(kind)
    there, back = (strategy(kind).aggregate(of, 1) for of in (updates, updates[::-1]))
    alone = strategy(kind).aggregate(updates[:1], 1)
    for target in SHAPES:
        assert np.array_equal(change(there, target), change(back, target))
        assert np.allclose(change(alone, target), updates[0].factors[target].product(), atol=1e-12)
        if kind not in ("flora", "flexlora"):  # the factors themselves, bit for bit
            sent, own = alone.factors[target], updates[0].factors[target]
            assert target not in alone.additions
            assert np.array_equal(sent.a, own.a)
            assert np.array_equal(sent.b, own.b)
    assert np.array_equal(there.others["head"], back.others["head"])
    assert np.array_equal(alone.others["head"], updates[0].others["head"])
    mean = np.average([u.others["head"].astype(np.float64) for u in updates], axis=0, weights=[10, 3, 47])
    assert there.others["head"].dtype == np.float32
    assert np.allclose(there.others["head"], mean, atol=1e-6)
    assert there.others["seen"].tolist() == [7]


def test_flexlora_is_the_truncated_svd_for_every_rank():
    """Also where Σ r is not below min(out, in), where ranks and scales differ."""
    for ranks, scales in (((1, 2, 3), (16.0, 8.0, 16 / 3)), ((4, 4, 4), (2.0, 2.0, 2.0))):
        updates = clients("flexlora", 1, ranks, scales)
        found = strategy("flexlora").aggregate(updates, 1)
        for target in SHAPES:
            u, sigma, vt = np.linalg.svd(ideal(updates, target))
            for rank, scale in zip(ranks, scales, strict=True):
                sent = fitted(found.factors[target], rank, scale)
                best = u[:, :rank] @ np.diag(sigma[:rank]) @ vt[:rank]
                assert sent.rank == rank
                assert sent.scale == scale
                assert np.allclose(sent.product(), best, atol=1e-10)


def test_no_matrix_of_the_weights_size_is_made():
    """A 20,000 × 20,000 mean would be 3.2 GB; what is held are a few matrices of 20,000 × 6."""
    shape = (20_000, 20_000)
    updates = [ClientUpdate(str(k), 1, {"q": drawn(k, shape, 3)}) for k in range(2)]
    tracemalloc.start()
    found = [strategy(kind).aggregate(updates, 1) for kind in ("naive", "fedex_lora", "flora", "flexlora")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert [one.diagnostics["aggregation_error"] < 1e-10 for one in found] == [False, True, True, False]


def test_hetlora_against_its_formula():
    ranks, scales = (1, 2, 3), (16.0, 8.0, 16 / 3)
    updates = clients("hetlora", 1, ranks, scales)
    found = strategy("hetlora").aggregate(updates, 1)
    for target, shape in SHAPES.items():
        held = [update.factors[target] for update in updates]
        norms = [np.linalg.norm(f.scale * f.b @ f.a) for f in held]
        a, b = np.zeros((3, shape[1])), np.zeros((shape[0], 3))
        for f, norm in zip(held, norms, strict=True):
            a[: f.rank] += norm / sum(norms) * f.a
            b[:, : f.rank] += norm / sum(norms) * f.scale * f.b
        assert np.allclose(found.factors[target].product(), b @ a, atol=1e-10)
        cut = fitted(found.factors[target], 2, 8.0)
        assert np.allclose(cut.product(), b[:, :2] @ a[:2], atol=1e-10)
    zero = [replace(u, factors={"q": replace(drawn(1, (4, 4)), b=np.zeros((4, RANK)))}) for u in updates]
    still = strategy("hetlora").aggregate(zero, 1)
    assert not still.factors["q"].b.any()
    assert still.diagnostics["aggregation_error"] == 0.0


@pytest.mark.parametrize("kind", STRATEGIES)
def test_ranks_and_scales_that_differ(kind):
    """Whoever can take them is exact or has said otherwise; the others refuse, and name who could."""
    mixed = clients(kind, 1, (1, 2, 3), (16.0, 8.0, 16 / 3))
    scaled = clients(kind, 1, (RANK,) * 3, (1.0, 2.0, 2.0))
    for updates, name in ((mixed, "rank"), (scaled, "scale")):
        if kind in ("flora", "flexlora", "hetlora"):
            found = strategy(kind).aggregate(updates, 1)
            if kind != "hetlora":
                assert all(np.allclose(change(found, t), ideal(updates, t), atol=1e-10) for t in SHAPES)
        else:
            with pytest.raises(
                MethodError, match=rf"{kind}.*{name} .*client-1.*take flora, flexlora or hetlora"
            ):
                strategy(kind).aggregate(updates, 1)


def test_factors_norm_stack_and_svd_against_the_dense_matrix():
    for core in (False, True):
        for rank in (2, OUT + 3):
            factors = drawn(5, (OUT, IN), rank, 0.5, core)
            dense = 0.5 * factors.b @ (factors.core if factors.core is not None else np.eye(rank)) @ factors.a
            assert factors.norm() == pytest.approx(np.linalg.norm(dense), rel=1e-12)
            both = stacked([factors, drawn(6, (OUT, IN), 1)], [0.3, -2.0]).product()
            assert np.allclose(both, 0.3 * dense - 2.0 * drawn(6, (OUT, IN), 1).product(), atol=1e-12)
            u, sigma, vt = svd(factors)
            assert np.allclose(u @ np.diag(sigma) @ vt, dense, atol=1e-11)
            assert np.allclose(sigma, np.linalg.svd(dense)[1][: len(sigma)], atol=1e-11)
    with pytest.raises(MethodError, match=r"A \[2, 3\], B \[3, 3\]"):
        Factors(np.zeros((2, 3)), np.zeros((3, 3)))


def test_what_does_not_belong_together_is_refused():
    naive, updates = strategy("naive"), clients("naive")
    first = updates[0]
    few = {target: first.factors[target] for target in list(SHAPES)[:1]}
    other = {target: drawn(0, (5, 5)) for target in SHAPES}
    for wrong, message in (
        ([], "no client answered"),
        ([first, first], "'client-0' sent two updates"),
        ([first, replace(updates[1], factors=few)], "all clients must tune the same targets"),
        ([first, replace(updates[1], factors=other)], r"\[5, 5\] at client 'client-1'"),
        ([first, replace(updates[1], others={})], "'head' is sent by one of"),
        ([first, replace(updates[1], others={**first.others, "seen": np.array([8])})], "'seen' is int64"),
        (
            [first, replace(updates[1], others={**first.others, "head": np.zeros(3)})],
            r"shape \[3\] at client",
        ),
        (clients("fed_sb"), "expected factors without a core R"),
    ):
        with pytest.raises(MethodError, match=message):
            naive.aggregate(wrong, 1)
    with pytest.raises(MethodError, match="expected factors with a core R"):
        strategy("fed_sb").aggregate(updates, 1)
    with pytest.raises(MethodError, match="expected at least 1"):
        ClientUpdate("a", 0)
    for kind, round in (("ffa_lora", 1), ("rolora", 1), ("rolora", 2), ("fed_sb", 1)):
        wrong = (
            clients("naive")
            if kind != "fed_sb"
            else [
                replace(u, factors={t: replace(f, core=np.eye(RANK)) for t, f in u.factors.items()})
                for u in updates
            ]
        )
        with pytest.raises(MethodError, match="it is frozen in this round"):
            strategy(kind).aggregate(wrong, round)


def test_a_head_alone_is_plain_federated_averaging():
    updates = [replace(update, factors={}) for update in clients("naive")]
    found = strategy("naive").aggregate(updates, 1)
    assert dict(found.diagnostics) == {}
    assert found.others.keys() == updates[0].others.keys()


def test_flexlora_and_flora_begin_anew_where_nothing_has_changed():
    updates = [
        replace(u, factors={"q": replace(drawn(k, (6, 6)), b=np.zeros((6, RANK)))})
        for k, u in enumerate(clients("naive"))
    ]
    assert dict(strategy("flexlora").aggregate(updates, 1).factors) == {}
    assert dict(strategy("flora").aggregate(updates, 1).factors) == {}


def test_a_target_of_this_house_is_known_by_its_class():
    assert {component_class("strategy", kind).__name__ for kind in STRATEGIES} == {
        "Naive", "FFALoRA", "RoLoRA", "FedExLoRA", "FLoRA", "FlexLoRA", "HetLoRA", "FedSB",
    }  # fmt: skip
