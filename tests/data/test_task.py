import shutil

import numpy as np
import pytest
from PIL import Image

from tunescope.data.task import task_examples, task_sets
from tunescope.errors import DataError
from tunescope.study.run import RunSpec


class Square:
    size = 4
    key = "square"

    def array(self, image):
        return np.asarray(image.convert("RGB").resize((4, 4)))


def spec(data, label=None, shifts=(), zero_shot=(), **task):
    return RunSpec.parse(
        {
            "model": "none",
            "task": {"data": data, "label": label, **task},
            "transfer": {"shifts": shifts, "zero_shot": zero_shot},
            "adapt": "full",
            "lr": 1e-3,
        },
        "test",
    )


EMOJI = spec(
    "emoji/openmoji:subgroup",
    shifts=["emoji/noto", "emoji/twemoji"],
    zero_shot=["emoji/noto:name", "emoji/noto"],
    min_per_class=12,
)


def test_emoji_task_has_every_part():
    sets = task_sets(EMOJI)
    assert list(sets) == [
        *("train", "val", "probe", "test"),
        *("shift:emoji/noto", "shift:emoji/twemoji", "zero_shot:emoji/noto:name", "zero_shot:emoji/noto"),
    ]
    names = sets["train"].class_names
    assert "face smiling" in names
    assert "hotel" not in names
    for part in ("val", "probe", "test", "shift:emoji/noto", "shift:emoji/twemoji"):
        assert sets[part].class_names == names
        assert set(sets[part].labels.tolist()) == set(range(len(names)))


def test_nothing_trained_on_or_chosen_by_is_tested():
    sets = task_sets(EMOJI)
    used = {concept for side in ("train", "val", "probe") for concept in sets[side].ids}
    label_of = dict(zip(sets["test"].ids, sets["test"].labels.tolist(), strict=True))
    for part, images in sets.items():
        if part not in ("train", "val", "probe"):
            assert not used & set(images.ids)
    for style in ("noto", "twemoji"):
        shift = sets[f"shift:emoji/{style}"]
        assert set(shift.ids) == set(label_of)
        assert all(label_of[i] == label for i, label in zip(shift.ids, shift.labels.tolist(), strict=True))


def test_zero_shot_keeps_every_candidate():
    names = task_sets(EMOJI)["zero_shot:emoji/noto:name"]
    assert len(names.class_names) == 1562
    assert set(names.ids) > set(task_sets(EMOJI)["test"].ids)  # concepts of classes left out are unseen too
    assert (
        names.class_names[names.labels[names.ids.index("1f48a")]] == "pill" if "1f48a" in names.ids else True
    )
    assert len(task_sets(EMOJI)["zero_shot:emoji/noto"].class_names) == 8


def test_examples_are_what_the_model_will_see():
    examples = task_examples(EMOJI, Square())
    sets = task_sets(EMOJI)
    for part, found in examples.items():
        assert found.split == part
        assert found.inputs.shape == (len(sets[part]), 4, 4, 3)
        assert found.inputs.dtype == np.uint8
        assert found.ids == sets[part].ids
        assert found.labels.tolist() == sets[part].labels.tolist()
        last = Square().array(sets[part].image(len(found) - 1))
        assert np.array_equal(found.inputs[-1], last)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):
        (tmp_path / "photo" / name).mkdir(parents=True)
        for i in range(6):
            noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "photo" / name / f"{i}.png")
    return tmp_path / "photo"


def test_parallel_folders_share_sides_and_others_are_tested_whole(photos):
    sketch, other = photos.parent / "sketch", photos.parent / "other"
    shutil.copytree(photos, sketch)
    shutil.copytree(photos / "bee", other / "bee", copy_function=_under_another_name)
    shutil.copytree(photos / "bee", other / "dog")
    shifts = [f"folder:{sketch}", f"folder:{other}"]
    sets = task_sets(spec(f"folder:{photos}", shifts=shifts))
    assert set(sets[f"shift:folder:{sketch}"].ids) == set(sets["test"].ids)
    unrelated = sets[f"shift:folder:{other}"]
    assert len(unrelated) == 6
    assert unrelated.class_names == ("ant", "bee", "cat")
    assert unrelated.labels.tolist() == [1] * 6


def _under_another_name(source, target):
    shutil.copy(source, target.replace(".png", "-other.png"))


def test_one_class_has_nothing_to_be_told_from(photos):
    lonely = photos.parent / "lonely"
    shutil.copytree(photos / "bee", lonely / "bee", copy_function=_under_another_name)
    reference = f"folder:{lonely}"
    assert len(task_sets(spec(f"folder:{photos}", shifts=[reference]))[f"shift:{reference}"]) == 6
    with pytest.raises(DataError, match=r"zero_shot .*lonely' has only the class 'bee'"):
        task_sets(spec(f"folder:{photos}", zero_shot=[reference]))
    with pytest.raises(DataError, match="only the class 'bee' has 4 or more"):
        task_sets(spec(reference))


