"""What a method did to a model's own weights, for the probes that ask."""

from collections.abc import Callable
from functools import cache, partial

from tunescope.errors import ModelError
from tunescope.methods.attached import Attached
from tunescope.methods.method import Installed
from tunescope.methods.per_tower import InstalledPerTower
from tunescope.models.encoder import Encoder
from tunescope.models.load import load
from tunescope.probes.change import WeightChange
from tunescope.study.run import RunSpec


def change_of(spec: RunSpec, installed: Installed) -> Callable[[], WeightChange]:
    """What tells of the change of the weights at any time of tuning.

    The base model is loaded a second time when that is first asked, and kept on the CPU: nothing is copied
    for runs whose probes never ask.

    Args:
        spec: the run.
        installed: its method at work.
    """
    base = cache(partial(load, spec.model, spec.image_size, spec.max_tokens))
    return lambda: weight_change(base(), installed)


def weight_change(base: Encoder, installed: Installed) -> WeightChange:
    """The change as it is now; the tuned model is left as it was, bit for bit.

    Args:
        base: the encoder as it was before tuning.
        installed: the method at work on a copy of it.

    Raises:
        ModelError: what is trained is not finite.
        MethodError: the method adds what cannot be folded into weights, and does not say so by being
            `Attached`; or `base` is another model.
    """
    for name, value in installed.trainable.items():
        if not value.isfinite().all():
            raise ModelError(
                f"{name} of {installed.encoder.name!r} is not finite, so the change of its weights is not "
                "defined; the run has diverged: take a smaller learning rate"
            )
    parts = installed.parts if isinstance(installed, InstalledPerTower) else {installed.tower: installed}
    apart = frozenset(tower for tower, part in parts.items() if isinstance(part, Attached))
    tuned = {}
    for tower, part in parts.items():
        if tower not in apart:
            tuned |= part.effective(base)
    return WeightChange(base, tuned, apart)
