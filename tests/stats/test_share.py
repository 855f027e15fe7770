# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# SciPy ships no types: its named results are taken for plain tuples
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from tunescope.stats.answer import Answer, answer
from tunescope.stats.intervals import paired
from tunescope.stats.share import ratio_interval, smallest_share, within_share
from tunescope.study.question import Question

A = np.array([0.96, 1.00, 0.97, 1.01, 0.99])
B = np.array([1.02, 0.99, 1.00, 1.01, 0.97])


@pytest.fixture
def ask(make_table):
    def ask(a: Sequence[float], b: Sequence[float] = (), first: int = 100, **more: Any) -> Answer:
        runs = [
            {"group": group, "factors": {"seed": start + i}, "rows": [{"metric": "m.x", "value": value}]}
            for group, values, start in (("a", a, 0), ("b", b, first))
            for i, value in enumerate(values)
        ]
        said: dict[str, Any] = {
            "ask": "?",
            "metric": "m.x",
            "compare": ("a", "b"),
            "claim": "equal",
            "margin": "10%",
        } | more
        return answer(make_table(runs), [Question(**said)])[0]

    return ask


def test_each_end_is_a_t_test_of_both_means():
    low, high = 0.9, 1.1
    within = max(
        stats.ttest_ind(A, low * B, equal_var=False, alternative="greater").pvalue,
        stats.ttest_ind(A, high * B, equal_var=False, alternative="less").pvalue,
    )
    assert (within_share(A, B, 0.1, together=False) or (1,))[0] == pytest.approx(within, abs=1e-8)
    together = max(
        stats.ttest_rel(A, low * B, alternative="greater").pvalue,
        stats.ttest_rel(A, high * B, alternative="less").pvalue,
    )
    assert (within_share(A, B, 0.1, together=True) or (1,))[0] == pytest.approx(together, abs=1e-8)
    assert within_share(-A, -B, 0.1, together=False) == within_share(A, B, 0.1, together=False)
    _, beyond = within_share(A + 0.5, B, 0.1, together=False) or (1, 1)
    wanted = 2 * stats.ttest_ind(A + 0.5, high * B, equal_var=False, alternative="greater").pvalue
    assert beyond == pytest.approx(wanted, abs=1e-8)


def test_the_interval_is_fiellers_and_what_the_test_does_not_refute():
    found = ratio_interval(A, B, 0.9, together=True)
    # Fieller's quadratic, (x̄ − θȳ)² = t²(s_xx − 2θs_xy + θ²s_yy)/n
    s, t = np.cov(A, B) / 5, stats.t.isf(0.05, 4)
    roots = np.roots(
        [
            B.mean() ** 2 - t**2 * s[1, 1],
            2 * (t**2 * s[0, 1] - A.mean() * B.mean()),
            A.mean() ** 2 - t**2 * s[0, 0],
        ]
    )
    assert (found.low, found.high) == pytest.approx(sorted(roots), abs=1e-8)
    apart = ratio_interval(A, B, 0.9, together=False)
    for end, side in ((apart.low, "greater"), (apart.high, "less")):
        assert stats.ttest_ind(A, end * B, equal_var=False, alternative=side).pvalue == pytest.approx(
            0.05, abs=1e-8
        )
    vague = ratio_interval(A, B - B.mean() + 0.001, 0.9, together=False)
    assert (vague.low, vague.high) == (None, None)


def test_the_smallest_margin_is_found_four_times_in_five():
    found = smallest_share(A, B, together=True)

    def power(share: float) -> float:
        _, error, df = paired(A, (1 + share) * B)
        return share * B.mean() / error - stats.t.isf(0.05, df) - stats.t.isf(0.1, df)

    assert found.value == pytest.approx(100 * optimize.brentq(power, 0.01, 0.9), abs=1e-8)
    assert smallest_share(A, B - 0.99, together=False) is None


@pytest.mark.parametrize("together", [False, True])
def test_the_share_is_claimed_and_denied_no_more_than_promised_at_its_edge(together):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1_500, 5)) * [[[0.03]], [[0.05]]]
    luck = 0.05 * rng.normal(size=(1_500, 5)) * together
    for edge in (0.9, 1.1):
        found = [
            within_share(edge + u + w, 1.0 + v + w, 0.1, together) for u, v, w in zip(a, b, luck, strict=True)
        ]
        wrong = (np.array(found) < 0.05).mean(0)
        assert 0.03 <= wrong[0] <= 0.06
        assert wrong[1] <= 0.06


def test_nothing_is_claimed_of_means_that_may_be_nothing():
    rng = np.random.default_rng(1)
    found = [within_share(a, b, 0.1, together=False) for a, b in rng.normal(size=(500, 2, 5))]
    assert (np.array(found) < 0.05).mean(0).max() <= 0.06


def test_the_sentence_says_the_share_and_the_number(ask):
    found = ask(A, B)
    assert found.verdict == "yes"
    assert found.claim == "m.x is the same for a and b, to within ±10 % of the mean of b"
    assert found.sentence.startswith(
        "a 0.986 vs b 0.998: the same to within ±10 % of the mean of b (±0.0998) (ratio of the means 0.988, "
        "90 % interval 0.96"
    )
    assert found.test == "Welch's TOST of the ratio of means"
    assert found.effect.name == "difference"
    assert found.effect.low < found.effect.value < found.effect.high
    assert Answer.from_json(found.to_json()) == found
    assert ask(A, B, first=0).test == "paired TOST of the ratio of means"
    assert ask(A + 1, B).verdict == "no"
    assert ask(A * 0.9, B).verdict == "unclear"
    vague = ask(A, B - 0.99)
    assert vague.verdict == "no"  # far from a tenth of it, whatever its sign
    assert vague.warnings == ("the mean of b may be 0, and a share of it nothing",)


def test_a_share_of_the_value_that_is_kept_is_a_number(ask):
    share, plain = (ask(A, compare=("a",), keeps=2, margin=margin) for margin in ("60%", 1.2))
    assert share.p == plain.p
    assert share.sentence.startswith(
        "a 0.986: keeps 2 to within ±60 % (±1.2) (difference −1.01, 90 % interval"
    )
    assert share.claim == "m.x of a is 2, to within ±60 %"


def test_runs_that_do_not_vary_are_not_tested(ask):
    assert ask([1.0] * 4, [1.0] * 4).p is None
    assert within_share(0.9 * B, B, 0.1, together=True) is None
    assert ask(0.9 * B, B, first=0).warnings == ("the runs of b leave no mean to take a share of",)
