"""Methods, objectives, penalties, optimisers and probes by name: one lazy static table for each.

A component's settings are the thing itself: one frozen class whose fields are its YAML. Its module is
imported when the name is first used and imports torch only inside its functions, so a study is
validated and planned without torch. A new component is one file and one line in `COMPONENTS`.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from tunescope.errors import StudyError, nearest
from tunescope.study.spec import Spec

COMPONENTS: dict[str, dict[str, str]] = {
    "adapt": {
        "full": "tunescope.methods.full:Full",
        "linear_probe": "tunescope.methods.linear_probe:LinearProbe",
        "freeze": "tunescope.methods.freeze:Freeze",
        "lora": "tunescope.methods.lora:LoRA",
    },
    "objective": {
        "cross_entropy": "tunescope.objectives.cross_entropy:CrossEntropy",
    },
    "penalty": {
        "entropy_floor": "tunescope.objectives.entropy_floor:EntropyFloor",
    },
    "optimizer": {
        "adamw": "tunescope.training.optimizers:AdamW",
        "sgd": "tunescope.training.optimizers:SGD",
    },
    "probe": {
        "attention": "tunescope.probes.attention:AttentionProbe",
        "transfer": "tunescope.probes.transfer:TransferProbe",
    },
}


class Component(Spec):
    """A named part of a run. Subclasses pin `kind` to a literal and count `version` up when results change."""

    kind: str
    version: ClassVar[int] = 1
    source: ClassVar[str] = ""  # paper and section

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring, for listings."""
        return (cls.__doc__ or "").strip().splitlines()[0]


@cache
def _plugins(table: str) -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=f"tunescope.{table}")}


def names(table: str) -> list[str]:
    """Every name that `table` knows, installed plug-ins included."""
    return sorted(COMPONENTS[table] | _plugins(table))


@cache
def component_class(table: str, name: str) -> type[Component]:
    """The class behind a name.

    Raises:
        StudyError: unknown name; the nearest known one is named.

    >>> component_class("adapt", "lroa")
    Traceback (most recent call last):
    tunescope.errors.StudyError: unknown adapt 'lroa'; did you mean 'lora'? Known: freeze, full, linear_probe, lora
    """
    known = _plugins(table) | COMPONENTS[table]
    if name not in known:
        raise StudyError(f"unknown {table} {name!r}; {nearest(name, known)}")
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)


def resolve(table: str, value: Any) -> Component:
    """`"lora"` or `{"kind": "lora", "rank": 4}` → the component with its settings."""
    if isinstance(value, Component):
        return value
    settings = {"kind": value} if isinstance(value, str) else value
    if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
        raise ValueError(f"expected a name or a mapping with 'kind', got {value!r}")
    try:
        return component_class(table, settings["kind"]).parse(settings, table)
    except StudyError as error:
        raise ValueError(str(error)) from None


def _field(table: str) -> Any:
    return SerializeAsAny[Annotated[Component, BeforeValidator(lambda value: resolve(table, value))]]


Adapt = _field("adapt")
Objective = _field("objective")
Penalty = _field("penalty")
Optimizer = _field("optimizer")
Probe = _field("probe")
