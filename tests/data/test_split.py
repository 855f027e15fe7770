import hashlib
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tunescope.data.dataset import DataSet
from tunescope.data.load import load
from tunescope.data.split import SIDES, large_classes, split
from tunescope.errors import DataError
from tunescope.study.run import Split


def images_of(sizes, prefix="x", **settings: Any):
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    return DataSet(
        name="made up",
        ids=tuple(f"{prefix}{i}" for i in range(len(labels))),
        labels=labels,
        class_names=tuple(f"c{i}" for i in range(len(sizes))),
        templates=("{}",),
        fingerprint="0" * 64,
        read=lambda index: Image.new("RGB", (2, 2)),
        **settings,
    )


def test_sides_are_disjoint_whole_and_stratified():
    images = images_of([4, 5, 10, 37, 200])
    sides = split(images, Split(), 4)
    assert list(sides) == list(SIDES)
    together = np.concatenate(list(sides.values()))
    assert sorted(together.tolist()) == list(range(256))
    for side, share in {"train": 0.6, "val": 0.1, "probe": 0.1, "test": 0.2}.items():
        counts = Counter(images.labels[sides[side]].tolist())
        for label, size in enumerate([4, 5, 10, 37, 200]):
            assert counts[label] >= 1
            assert abs(counts[label] - share * size) <= 1.5


def test_ranks_are_those_of_the_hash():
    images = images_of([10, 10])
    order = sorted(range(10), key=lambda i: hashlib.sha256(images.ids[i].encode()).hexdigest())
    sides = split(images, Split(), 4)
    assert set(sides["train"][sides["train"] < 10]) == set(order[:6])
    assert set(sides["test"][sides["test"] < 10]) == set(order[8:])


def test_order_of_the_set_does_not_matter():
    images = images_of([9, 14])
    backwards = images.select(range(len(images) - 1, -1, -1))
    first, second = split(images, Split(), 4), split(backwards, Split(), 4)
    for side in SIDES:
        assert {images.ids[i] for i in first[side]} == {backwards.ids[i] for i in second[side]}


def test_a_class_elsewhere_does_not_move_a_concept():
    few, many = images_of([9, 14]), images_of([9, 14, 30])
    first, second = split(few, Split(), 4), split(many, Split(), 4)
    for side in SIDES:
        assert first[side].tolist() == [i for i in second[side] if i < 23]


def test_near_duplicates_stay_together():
    groups = tuple(f"g{i // 3}" for i in range(60))
    images = images_of([30, 30], groups=groups)
    at = defaultdict(set)
    for side, indices in split(images, Split(), 4).items():
        for i in indices:
            at[groups[i]].add(side)
    assert all(len(found) == 1 for found in at.values())
    assert Counter(next(iter(found)) for found in at.values()) == {
        "train": 12,
        "val": 2,
        "probe": 2,
        "test": 4,
    }


def test_gender_variants_of_an_emoji_stay_together():
    images = large_classes(load("emoji/openmoji:subgroup"), 4)
    sides = split(images, Split(), 4)
    name_of = dict(zip(load("emoji/noto").ids, _names(), strict=True))
    side_of = {name_of[images.ids[i]]: side for side, indices in sides.items() for i in indices}
    assert side_of["man firefighter"] == side_of["woman firefighter"] == side_of["firefighter"]


def _names():
    images = load("emoji/noto:name")
    return [images.class_names[label] for label in images.labels]


def test_every_style_is_split_alike():
    sides = []
    for style in ("openmoji", "noto"):
        images = large_classes(load(f"emoji/{style}:subgroup"), 12)
        sides.append({s: {images.ids[i] for i in found} for s, found in split(images, Split(), 12).items()})
    assert sides[0] == sides[1]


def test_small_emoji_classes_are_left_out():
    images = large_classes(load("emoji/openmoji", "subgroup"), 4)
    assert "animal amphibian" not in images.class_names
    assert "face smiling" in images.class_names
    assert min(Counter(images.labels.tolist()).values()) >= 4
    assert set(images.labels.tolist()) == set(range(len(images.class_names)))
    with pytest.raises(DataError, match=r"no class has 4 or more concepts; at least two such classes"):
        large_classes(load("emoji/openmoji:name"), 4)
    with pytest.raises(DataError, match=r"only the class 'person role' has 20 or more concepts"):
        large_classes(load("emoji/openmoji:subgroup").restrict(["person role", "zodiac"]), 20)


def test_numbers_are_split_as_one_by_the_hash_of_the_concept():
    numbers = images_of([20])
    numbers = replace(numbers, labels=np.linspace(0, 5, 20), class_names=())
    sides = split(large_classes(numbers, 4), Split(), 4)
    assert [len(sides[side]) for side in SIDES] == [12, 2, 2, 4]
    order = sorted(range(20), key=lambda i: hashlib.sha256(numbers.ids[i].encode()).hexdigest())
    assert set(sides["test"]) == set(order[16:])
    assert numbers.restrict(["cat"]) is numbers
    with pytest.raises(DataError, match=r"data 'made up': 3 images; at least 4 are needed"):
        split(numbers.select(range(3)), Split(), 4)


def test_elsewhere_small_classes_are_errors_with_name_and_number():
    with pytest.raises(DataError, match=r"class 'c1' has 2 images, too few .* at least 4 are needed"):
        split(images_of([8, 2, 8]), Split(), 4)
    with pytest.raises(DataError, match=r"class 'c0' has 1 image, "):
        large_classes(images_of([1, 2]), 4)
    with pytest.raises(DataError, match=r"only the class 'c0' has"):
        split(images_of([8]), Split(), 4)
    with pytest.raises(DataError, match=r"class 'c1' has 0 images"):
        split(images_of([8, 8]).select(range(8)), Split(), 4)
    with pytest.raises(DataError, match=r"class 'c0' has 2 concepts"):  # six images of two concepts
        split(images_of([6, 8], groups=tuple("aaabbb") + tuple("cdefghij")), Split(), 4)
