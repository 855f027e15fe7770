"""Which tower a run tunes: the one that reads its data, if the model has it."""

from typing import TYPE_CHECKING

from tunescope.data.dataset import Reads
from tunescope.data.load import tower
from tunescope.errors import MethodError, ModelError
from tunescope.study.run import RunSpec

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder

HOLDS: dict[Reads, str] = {"vision": "images", "text": "texts"}


def tower_of(spec: RunSpec, encoder: "Encoder") -> Reads:
    """The tower that a run tunes: `vision` for a task on images, `text` for one on texts.

    Nothing is decoded: the sources of the data say what they hold.

    Args:
        spec: the run.
        encoder: its model.

    Raises:
        DataError: a reference that does not exist.
        ModelError: the model reads no such data, or has no zero-shot head.
        MethodError: a shift, a zero-shot task or an augmentation that is not for such data, or a probe that
            reads another tower.
    """
    task = spec.task.data
    wanted = tower(task)
    towers = encoder.map.towers
    if wanted not in towers:
        others = " and ".join(HOLDS[other] for other in HOLDS if other in towers)
        raise ModelError(
            f"data {task!r} holds {HOLDS[wanted]}, and model {spec.model!r} ({encoder.map.family}) reads "
            f"{others} alone; take a model with a {wanted} tower, or data of {others}"
        )
    for ref in spec.transfer.shifts:
        if (held := tower(ref)) != wanted:
            raise MethodError(
                f"transfer.shifts: {ref!r} holds {HOLDS[held]}, and the task {task!r} {HOLDS[wanted]}; a "
                "shift is the same task on other data of its kind"
            )
    for ref in spec.transfer.zero_shot:
        if tower(ref) != "vision":
            raise MethodError(
                f"transfer.zero_shot: {ref!r} holds texts; names of classes make a head for images alone; "
                "take data of images, or name it under transfer.shifts"
            )
    if spec.transfer.zero_shot and not encoder.joint:
        lacking = "vision" if "text" in towers else "text"
        raise ModelError(
            f"{spec.model} has no {lacking} tower, so it cannot be measured zero-shot; remove "
            "transfer.zero_shot or take a model such as CLIP or SigLIP"
        )
    if wanted == "text" and spec.train.augment != "none":
        raise MethodError(
            f"train.augment: {spec.train.augment} changes images, and {task!r} holds texts; use augment: none"
        )
    for probe in spec.probes:
        for other in getattr(probe, "towers", ()):
            if other not in towers or (other, wanted) == ("vision", "text"):
                raise MethodError(
                    f"the {probe.kind} probe's towers: a run on {HOLDS[wanted]} of {spec.model} has nothing "
                    f"for the {other} tower to read; remove it"
                )
    return wanted
