# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import itertools
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from tunescope.stats.answer import Answer, answer
from tunescope.study.question import Question

METRIC = "attention.entropy.change"
FELL = [-0.21, -0.13, -0.18, -0.25, -0.16]


@pytest.fixture
def ask(make_table):
    def ask(values: list[float], **more: Any) -> Answer:
        runs = [
            {"group": "full", "factors": {"seed": i}, "rows": [{"metric": METRIC, "value": value}]}
            for i, value in enumerate(values)
        ]
        asked = {"ask": "Does it fall?", "metric": METRIC, "compare": ("full",), "than": 0.0}
        (found,) = answer(make_table(runs), [Question(**asked | more)])
        return found

    return ask


def test_it_is_the_one_sample_t_test(ask):
    found = ask(FELL, than=-0.05)
    wanted = stats.ttest_1samp(FELL, -0.05)
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-12)
    ends = wanted.confidence_interval(0.95)
    assert (found.effect.low, found.effect.high) == pytest.approx((ends.low + 0.05, ends.high + 0.05))
    d = (np.mean(FELL) + 0.05) / np.std(FELL, ddof=1)
    assert found.standardised.value == pytest.approx(d * (1 - 3 / (4 * 4 - 1)), rel=0.01)
    signs = itertools.product([-1, 1], repeat=5)
    means = [abs(np.dot(sign, np.array(FELL) + 0.05)) for sign in signs]
    by_hand = np.mean([mean >= means[0] - 1e-12 for mean in means])
    assert found.beside == (f"exact sign-flip test: p = {by_hand:.3f}",)


def test_it_says_on_which_side(ask):
    found = ask(FELL)
    assert found.verdict == "yes"
    assert found.claim == "attention.entropy.change of full differs from 0"
    assert found.sentence.startswith(
        "full −0.186 nats: below 0 (difference from 0 −0.186, 95 % interval −0.243 to −0.129; "
    )
    assert "above 0" in ask([-value for value in FELL]).sentence
    assert "not shown to differ from −0.19" in ask(FELL, than=-0.19).sentence
    assert Answer.from_json(found.to_json()) == found
    below = ask(FELL, claim="below")
    assert (below.verdict, below.claim) == ("yes", "attention.entropy.change of full is below 0")
    assert ask(FELL, claim="above").verdict == "no"
    assert ask(FELL, claim="above", than=-0.19).verdict == "unclear"


def test_too_few_or_equal_runs_are_not_tested(ask):
    found = ask(FELL[:2])
    assert (found.verdict, found.p) == ("not enough runs", None)
    assert found.effect.value == pytest.approx(-0.17)
    still = ask([0.5, 0.5, 0.5])
    assert (still.p, still.verdict) == (None, "unclear")
    assert "do not vary" in still.warnings[0]


@pytest.mark.parametrize(
    "more",
    [
        {"compare": ("a", "b")},
        {"compare": None, "against": "lr"},
        {"claim": "equal", "margin": 0.1},
        {"claim": "above", "margin": 0.1},
        {"claim": "above", "than": None, "keeps": 0.0},
        {"test": "welch"},
    ],
)
def test_mistakes(more):
    with pytest.raises(ValidationError, match=r"'than'|'test'|'claim'"):
        Question(**{"ask": "?", "metric": METRIC, "compare": ("a",), "than": 0.0} | more)
