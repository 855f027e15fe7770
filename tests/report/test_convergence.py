"""Convergence, held against the table by a slow reference."""

import pytest
from report import synthetic_looks
from report.records import records

from tunescope.report.convergence import convergence, convergence_figures
from tunescope.report.frames import done


@pytest.fixture(scope="module")
def looked(study):
    return synthetic_looks.table(study)


def _curve(table, metric):
    found = {}
    for row in table.rows.to_pylist():
        if row["metric"] == metric:
            found.setdefault(row["run"], {})[row["step"]] = row["value"]
    return found


def test_shares_and_gains_are_those_of_the_table(looked):
    shares, losses, scores, _ = [records(chart) for chart in convergence(looked)]
    runs = {run.id: run.name for run in done(looked)}
    loss, score = _curve(looked, "training.loss"), _curve(looked, "training.val_acc1")
    for id, name in runs.items():
        means = [sum(loss[id][s] for s in range(e * 15 + 1, e * 15 + 16)) / 15 for e in range(3)]
        drawn = [[r["value"] for r in part[0] if r["run"] == name] for part in (shares, losses, scores)]
        start = loss[id][1]
        if start > means[-1]:
            expected = [(start - mean) / (start - means[-1]) for mean in means]
            assert drawn[0] == pytest.approx(expected, rel=0.01, abs=1e-3)
        else:
            assert drawn[0] == []
        gains = [means[0] - means[1], min(means[:2]) - means[2]]
        assert drawn[1] == pytest.approx(gains, rel=0.01, abs=1e-4)
        values = [score[id][step] for step in (15, 30, 45)]
        gains = [values[1] - values[0], values[2] - max(values[:2])]
        assert drawn[2] == pytest.approx(gains, rel=0.01, abs=1e-4)


def test_runs_are_counted_by_whether_they_met_the_criterion(looked):
    counted = {(r["group"], r["state"]): r["runs"] for r in records(convergence(looked)[-1])[0]}
    met = _curve(looked, "training.converged")
    expected = {}
    for run in done(looked):
        of = met.get(run.id, {}).get(None)
        state = {None: "no criterion declared", 0.0: "did not converge", 1.0: "converged"}[of]
        expected[run.group, state] = expected.get((run.group, state), 0) + 1
    assert counted == expected
    assert len({state for _, state in counted}) == 3


def test_a_study_without_a_criterion_has_its_curves_and_says_so(table):
    (figure,) = convergence_figures(table)
    assert figure.caption.endswith("The study declared no criterion.")
    assert len(figure.draw(table)) == 3
