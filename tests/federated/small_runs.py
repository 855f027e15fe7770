"""Federated runs that take a second, for the tests."""

from tunescope.data.task import task_examples
from tunescope.engine.joining import lay_out
from tunescope.engine.work import head_for, install
from tunescope.federated.client import TuningJob
from tunescope.models.load import load
from tunescope.study.run import RunSpec

LORA = {"kind": "lora", "rank": 2, "dropout": 0.2}
SPLIT = {"train": 0.4, "val": 0.2, "probe": 0.2, "test": 0.2}
EACH = 10  # images of each of three colours
TRAIN = {"epochs": 4, "batch_size": 6}


def job_of(spec: RunSpec, folder=None) -> TuningJob:
    """What the clients of a run work on."""
    encoder = load(spec.model)
    examples = task_examples(spec, encoder.preprocess)
    held = lay_out(spec, encoder, examples, None)
    head = head_for(spec, encoder, examples["train"])
    return TuningJob(spec, encoder, install(spec, encoder, "vision"), head, held, examples, folder)
