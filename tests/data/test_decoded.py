import multiprocessing
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tunescope.data.dataset import DataSet
from tunescope.data.decoded import broken, key, mapped
from tunescope.data.examples import materialise
from tunescope.data.load import load
from tunescope.data.task import task_examples
from tunescope.errors import DataError
from tunescope.models.preprocess import HALF, Preprocess
from tunescope.study.run import RunSpec

SQUARE = Preprocess(8, "stretch", False, 8, 2, HALF, HALF)


def fill(root: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for i in range(8):
            noise = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def photos(tmp_path) -> DataSet:
    return load(f"folder:{fill(tmp_path / 'photos')}")


def counted(images: DataSet) -> tuple[DataSet, list[int]]:
    """The same images, and a list of what has been decoded."""
    asked: list[int] = []

    def read(index: int) -> Image.Image:
        asked.append(index)
        return images.image(index)

    return replace(images, read=read), asked


def test_images_are_decoded_once_and_then_mapped(photos, tmp_path):
    images, asked = counted(photos)
    kept, chosen = tmp_path / "store" / "decoded", np.array([3, 9, 0])
    in_memory = materialise(images, chosen, SQUARE, "val")
    asked.clear()
    first = materialise(images, chosen, SQUARE, "val", kept)
    assert asked == [3, 9, 0]
    shutil.rmtree(tmp_path / "photos")
    second = materialise(images, chosen, SQUARE, "test", kept)
    assert asked == [3, 9, 0]
    for found in (first.inputs, second.inputs):
        assert isinstance(found, np.memmap)
        assert not found.flags.writeable
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, in_memory.inputs)
    assert (second.split, second.ids) == ("test", in_memory.ids)
    (file,) = kept.iterdir()
    np.testing.assert_array_equal(np.load(file, allow_pickle=False), in_memory.inputs)


def test_whatever_decides_the_pixels_makes_another_file(photos, tmp_path):
    kept = tmp_path / "decoded"

    def made(images: DataSet, indices: list[int], preprocess: Preprocess, split: str) -> int:
        materialise(images, indices, preprocess, split, kept)
        return len(list(kept.iterdir()))

    assert made(photos, [1, 2], SQUARE, "val") == 1
    assert made(photos, [1, 2], replace(SQUARE, mean=(0.0, 0.0, 0.0)), "val") == 1  # comes later
    assert made(photos, [2, 1], SQUARE, "val") == 2
    others = [{"size": 6}, {"resample": 3}, {"resize": "shortest"}, {"crop": True}, {"edge": 9}]
    for count, change in enumerate(others, 3):
        assert made(photos, [1, 2], replace(SQUARE, **change), "val") == count
    same = shutil.copytree(tmp_path / "photos", tmp_path / "elsewhere")
    assert made(load(f"folder:{same}"), [1, 2], SQUARE, "val") == 7
    other = load(f"folder:{fill(tmp_path / 'other', seed=1)}")
    assert other.ids == photos.ids
    assert made(other, [1, 2], SQUARE, "val") == 8


def test_the_splits_of_a_run(tmp_path):
    said = {"model": "none", "task": {"data": f"folder:{fill(tmp_path / 'photos')}"}, "lr": 1e-3}
    spec = RunSpec.parse(said | {"adapt": "full"}, "spec")
    plain, once = task_examples(spec, SQUARE), task_examples(spec, SQUARE, tmp_path / "decoded")
    assert plain.keys() == once.keys()
    for name, part in once.items():
        assert isinstance(part.inputs, np.memmap)
        np.testing.assert_array_equal(part.inputs, plain[name].inputs)
    assert len(list((tmp_path / "decoded").iterdir())) == 4


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_shape(path: Path) -> None:
    np.save(path, IMAGES.reshape(5, 4, 2, 6), allow_pickle=False)


def of_another_type(path: Path) -> None:
    np.save(path, IMAGES.view(np.int8), allow_pickle=False)


def not_an_array(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


@pytest.mark.parametrize("spoil", [torn, longer, empty, of_another_shape, of_another_type, not_an_array])
def test_a_file_that_is_not_whole_is_made_again(tmp_path, spoil):
    path = tmp_path / "a.npy"
    mapped(path, IMAGES.shape, IMAGES)
    whole = path.read_bytes()
    np.testing.assert_array_equal(mapped(path, IMAGES.shape, ()), IMAGES)  # nothing is asked for
    spoil(path)
    assert path.read_bytes() != whole
    np.testing.assert_array_equal(mapped(path, IMAGES.shape, IMAGES), IMAGES)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_an_image_that_cannot_be_decoded_leaves_nothing(photos, tmp_path):
    (tmp_path / "photos" / "ant" / "3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"ant/3\.png' is not an image"):
        materialise(photos, [1, 3], SQUARE, "val", tmp_path / "decoded")
    assert list((tmp_path / "decoded").iterdir()) == []


def too_little_room(path: Path, side: int, told) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    shape = (100, side, side, 3)
    try:
        mapped(path, shape, np.zeros(shape, np.uint8))
    except DataError as error:
        told.send(str(error))


@pytest.mark.parametrize(("side", "size"), [(8, "0.0"), (80, "1.9")])
def test_no_room_is_told_and_leaves_nothing(tmp_path, side, size):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=too_little_room, args=(tmp_path / "decoded" / "a.npy", side, theirs))
    process.start()
    assert ours.poll(60)
    message = ours.recv()
    process.join()
    assert message == (
        f"folder {tmp_path / 'decoded'}: 100 decoded images ({size} MB) cannot be kept there "
        "(File too large); free space, mend its permissions, or keep the results elsewhere"
    )
    assert list((tmp_path / "decoded").iterdir()) == []


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "decoded").write_text("a file")
    with pytest.raises(DataError, match=r"decoded: 5 decoded images \(0\.0 MB\) cannot be kept there"):
        mapped(tmp_path / "decoded" / "a.npy", IMAGES.shape, IMAGES)


