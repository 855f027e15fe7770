"""Numbers in words."""

from tunescope.report.titles import WORDS, title
from tunescope.results.metric import declared


def test_every_word_is_of_a_metric_that_is_declared():
    assert set(WORDS) <= set(declared())


def test_what_has_no_word_is_called_by_its_name():
    assert title("my.number.change", {"tower": "text"}, "max") == "largest my.number.change, tower text"
    assert title("transfer.acc1.base", {"split": "val"}) == "validation accuracy before tuning"
    assert title("federated.drift", {"step": "*"}) == "drift between clients, over all rounds"
    assert title("representation.cka", {"step": "first"}) == "CKA with the base, at the first look"
