"""The tower that a run tunes follows from its data; what does not fit is found before anything is decoded."""

import pytest

from tunescope.engine.check import check
from tunescope.engine.tower import tower_of
from tunescope.errors import TunescopeError
from tunescope.models.load import load
from tunescope.results.store import Store
from tunescope.study.run import RunSpec
from tunescope.study.study import Member

WORDS, DRAWN = "emoji/names", "emoji/openmoji"


def spec(model="emoji-clip", data=WORDS, **more):
    said = {"model": str(model), "task": {"data": data}, "adapt": "linear_probe", "lr": 1e-3}
    return RunSpec.parse(said | more, "test")


@pytest.fixture(scope="module")
def joint():
    return load("emoji-clip")


@pytest.mark.parametrize(
    ("tower", "said"),
    [
        ("text", {"transfer": {"shifts": ["emoji/keywords"], "zero_shot": ["emoji/noto:name"]}}),
        ("text", {"probes": [{"kind": "attention", "towers": ["text"]}]}),
        ("vision", {"data": DRAWN, "train": {"augment": "crop_flip"}}),
        ("vision", {"data": DRAWN, "probes": [{"kind": "attention", "towers": ["vision", "text"]}]}),
    ],
)
def test_data_says_which(joint, tower, said):
    assert tower_of(spec(**said), joint) == tower


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (
            {"transfer": {"shifts": ["emoji/noto"]}},
            r"'emoji/noto' holds images, and the task 'emoji/names' texts",
        ),
        (
            {"data": DRAWN, "transfer": {"zero_shot": ["emoji/names"]}},
            r"transfer\.zero_shot: 'emoji/names' holds texts; names of classes make a head for images alone",
        ),
        (
            {"train": {"augment": "crop_flip"}},
            r"augment: crop_flip changes images, and 'emoji/names' holds texts",
        ),
        (
            {"probes": [{"kind": "attention", "towers": ["text", "vision"]}]},
            r"attention probe's towers: a run on texts of emoji-clip has nothing for the vision tower",
        ),
        ({"task": {"data": "emoji/nams"}}, r"unknown style 'nams'; did you mean 'names'"),
    ],
)
def test_what_does_not_fit_the_data_is_named(joint, said, match):
    with pytest.raises(TunescopeError, match=match):
        tower_of(spec(**said), joint)


def told(spec, tmp_path):
    check([Member(group="a", factors={}, spec=spec)], Store(tmp_path / "store"), ())


def test_check_names_model_and_data_that_do_not_fit(tiny_folder, tmp_path):
    vit, bert = tiny_folder("vit"), tiny_folder("bert")
    decoded = tmp_path / "store" / "decoded"
    with pytest.raises(
        TunescopeError, match=r"runs\.a: data 'emoji/names' holds texts, and model .* \(vit\) reads images"
    ):
        told(spec(vit), tmp_path)
    with pytest.raises(
        TunescopeError, match=r"runs\.a: data 'emoji/openmoji' holds images, .* \(bert\) reads texts alone"
    ):
        told(spec(bert, DRAWN), tmp_path)
    with pytest.raises(
        TunescopeError, match=r"runs\.a: .*bert has no vision tower.*remove transfer\.zero_shot"
    ):
        told(spec(bert, transfer={"zero_shot": [DRAWN]}), tmp_path)
    with pytest.raises(TunescopeError, match=r"runs\.a: max_tokens 1000"):
        told(spec(max_tokens=1000), tmp_path)
    assert list(decoded.iterdir()) == []
    told(spec(bert, max_tokens=9), tmp_path)


def test_check_names_pairs_and_objectives_that_do_not_fit(tiny_folder, tmp_path):
    pairs, scored = tmp_path / "pairs.csv", tmp_path / "scored.csv"
    pairs.write_text("premise,hypothesis,label\n" + "".join(f"p{i},h{i},{'ny'[i % 2]}\n" for i in range(8)))
    scored.write_text("text,label\n" + "".join(f"t{i},{i / 2}\n" for i in range(8)))
    with pytest.raises(TunescopeError, match=r"runs\.a: .*emoji-clip.* reads one text at a time, not pairs"):
        told(spec(data=f"text:{pairs}"), tmp_path)
    told(spec(tiny_folder("bert"), f"text:{pairs}"), tmp_path)
    with pytest.raises(TunescopeError, match=r"the labels of .*scored\.csv' are numbers; use squared_error"):
        told(spec(data=f"text:{scored}"), tmp_path)
    with pytest.raises(TunescopeError, match=r"the labels of 'emoji/names' are classes; use cross_entropy"):
        told(spec(objective="squared_error"), tmp_path)
    numbers = {"data": f"text:{scored}", "objective": "squared_error"}
    told(spec(**numbers), tmp_path)
    with pytest.raises(
        TunescopeError, match=r"val_acc1 is not measured, because .* are numbers; use val_loss"
    ):
        told(spec(**numbers, train={"converged": {}}), tmp_path)
    with pytest.raises(TunescopeError, match=r"val_loss is not measured, because .* classes; use val_acc1"):
        told(spec(train={"converged": {"metric": "val_loss"}}), tmp_path)


def test_check_names_penalties_that_do_not_fit_the_method_or_the_images(tmp_path):
    floor = {"kind": "entropy_floor", "weight": 0.5}
    told(spec(adapt="bitfit", penalties=[floor]), tmp_path)
    with pytest.raises(
        TunescopeError,
        match=r"runs\.a: penalty entropy_floor: it looks at the text tower, in which adapt: linear",
    ):
        told(spec(penalties=[floor]), tmp_path)
    fits, floored = (
        Member(group=name, factors={}, spec=spec(penalties=said))
        for name, said in (("l2", ["l2_sp"]), ("floor", ["l2_sp", floor]))
    )
    with pytest.raises(TunescopeError, match=r"runs\.floor: penalty entropy_floor"):
        check([fits, floored], Store(tmp_path / "store"), ())
    with pytest.raises(TunescopeError, match=r"runs\.a: penalty ldifs: .* use augment: none"):
        told(spec(data=DRAWN, adapt="full", penalties=["ldifs"], train={"augment": "crop_flip"}), tmp_path)
