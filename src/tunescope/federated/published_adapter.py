"""The adapter and the head of a published run, for the model that it tuned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tunescope.data.task import task_sets
from tunescope.errors import MethodError
from tunescope.federated.adapter_task import AdapterTask
from tunescope.federated.factors import Factors
from tunescope.federated.of_factors import packed
from tunescope.federated.shared import ADAPTER, HEAD
from tunescope.methods.lora import LoRA
from tunescope.models.encoder import Encoder
from tunescope.models.fingerprint import fingerprint
from tunescope.results.published import Published
from tunescope.study.run import RunSpec


def adapter_of(run: str | Path, encoder: Encoder) -> AdapterTask:
    """What a run that tuned this model with LoRA has learnt, on the model; ranks are as the run ended.

    Args:
        run: the run's folder.
        encoder: a plain one, on which it is put.

    Raises:
        StoreError: the folder holds no run.
        MethodError: the run tuned another model or in another way, or its adapter was merged into the base.
    """
    folder = Path(run)
    found = Published(folder.name, folder)
    spec = RunSpec.parse(found.spec, str(folder / "spec.json"))
    if spec.image_size is not None or fingerprint(spec.model) != fingerprint(encoder.name):
        size = "" if spec.image_size is None else f" at image_size {spec.image_size}"
        raise MethodError(f"{folder}: the run tuned {spec.model!r}{size}, and the base is {encoder.name!r}")
    if not isinstance(spec.adapt, LoRA):
        raise MethodError(f"{folder}: the run tuned with {spec.adapt.kind}; expected lora")
    weights = {} if found.weights is None else load_file(found.weights)
    if not weights:
        raise MethodError(f"{folder}: the run failed, and has no weights")
    if not any(name.endswith(f".lora_A.{ADAPTER}.weight") for name in weights):
        raise MethodError(f"{folder}: the run's adapter was merged into the base; no adapter is left to load")
    named = task_sets(spec)["train"]
    objective: Any = spec.objective
    head = objective.build_head(encoder, named.class_names, named.templates)
    own = {name.removeprefix(HEAD): array for name, array in weights.items() if name.startswith(HEAD)}
    head.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    installed = spec.adapt.install(encoder, "vision")
    task = AdapterTask(installed, head, named.class_names, named.templates)
    arrays = packed(_factors(task, weights), {}, _head_of(task))
    task.shared.shape(arrays)
    task.shared.put(arrays)
    task.shared.describe()
    return task


def _factors(task: AdapterTask, weights: Mapping[str, NDArray]) -> dict[str, Factors]:
    found = {}
    for path, layer in task.shared.layers.items():
        a, b = (weights[f"encoder.{path}.lora_{which}.{ADAPTER}.weight"] for which in "AB")
        found[path] = Factors(a, b, layer.lora_alpha[ADAPTER] / len(a))
    return found


def _head_of(task: AdapterTask) -> dict[str, NDArray]:
    return {name: array for name, array in task.shared.arrays().items() if name.startswith(HEAD)}
