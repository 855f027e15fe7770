"""Questions are checked before the runs: one that no run could answer is a mistake to mend now."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product

from tunescope.errors import StudyError, nearest
from tunescope.probes.probe import Probe, probes_of
from tunescope.results.metric import AFTER, FEDERATED, OF_CLIENTS, SKIPPED, TRAINING, Derived, declared
from tunescope.results.table import FILTERS
from tunescope.study.component import component_class, names
from tunescope.study.federated import Federated
from tunescope.study.question import Measured, Question
from tunescope.study.run import Monitor
from tunescope.study.study import Member, Study

CHOOSER = "transfer"  # the probe whose rows of the validation split `at: best` chooses by
CLIENT = ".client"  # behind the name of a monitor's metric: of a client's model
DECIDING = ("val", "probe")  # the splits that a live monitor may stop a run by


def check_questions(study: Study) -> None:
    """Hold every question, and every live monitor, against what the probes will write and the runs vary.

    Raises:
        StudyError: an unknown metric, column or factor; a probe that the study or the monitor does not have;
            a monitor that would read the test split, or stop runs by what it does not see.
    """
    members = study.members()
    # `train` has no axes: all runs of a group have the same monitor
    monitors = {member.group: member.spec.train.monitor for member in members}
    for group, monitor in monitors.items():
        if monitor is not None:
            check_monitor(monitor, f"runs.{group}: train.monitor")
    probes = probes_of(study)
    there = {metric.name for metric in (*TRAINING, *AFTER, SKIPPED)}
    there = there.union(*(_written(probe, but=()) for probe in probes))
    after = {member.group: member.spec.after is not None for member in members}
    at_steps = {group: stepped(monitor) for group, monitor in monitors.items()}
    federated = {member.group: member.spec.federated for member in members}
    for group, said in federated.items():
        if said is not None:
            there |= {metric.name for metric in FEDERATED if "step" not in metric.dims}
            at_steps[group] |= in_rounds(said, monitors[group])
    factors: dict[str, set[float | int | str]] = {}
    for member in members:
        for name, value in member.factors.items():
            factors.setdefault(name, set()).add(value)
    kinds = {probe.kind for probe in probes}
    seeds: dict[str, set[float | int | str]] = {}
    for member in members:
        seeds.setdefault(member.group, set()).add(member.factors["seed"])
    for question in study.questions:
        for mistake in (
            *_mistakes(question, there, at_steps, factors, kinds),
            *_without_runs(question, members),
            *_without_partners(question, seeds),
            *_without_after(question, after),
        ):
            raise StudyError(f"question {question.ask!r}: {mistake}")


def check_monitor(monitor: Monitor, place: str = "train.monitor") -> None:
    """Hold a live monitor's probes and its stopping rule against each other.

    Raises:
        StudyError: a probe that reads the test split; a metric to stop by that the monitor's
            probes do not write, or not on val or probe.
    """
    probes = probes_of(monitor)
    for probe in probes:
        if getattr(probe, "split", None) == "test":
            raise StudyError(
                f"{place}: the probe {probe.kind!r} reads the split 'test', which is read once, after "
                "tuning; take 'probe' or 'val'"
            )
    rule = monitor.stop_on_collapse
    if rule is None:
        return
    there = {name: one for one in probes for name in _written(one)}
    if rule.metric not in there:
        raise StudyError(
            f"{place}.stop_on_collapse: its probes do not write the metric {rule.metric!r} while tuning; "
            f"{nearest(rule.metric, there)}"
        )
    probe = there[rule.metric]
    split = getattr(probe, "split", None)
    if split is None and not any("split" in metric.dims for metric in probe.metrics):
        raise StudyError(
            f"{place}.stop_on_collapse: {rule.metric!r} is measured of weights and on no examples, and a run "
            f"is stopped by what is seen of {' or '.join(DECIDING)}; take a metric such as attention.entropy"
        )
    if split not in (None, *DECIDING):
        raise StudyError(
            f"{place}.stop_on_collapse: {rule.metric!r} is measured on {split!r}, and no choice is made on "
            "what is tested; take 'probe' or 'val'"
        )


def watched(monitor: Monitor) -> set[str]:
    """The metrics of a live monitor's rows."""
    return {name for probe in probes_of(monitor) for name in _written(probe)}


def stepped(monitor: Monitor | None) -> set[str]:
    """The metrics whose rows have a step: the loop's own, and what the monitor watches, if there is one."""
    own = {metric.name for metric in TRAINING if "step" in metric.dims}
    return own if monitor is None else own | watched(monitor)


def in_rounds(federated: Federated, monitor: Monitor | None) -> set[str]:
    """The metrics of a federated run's rows that say what a round was, and what was seen of its clients."""
    found = {metric.name for metric in FEDERATED if "step" in metric.dims}
    if federated.privacy is not None:
        found -= {metric.name for metric in OF_CLIENTS}
    if federated.watch_clients and monitor is not None:
        found |= {metric.derive("client").name for probe in probes_of(monitor) for metric in probe.metrics}
    return found


def _written(probe: Probe, but: tuple[Derived, ...] = ("base", "base_only")) -> set[str]:
    """The metrics of a probe's rows: while tuning, all but the base's, which are told once, as step 0."""
    return {
        name
        for metric in probe.metrics
        for name in (metric.name, *(metric.derive(d).name for d in metric.derived if d not in but))
    }


