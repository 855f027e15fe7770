import pytest

from tunescope.stats.claim import Claim, claim
from tunescope.study.question import Question

CASES = [
    (
        {"metric": "transfer.acc1", "compare": ("a", "b")},
        Claim("transfer.acc1 is higher for a than for b", 1, ""),
    ),
    (
        {"metric": "training.seconds", "compare": ("a", "b")},
        Claim("training.seconds is lower for a than for b", -1, "s"),
    ),
    (
        {"metric": "attention.entropy.change", "reduce": "mean_abs", "compare": ("a", "b")},
        Claim("a is closer to the pretrained model than b", -1, "nats"),
    ),
    (
        {"metric": "attention.entropy", "compare": ("a", "b")},
        Claim("attention.entropy differs between a and b", 0, "nats"),
    ),
    (
        {"metric": "anybody.s", "reduce": "mean_abs", "compare": ("a", "b")},
        Claim("a is closer to zero than b", -1, ""),
    ),
    ({"metric": "anybody.s", "compare": ("a", "b")}, Claim("anybody.s differs between a and b", 0, "")),
    (
        {"metric": "transfer.acc1", "compare": ("a", "b", "c")},
        Claim("transfer.acc1 differs between a, b and c", 1, ""),
    ),
    (
        {"metric": "transfer.acc1", "against": "lr"},
        Claim("transfer.acc1 rises or falls with lr", 1, ""),
    ),
]


@pytest.mark.parametrize(("asked", "wanted"), CASES)
def test_what_a_yes_means(asked: dict, wanted: Claim):
    assert claim(Question(ask="?", **asked)) == wanted
