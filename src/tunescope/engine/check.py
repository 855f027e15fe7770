"""Look before the leap: what would make a run fail is found before the first one starts."""

from collections.abc import Iterable

from tunescope.errors import ModelError, TunescopeError
from tunescope.results.store import Store
from tunescope.study.identity import canonical
from tunescope.study.study import Member


def check(members: Iterable[Member], store: Store, trackers: Iterable[str]) -> None:
    """Load every model, lay out every task and install every method once, build every head.

    The store keeps the decoded images, for all workers; nothing else is kept.

    Raises:
        TunescopeError: the first thing that does not fit, with the group that asked for it.
    """
    import torch

    from tunescope.data.examples import Examples
    from tunescope.data.task import task_examples
    from tunescope.engine.images import decoded
    from tunescope.engine.work import TOWER, head_for, install
    from tunescope.models.load import load
    from tunescope.training.tracking import check_trackers

    check_trackers(trackers)
    images = decoded(store)
    seen: set[str] = set()
    train: dict[str, Examples] = {}
    for member in members:
        spec = member.spec
        said = spec.model_dump(mode="json")
        laid = canonical([said[part] for part in ("model", "image_size", "task", "transfer")])
        key = laid + canonical([said[part] for part in ("adapt", "objective")])
        if key in seen:
            continue
        seen.add(key)
        try:
            encoder = load(spec.model, spec.image_size)
            encoder.map.tower(TOWER)
            if spec.transfer.zero_shot and not encoder.joint:
                raise ModelError(
                    f"{spec.model} has no text tower, so it cannot be measured zero-shot; "
                    "remove transfer.zero_shot or take a model such as CLIP or SigLIP"
                )
            if laid not in train:
                train[laid] = task_examples(spec, encoder.preprocess, images)["train"]
            with torch.inference_mode():
                head_for(spec, encoder, train[laid])
            install(spec, encoder)
        except TunescopeError as error:
            raise type(error)(f"runs.{member.group}: {error}") from None
