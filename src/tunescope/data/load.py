"""References to data → labelled images or texts, through one lazy static table of sources."""

import re
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple

from tunescope.data.dataset import DataSet, Reads
from tunescope.data.decoded import broken
from tunescope.errors import DataError, nearest


class Source(NamedTuple):
    """Where references of one kind are loaded: a module with `load(ref, label)`, `fingerprint(ref)` and
    `tower(ref)`.
    """

    module: str
    form: str
    summary: str


SOURCES = {
    "emoji": Source(
        "tunescope.data.emoji",
        "emoji/STYLE[:LABEL]",
        "emoji in six styles, or as names or keywords, embedded; label: group, subgroup or name",
    ),
    "folder": Source(
        "tunescope.data.folder", "folder:PATH", "one subfolder of images, or of .txt files, per class"
    ),
    "text": Source(
        "tunescope.data.textfile",
        "text:PATH[#SPLIT][:LABEL]",
        "texts or pairs: CSV, TSV, JSON Lines, Parquet, or a folder of train, validation, test",
    ),
    "hf": Source(
        "tunescope.data.hub",
        "hf:ID_OR_PATH[#SPLIT][:LABEL]",
        "a Hugging Face dataset of images or texts: hub id, save_to_disk, Parquet",
    ),
    "glue": Source(
        "tunescope.data.glue",
        "glue/NAME",
        "GLUE (Wang et al. 2019): cola, sst2, mrpc, qqp, stsb, mnli, mnli-mm, qnli, rte, wnli",
    ),
    "client": Source(
        "tunescope.data.client",
        "client:NAME",
        "what a client of a federated study names on its own machine, with `tunescope join --data`",
    ),
    "eurosat": Source(
        "tunescope.data.hub", "eurosat", "EuroSAT: satellite images of 10 kinds of land (Helber et al. 2019)"
    ),
    "oxford_pets": Source(
        "tunescope.data.hub",
        "oxford_pets",
        "Oxford-IIIT Pets: 37 breeds of cats and dogs (Parkhi et al. 2012)",
    ),
    "cifar10": Source(
        "tunescope.data.hub", "cifar10", "CIFAR-10: 10 kinds of things at 32 px (Krizhevsky 2009)"
    ),
    "cifar100": Source(
        "tunescope.data.hub", "cifar100", "CIFAR-100: 100 kinds of things at 32 px (Krizhevsky 2009)"
    ),
}


def _source(ref: str):
    name = re.split(r"[:/]", ref, maxsplit=1)[0]
    source = SOURCES.get(name)
    if source is None or ("[" not in source.form and source.form == name and ref != name):
        forms = "; ".join(entry.form for entry in SOURCES.values())
        raise DataError(f"unknown data {ref!r}; {nearest(name, SOURCES)}. Forms: {forms}")
    return import_module(source.module)


def load(
    ref: str,
    label: str | None = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    decoded: Path | None = None,
) -> DataSet:
    """The images or texts that a reference names.

    Args:
        ref: see `SOURCES` for the forms.
        label: which of the source's labels to use where `ref` names none; sources with one label ignore it.
        on_error: `raise` meets a broken image when it is asked for; `skip` decodes every image now and
            names those left out in `DataSet.skipped`; texts are not looked through.
        decoded: a folder in which it is kept which images are broken; without one all are decoded again.

    Raises:
        DataError: unknown reference (the nearest known one is named), or data that cannot be read.

    >>> load("emojy/noto")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tunescope.errors.DataError: unknown data 'emojy/noto'; did you mean 'emoji'? Known: ...
    """
    data = _source(ref).load(ref, label)
    looked = on_error == "skip" and data.tower == "vision"
    return data.without(broken(data, decoded)) if looked else data


def tower(ref: str) -> Reads:
    """Which tower reads what a reference holds: `vision` images, `text` texts and pairs; nothing is decoded.

    Raises:
        DataError: as `load`.

    >>> tower("emoji/noto"), tower("emoji/names")
    ('vision', 'text')
    """
    return _source(ref).tower(ref)


def fingerprint(ref: str) -> str:
    """64 hexadecimal digits of what a reference holds, without decoding an image or importing torch.

    Raises:
        DataError: as `load`.
    """
    return _source(ref).fingerprint(ref)
