"""Records by columns say what the records said."""

import json

import pytest
from report import synthetic_heads as made_up_heads

from tunescope.report import theme
from tunescope.report.figures import figures
from tunescope.report.packed import blocks, packed


def unpacked(found):
    """A slow reading of `blocks`."""
    records = []
    for block in found:
        columns = {
            name: column if isinstance(column, list) else [column["of"][place] for place in column["at"]]
            for name, column in block.items()
        }
        length = {len(column) for column in columns.values()}
        assert len(length) == 1
        records += [{name: column[row] for name, column in columns.items()} for row in range(length.pop())]
    return records


@pytest.mark.parametrize(
    "records",
    [
        [{"a": 1, "b": None}, {"a": 1.5, "b": "x"}],
        [{"a": [1, 2], "b": "long enough to be worth it"}] * 5,
        [{"a": True, "b": 1}, {"a": 1, "b": True}] * 9,  # equal in Python, not on the page
        [{"a": 1}, {"b": 1}, {"a": 1}],
    ],
    ids=["mixed", "repeated", "truth and one", "other keys"],
)
def test_nothing_is_lost(records):
    assert json.dumps(unpacked(blocks(records))) == json.dumps(records)


def test_charts_shrink_and_keep_everything_but_their_records(study):
    table = made_up_heads.table(study)
    specs = [theme.spec(chart) for figure in figures(table, []) for chart in figure.draw(table)]

    def size(documents):
        return len(json.dumps(documents, separators=(",", ":")))

    small = [packed(spec) for spec in specs]
    assert size(small) < 0.75 * size(specs)
    assert '"values":[{' not in json.dumps(small, separators=(",", ":"))

    def restored(node):
        own = dict(node)
        if "packed" in own.get("data", {}):
            own["data"] = {"values": unpacked(own["data"]["packed"])}
        own |= {
            part: [restored(child) for child in own[part]]
            for part in ("layer", "hconcat", "vconcat")
            if part in own
        }
        return own | ({"spec": restored(own["spec"])} if "spec" in own else {})

    assert [restored(spec) for spec in small] == specs
