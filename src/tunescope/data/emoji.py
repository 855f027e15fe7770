"""`emoji/STYLE[:LABEL]`: the embedded emoji, one set per style, with names, groups and subgroups.

`emoji/names` and `emoji/keywords` are the same concepts told in words.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tunescope.data.dataset import DataSet, Item, Reads
from tunescope.data.decode import decode
from tunescope.data.digest import file_digest
from tunescope.data.prompts import EMOJI, readable
from tunescope.data.texts import TEMPLATES
from tunescope.errors import DataError, nearest

FOLDER = Path(__file__).parents[1] / "bundled" / "emoji"
STYLES = {
    "noto": "images.parquet",
    "twemoji": "images.parquet",
    "fluent-3d": "images.parquet",
    "fluent-flat": "images.parquet",
    "openmoji": "images-openmoji.parquet",
    "openmoji-line": "images-openmoji.parquet",
}
TEXTS = ("names", "keywords")
LABELS = ("group", "subgroup", "name")
DEFAULT_LABEL = "group"


def _parse(ref: str) -> tuple[str, str | None]:
    """`emoji/noto:name` → its style and label."""
    style, _, label = ref.partition("/")[2].partition(":")
    if style not in (*STYLES, *TEXTS):
        raise DataError(f"data {ref!r}: unknown style {style!r}; {nearest(style, (*STYLES, *TEXTS))}")
    return style, _label(ref, style, label) if label else None


def _label(ref: str, style: str, label: str) -> str:
    if label not in LABELS:
        raise DataError(f"data {ref!r}: unknown label {label!r}; {nearest(label, LABELS)}")
    if label == "name" and style in TEXTS:
        raise DataError(f"data {ref!r}: names are what its texts tell; take the label group or subgroup")
    return label


@cache
def _concepts() -> dict[str, dict[str, Any]]:
    """Name, keywords, group, subgroup and family of every emoji, by its codepoints."""
    table = pq.read_table(FOLDER / "concepts.parquet")
    return {row["codepoints"]: row for row in table.to_pylist()}


def load(ref: str, label: str | None) -> DataSet:
    """One style of the embedded emoji, or their names, or their keywords.

    Ids are codepoints, the same in every style and in words. Gender variants of one emoji share a group, so
    that a man firefighter in train never meets a woman firefighter in test. Subgroups too small for a split
    are left out by `large_classes`; the few emoji without a keyword are not among `emoji/keywords`.

    Raises:
        DataError: unknown style or label; the nearest known one is named.
    """
    style, own_label = _parse(ref)
    chosen = own_label or _label(ref, style, label or DEFAULT_LABEL)
    ids, read = _told(style) if style in TEXTS else _drawn(ref, style)
    concepts = [_concepts()[codepoints] for codepoints in ids]
    names = sorted({concept[chosen] for concept in concepts})
    place = {name: i for i, name in enumerate(names)}
    return DataSet(
        name=ref,
        ids=tuple(ids),
        labels=np.array([place[concept[chosen]] for concept in concepts], dtype=np.int64),
        class_names=tuple(names) if chosen == "name" else readable(names),
        templates=TEMPLATES if style in TEXTS else EMOJI[chosen],
        fingerprint=fingerprint(ref),
        read=read,
        tower=tower(ref),
        label=chosen,
        groups=tuple(concept["family"] for concept in concepts),
        small_classes="drop",
    )


def _drawn(ref: str, style: str) -> tuple[list[str], Callable[[int], Item]]:
    table = pq.read_table(FOLDER / STYLES[style])
    table = table.take([i for i, of in enumerate(table["style"].to_pylist()) if of == style])
    ids, encoded = table["codepoints"].to_pylist(), table["image"]
    return ids, lambda index: decode(encoded[index].as_py(), f"{ref}: {_concepts()[ids[index]]['name']}")


def _told(style: str) -> tuple[list[str], Callable[[int], Item]]:
    said = {
        codepoints: concept["name"] if style == "names" else ", ".join(concept["keywords"])
        for codepoints, concept in _concepts().items()
    }
    texts = {codepoints: text for codepoints, text in said.items() if text}
    return list(texts), list(texts.values()).__getitem__


def tower(ref: str) -> Reads:
    """Styles are for the vision tower, names and keywords for the text tower."""
    return "text" if _parse(ref)[0] in TEXTS else "vision"


def fingerprint(ref: str) -> str:
    """sha256 over the reference, its prompts and the contents of the files it reads."""
    style, _ = _parse(ref)
    names = ["concepts.parquet"] if style in TEXTS else ["concepts.parquet", STYLES[style]]
    contents = [file_digest(FOLDER / name) for name in names]
    return hashlib.sha256("\n".join([ref, repr(EMOJI), *contents]).encode()).hexdigest()
