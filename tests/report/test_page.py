import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from report import synthetic_study as made_up

from tunescope.report import page
from tunescope.report.written import PAGE
from tunescope.results.row import ROWS, Row, rows_table
from tunescope.results.table import Table

IMG = "<img src=x onerror=alert(1)>"
NOTHING = made_up.by_run({})  # no run published arrays
SCRIPT = "</script><script>alert(2)</script>"

DRAWN = """Array.from(document.querySelectorAll('.chart'), chart => {
  const svg = chart.querySelector('svg.marks'), box = svg && svg.getBoundingClientRect();
  if (!svg || box.width < 100 || box.height < 60) return 0;
  return svg.querySelectorAll('.role-mark path, .role-mark line').length;
})"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


TICKS = """Array.from(document.querySelectorAll('.chart .role-axis-label'), axis =>
  Array.from(axis.querySelectorAll('text')).filter(t => t.style.opacity !== '0' &&
    t.getAttribute('opacity') !== '0').map(t => t.textContent).filter(t => t))"""


def assert_ticks_are_told_apart(tab):
    axes = tab.evaluate(TICKS)
    assert len(axes) > 10
    for axis in axes:
        assert len(set(axis)) == len(axis), axis
        assert not [tick for tick in axis if re.fullmatch(r"[\d.]+[mµk]", tick)], axis


def settled(tab):
    """Waits until every chart that was asked for so far is drawn: asked in one breath, as a chart that comes
    near the window takes the word back.
    """
    said = tab.wait_for_function("() => document.documentElement.dataset.charts", timeout=30_000)
    assert said.json_value() == "drawn"


def opened(browser, path, width=1280, scheme="light", ask="?all"):
    """The page in a browser, all its charts drawn or those near the window (`ask=""`), and everything it
    complained of or asked for.
    """
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    heard: list[str] = []
    tab.on("console", lambda message: heard.append(f"console {message.type}: {message.text}"))
    tab.on("pageerror", lambda error: heard.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda request: heard.append(f"request: {request.url[:200]}"))
    tab.goto(path.as_uri() + ask)
    settled(tab)
    heard.remove(f"request: {path.as_uri()}{ask.partition('#')[0]}")
    return tab, [what for what in heard if not what.startswith("request: data:")]


@pytest.mark.parametrize("change", [made_up.on_texts, made_up.of_numbers], ids=["texts", "numbers"])
def test_studies_on_texts_are_told_in_their_own_words(browser, study, table, tmp_path, change):
    changed = change(table)
    path = page.write(tmp_path, study, changed, made_up.answers(changed), NOTHING, made_up.MADE)
    tab, heard = opened(browser, path)
    assert heard == []
    assert_ticks_are_told_apart(tab)
    assert tab.locator("#shifts h2").inner_text() == "Under a shift"
    caption, numbers = tab.locator("#shifts .caption").inner_text(), change is made_up.of_numbers
    assert caption.startswith("Spearman correlation by" if numbers else "Accuracy by")
    assert "Open dots" not in caption
    assert "laid over images, and these runs read texts" in tab.locator("#maps").inner_text()
    charts = tab.locator("#sweeps, #cost, #training").all_inner_texts()
    told = " ".join(charts)
    loss = "training loss, squared error" if numbers else "training loss, nats"
    for text in (loss, "test Spearman correlation" if numbers else "test accuracy"):
        assert text in told, told
    assert ("accuracy" in told) is not numbers
    assert ("In the labels' unit, squared" in tab.locator("#definitions").inner_text()) is numbers
    tab.close()


def test_ticks_of_a_narrow_range_are_told_apart(browser, study, table, tmp_path):
    near = {
        "transfer.acc1": (0.6, 0.003),
        "transfer.acc1.base": (0.6, 0.003),
        "training.seconds": (0.1, 0.01),
    }
    rows = table.rows.to_pylist()
    for row in rows:
        if row["metric"] in near:
            middle, reach = near[row["metric"]]
            row["value"] = middle + reach * math.sin(row["value"])
    alike = Table(pa.Table.from_pylist(rows, schema=ROWS), table.runs)
    tab, heard = opened(browser, page.write(tmp_path, study, alike, [], NOTHING, made_up.MADE))
    assert heard == []
    assert_ticks_are_told_apart(tab)
    tab.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_chart_is_drawn_and_nothing_is_asked_for(browser, written, width, scheme):
    tab, heard = opened(browser, written, width, scheme)
    marks = tab.evaluate(DRAWN)
    # three answers, all of them in two kinds, structure, heatmap, by layer, one sweep, trade-off, collapse,
    # zero-shot, costs, shifts, correlations, two curves, three of convergence
    assert len(marks) == 20
    assert min(marks) > 0
    assert tab.evaluate(OVERFLOW) == 0
    assert_ticks_are_told_apart(tab)
    assert tab.evaluate("Array.from(document.images).every(i => i.complete && i.naturalWidth > 0 && i.alt)")
    fill = "getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill"
    assert tab.evaluate(fill) == {"light": "rgb(89, 93, 101)", "dark": "rgb(165, 169, 176)"}[scheme]
    assert heard == []
    tab.close()


def test_names_from_data_are_inert(browser, tmp_path):
    runs = {
        IMG: {"adapt": "full", "lr": [1e-4, 1e-3]},
        SCRIPT: {"adapt": "linear_probe", "lr": 1e-3},
    }
    study = made_up.study(about=IMG, model=SCRIPT, runs=runs, task={"data": IMG, "label": SCRIPT})
    table = made_up.table(study, diverged=())
    foreign = rows_table(
        "run00", [Row(SCRIPT, 1.0), Row("transfer.acc1", 0.4, split=f"shift:{IMG}", component="text")]
    )
    table = Table(pa.concat_tables([table.rows, foreign]), table.runs)
    answers = [
        replace(answer, sentence=IMG, warnings=(SCRIPT,)) for answer in made_up.answers(table, (SCRIPT, IMG))
    ]
    made = replace(made_up.MADE, machine=IMG, study_yaml=SCRIPT, command="{{ 7 * 7 }} " + SCRIPT)
    path = page.write(tmp_path, study, table, answers, made_up.arrays(table), made)
    tab, heard = opened(browser, path)
    tab.locator(".answer .chart .role-mark.mark-symbol path").last.hover()
    tip = tab.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert IMG in tip.inner_text()
    assert tab.locator("img:not([src^='data:'])").count() == 0
    scripts = "Array.from(document.scripts).filter(s => s.type !== 'application/json').length"
    assert tab.evaluate(scripts) == 1 + len(page.SCRIPTS)
    assert "{{ 7 * 7 }}" in tab.locator("#made").inner_text()
    assert heard == []
    tab.close()


def test_the_page_is_small_and_allows_nothing_from_outside(written):
    text = written.read_text(encoding="utf-8")
    assert len(text.encode()) < 3_000_000
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    directives = dict(part.strip().split(" ", 1) for part in unescape(policy[1]).split(";"))
    assert directives["default-src"] == "'none'"
    assert "unsafe" not in directives["script-src"]
    assert directives["img-src"] == "data:"


class Nesting(HTMLParser):
    """Every element is closed where it was opened."""

    VOID = ("meta", "img", "link", "br", "input")

    def __init__(self):
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.targets += [value[1:] for name, value in attrs if name == "href" and value and value[0] == "#"]
        self.stack += [] if tag in self.VOID else [tag]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def well_formed(text: str) -> None:
    nesting = Nesting()
    nesting.feed(text)
    assert nesting.stack == []
    assert len(nesting.ids) == len(set(nesting.ids))
    assert set(nesting.targets) <= set(nesting.ids)


def test_elements_nest_and_links_lead_somewhere(written):
    well_formed(written.read_text(encoding="utf-8"))


def test_the_same_study_gives_the_same_page(study, table, written):
    again = page.render(study, table, made_up.answers(table), made_up.arrays(table), made_up.MADE)
    assert again == written.read_text(encoding="utf-8")


def test_a_page_is_written_whole_or_not_at_all(study, table, tmp_path):
    (tmp_path / PAGE).mkdir()
    with pytest.raises(OSError, match=re.escape(PAGE)):
        page.write(tmp_path, study, table, [], NOTHING, made_up.MADE)
    assert [path.name for path in tmp_path.iterdir()] == [PAGE]


def only(table: Table, keep: str) -> Table:
    """The table without the rows whose metric, split or component does not match."""
    rows = table.rows.to_pylist()
    kept = [row for row in rows if re.search(keep, f"{row['metric']} {row['split']} {row['component']}")]
    return Table(pa.Table.from_pylist(kept, schema=ROWS), table.runs)


@pytest.mark.parametrize(
    ("keep", "there", "absent"),
    [
        (r"^(?!.*zero_shot)", ["entropy", "sweeps", "shifts", "training"], ["trade-off"]),
        (r"^(?!attention)", ["sweeps", "trade-off", "shifts", "training"], ["entropy"]),
        (r"^(?!.*(text|None)$)", ["sweeps", "shifts"], ["entropy", "trade-off", "training"]),
        (r"^training", ["training"], ["entropy", "sweeps", "trade-off", "shifts"]),
    ],
    ids=["no zero-shot", "no attention", "no text head", "no probes"],
)
def test_what_was_not_measured_is_said_and_not_drawn(study, table, keep, there, absent):
    text = page.render(study, only(table, keep), [], NOTHING, made_up.MADE)
    well_formed(text)
    for key in (*there, *absent, "maps"):
        section = text.split(f'<section id="{key}"')[1].split("</section>")[0]
        assert ("data-chart" in section) is (key in there), key
        assert ('class="absent"' in section) is (key not in there), key


def test_all_runs_failed(browser, study, tmp_path):
    names = tuple(member.name for member in study.members())
    table = made_up.table(study, diverged=names)
    path = page.write(tmp_path, study, table, made_up.answers(table), NOTHING, made_up.MADE)
    tab, heard = opened(browser, path)
    assert heard == []
    assert "nothing to compare" in tab.locator("header").inner_text()
    assert tab.locator(".bad").count() == len(names)
    tab.close()


def test_one_run(browser, tmp_path):
    study = made_up.study(runs={"full": {"adapt": "full", "lr": 1e-4}}, seeds=[0])
    table = made_up.table(study)
    path = page.write(tmp_path, study, table, [], made_up.arrays(table), made_up.MADE)
    tab, heard = opened(browser, path)
    assert heard == []
    assert min(tab.evaluate(DRAWN)) > 0
    tab.close()


def test_a_table_of_metrics_that_nobody_declared(study):
    runs = pa.table(
        {
            name: ["done" if name == "status" else "theirs"]
            for name in ("run", "study", "group", "name", "status", "cause")
        }
    )
    table = Table(rows_table("theirs", [Row("glue.f1", 0.5)]), runs)
    text = page.render(study, table, [], NOTHING, made_up.MADE)
    well_formed(text)
    assert "<code>glue.f1</code>" in text
    assert "data-chart" not in text.split("<body>")[1].split("<script")[0]