def _mistakes(
    question: Question,
    there: set[str],
    at_steps: Mapping[str, set[str]],
    factors: Mapping[str, set[float | int | str]],
    kinds: set[str],
) -> Iterator[str]:
    for number in question.numbers:
        yield from _unmeasured(number, question.compare or question.among, there, at_steps)
        for column in number.where:
            if column not in FILTERS:
                yield f"'where' has the unknown column {column!r}; {nearest(column, FILTERS)}"
    measured = declared().get(question.metric)
    if question.by_depth and measured is not None and "layer" not in measured.dims:
        yield f"metric {question.metric!r} has no layers, which 'by_depth' compares"
    if question.unit != "run" and measured is not None and question.unit not in measured.dims:
        yield f"metric {question.metric!r} has no {question.unit}s; drop 'unit: {question.unit}'"
    for factor in (*question.fixed, *question.held):
        if factor not in factors:
            yield f"the runs have no factor {factor!r}; {nearest(factor, factors)}"
    for factor, value in question.fixed.items():
        if factor in factors and value not in factors[factor]:
            known = nearest(str(value), map(str, factors[factor]))
            yield f"'at' asks for {factor} = {value}, and no run has it; {known}"
    if question.at == "best" and CHOOSER not in kinds:
        yield f"'at: best' chooses by the probe {CHOOSER!r}; add it to 'probes', or say 'at: all'"


def _measured_by(metric: str) -> str:
    """The probe that writes a metric, or the first part of its name where none does.

    >>> _measured_by("heads.update"), _measured_by("transfer.acc1.change"), _measured_by("training.loss")
    ('updates', 'transfer', 'training')
    """
    for kind in names("probe"):
        for own in getattr(component_class("probe", kind), "metrics", ()):
            if metric == own.name or metric.startswith(f"{own.name}."):
                return kind
    return metric.split(".", 1)[0]


def _without_after(question: Question, after: Mapping[str, bool]) -> Iterator[str]:
    """Why a group that is asked about has no such row: `after` says which groups have that part."""
    asked = [n.metric for n in question.numbers if n.metric in {metric.name for metric in AFTER}]
    for metric, group in product(asked, question.compare or question.among or after):
        if not after[group]:
            yield (
                f"metric {metric!r} says what was done with tuned weights, and the runs of "
                f"{group!r} have no 'after'; give them one, or ask about others with 'compare' or 'among'"
            )


def _without_runs(question: Question, members: Sequence[Member]) -> Iterator[str]:
    """Why a group that is compared has no run left, or the runs that are asked about are all alike."""
    fixed = question.fixed
    left = [
        member
        for member in members
        if all(member.factors.get(name) == value for name, value in fixed.items())
    ]
    for group in question.compare or ():
        if all(member.group != group for member in left):
            said = ", ".join(f"{name}: {value}" for name, value in fixed.items())
            mine = [member.factors for member in members if member.group == group]
            own = "; ".join(f"{name}: {_listed({m[name] for m in mine if name in m})}" for name in fixed)
            yield f"'at: {{{said}}}' leaves no run of the group {group!r}, which has {own}"
    if question.against is None:
        return
    about = [member for member in left if not question.among or member.group in question.among]
    values = {member.factors[question.against] for member in about if question.against in member.factors}
    if len(values) < 2:
        yield (
            f"'against: {question.against}' needs runs that differ in it, and those asked about have "
            f"{_listed(values)}; list several values, or ask about other groups"
        )


def _without_partners(question: Question, seeds: Mapping[str, set[float | int | str]]) -> Iterator[str]:
    """Why the runs of two groups are no pairs, which Wilcoxon's test needs."""
    if question.test != "wilcoxon" or question.compare is None:
        return
    first, second = question.compare
    if seeds[first] != seeds[second]:
        yield (
            f"'test: wilcoxon' compares runs with the same seed, and {first!r} has the seeds "
            f"{_listed(seeds[first])}, {second!r} {_listed(seeds[second])}; give both the same, or ask with "
            "'test: mann_whitney'"
        )


def _listed(values: set[float | int | str]) -> str:
    ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    return ", ".join(map(str, ordered)) or "none"


def _unmeasured(
    number: Measured, groups: Sequence[str], there: set[str], at_steps: Mapping[str, set[str]]
) -> Iterator[str]:
    """Why a group that is asked about has no such row: `there` after tuning, `at_steps` while tuning."""
    metric, steps = number.metric, number.where.get("step", "")
    if fnmatchcase("", steps) and metric in there:
        return
    probe = _measured_by(metric)
    for group in groups or at_steps:
        if steps and metric in at_steps[group]:
            continue
        known = there.union(*at_steps.values())
        if metric not in declared():
            yield f"unknown metric {metric!r}; {nearest(metric, known)}"
        elif metric in at_steps[group] and (probe == "federated" or metric.endswith(CLIENT)):
            yield f"metric {metric!r} has rows of rounds: say which by 'step' in 'where', such as step: last"
        elif metric.endswith(CLIENT):
            yield (
                f"metric {metric!r} has rows where clients are watched, and the runs of {group!r} have none: "
                f"say federated: {{watch_clients: true}}, with the probe {probe!r} in 'train.monitor.probes'"
            )
        elif probe == "federated":
            yield (
                f"metric {metric!r} is of federated runs, and those of {group!r} have no such rows; ask "
                "about others with 'compare' or 'among'"
            )
        elif not steps:
            watching = metric in at_steps[group]
            also = ", or ask for the live monitor's rows with 'step' in 'where'" if watching else ""
            yield f"metric {metric!r} is measured by the probe {probe!r}; add it to 'probes'{also}"
        elif probe == "training" or metric.endswith((".base", ".base_only")):
            yield f"metric {metric!r} has no rows at steps; remove 'step' from 'where'"
        else:
            yield (
                f"metric {metric!r} has rows at steps where a live monitor measures it, and the runs of "
                f"{group!r} have none that does; add the probe {probe!r} to 'train.monitor.probes', or "
                "remove 'step' from 'where'"
            )
