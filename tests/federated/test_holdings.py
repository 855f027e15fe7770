"""What clients hold and are tested by, on real styles of the same emoji."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tunescope.data.task import task_examples
from tunescope.errors import DataError, StudyError
from tunescope.federated.holdings import clients_of, holdings
from tunescope.models.load import load
from tunescope.study.federated import Federated
from tunescope.study.run import RunSpec

STYLES = ("emoji/openmoji-line", "emoji/twemoji")
SPLIT = {"train": 0.04, "val": 0.03, "probe": 0.03, "test": 0.9}


@pytest.fixture(scope="module")
def laid():
    """Lays a federated run out on the embedded model and data."""
    preprocess = load("emoji-clip").preprocess
    task = {"data": "emoji/twemoji", "label": "group", "split": SPLIT}
    said = {"model": "emoji-clip", "task": task, "adapt": "full", "lr": 1e-3}
    examples = task_examples(RunSpec.parse(said, "test"), preprocess)

    def lay(only=None, places=None, transfer=None, examples=examples, **federated):
        spec = RunSpec.parse(said | {"federated": federated, "transfer": transfer or {}}, "test")
        return holdings(spec, examples, preprocess, None, only, places)

    return lay, examples


def of_class(examples, number):
    at = np.flatnonzero(examples.labels == number)
    ids = tuple(examples.ids[i] for i in at)
    return replace(examples, inputs=examples.inputs[at], labels=examples.labels[at], ids=ids)


def test_each_client_has_its_style_of_the_tasks_concepts(laid):
    lay, examples = laid
    held = lay(data=STYLES, partition="by_domain")
    assert list(held) == list(STYLES)
    unseen = {concept for side in ("val", "probe", "test") for concept in examples[side].ids}
    for ref, one in held.items():
        assert set(one.train.ids) == set(examples["train"].ids)
        assert unseen.isdisjoint(one.train.ids)
        assert set(one.test.ids) == set(examples["test"].ids)
        assert one.weights.sum() == pytest.approx(1)
        same = ref == "emoji/twemoji"
        assert (np.array_equal(one.train.inputs, examples["train"].inputs)) is same
    mixed = lay(data=STYLES, partition={"kind": "iid", "clients": 3})
    assert sum(len(one.train) for one in mixed.values()) == sum(len(one.train) for one in held.values())
    one = mixed["client-0"]  # it has both styles, and is tested by both
    assert len(one.test) == 2 * len(examples["test"])


def test_a_client_is_tested_on_its_own_mixture_of_classes(laid):
    lay, _ = laid
    held = lay(partition={"kind": "pathological", "clients": 4, "classes": 2})
    for one in held.values():
        mine = np.bincount(one.train.labels, minlength=8) / len(one.train)
        assert (mine > 0).sum() == 2
        tested = np.bincount(one.test.labels, weights=one.weights, minlength=8)
        np.testing.assert_allclose(tested, mine, atol=1e-12)


def test_a_clients_machine_reads_its_own_data_alone(laid):
    lay, _ = laid
    private = ("client:ada", "emoji/twemoji")
    assert clients_of(Federated.parse({"data": private, "partition": "by_domain"}, "")) == (
        "ada",
        "emoji/twemoji",
    )
    whole = lay(data=STYLES, partition="by_domain")
    ada = lay(data=private, partition="by_domain", only=["ada"], places={"client:ada": STYLES[0]})
    assert list(ada) == ["ada"]
    np.testing.assert_array_equal(ada["ada"].train.inputs, whole[STYLES[0]].train.inputs)
    assert ada["ada"].test.ids == whole[STYLES[0]].test.ids
    bob = lay(data=private, partition="by_domain", only=["emoji/twemoji"])
    np.testing.assert_array_equal(bob["emoji/twemoji"].train.inputs, whole["emoji/twemoji"].train.inputs)
    assert lay(data=private, partition="by_domain", only=()) == {}
    with pytest.raises(DataError, match="on the machine of the client 'ada' alone"):
        lay(data=private, partition="by_domain")
    dealt = {"partition": {"kind": "dirichlet", "clients": 3, "alpha": 1.0}}
    one, all = lay(**dealt, only=["client-1"]), lay(**dealt)
    assert list(one) == ["client-1"]
    assert one["client-1"].train.ids == all["client-1"].train.ids


def test_data_that_share_no_concept_are_split_by_themselves(laid, tmp_path):
    lay, examples = laid
    classes = examples["train"].class_names[:3]
    ada, bob, cleo = tmp_path / "ada", tmp_path / "bob", tmp_path / "cleo"
    numbers = ((ada, classes[0], 60), (ada, classes[1], 120), (bob, classes[1], 90), (bob, classes[2], 30))
    numbers += ((cleo, classes[2], 60),)
    for folder, name, number in numbers:
        (folder / name).mkdir(parents=True)
        for i in range(number):
            Image.new("RGB", (48, 48), (2 * i, 0, 0)).save(folder / name / f"{i}.png")
    ref = f"folder:{ada}"
    alone = {"data": ["emoji/twemoji", ref], "partition": "by_domain", "only": [ref]}
    held = lay(**alone)[ref]
    assert set(held.train.ids).isdisjoint(held.test.ids)
    assert len(held.train) + len(held.test) == 180
    assert held.train.class_names == examples["train"].class_names
    share = SPLIT["test"] / (SPLIT["test"] + SPLIT["train"])
    assert abs(len(held.test) - 180 * share) < 4 * (180 * share * (1 - share)) ** 0.5
    other = f"folder:{bob}"
    bobs = lay(data=[ref, other], partition="by_domain", only=[other])[other]
    # Nobody tests by what another has trained on.
    shared = {*held.train.ids, *held.test.ids} & {*bobs.train.ids, *bobs.test.ids}
    assert shared & set(bobs.test.ids) == shared & set(held.test.ids) != shared
    last = f"folder:{cleo}"  # who has one class alone
    cleos = lay(data=[ref, last], partition="by_domain", only=[last])[last]
    assert {*cleos.train.labels.tolist(), *cleos.test.labels.tolist()} == {2}
    with pytest.raises(DataError, match="take them out of transfer"):
        lay(**alone, transfer={"shifts": [f"folder:{tmp_path}/./ada"]})


def test_what_cannot_be_dealt_out_is_named(laid):
    lay, examples = laid
    apart = {side: of_class(examples[side], number) for number, side in enumerate(("train", "test"))}
    with pytest.raises(DataError, match="none of the classes that it learns"):
        lay(partition={"kind": "iid", "clients": 1}, examples=examples | apart)
    with pytest.raises(DataError, match="has no class of the task"):
        lay(data=("emoji/twemoji", "emoji/noto:subgroup"), partition="by_domain")
    with pytest.raises(StudyError, match="no client 'client-9'"):
        lay(ranks={"client-9": 2}, partition={"kind": "iid", "clients": 2})
