"""The page: answers first, then charts, maps, runs and how it was made, in one file that needs no network."""

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import vl_convert
from altair.utils.schemapi import debug_mode
from markupsafe import Markup

from tunescope.report import federated_words, filters, formats, frames, map_section, maps, theme
from tunescope.report.dashboard import dashboard
from tunescope.report.figures import figures
from tunescope.report.forest import evidence
from tunescope.report.overview import definitions, overview
from tunescope.report.packed import packed
from tunescope.report.written import PAGE
from tunescope.stats.verdict import Answer
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.results.table import Table

# In the order in which they run; each may use what those before it declare.
SCRIPTS = ("filters.js", "records.js", "charts.js", "sort.js", "tables.js", "print.js", "maps.js")


@dataclass(frozen=True)
class Made:
    """How a study's results came to be, for those who want to make them again.

    Args:
        versions: name → version of everything that had a part in it, such as `tunescope`, `python`, `torch`.
        date: when the page was written, such as `2026-11-22`.
        machine: processor, cores and memory in words; no host or user name.
        command: what carries the study out again.
        store_schema: version of the store's layout.
        study_yaml: the study, as a file that says the same.
        seconds: wall-clock seconds from start to page; None where runs were taken from the store.
    """

    versions: Mapping[str, str]
    date: str
    machine: str
    command: str
    store_schema: int
    study_yaml: str
    seconds: float | None


def write(
    folder: Path,
    study: Study,
    table: "Table",
    answers: Sequence[Answer],
    arrays: maps.Arrays,
    made: Made,
) -> Path:
    """Write `report.html` into `folder`, whole or not at all.

    Args:
        folder: where; made if it is not there.
        study: what was asked.
        table: what was measured.
        answers: in the order of the study's questions.
        arrays: what a run that is done published for pictures, by name; asked only of runs that are shown.
        made: how it came to be.

    Returns:
        the page's path.
    """
    text = render(study, table, answers, arrays, made)
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".report-", suffix=".html")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, folder / PAGE)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return folder / PAGE


def render(
    study: Study,
    table: "Table",
    answers: Sequence[Answer],
    arrays: maps.Arrays,
    made: Made,
) -> str:
    """The page's HTML. Every name from data is escaped; only the scripts written here can run."""
    groups = frames.groups(table)
    specs: list[Markup] = []

    def embed(chart: Any) -> int:
        specs.append(embedded(packed(theme.spec(chart))))
        return len(specs) - 1

    with debug_mode(False):  # the tests hold every chart against the schema; here that takes most of a second
        charted = [(answer, evidence(answer, groups)) for answer in answers]
        drawn = [(answer, None if chart is None else embed(chart)) for answer, chart in charted]
        shown = [
            (figure, [embed(chart) for chart in figure.draw(table)]) for figure in figures(table, answers)
        ]
    scripts = [_library(), *map(_part, SCRIPTS)]
    offered = filters.filters(table, study)
    context = {
        "study": study,
        "made": made,
        "dashboard": dashboard(table, answers),
        "answers": drawn,
        "figures": shown,
        "maps": map_section.section(maps.grid(frames.runs(table), arrays)),
        "no_maps": maps.absent(table),
        "federated": federated_words.told(table, study),
        "overview": overview(table, study),
        "definitions": definitions(table),
        "specs": specs,
        "filters": offered,
        "known": embedded(offered.known),
        "css": Markup(_part("report.css")),
        "scripts": [Markup(script) for script in scripts],
        "policy": _policy(*scripts),
    }
    return _template().render(context)


def embedded(value: Any) -> Markup:
    r"""JSON that is safe inside a script element: nothing in it can end the element or open a comment.

    >>> str(embedded({"name": "</script>"}))
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(*scripts: str) -> str:
    """A Content-Security-Policy: nothing loads, and only the page's own scripts run, by their hashes."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed in one script."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("\r", "")


@cache
def _part(name: str) -> str:
    return (resources.files("tunescope.report") / "page" / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": formats.number,
        "percent": formats.percent,
        "signed": formats.signed,
        "p": formats.p_value,
        "effect": formats.effect,
        "embedded": embedded,
    }
    return environment.from_string(_part("report.html.j2"))