def test_two_that_make_the_same_file_are_harmless(tmp_path):
    path = tmp_path / "a.npy"

    def slowly():
        yield from IMAGES[:3]
        meanwhile = mapped(path, IMAGES.shape, IMAGES)  # another one starts later and is done first
        np.testing.assert_array_equal(meanwhile, IMAGES)
        yield from IMAGES[3:]

    np.testing.assert_array_equal(mapped(path, IMAGES.shape, slowly()), IMAGES)
    np.testing.assert_array_equal(mapped(path, IMAGES.shape, ()), IMAGES)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_tidied_away_meanwhile_is_still_there_for_who_made_it(tmp_path):
    path = tmp_path / "a.npy"

    def tidied():
        yield from IMAGES
        for part in tmp_path.iterdir():
            part.unlink()

    np.testing.assert_array_equal(mapped(path, IMAGES.shape, tidied()), IMAGES)
    found = mapped(path, IMAGES.shape, IMAGES)
    path.unlink()
    np.testing.assert_array_equal(found, IMAGES)


def test_memory_stays_flat_however_many_images_there_are(tmp_path):
    count, side = 60, 200
    total = count * side * side * 3
    images = DataSet(
        name="made",
        ids=tuple(map(str, range(count))),
        labels=np.zeros(count, dtype=np.int64),
        class_names=("one",),
        templates=("{}",),
        fingerprint="f" * 64,
        read=lambda index: Image.new("RGB", (20, 20), (index, 0, 0)),
    )
    large = Preprocess(side, "stretch", False, side, 2, HALF, HALF)

    def peak(decoded: Path | None) -> int:
        tracemalloc.start()
        try:
            found = materialise(images, range(count), large, "val", decoded)
            assert found.inputs[59, 0, 0, 0] == 59
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(None) > total
    assert peak(tmp_path) < total / 10
    assert peak(tmp_path) < total / 10


def test_the_key_tells_lists_of_names_apart():
    assert key("f", ("ab", "c"), "p") != key("f", ("a", "bc"), "p")
    assert len({key("f", ("a",), "p"), key("g", ("a",), "p"), key("f", ("a",), "q")}) == 3


def test_every_reader_of_images_takes_a_map_that_is_read_only(tiny, tmp_path):
    from tunescope.data.examples import Examples
    from tunescope.methods.method import Method
    from tunescope.models.heads import LinearHead
    from tunescope.probes.attention import AttentionProbe
    from tunescope.probes.probe import Subject
    from tunescope.probes.transfer import TransferProbe
    from tunescope.training.loop import train

    encoder = tiny("vit")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    images = mapped(tmp_path / "a.npy", pixels.shape, pixels)
    ids = tuple(map(str, range(9)))
    examples = Examples(images, np.arange(9) % 3, ids, ("a", "b", "c"), ("{}",), "train")
    penalties = [{"kind": "entropy_floor"}]
    said = {"model": "tiny", "task": {"data": "noise"}, "adapt": "full", "lr": 1e-3, "penalties": penalties}
    spec = RunSpec.model_validate(said | {"train": {"epochs": 1, "batch_size": 4}})
    assert isinstance(spec.adapt, Method)
    head = LinearHead(encoder.feature_dim, 3)
    train(encoder, spec.adapt.install(encoder), head, spec, examples, examples)
    subject = Subject(encoder, head, "vision", {"probe": examples, "val": examples})
    for probe in (AttentionProbe(), TransferProbe()):
        assert probe.measure(subject).rows


def test_broken_images_are_looked_for_once(tmp_path):
    root, folder = fill(tmp_path / "photos"), tmp_path / "decoded"
    victim = root / "bee" / "3.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    images, asked = counted(load(f"folder:{root}"))
    place = images.ids.index("bee/3.png")
    assert broken(images, folder) == [place]
    assert len(asked) == 16
    assert broken(images, folder) == [place]
    assert len(asked) == 16
    assert load(f"folder:{root}", on_error="skip", decoded=folder).skipped == ("bee/3.png",)
    (file,) = folder.iterdir()
    for nonsense in ("", "{}", '["a"]', "[99]"):
        file.write_text(nonsense)
        assert broken(images, folder) == [place]
    victim.write_bytes(whole)
    assert load(f"folder:{root}", on_error="skip", decoded=folder).skipped == ()  # another content
