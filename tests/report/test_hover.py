"""What stands beside the pointer: whose number it is, and the number."""

import pytest
from report import synthetic_heads, synthetic_landscape
from report import synthetic_study as made_up

from tunescope.report import theme
from tunescope.report.figures import figures
from tunescope.report.forest import evidence
from tunescope.report.frames import groups

WHOSE = {"run", "setting", "group", "line", "label", "question", "first", "measure", "layer"}


def marks(node, encoding=None):
    """Type and encoding of every mark, with what it has of those around it."""
    own = (encoding or {}) | node.get("encoding", {})
    for part in ("layer", "hconcat", "vconcat"):
        for child in node.get(part, ()):
            yield from marks(child, own)
    if "spec" in node:
        yield from marks(node["spec"], own)
    if "mark" in node:
        yield (node["mark"] if isinstance(node["mark"], str) else node["mark"]["type"]), own


@pytest.mark.parametrize("made", [synthetic_heads, synthetic_landscape], ids=["heads", "landscape"])
def test_every_chart_says_whose_number_and_which(made):
    lora = {"adapt": {"kind": "lora", "rank": 8}, "lr": 1e-3}
    study = made_up.study(runs={"full": {"adapt": "full", "lr": [1e-4, 1e-3]}, "lora": lora})
    table = made.table(study)
    answers = made_up.answers(table)
    drawn = [(figure.key, chart) for figure in figures(table, answers) for chart in figure.draw(table)]
    drawn += [(answer.question.ask, evidence(answer, groups(table))) for answer in answers]
    assert len(drawn) > 18
    for name, chart in drawn:
        assert chart is not None
        document = theme.spec(chart)
        assert document["description"], name
        told = []
        for kind, encoding in marks(document):
            fields = [one["field"] for one in encoding.get("tooltip", ()) if "field" in one]
            if kind in ("point", "bar", "rect", "line", "tick", "area") and fields:
                told.append(bool(WHOSE & set(fields)) and len(fields) > 1)
        assert any(told), name
