"""A study file: a base, named groups of runs, and the questions they are to answer."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_origin

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from tunescope.errors import StudyError, nearest
from tunescope.study.component import Probes, component_class
from tunescope.study.engine import Engine
from tunescope.study.federated import Federated
from tunescope.study.plain_yaml import read_yaml
from tunescope.study.question import Correction, Question
from tunescope.study.run import RunSpec, Task, Train, Transfer
from tunescope.study.seed_form import SeedForm, is_seed_form
from tunescope.study.spec import Spec

RUN_KEYS = ("model", "task", "adapt", "objective", "penalties", "lr", "train", "after", "seeds")
RUN_KEYS += ("image_size", "max_tokens", "federated")
FEDERATED_AXES = ("rounds", "local_epochs", "sample", "partition", "strategy")


class Member(Spec):
    """One run of a study: the group it belongs to, what varies within the group, and its spec."""

    group: str
    factors: dict[str, float | int | str]  # lr, seed, and whatever else the group's file lists
    spec: RunSpec

    @property
    def name(self) -> str:
        """Unique within the study, for people: `lora lr=0.001 seed=0`."""
        return " ".join([self.group, *(f"{key}={_short(value)}" for key, value in self.factors.items())])


class Study(Spec):
    """What a study file says, validated; `members()` are its runs."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    about: str = ""
    model: str
    image_size: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    task: Task
    transfer: Transfer = Transfer()
    train: Train = Train()
    federated: Federated | None = None
    runs: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    probes: Probes = ()
    engine: Engine = Engine()
    questions: tuple[Question, ...] = ()
    correction: Correction = "holm"  # over all questions together

    @field_validator("runs", mode="before")
    @classmethod
    def _named_groups(cls, runs: object) -> object:
        if not isinstance(runs, Mapping) or not runs:
            raise ValueError(
                f"the plan is empty: expected groups of runs with names, such as {{full: {{adapt: full}}}}, "
                f"got {runs!r}"
            )
        for group, settings in runs.items():
            if not isinstance(group, str) or not group.strip():
                raise ValueError(f"a group's name is a text, got {group!r}; put it in quotes")
            if not isinstance(settings, Mapping):
                raise ValueError(f"{group}: expected settings such as {{adapt: full}}, got {settings!r}")
        return runs

    @field_validator("runs")
    @classmethod
    def _known_keys(cls, runs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for group, settings in runs.items():
            for key in settings:
                if key not in RUN_KEYS:
                    raise ValueError(f"{group}: unknown key {key!r}; {nearest(key, RUN_KEYS)}")
        return runs

    @model_validator(mode="after")
    def _questions_name_groups(self):
        for question in self.questions:
            for group in (*(question.compare or ()), *question.among):
                if group not in self.runs:
                    raise ValueError(
                        f"question {question.ask!r}: unknown group {group!r}; {nearest(group, self.runs)}"
                    )
        return self

    @model_validator(mode="after")
    def _questions_once(self):
        for place, question in enumerate(self.questions):
            if question in self.questions[:place]:
                raise ValueError(
                    f"question {question.ask!r} stands twice, and would be corrected for twice; keep one"
                )
        return self

    def members(self) -> list[Member]:
        """Every run of the study, in the order of the file: groups × listed values × seeds.

        Raises:
            StudyError: a run that is not valid, named by its group; a group without runs; two runs of a name.
        """
        found = [member for group in self.runs for member in self._group(group)]
        seen: dict[str, Member] = {}
        for member in found:
            other = seen.setdefault(member.name, member)
            if other.group != member.group:
                raise StudyError(f"two runs are both called {member.name!r}; rename one of their groups")
            if other is not member and other.factors == member.factors:
                raise StudyError(
                    f"runs.{member.group}: the run {member.name!r} stands twice, and would count as two: a "
                    "seed or another value is listed twice; keep one"
                )
        return found

    def _group(self, group: str) -> Iterator[Member]:
        settings = dict(self.runs[group])
        seeds = _seeds(settings.pop("seeds", self.seeds), group)
        own = settings.pop("train", {})
        train = self.train.model_dump() | own
        settings |= self._federated(group, settings, own)
        shared = {"model": self.model, "image_size": self.image_size, "max_tokens": self.max_tokens}
        if isinstance(settings.get("task"), dict):
            settings["task"] = self.task.model_dump() | settings["task"]
        shared |= {"task": self.task, "transfer": self.transfer, "probes": self.probes}
        listed = dict(_lists(settings))
        for path, values in listed.items():
            if not values:
                place = ".".join(map(str, path))
                raise StudyError(
                    f"runs.{group}: {place}: the list is empty, and the group without runs; name a value"
                )
        label = _labels(listed)
        varied = {path[0] for path in listed} | {"seed"}
        known: dict[str, Any] = {}  # what every run of the group shares, validated with the first
        for values in itertools.product(*listed.values()):
            choice = dict(zip(listed, values, strict=True))
            run = _with(settings, choice) | {"train": train}
            for seed in seeds:
                spec = RunSpec.parse(shared | run | {"seed": seed} | known, f"runs.{group}")
                known = known or {name: part for name, part in spec if name not in varied}
                factors = (
                    {"lr": spec.lr} | {label[path]: value for path, value in choice.items()} | {"seed": seed}
                )
                yield Member(group=group, factors=factors, spec=spec)

    def _federated(self, group: str, settings: Mapping[str, Any], train: Any) -> dict[str, Any]:
        """What the group says of a federation over what the study does, and null for none."""
        said = settings.get("federated", {})
        if said is None or (self.federated is None and "federated" not in settings):
            return {"federated": None}
        if isinstance(train, Mapping) and "epochs" in train:
            raise StudyError(
                f"runs.{group}: train.epochs: a federated run is rounds × local_epochs long; remove it, or "
                "say federated: null"
            )
        shared = {} if self.federated is None else self.federated.model_dump()
        return {"federated": shared | said if isinstance(said, dict) else said}


def _lists(settings: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], list[Any]]]:
    """Where a group's settings give a list for a setting that is one value: the axes of its grid."""
    for plain in ("model", "lr", "image_size", "max_tokens"):
        if isinstance(settings.get(plain), list):
            yield (plain,), settings[plain]
    task = settings.get("task")
    for key in ("data", "label"):
        if isinstance(task, dict) and isinstance(task.get(key), list):
            yield ("task", key), task[key]
    places: list[tuple[str, tuple[str | int, ...], Any]] = [
        ("adapt", ("adapt",), settings.get("adapt")),
        ("objective", ("objective",), settings.get("objective")),
        ("after", ("after",), settings.get("after")),
    ]
    federated = settings.get("federated")
    if isinstance(federated, dict):
        for key in FEDERATED_AXES:
            entries = federated.get(key)
            if isinstance(entries, list) and all(isinstance(entry, int | float | str) for entry in entries):
                yield ("federated", key), entries
        places += [(part, ("federated", part), federated.get(part)) for part in ("partition", "strategy")]
    penalties = settings.get("penalties")
    if isinstance(penalties, list):
        places += [("penalty", ("penalties", i), penalty) for i, penalty in enumerate(penalties)]
    for table, path, value in places:
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            continue
        fields = component_class(table, value["kind"]).model_fields
        for key, entry in value.items():
            if isinstance(entry, list) and key in fields and get_origin(fields[key].annotation) is not tuple:
                yield (*path, key), entry


