"""Every chart of the page as a file for a paper, with its caption and the numbers behind it.

The same table gives the same SVG, PNG, CSV and text to the last byte, on a machine with the same fonts. A PDF
holds the same drawing every time, but its writer lists fonts and resources in an order drawn by chance.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vl_convert
from altair.utils.schemapi import debug_mode

from tunescope.errors import TableError
from tunescope.report import frames, maps, theme
from tunescope.report.each_choice import each_choice
from tunescope.report.figures import figures
from tunescope.report.forest import evidence
from tunescope.report.map_drawing import drawings
from tunescope.report.maps import Arrays
from tunescope.report.sheets import sheets
from tunescope.results.durable import replace
from tunescope.stats.verdict import Answer

if TYPE_CHECKING:
    from tunescope.results.table import Table

WIDTH = 504  # of a chart that fills its place on the page: 7 inches at 72 units each
DOTS = 300  # of a PNG, to the inch

_COUNTED = re.compile(r"(?<=[\"#])(gradient_|clip)[0-9]+(?=[\")])")
_LOOK = theme.CONFIG | {"background": "white", "font": "Arial, Helvetica, 'Liberation Sans', sans-serif"}


@dataclass(frozen=True)
class Plate:
    """One chart of the page.

    Args:
        name: what its files are called.
        words: its title and how to read it.
        spec: Vega-Lite, in the look of a paper.
        pictures: whether it shows pictures, so that there are no numbers behind it.
    """

    name: str
    words: str
    spec: dict[str, Any]
    pictures: bool = False


def write(
    folder: Path, table: "Table", answers: Sequence[Answer], arrays: Arrays, formats: Sequence[str]
) -> list[Path]:
    """Write every chart as `<name>.<format>`, its caption as `.txt` and its numbers as `.csv`.

    A chart in which a reader of the page selects what is shown becomes one drawing for each choice. Each file
    is replaced at once; other files in the folder are left alone.

    Args:
        folder: where; made if it is not there.
        table: what was measured.
        answers: in the order of the study's questions.
        arrays: what a run that is done published for pictures, by name; asked only of runs that are shown.
        formats: `pdf`, `svg`, `png`.

    Returns:
        what was written, in order.

    Raises:
        TableError: the folder cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for plate in plates(table, answers, arrays):
            for name, content in _files(plate, formats):
                replace(folder / name, content)
                written.append(folder / name)
    except OSError as error:
        raise TableError(f"{folder}: figures cannot be written: {error.strerror or error}") from error
    return written


def plates(table: "Table", answers: Sequence[Answer], arrays: Arrays) -> list[Plate]:
    """Every chart of the page, answers first."""
    found: list[Plate] = []
    with debug_mode(False):  # as on the page
        groups = frames.groups(table)
        for place, answer in enumerate(answers, 1):
            if (chart := evidence(answer, groups)) is not None:
                words = f"{answer.question.ask}\n\n{answer.sentence}"
                found.append(Plate(f"answer-{place}", words, _spec(chart)))
        for figure in figures(table, answers):
            charts = list(figure.draw(table))
            for place, chart in enumerate(charts, 1):
                name = figure.key if len(charts) == 1 else f"{figure.key}-{place}"
                found.append(Plate(name, f"{figure.title}\n\n{figure.caption}", _spec(chart)))
        if (grid := maps.grid(frames.runs(table), arrays)) is not None:
            found += [
                Plate(name, words, _spec(chart), pictures=True) for name, words, chart in drawings(grid)
            ]
    return found


def _spec(chart: Any) -> dict[str, Any]:
    spec = theme.spec(chart) | {"config": _LOOK}
    if spec.get("width") == "container":
        spec |= {"width": WIDTH, "autosize": {"type": "fit-x", "contains": "padding"}}
    return spec


def _files(plate: Plate, formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The plate's files by name. Captions and numbers stand beside the drawings, whatever their format."""
    behind_it = [] if plate.pictures else sheets(plate.spec)
    numbers = {
        f"{plate.name}{'' if place == 1 else f'-data{place}'}.csv": sheet
        for place, sheet in enumerate(behind_it, 1)
    }
    behind = f"The numbers behind it: {', '.join(numbers)}." if numbers else ""
    for name, chosen, spec in each_choice(plate.name, plate.spec):
        for format in formats:
            yield f"{name}.{format}", _drawn(spec, format)
        parts = (plate.words, chosen, behind)
        yield f"{name}.txt", ("\n\n".join(part for part in parts if part) + "\n").encode()
    for name, sheet in numbers.items():
        yield name, sheet.encode()


def numbered(svg: str) -> str:
    """An SVG whose gradients and clips are counted from 0; Vega counts on from one drawing to the next.

    >>> numbered('<linearGradient id="gradient_7"/><path fill="url(#gradient_7)" clip-path="url(#clip3)"/>')
    '<linearGradient id="gradient_0"/><path fill="url(#gradient_0)" clip-path="url(#clip1)"/>'
    """
    places: dict[str, int] = {}
    return _COUNTED.sub(lambda found: f"{found[1]}{places.setdefault(found[0], len(places))}", svg)


def _drawn(spec: dict[str, Any], format: str) -> bytes:
    """The chart in one format; nothing outside it is asked for."""
    if format == "svg":
        return numbered(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])).encode()
    if format == "png":
        return vl_convert.vegalite_to_png(spec, ppi=DOTS, scale=1.0, allowed_base_urls=[])
    return vl_convert.vegalite_to_pdf(spec, allowed_base_urls=[])
