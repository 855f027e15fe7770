import pytest

from tunescope.errors import StudyError
from tunescope.study.asked import question_of, questions_in
from tunescope.study.question import Question

ONE = Question(ask="", metric="accuracy", compare=("lora", "full"))


@pytest.mark.parametrize(
    "said",
    [
        "{metric: accuracy, compare: [lora, full]}",
        " metric: accuracy, compare: [lora, full]",
        {"metric": "accuracy", "compare": ["lora", "full"]},
        ONE,
    ],
)
def test_a_question_is_said_as_in_a_study_file(said):
    assert question_of(said) == ONE


def test_its_own_words_are_kept_and_numbers_are_numbers():
    found = question_of("ask: 'Better, or not?', metric: accuracy, against: lr, at: {lr: 1e-5}")
    assert (found.ask, found.fixed) == ("Better, or not?", {"lr": 1e-5})


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("{metric: accuracy, compare: [lora", ["here", "not valid YAML"]),
        (
            "{ask: So?, metric: a, against: lr}",
            ["a text with a question mark, a colon or a comma stands in quotes"],
        ),
        ("accuracy", ["here: metric: missing", "here: accuracy: unknown key 'accuracy'"]),
        ("metric: a, compar: [x, y]", ["unknown key 'compar'; did you mean 'compare'"]),
        ("metric: a, metric: b", ["'metric' stands twice"]),
        ("metric: !!python/name:os.system ''", ["not valid YAML"]),
        (["accuracy"], ["expected keys such as {metric: …, compare: […]}, got ['accuracy']"]),
    ],
)
def test_what_is_no_question_is_refused(said, parts):
    with pytest.raises(StudyError) as caught:
        question_of(said, "here")
    for part in parts:
        assert part in str(caught.value)


def test_a_file_holds_a_list_or_is_a_study(tmp_path):
    path = tmp_path / "q.yaml"
    path.write_text("- {metric: accuracy, compare: [lora, full]}\n")
    assert questions_in(path) == ([ONE], None)
    path.write_text("study: s\ncorrection: benjamini_hochberg\nquestions:\n- {metric: a, by_depth: true}\n")
    (found,), correction = questions_in(path)
    assert (found.by_depth, correction) == (True, "benjamini_hochberg")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("study: s\n", "expected a list of questions, or a study with some under 'questions'; got none"),
        ("questions: 3\n", "got int"),
        ("- [", "not valid YAML"),
        ("- {metric: a}\n", "question 1: a question has exactly one of"),
        ("correction: helm\nquestions: [{metric: a, by_depth: true}]\n", "'helm'; did you mean 'holm'"),
    ],
)
def test_a_file_without_questions_is_refused(tmp_path, text, said):
    path = tmp_path / "q.yaml"
    path.write_text(text)
    with pytest.raises(StudyError) as caught:
        questions_in(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    with pytest.raises(StudyError, match=r"none\.yaml: cannot be read"):
        questions_in(tmp_path / "none.yaml")
