import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, disable_progress_bars

from tunescope.data import glue
from tunescope.data.load import fingerprint, load, tower
from tunescope.errors import DataError
from tunescope.probes.transfer import TransferProbe

disable_progress_bars()


def stand_in(folder, name, task, change=()):
    """A task of GLUE in small, with splits whose labels are not public."""
    label = ClassLabel(names=list(task.classes)) if task.classes else Value("float32")
    features = Features(
        {column: Value("string") for column in task.columns} | {"label": label, "idx": Value("int32")}
    )
    splits = {}
    for split in (*task.splits, "test"):
        values = [-1] * 4 if split == "test" else [0.5, 1, 2, 3] if not task.classes else [0, 1] * 2
        columns = {column: [f"{split} {column} {i}" for i in range(4)] for column in task.columns}
        splits[split] = Dataset.from_dict(columns | {"label": values, "idx": range(4)}, features=features)
        splits[split] = splits[split].rename_columns(dict(change))
    DatasetDict(splits).save_to_disk(folder / (task.config or name))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(glue, "HUB", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", sorted(glue.GLUE))
def test_a_task_has_its_columns_classes_and_labelled_splits(hub, name):
    task = glue.GLUE[name]
    stand_in(hub, name, task)
    ref = f"glue/{name}"
    data = load(ref)
    assert len(data) == 4 * len(task.splits)
    assert (data.tower, tower(ref), data.templates, data.label) == ("text", "text", ("{}",), None)
    assert data.class_names == tuple(spelt.replace("_", " ") for spelt in task.classes)
    texts = [f"{task.splits[0]} {column} 1" for column in task.columns]
    assert data.item(1) == (tuple(texts) if len(texts) > 1 else texts[0])
    assert data.labels.tolist()[:4] == ([0, 1, 0, 1] if task.classes else [0.5, 1, 2, 3])
    assert fingerprint(ref) == data.fingerprint


def test_its_metrics_are_those_of_the_probe():
    known = {metric.name for metric in TransferProbe.metrics}
    assert {metric for task in glue.GLUE.values() for metric in task.metrics} <= known
    assert [name for name, task in glue.GLUE.items() if not task.classes] == ["stsb"]


def test_what_cannot_be_had_is_named(monkeypatch):
    monkeypatch.setattr(glue, "HUB", "nobody/nothing")
    with pytest.raises(DataError, match=r"nobody/nothing/sst2' cannot be loaded; give an id"):
        load("glue/sst2")


def test_what_is_not_glue_is_named(hub):
    with pytest.raises(DataError, match=r"unknown task 'sst'; did you mean 'sst2'"):
        load("glue/sst")
    task = glue.GLUE["sst2"]
    stand_in(hub, "sst2", task._replace(classes=("bad", "good")))
    with pytest.raises(DataError, match=r"has the classes bad, good; GLUE has negative, positive"):
        load("glue/sst2")
    stand_in(hub, "cola", glue.GLUE["cola"], change={"sentence": "text"}.items())
    with pytest.raises(DataError, match=r"has no column 'sentence'; is it GLUE's"):
        load("glue/cola")
    stand_in(hub, "rte", glue.GLUE["rte"]._replace(splits=("train",)))
    with pytest.raises(DataError, match=r"has no split 'validation'"):
        load("glue/rte")
