"""Frozen, typed settings: unknown keys are refused, and nothing in a file is ever imported or executed."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tunescope.errors import StudyError, nearest

SHAPES = {
    "model_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "tuple_type": "a list",
    "list_type": "a list",
}


class Spec(BaseModel):
    """The base of everything that a study file can say."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, value: Mapping[str, Any], where: str) -> Self:
        """Validate `value`, with errors that name the place, the value and the fix.

        Args:
            value: what a file or a caller said, as plain YAML types.
            where: the place it was said, such as `studies/demo.yaml`, for the message.

        Raises:
            StudyError: one line per mistake.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise StudyError("\n".join(_lines(error, cls, where))) from None


def _lines(error: ValidationError, cls: type[BaseModel], where: str) -> Iterator[str]:
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"])
        place = f"{where}: {path}" if path else where
        if item["type"] == "extra_forbidden":
            known = _fields_at(cls, item["loc"][:-1])
            yield f"{place}: unknown key {item['loc'][-1]!r}; {nearest(str(item['loc'][-1]), known)}"
        elif item["type"] == "missing":
            yield f"{place}: missing; this key is required"
        elif item["type"] == "value_error":
            yield f"{place}: {str(item['msg']).removeprefix('Value error, ')}"
        elif item["type"] == "too_short":
            least = item.get("ctx", {}).get("min_length", 1)
            yield f"{place}: expected at least {least} of them, got {item['input']!r}"
        elif item["type"] in SHAPES:
            yield f"{place}: expected {SHAPES[item['type']]}, got {item['input']!r}"
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            yield f"{place}: {message}, got {item['input']!r}"


def _fields_at(cls: Any, path: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at `path` below `cls` knows."""
    for part in path:
        if isinstance(part, int):
            continue
        field = cls.model_fields.get(part) if _is_model(cls) else None
        if field is None:
            return []
        cls = _model_in(field.annotation)
    return list(cls.model_fields) if _is_model(cls) else []


def _is_model(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, BaseModel)


def _model_in(annotation: Any) -> Any:
    """The settings class inside an annotation such as `tuple[Question, ...]` or `Task | None`."""
    if _is_model(annotation):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((found for found in inner if found is not None), None)
