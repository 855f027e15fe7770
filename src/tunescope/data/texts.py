"""Texts and pairs of texts out of a table: which columns hold them, and what makes two one concept."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from tunescope.data.dataset import DataSet, Item
from tunescope.data.labels import Labels
from tunescope.errors import DataError

TEMPLATES = ("{}",)
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("text1", "text2"),
)
SINGLES = ("text", "sentence")


def text_columns(strings: Sequence[str], where: str) -> tuple[str, ...]:
    """The column of texts, or the two columns of pairs.

    By name: a pair of `PAIRS` first, then one of `SINGLES`; else the only column of strings that there is.

    Args:
        strings: the names of the columns of strings, without the labels'.
        where: the data, for the message.

    Raises:
        DataError: no such column, or several and none with such a name.

    >>> text_columns(["id", "premise", "hypothesis"], "nli.csv"), text_columns(["review"], "films.csv")
    (('premise', 'hypothesis'), ('review',))
    """
    for found in (*PAIRS, *((name,) for name in SINGLES)):
        if set(found) <= set(strings):
            return found
    if len(strings) == 1:
        return tuple(strings)
    pairs = ", ".join(" and ".join(pair) for pair in PAIRS)
    raise DataError(
        f"{where}: expected a column of texts called {' or '.join(SINGLES)}, or pairs in {pairs}; columns of "
        f"strings: {', '.join(strings) or 'none'}; rename yours"
    )


def items_of(table: pa.Table, columns: Sequence[str], where: str) -> list[str] | list[tuple[str, str]]:
    """The texts or pairs of a table, in order.

    Raises:
        DataError: a row without a text.
    """
    found = [table.column(name).to_pylist() for name in columns]
    for name, texts in zip(columns, found, strict=True):
        if None in texts:
            raise DataError(
                f"{where}: column {name!r}, row {texts.index(None) + 1}: no text; remove the row or fill it"
            )
    return found[0] if len(found) == 1 else list(zip(found[0], found[1], strict=True))


def text_set(
    name: str,
    items: Sequence[Item],
    labels: Labels,
    *,
    fingerprint: str,
    label: str | None = None,
    ids: Sequence[str] | None = None,
) -> DataSet:
    """Texts that are in memory, as a set.

    A text is its own concept, wherever it stands: its id is a digest of its words, so that what was learnt
    from is not tested in another set either. The same text twice in one class stays on one side of a split.

    Args:
        name: the reference.
        items: texts or pairs.
        labels: and the names of the classes.
        fingerprint: of the content.
        label: the column of the labels, where there could be others.
        ids: concepts that the data itself names, unique.
    """
    digests = [hashlib.sha256(repr(item).encode()).hexdigest()[:16] for item in items]
    if ids is None:
        seen: Counter[str] = Counter()
        found = []
        for digest in digests:
            seen[digest] += 1
            found.append(digest if seen[digest] == 1 else f"{digest}/{seen[digest]}")
        ids = found
    return DataSet(
        name=name,
        ids=tuple(ids),
        labels=labels[0],
        class_names=labels[1],
        templates=TEMPLATES,
        fingerprint=fingerprint,
        read=items.__getitem__,
        tower="text",
        label=label,
        groups=tuple(digests),
    )