def test_skipped_images_are_counted_and_raised_otherwise(photos):
    (photos / "ant" / "3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"ant/3\.png"):
        task_examples(spec(f"folder:{photos}"), Square())
    examples = task_examples(spec(f"folder:{photos}", on_error="skip"), Square())
    assert examples["train"].skipped == ("ant/3.png",)
    assert sum(len(part) for part in examples.values()) == 17


def test_skipping_does_not_hide_an_emptied_class(photos):
    for path in (photos / "ant").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"class 'ant' has 0 images \(6 broken images were skipped\)"):
        task_sets(spec(f"folder:{photos}", on_error="skip"))


def test_a_label_that_cannot_be_chosen_is_an_error(photos):
    with pytest.raises(
        DataError, match=r"task.label is 'group', but data 'emoji/noto:name' already says 'name'"
    ):
        task_sets(spec("emoji/noto:name", "group"))
    with pytest.raises(DataError, match=r"has one label only; remove"):
        task_sets(spec(f"folder:{photos}", "group"))


def write(path, rows):
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return f"text:{path}"


def test_texts_have_every_part_and_what_was_learnt_from_is_not_tested(tmp_path):
    words = [(f"word {i}", "ab"[i % 2]) for i in range(24)]
    task = write(tmp_path / "task.csv", words)
    shift = write(tmp_path / "shift.csv", [*words, ("new", "a"), ("other", "c")])
    examples = task_examples(spec(task, shifts=[shift]), None)
    assert list(examples) == ["train", "val", "probe", "test", f"shift:{shift}"]
    for part in examples.values():
        assert (part.tower, part.inputs.dtype, part.templates) == ("text", object, ("{}",))
        assert part.class_names == ("a", "b")
        assert not part.regression
    assert set(examples[f"shift:{shift}"].inputs) == {*examples["test"].inputs, "new"}
    learnt = examples["train"]
    assert [dict(words)[text] for text in learnt.inputs] == [learnt.class_names[i] for i in learnt.labels]


def test_numbers_are_shifted_to_numbers(tmp_path):
    task = write(tmp_path / "task.csv", [(f"word {i}", i / 2) for i in range(20)])
    shift = write(tmp_path / "shift.csv", [("new", 7.5), ("newer", -1.0)])
    examples = task_examples(spec(task, shifts=[shift]), None)
    assert all(part.regression and part.class_names == () for part in examples.values())
    assert examples[f"shift:{shift}"].labels.tolist() == [7.5, -1.0]
    classes = write(tmp_path / "classes.csv", [("new", "a"), ("newer", "b")])
    with pytest.raises(DataError, match=r"has no class of the task .*: a, b against numbers"):
        task_sets(spec(task, shifts=[classes]))


def test_pairs_are_two_columns(tmp_path):
    rows = "".join(f"p{i},h{i},{i % 2}\n" for i in range(8))
    (tmp_path / "nli.csv").write_text("premise,hypothesis,label\n" + rows)
    test = task_examples(spec(f"text:{tmp_path / 'nli.csv'}"), None)["test"]
    assert test.inputs.shape == (len(test), 2)
    assert all(a == "p" + b[1:] for a, b in test.inputs)


def test_images_are_not_for_a_model_that_reads_texts(photos):
    with pytest.raises(DataError, match=r"holds images, and the model reads texts alone"):
        task_examples(spec(f"folder:{photos}"), None)


def test_transfer_sets_that_test_nothing_are_errors(photos):
    with pytest.raises(DataError, match=r"has no class of the task .*ant, bee, cat against"):
        task_sets(spec("emoji/noto", shifts=[f"folder:{photos}"]))
    shutil.copytree(photos / "ant", photos.parent / "tested" / "ant")
    shutil.copytree(photos / "bee", photos.parent / "tested" / "bee")
    kept = {path.split("/")[1] for path in task_sets(spec(f"folder:{photos}"))["test"].ids}
    for path in (photos.parent / "tested").rglob("*.png"):
        if path.name in kept:
            path.unlink()
    for name in ("ant", "bee"):  # what is left has been trained on
        assert any((photos.parent / "tested" / name).iterdir())
    with pytest.raises(DataError, match=r"nothing is left to test"):
        task_sets(spec(f"folder:{photos}", shifts=[f"folder:{photos.parent / 'tested'}"]))


def test_data_with_another_number_of_classes_than_said_are_refused():
    found = len(task_sets(EMOJI)["train"].class_names)
    said = {"min_per_class": 12, "num_classes": found}
    assert len(task_sets(spec("emoji/openmoji:subgroup", **said))["train"].class_names) == found
    with pytest.raises(
        DataError, match=rf"num_classes is 10, and data 'emoji/openmoji:subgroup' has {found} "
    ):
        task_sets(spec("emoji/openmoji:subgroup", **said | {"num_classes": 10}))
