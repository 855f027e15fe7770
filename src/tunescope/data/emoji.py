"""`emoji/STYLE[:LABEL]`: the embedded emoji, one set per style, with names, groups and subgroups."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tunescope.data.decode import decode
from tunescope.data.digest import file_digest
from tunescope.data.imageset import ImageSet
from tunescope.data.prompts import EMOJI, readable
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
LABELS = ("group", "subgroup", "name")
DEFAULT_LABEL = "group"


def _parse(ref: str) -> tuple[str, str | None]:
    """`emoji/noto:name` → its style and label."""
    style, _, label = ref.partition("/")[2].partition(":")
    if style not in STYLES:
        raise DataError(f"data {ref!r}: unknown style {style!r}; {nearest(style, STYLES)}")
    if label and label not in LABELS:
        raise DataError(f"data {ref!r}: unknown label {label!r}; {nearest(label, LABELS)}")
    return style, label or None


@cache
def _concepts() -> dict[str, dict[str, str]]:
    """Name, group, subgroup and family of every emoji, by its codepoints."""
    table = pq.read_table(
        FOLDER / "concepts.parquet", columns=["codepoints", "name", "group", "subgroup", "family"]
    )
    return {row["codepoints"]: row for row in table.to_pylist()}


def load(ref: str, label: str | None) -> ImageSet:
    """One style of the embedded emoji.

    Ids are codepoints, the same in every style. Gender variants of one emoji share a group, so that a man
    firefighter in train never meets a woman firefighter in test. Subgroups too small for a split are left
    out by `large_classes`.

    Raises:
        DataError: unknown style or label; the nearest known one is named.
    """
    style, own_label = _parse(ref)
    chosen = own_label or label or DEFAULT_LABEL
    if chosen not in LABELS:
        raise DataError(f"data {ref!r}: unknown label {chosen!r}; {nearest(chosen, LABELS)}")
    content = fingerprint(ref)
    table = pq.read_table(FOLDER / STYLES[style])
    table = table.take([i for i, of in enumerate(table["style"].to_pylist()) if of == style])
    ids = table["codepoints"].to_pylist()
    encoded = table["image"]
    concepts = [_concepts()[codepoints] for codepoints in ids]
    names = sorted({concept[chosen] for concept in concepts})
    place = {name: i for i, name in enumerate(names)}
    return ImageSet(
        name=ref,
        ids=tuple(ids),
        labels=np.array([place[concept[chosen]] for concept in concepts], dtype=np.int64),
        class_names=tuple(names) if chosen == "name" else readable(names),
        templates=EMOJI[chosen],
        fingerprint=content,
        read=lambda index: decode(encoded[index].as_py(), f"{ref}: {concepts[index]['name']}"),
        label=chosen,
        groups=tuple(concept["family"] for concept in concepts),
        small_classes="drop",
    )


def fingerprint(ref: str) -> str:
    """sha256 over the reference, its prompts and the contents of the two files it reads."""
    style, _ = _parse(ref)
    contents = [file_digest(FOLDER / name) for name in ("concepts.parquet", STYLES[style])]
    return hashlib.sha256("\n".join([ref, repr(EMOJI), *contents]).encode()).hexdigest()
