"""The tests that a question may ask for by name, and what each of them can test."""

from typing import Literal

Test = Literal[
    "welch",
    "student",
    "mann_whitney",
    "wilcoxon",
    "permutation",
    "anova",
    "kruskal",
    "spearman",
    "pearson",
    "kendall",
    "mixed_model",
    "cluster_bootstrap",
]
Unit = Literal["run", "layer", "head"]

OF_TWO = ("welch", "student", "mann_whitney", "wilcoxon", "permutation", "mixed_model", "cluster_bootstrap")
OF_SEVERAL = ("welch", "anova", "kruskal", "mixed_model", "cluster_bootstrap")
OF_A_TREND = ("spearman", "pearson", "kendall", "mixed_model")
OF_A_RELATION = ("spearman", "pearson", "kendall")
NESTED = ("mixed_model", "cluster_bootstrap")  # they know which rows belong to one run


def refusal(test: Test, kind: str, groups: int, unit: Unit, claims: bool, given: bool) -> str | None:
    """Why a question cannot have this test; None where it can.

    Args:
        test: the one that is asked for.
        kind: the question's: `compare`, `against`, `by`, or another.
        groups: how many groups are compared.
        unit: what its numbers are of.
        claims: whether the question claims that something is equal or not there.
        given: whether it holds factors fixed.

    >>> refusal("anova", "compare", 2, "run", claims=False, given=False)
    "'test: anova' is not for two groups; expected one of welch, student, mann_whitney, wilcoxon, permutation"
    """
    if kind not in ("compare", "against", "by") or (kind == "compare" and groups < 2):
        return "'test' goes with 'compare' of several groups, with 'against' and with 'by'"
    if claims:
        return "'test' does not go with a claim, which has its own test"
    known, what = {
        "compare": (OF_TWO, "two groups") if groups == 2 else (OF_SEVERAL, "three groups or more"),
        "against": (OF_A_TREND, "a trend ('against')"),
        "by": (OF_A_RELATION, "a relation ('by')"),
    }[kind]
    if test not in known:
        expected = ", ".join(name for name in known if unit != "run" or name not in NESTED)
        return f"'test: {test}' is not for {what}; expected one of {expected}"
    if test in NESTED and unit == "run":
        return (
            f"'test: {test}' needs several rows of each run: add 'unit: layer' or 'unit: head', or drop it: "
            "runs are compared as they are"
        )
    if test == "kendall" and given:
        return (
            "'test: kendall' does not go with 'given': tau has no partial form whose p counts orders; "
            "use 'within: group', or 'test: spearman' or 'test: pearson'"
        )
    return None
