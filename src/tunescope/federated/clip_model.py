"""A CLIP model with LoRA as an object: what is tuned, what travels, and several tasks on one base."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tunescope.errors import MethodError, ModelError, nearest
from tunescope.federated.adapter_task import AdapterTask
from tunescope.federated.clip_task import task_of
from tunescope.federated.job import Arrays
from tunescope.federated.published_adapter import adapter_of
from tunescope.federated.rank_from import at_rank
from tunescope.federated.robust import unusable
from tunescope.federated.shared import ADAPTER
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead, class_embeddings, zero_shot_logits
from tunescope.models.load import load
from tunescope.study.clip_settings import ROLES, ClipSettings

TEMPLATES = ("a photo of a {}.",)
FIRST = "default"  # the task that a model is made with


class ClipModel(nn.Module):
    """A CLIP model of which a small part is tuned and travels.

    Every task has an adapter and a head of its own, on one base that is in memory once. One task is at work
    at a time: `parameters()`, `get_parameters()` and logits are its.

    Args:
        encoder: a freshly loaded CLIP.

    Attributes:
        clip: the model itself, a `CLIPModel` of transformers.
        head: of the task at work.
        task: the name of the task at work.
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.clip = encoder.model
        self.head: nn.Module = nn.Identity()
        self.task = FIRST
        self._tasks: dict[str, AdapterTask] = {}

    def forward(self, images: Any) -> Tensor:
        """Logits of images, [b, classes]; in training mode gradients reach every encoder that is tuned.

        Args:
            images: uint8 [b, S, S, 3], as `encoder.preprocess.array` makes them of pictures; or normalised
                pixels, float32 [b, 3, S, S].

        Raises:
            MethodError: the head is a zero-shot one, and has no class names.
        """
        raw = images.dtype in (np.uint8, torch.uint8)
        pixels = self.encoder.pixels(images) if raw else torch.as_tensor(images)
        features = self.encoder.image_features(pixels.to(self.encoder.device))
        names = self._at_work.class_names
        if not self.training or isinstance(self.head, LinearHead) or not names:
            return self.head(features)
        texts = class_embeddings(self.encoder, names, self._at_work.templates)
        return zero_shot_logits(features, texts, self.encoder.logit_scale, self.encoder.logit_bias)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names, in the order in which they were added."""
        return tuple(self._tasks)

    @property
    def _at_work(self) -> AdapterTask:
        return self._tasks[self.task]

    def is_lora_enabled(self) -> bool:
        """Whether a LoRA adapter is on the model; no longer once it has been merged."""
        return self._at_work.removable

    def get_lora_info(self) -> dict[str, Any]:
        """The adapter as it is now.

        Returns:
            `enabled`, `task` and `trainable_parameters`, the head's not among them; and of LoRA `r`,
            `lora_alpha`, `lora_dropout`, `target_modules` by encoder, and `ranks` by path.
        """
        task = self._at_work
        trained = sum(p.numel() for p in task.installed.trainable.values())
        found = {"enabled": self.is_lora_enabled(), "task": self.task, "trainable_parameters": trained}
        if not self.is_lora_enabled():
            return found
        config = self.clip.peft_config[ADAPTER]
        layers = task.shared.layers
        return found | {
            "r": config.r,
            "lora_alpha": config.lora_alpha,
            "lora_dropout": config.lora_dropout,
            "target_modules": self._targets(layers),
            "ranks": {path: layer.r[ADAPTER] for path, layer in layers.items()},
        }

    def get_model_summary(self) -> dict[str, Any]:
        """The model in numbers, the adapter and the head of the task at work included.

        Returns:
            `model_name`, `task`, `head`, `lora_enabled`; `total_parameters`, `trainable_parameters`,
            `trainable_share`; `bytes_sent`, what travels one way in a round.
        """
        total, trained = _count(self.parameters()), _count(p for p in self.parameters() if p.requires_grad)
        return {
            "model_name": self.encoder.name,
            "task": self.task,
            "head": "linear" if isinstance(self.head, LinearHead) else "zero-shot",
            "lora_enabled": self.is_lora_enabled(),
            "total_parameters": total,
            "trainable_parameters": trained,
            "trainable_share": trained / total,
            "bytes_sent": sum(array.nbytes for array in self.get_parameters().values()),
        }

    def get_parameters(self) -> dict[str, NDArray]:
        """Copies of what travels, by name, and nothing else: LoRA's factors and scales, a trained head."""
        return self._at_work.shared.arrays()

    def set_parameters(self, parameters: Arrays) -> None:
        """Put arrays in the places of those that `get_parameters` gives.

        Raises:
            MethodError: what is given is no mapping of arrays, a name is missing or unknown, a shape or a
                type is another, or a value is not finite; nothing has been changed.
        """
        given = parameters if isinstance(parameters, Mapping) else {"parameters": parameters}
        if others := [name for name, value in given.items() if not isinstance(value, np.ndarray)]:
            raise MethodError(
                f"set_parameters: {others[0]!r} is a {type(given[others[0]]).__name__}; expected a mapping "
                "of names to NumPy arrays, as get_parameters() gives it (a tensor by its .numpy())"
            )
        if (wrong := unusable(parameters, self.get_parameters())) is not None:
            raise MethodError(f"set_parameters: {wrong}; give what get_parameters() of such a model gave")
        self._at_work.shared.put(parameters)

    def set_rank(self, rank: int, seed: int = 0) -> None:
        """Give every factor another rank: its product stays, or is the nearest of the lower rank.

        α stays, and the change is scaled by α / r. The parameters are new ones, and an optimiser of the old
        ones has to be made anew.

        Args:
            rank: from 1 to the smaller side of the matrices.
            seed: of rows that are drawn where the rank grows.

        Raises:
            MethodError: no LoRA is on the model, or a matrix has no such rank.
        """
        self._needs_lora("set_rank")
        shared = self._at_work.shared
        most = min(min(layer.get_base_layer().weight.shape) for layer in shared.layers.values())
        if not isinstance(rank, int) or not 1 <= rank <= most:
            raise MethodError(
                f"set_rank: rank={rank!r}; expected a whole number, 1 to {most}, the smaller side of a matrix"
            )
        arrays = at_rank(shared.arrays(), rank, self.clip.peft_config[ADAPTER].lora_alpha / rank, seed)
        shared.shape(arrays)
        shared.put(arrays)
        shared.describe()

    def merge(self) -> None:
        """Fold the adapter into the base: the model is an ordinary CLIP then, and the head alone is tuned.

        Raises:
            MethodError: no LoRA is on the model, or other tasks stand on the same base.
        """
        self._needs_lora("merge")
        if others := [name for name in self._tasks if name != self.task]:
            raise MethodError(
                f"merge: it would change the base under the task {others[0]!r}; merge in a model that has "
                f"{self.task!r} alone"
            )
        task = self._at_work
        task.installed.merge()
        self._begin(AdapterTask(task.installed, task.head, task.class_names, task.templates))

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapter of the task at work in peft's format; `PeftModel.from_pretrained` reads it.

        Raises:
            MethodError: no LoRA is on the model.
        """
        self._needs_lora("save_adapter")
        self._at_work.installed.save_adapter(folder)

    def add_task(
        self,
        name: str,
        lora: Mapping[str, Any] | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        templates: Sequence[str] = TEMPLATES,
        seed: int = 0,
    ) -> None:
        """Put another adapter with a head of its own on the base; it is at work then.

        Args:
            name: of the task.
            lora, num_classes: as in the settings of `create_clip_model`.
            class_names, templates, seed: as in `create_clip_model`.

        Raises:
            MethodError: the name is taken, or a task tunes the base itself.
            StudyError: settings that are not valid.
        """
        said = {"model_name": self.encoder.name, "num_classes": num_classes, "lora": dict(lora or {})}
        settings = ClipSettings.parse(said, f"add_task {name!r}")
        make = partial(task_of, self.encoder, settings, class_names, templates, seed)
        self._add(name, settings.lora.enabled, make)

    def load_task(self, name: str, run: str | Path) -> None:
        """Put what a published run has learnt on the base, as another task; it is at work then.

        Args:
            name: of the task.
            run: the run's folder, `results/store/runs/…`.

        Raises:
            MethodError: the run tuned another model or without LoRA, or its adapter has been merged; or as
                `add_task`.
            StoreError: the folder holds no run.
        """
        self._add(name, True, partial(adapter_of, run, self.encoder))

    def use_task(self, name: str) -> None:
        """Put another task to work; the one that was is laid aside, bit for bit.

        Raises:
            MethodError: there is none of this name.
        """
        if name not in self._tasks:
            raise MethodError(f"unknown task {name!r}; {nearest(name, self._tasks)}")
        if name != self.task:
            self._at_work.lay_aside()
            self.task = name
            self._at_work.put_on()
            self._show_head()

    def _begin(self, task: AdapterTask) -> None:
        self._tasks[self.task] = task
        self._show_head()

    def _show_head(self) -> None:
        self.head = self._at_work.head.to(self.encoder.device).train(self.training)

    def _add(self, name: str, lora: bool, make: Callable[[], AdapterTask]) -> None:
        if name in self._tasks:
            raise MethodError(f"there is a task {name!r} already; give another name")
        if not lora or not self.is_lora_enabled():
            which = self.task if lora else name
            raise MethodError(
                f"the task {which!r} tunes the base itself, which all tasks share; tune with LoRA"
            )
        self._at_work.lay_aside()
        try:
            made = make()
        except Exception:
            self._at_work.put_on()
            raise
        self.task = name
        self._begin(made)

    def _needs_lora(self, what: str) -> None:
        if not self.is_lora_enabled():
            raise MethodError(f"{what}: no LoRA is on {self.encoder.name}: it was not enabled, or is merged")

    def _targets(self, paths: Iterable[str]) -> dict[str, list[str]]:
        """The adapter's targets as its settings name them, by encoder."""
        roles = {path: role for role, path in self.encoder.map.roles()}
        held = {(role.split(".")[0], role.split(".", 2)[2]) for role in map(roles.__getitem__, paths)}
        found = {
            f"{tower}_encoder": [name for name, role in ROLES.items() if (tower, role) in held]
            for tower in self.encoder.map.towers
        }
        return {encoder: names for encoder, names in found.items() if names}


