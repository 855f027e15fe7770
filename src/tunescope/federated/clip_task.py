"""A task of a CLIP model from its settings: a head, and an adapter or full fine-tuning."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunescope.errors import MethodError
from tunescope.federated.adapter_task import AdapterTask
from tunescope.methods.method import Method
from tunescope.models.encoder import Encoder
from tunescope.study.clip_settings import ClipSettings
from tunescope.study.component import resolve


class Unnamed(nn.Module):
    """The zero-shot head of classes whose names are not known: it has no logits."""

    def forward(self, features: Tensor) -> Tensor:
        """Refused.

        Raises:
            MethodError: always, with what to give.
        """
        raise MethodError(
            "the zero-shot head is made of class names, and there are none: give class_names; or, for a "
            "linear head, num_classes and targets in vision_encoder alone"
        )


def task_of(
    encoder: Encoder, settings: ClipSettings, names: Sequence[str], templates: Sequence[str], seed: int
) -> AdapterTask:
    """What settings ask for, on the model: the head, of the untuned text encoder, and then the adapter.

    Args:
        encoder: a plain one.
        settings: what is tuned, and under which head.
        names: of the classes, in the order of the labels; may be missing.
        templates: prompts with one `{}` for a class name.
        seed: of the adapter's random initialisation.

    Raises:
        MethodError: another number of names than of classes; or the adapter does not fit the model, which is
            as it was then.
    """
    said = settings.num_classes
    if names and said not in (None, len(names)):
        raise MethodError(f"num_classes is {said}, and there are {len(names)} class_names; make them agree")
    known = tuple(names) or (() if settings.contrastive else tuple(map(str, range(said or 0))))
    objective: Any = resolve("objective", settings.objective())
    head = objective.build_head(encoder, known, templates) if known else Unnamed()
    method = resolve("adapt", settings.adapt())
    assert isinstance(method, Method)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        installed = method.install(encoder, "vision")
    return AdapterTask(installed, head, known, templates)
