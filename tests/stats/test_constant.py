"""What does not vary gets a plain warning, whatever is asked: no test, no crash, no warning of Python."""

import json

import pandas as pd
import pytest

import tunescope as ts

ASKED = [
    "compare: [a, b]",
    "compare: [a, b, c]",
    "compare: [a, b], claim: equal, margin: 0.5",
    "compare: [a], claim: equal, margin: 0.5, keeps: 2",
    "compare: [a, b], unit: layer",
    "compare: [a, b], reduce: mean_abs",
    "against: lr",
    "against: rank",
    "by: {metric: y}",
    "by: {metric: y}, within: group",
    "by: {metric: y}, given: [lr]",
    "by: {metric: y}, claim: none, margin: 0.5",
    "predictors: [{metric: y}, {metric: z}]",
    "by_depth: true",
    *(f"compare: [a, b], test: {t}" for t in ("welch", "student", "mann_whitney", "wilcoxon", "permutation")),
    *(f"compare: [a, b, c], test: {t}" for t in ("welch", "anova", "kruskal")),
    *(f"compare: [a, b], unit: layer, test: {t}" for t in ("mixed_model", "cluster_bootstrap")),
    *(f"{other}, test: {t}" for other in ("against: lr", "by: {metric: y}") for t in ("pearson", "kendall")),
    "compare: [a], than: 0.3",
    "compare: [a, b], claim: equal, margin: 10%",
]
SPREADS = {"nothing varies": (0.0, 0.0), "groups differ by rounding": (0.3, 0.1 + 0.2 - 0.3)}


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("paired", [True, False])
def test_what_does_not_vary_is_said_and_not_tested(spread, paired):
    base, more = SPREADS[spread]
    rows = [
        {
            "group": name,
            "seed": seed if paired else 4 * g + seed,
            "layer": layer,
            "lr": 10.0**-seed,
            "rank": 4,
        }
        | {"x": base + g * more, "y": base + seed * more, "z": float(seed)}
        for g, name in enumerate("abc")
        for seed in range(4)
        for layer in range(3)
    ]
    frame = pd.DataFrame(rows)
    asked = [f"metric: x, {question}" for question in ASKED]
    for found in ts.compare(frame, asked, metric=["x", "y", "z"], factors=["lr", "rank"]):
        question = found.question.ask
        assert found.verdict == "unclear", question
        assert found.p is None, question
        assert any("var" in note or "same" in note or "differ" in note for note in found.warnings), question
        assert any(line.startswith("  note: ") for line in found.lines()), question
        assert " a − a" not in found.sentence, question
        assert "early − early" not in found.sentence, question
        json.dumps(found.to_json(), allow_nan=False)