def create_clip_model(
    config: Mapping[str, Any],
    class_names: Sequence[str] = (),
    templates: Sequence[str] = TEMPLATES,
    seed: int = 0,
) -> ClipModel:
    """A CLIP model with LoRA, in evaluation mode, from settings as a federated study's `model` has them.

    Args:
        config: `model_name`, `num_classes`, `lora`, as in `study.clip_settings.ClipSettings`.
        class_names: what the zero-shot head is made of, where that is the head; in the order of the labels.
        templates: prompts with one `{}` for a class name.
        seed: of the adapter's random initialisation.

    Raises:
        StudyError: settings that are not valid.
        ModelError: the model is not found, or is no CLIP.
        MethodError: a rank larger than a matrix, a pattern of ranks that matches nothing.

    >>> lora = {"r": 4, "target_modules": {"vision_encoder": ["q_proj"]}}
    >>> model = create_clip_model({"model_name": "emoji-clip", "num_classes": 3, "lora": lora})
    >>> model.get_lora_info()["target_modules"], len(model.get_model_summary())
    ({'vision_encoder': ['q_proj']}, 8)
    """
    settings = ClipSettings.parse(config, "create_clip_model")
    encoder = load(settings.model_name)
    if encoder.map.family != "clip":
        raise ModelError(
            f"create_clip_model: {settings.model_name!r} is a {encoder.map.family} model; give a CLIP, or "
            "tune this one in a study (tunescope run)"
        )
    model = ClipModel(encoder).eval()
    model._begin(task_of(encoder, settings, class_names, templates, seed))
    return model


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
