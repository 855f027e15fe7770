import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunescope.stats.head_cases import Case, cases


def slow(importance, update):
    """Plain loops: quartiles interpolated by hand, heads one by one. Only for values without ties."""
    heads = [(layer, head) for layer in range(len(importance)) for head in range(len(importance[0]))]

    def quartile(values, share):
        ordered = sorted(values)
        at = share * (len(ordered) - 1)
        low = int(at)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (at - low) * (ordered[high] - ordered[low])

    first = [importance[layer][head] for layer, head in heads]
    second = [update[layer][head] for layer, head in heads]
    static, plastic = [], []
    for (layer, head), x, y in zip(heads, first, second, strict=True):
        if x >= quartile(first, 0.75) and y <= quartile(second, 0.25):
            static.append(Case(layer, head, x, y))
        if y >= quartile(second, 0.75) and x <= quartile(first, 0.25):
            plastic.append(Case(layer, head, x, y))
    return sorted(static, key=lambda c: -c.importance), sorted(plastic, key=lambda c: -c.update_relative)


def test_against_plain_loops():
    for seed in range(20):
        x, y = np.random.default_rng(seed).normal(size=(2, 4, 6))
        found = cases(x, y)
        static, plastic = slow(x.tolist(), y.tolist())
        assert (list(found.important_but_static), list(found.plastic_but_unimportant)) == (static, plastic)
        assert found.expected == (24 / 16, 24 / 16)
        assert found.counter_examples == len(static) + len(plastic)


def test_by_chance_there_are_as_many_as_expected():
    rng = np.random.default_rng(0)
    numbers = [cases(*rng.normal(size=(2, 12, 12))).counter_examples for _ in range(400)]
    assert np.mean(numbers) == pytest.approx(144 / 8, rel=0.05)


def test_heads_that_were_never_trained_are_all_static():
    importance = np.array([[8.0, 7.0, 1.0, 2.0], [6.0, 5.0, 4.0, 3.0]])
    update = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.3, 0.4]])
    found = cases(importance, update)
    assert [(case.layer, case.head) for case in found.important_but_static] == [(0, 0), (0, 1)]
    assert found.expected == (2 * 6 / 8, 2 * 2 / 8)
    mirrored = cases(importance, 1 - update)
    assert [(case.layer, case.head) for case in mirrored.plastic_but_unimportant] == [(0, 2), (0, 3)]


def test_what_does_not_vary_has_no_cases():
    importance = np.arange(8.0).reshape(2, 4)
    found = cases(importance, np.full((2, 4), 0.3))
    assert (found.counter_examples, found.expected, found.heads) == (0, (0.0, 0.0), 8)
    assert found.update_relative == pytest.approx((0.3, 0.3))
    nothing = cases(np.full((1, 2), np.nan), np.ones((1, 2)))
    assert (nothing.heads, nothing.importance, nothing.counter_examples) == (0, None, 0)


def test_heads_without_a_number_are_left_out():
    importance = np.array([[9.0, 1, 2, 3, np.nan]])
    found = cases(importance, np.array([[0.1, 0.9, 0.5, 0.4, 0.0]]))
    assert found.heads == 4
    assert [case.head for case in found.important_but_static] == [0]
    with pytest.raises(ValueError, match="importance is"):
        cases(np.ones((1, 2)), np.ones((2, 1)))


few = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(few, st.randoms(use_true_random=False))
def test_with_ties_no_head_is_in_both_lists_and_equal_heads_are_together(values, random):
    other = [random.choice([0.0, 1.0, 2.0]) for _ in values]
    found = cases(np.array([values]), np.array([other]))
    static = {case.head for case in found.important_but_static}
    plastic = {case.head for case in found.plastic_but_unimportant}
    assert not static & plastic
    for i, pair in enumerate(zip(values, other, strict=True)):
        for j, same in enumerate(zip(values, other, strict=True)):
            assert pair != same or ((i in static) == (j in static) and (i in plastic) == (j in plastic))
