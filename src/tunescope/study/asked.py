"""Questions that are asked of a table that is there: in a study file's own form, without a study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from tunescope.errors import StudyError, nearest
from tunescope.study.plain_yaml import read_yaml
from tunescope.study.question import Correction, Question


def question_of(said: Question | Mapping[str, Any] | str, place: str = "question") -> Question:
    """A question, from what a study file says of it: as YAML in one line, or read already.

    Args:
        said: such as `{metric: accuracy, compare: [lora, full]}`; the outer braces and `ask` may be missing.
        place: where it was said, for messages.

    Raises:
        StudyError: it is not YAML, or no question.

    >>> question_of("metric: accuracy, compare: [lora, full]").compare
    ('lora', 'full')
    """
    if isinstance(said, Question):
        return said
    value: Any = said
    if isinstance(said, str):
        text = said.strip()
        try:
            value = read_yaml(text if text.startswith("{") else f"{{{text}}}")
        except yaml.YAMLError as error:
            raise StudyError(
                f"{place}: not valid YAML: {error}\nIn braces, a text with a question mark, a colon or a "
                "comma stands in quotes"
            ) from None
    if not isinstance(value, Mapping):
        raise StudyError(f"{place}: expected keys such as {{metric: …, compare: […]}}, got {value!r}")
    return Question.parse({"ask": ""} | dict(value), place)


def questions_in(path: str | Path) -> tuple[list[Question], Correction | None]:
    """The questions in a file, which is a list of them or a study, and the correction that the study names.

    Raises:
        StudyError: the file cannot be read, is not YAML, or holds something that is no question.
    """
    try:
        value = read_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); give a file of questions") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not valid YAML: {error}") from None
    said, correction = value, None
    if isinstance(value, Mapping):
        said, correction = value.get("questions"), value.get("correction")
    if not isinstance(said, list) or not said:
        raise StudyError(
            f"{path}: expected a list of questions, or a study with some under 'questions'; "
            f"got {'none' if not said else type(said).__name__}"
        )
    known = get_args(Correction)
    if correction is not None and correction not in known:
        raise StudyError(f"{path}: correction: unknown {correction!r}; {nearest(str(correction), known)}")
    return [question_of(each, f"{path}: question {i}") for i, each in enumerate(said, 1)], correction