def _seeds(said: Any, group: str) -> Sequence[Any]:
    """A group's seeds: a whole number, or a list of some."""
    seeds = [said] if isinstance(said, int) else said
    if not isinstance(seeds, Sequence) or isinstance(seeds, str) or not seeds:
        raise StudyError(f"runs.{group}: seeds: expected a whole number or a list of some, got {said!r}")
    return seeds


def _with(settings: Mapping[str, Any], choice: Mapping[tuple[str | int, ...], Any]) -> dict[str, Any]:
    """A deep copy of the settings with one value chosen on each axis."""

    def pick(value: Any, path: tuple[str | int, ...]) -> Any:
        if path in choice:
            return choice[path]
        if isinstance(value, dict):
            return {key: pick(entry, (*path, key)) for key, entry in value.items()}
        if isinstance(value, list):
            return [pick(entry, (*path, i)) for i, entry in enumerate(value)]
        return value

    return pick(dict(settings), ())


def _labels(paths: Collection[tuple[str | int, ...]]) -> dict[tuple[str | int, ...], str]:
    """What each axis is called: its setting, and where that stands if another is called the same."""
    names = ["lr", "seed", *(path[-1] for path in paths)]
    return {path: str(path[-1]) if names.count(path[-1]) == 1 else ".".join(map(str, path)) for path in paths}


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def load_study(path: str | Path) -> Study:
    """Read and validate a study file, its runs included; of our own form, or of `seed_form`'s.

    Raises:
        StudyError: the file is missing, is not YAML, or says something that cannot be carried out.
    """
    path = Path(path)
    try:
        value = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be read ({error.strerror}); give the path of a study file"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(value, dict):
        raise StudyError(
            f"{path}: expected keys such as 'study', 'model', 'task', 'runs'; got {type(value).__name__}"
        )
    if is_seed_form(value):
        value = SeedForm.parse(value, str(path)).translated(path.stem)
    study = Study.parse(value, str(path))
    try:
        study.members()
    except (StudyError, ValidationError) as error:
        raise StudyError(f"{path}: {error}") from None
    return study


def dump_study(study: Study) -> str:
    """The study as YAML, as far as it was said; reading it again gives the same study."""
    return yaml.safe_dump(
        study.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True
    )
