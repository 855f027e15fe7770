"""What the page says first, held against the table."""

from dataclasses import replace

import pyarrow as pa
import pytest
from report import synthetic_study as made_up

from tunescope.report import page
from tunescope.report.dashboard import GROUPS_AT_MOST, dashboard
from tunescope.report.frames import done
from tunescope.report.headlines import groups_at_best, settings
from tunescope.results.row import Row, rows_table
from tunescope.results.table import Table
from tunescope.stats.samples import samples
from tunescope.study.question import Question

KEPT = {"split": "zero_shot:*"}


@pytest.fixture(scope="module")
def scored(study, table):
    """The made-up table with validation scores, highest in the middle of each group's rates."""
    best = {"full": 1e-4, "lora": 1e-3}
    rows = [
        rows_table(
            run["run"],
            [
                Row(
                    "transfer.acc1",
                    0.9 - (run["lr"] != best.get(run["group"])) * 0.3,
                    split="val",
                    component="trained",
                )
            ],
        )
        for run in table.runs.to_pylist()
        if run["status"] == "done"
    ]
    return Table(pa.concat_tables([table.rows, *rows]), table.runs)


def test_each_group_stands_at_the_rate_that_a_question_would_choose(scored):
    columns, found = groups_at_best(scored)
    asked = Question(
        ask="?", metric="transfer.acc1.retention", where=KEPT, compare=("full", "lora", "probe"), at="best"
    )
    place = [column.name for column in columns].index("zero-shot kept")
    for group in samples(scored, asked).groups:
        (own,) = [setting for setting in found if setting.name == group.name]
        assert sorted(run.id for run in own.runs) == sorted(group.runs)
        assert own.mean(place) == pytest.approx(group.mean)
    assert {setting.group: setting.chosen for setting in found} == {
        "full": "lr=0.0001",
        "lora": "lr=0.001",
        "probe": "",
        "floor": "",
    }


def test_sentences_say_means_and_leave_differences_to_the_answers(scored):
    answers = made_up.answers(scored)
    found = dashboard(scored, answers)
    assert found is not None
    columns, groups = groups_at_best(scored)
    task, kept = (
        [column.name for column in columns].index(name) for name in ("test accuracy", "zero-shot kept")
    )
    first = max(groups, key=lambda setting: setting.mean(task) or 0.0)
    most = max(groups, key=lambda setting: setting.mean(kept) or 0.0)
    sentence, rest = found.sentences
    assert f"{first.name} reached {100 * (first.mean(task) or 0.0):.1f} % test accuracy" in sentence
    assert f"kept {100 * (first.mean(kept) or 0.0):.0f} % of its zero-shot" in sentence
    assert f"{most.name} kept the most on average: {100 * (most.mean(kept) or 0.0):.0f} %" in sentence
    assert f"{len(answers)} answers" in rest
    assert [(ask, verdict) for ask, verdict, _ in found.answers] == [
        (answer.question.ask, answer.verdict) for answer in answers
    ]
    marked = [[line.group for line in found.lines if line.cells[i].best] for i in range(len(columns))]
    assert (marked[task], marked[kept]) == ([first.name], [most.name])
    sizes = [column.name for column in columns].index("|entropy change|, nats")
    assert marked[sizes] == []  # neither end is better


def test_of_many_groups_those_best_at_the_task_stay():
    runs = {f"group {place:02}": {"adapt": "full", "lr": 1e-5 * (place + 1)} for place in range(15)}
    table = made_up.table(made_up.study(runs=runs, seeds=[0]), diverged=())
    found = dashboard(table, [])
    assert found is not None
    assert (len(found.lines), found.left_out) == (GROUPS_AT_MOST, 3)
    _, groups = groups_at_best(table)
    kept = {line.group for line in found.lines}
    reached = {setting.name: setting.mean(0) or 0.0 for setting in groups}
    assert min(reached[name] for name in kept) >= max(v for name, v in reached.items() if name not in kept)
    assert "asked nothing" in found.sentences[-1]


def test_rates_without_a_validation_score_are_told_apart_in_words(table):
    chosen = {setting.group: setting.chosen for setting in groups_at_best(table)[1]}
    assert chosen["full"] == "over 3 values of lr"
    assert len(settings(table)[1]) == len({run.setting for run in done(table)})


def test_nothing_is_said_of_no_run(study):
    every = tuple(member.name for member in study.members())
    assert dashboard(made_up.table(study, diverged=(), missing=every), []) is None


def test_the_page_links_each_answer(browser, scored, study, tmp_path):
    answers = made_up.answers(scored)
    answers[0] = replace(answers[0], question=answers[0].question.model_copy(update={"ask": "<b>why</b>?"}))
    path = page.write(tmp_path, study, scored, answers, made_up.by_run({}), made_up.MADE)
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.goto(path.as_uri())
    links = tab.locator("#glance .verdicts a")
    assert links.count() == len(answers)
    assert links.first.inner_text() == "<b>why</b>?"
    for place in range(links.count()):
        target = links.nth(place).get_attribute("href")
        assert tab.locator(f"{target} h3").inner_text() == answers[place].question.ask
    assert tab.locator("#glance tbody tr").count() == 4
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    tab.close()
