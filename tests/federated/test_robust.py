from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tunescope.federated.robust import check, limit, step_norm


def arrays(value: float, rank: int = 2) -> dict[str, NDArray[Any]]:
    return {"q.a": np.full((rank, 4), value, np.float32), "q.b": np.full((3, rank), value, np.float32)}


def test_each_cause_is_named_and_the_rest_goes_on():
    sent = {f"c{k}": arrays(1.0, rank=2 + k % 2) for k in range(9)}
    back: dict[str, dict[str, NDArray[Any]]] = {
        client: {n: a + np.float32(0.1) for n, a in of.items()} for client, of in sent.items()
    }
    back["c0"]["q.a"][0, 0], back["c0"]["q.a"][0, 1] = np.nan, np.inf
    del back["c1"]["q.b"]
    back["c2"]["q.bb"] = np.zeros(1, np.float32)
    back["c3"]["q.a"] = np.zeros((7, 7), np.float32)
    back["c4"]["q.b"] = back["c4"]["q.b"] * np.float32(1000)
    back["c5"]["q.b"] = back["c5"]["q.b"].astype(np.float64)
    back["stranger"] = arrays(1.0)
    found = check(back, sent)
    assert list(found.sound) == ["c6", "c7", "c8"]
    said = {dropped.client: dropped.cause for dropped in found.dropped}
    assert list(said) == ["c0", "c1", "c2", "c3", "c4", "c5", "stranger"]
    assert said["c0"] == "'q.a' holds 2 values that are not finite, of 8"
    assert said["c1"] == "'q.b' is missing (1 of 2 arrays are)"
    assert said["c2"].startswith("'q.bb' was not asked for; did you mean 'q.b'?")
    assert said["c3"] == "'q.a' is float32 [7, 7]; expected float32 [3, 4]"
    assert said["c4"].startswith("its step has the norm ")
    assert said["c5"] == "'q.b' is float64 [3, 3]; expected float32 [3, 3]"
    assert said["stranger"] == "was not asked in this round"
    loud = check({"c0": sent["c0"] | {"\x1b" + "x" * 10**6: np.zeros(1)}}, sent).dropped[0].cause
    assert loud.startswith("'\\x1bxxx")
    assert len(loud) < 500
    backwards = check(dict(reversed(back.items())), sent)
    assert (list(backwards.sound), backwards.dropped) == (list(found.sound), found.dropped)


def test_under_a_given_norm_nobody_is_left_out_for_what_others_are_like():
    sent = {client: {"w": np.zeros(4)} for client in "abcde"}
    back = {
        client: {"w": np.full(4, size)}
        for client, size in zip("abcde", (1e-6, 1e-6, 1e-6, 0.5, 9.0), strict=True)
    }
    assert [one.client for one in check(back, sent).dropped] == ["d", "e"]
    (left_out,) = check(back, sent, most=1.0).dropped
    assert left_out == ("e", "its step has the norm 18, above 1, the limit of this round")


def test_the_limit_is_median_and_mad():
    random = np.random.default_rng(0)
    norms = random.lognormal(0, 1, 25)
    middle = sorted(norms)[12]
    mad = sorted(abs(norm - middle) for norm in norms)[12]
    assert limit(list(norms), k=3.0) == pytest.approx(middle + 3 * mad, rel=1e-12)
    assert limit([1.0, 1.0, 1.0, 1.0], k=10.0) == pytest.approx(2.0)
    assert limit([0.0, 0.0, 5.0]) == np.inf  # who moves alone is no outlier
    assert limit([1.0, 5.0]) == np.inf
    assert limit([1.0, 1.0, 1.0, np.inf]) == pytest.approx(2.0)
    assert limit([1.0, np.inf, np.inf]) == np.inf


def test_a_step_is_counted_in_float64_and_may_overflow():
    sent, back = {"w": np.zeros(4, np.float32)}, {"w": np.full(4, 3e38, np.float32)}
    assert step_norm(back, sent) == pytest.approx(6e38, rel=1e-6)
    huge = {client: {"w": np.zeros(2)} for client in "abcd"}
    steps = {client: {"w": np.ones(2)} for client in "abc"} | {"d": {"w": np.full(2, 1e200)}}
    assert check(steps, huge).dropped[0].cause.startswith("its step has the norm inf, above ")
    assert list(check(steps, huge).sound) == ["a", "b", "c"]
    for others in ("", "a", "bc"):  # with nobody to compare with, and among as large ones
        few = {client: {"w": np.full(2, 1e200)} for client in [*others[1:], "d"]}
        few |= {client: {"w": np.ones(2)} for client in others[:1]}
        assert set(few) - set(check(few, huge).sound) == set(few) - set(others[:1])


def test_honest_clients_stay_however_few_they_are():
    """One alone, two of any sizes, three of which one has ten times the others' data; nothing in an array."""
    for sizes in ([1.0], [1.0, 1000.0], [1.0, 1.0, 10.0], [0.0, 0.0, 1.0]):
        sent = {f"c{i}": {"w": np.zeros(1), "none": np.zeros((0, 3))} for i in range(len(sizes))}
        back = {f"c{i}": {"w": np.full(1, size), "none": np.zeros((0, 3))} for i, size in enumerate(sizes)}
        assert check(back, sent, k=100.0).dropped == ()
