"""Look before the leap: what would make a run fail is found before the first one starts."""

from collections.abc import Iterable

from tunescope.errors import TunescopeError
from tunescope.results.store import Store
from tunescope.study.identity import canonical
from tunescope.study.study import Member

# what `train` says that a method or a task may not fit
TRAIN = ("augment", "converged", "layer_decay", "head_lr", "lora_plus", "ema")


def check(members: Iterable[Member], store: Store, trackers: Iterable[str], apart: bool = False) -> None:
    """Load every model, lay out every task and install every method once, build every head.

    The store keeps the decoded images, for all workers; nothing else is kept. The data of clients that are
    on machines of their own (`apart`) are not read.

    Raises:
        TunescopeError: the first thing that does not fit, with the group that asked for it.
    """
    import torch

    from tunescope.data.examples import Examples
    from tunescope.data.task import task_examples
    from tunescope.engine.images import decoded
    from tunescope.engine.joining import check_federation, lay_out
    from tunescope.engine.tower import tower_of
    from tunescope.engine.work import head_for, install
    from tunescope.models.load import load
    from tunescope.training.after import After
    from tunescope.training.ema import EMA
    from tunescope.training.penalties import check_penalties
    from tunescope.training.rates import ENCODER, scales
    from tunescope.training.tracking import check_trackers

    check_trackers(trackers)
    images = decoded(store)
    seen: set[str] = set()
    sets: dict[str, dict[str, Examples]] = {}
    for member in members:
        spec = member.spec
        said = spec.model_dump(mode="json")
        laid = canonical([said[part] for part in ("model", "image_size", "max_tokens", "task", "transfer")])
        fitted = [said[part] for part in ("adapt", "objective", "after", "federated")]
        fitted.append(spec.seed if spec.federated is not None else None)  # of the partition
        # one weight fits as any other does
        fitted.append([penalty | {"weight": None} for penalty in said["penalties"]])
        key = laid + canonical(fitted + [said["train"][part] for part in TRAIN])
        if key in seen:
            continue
        seen.add(key)
        try:
            encoder = load(spec.model, spec.image_size, spec.max_tokens)
            tower = tower_of(spec, encoder)
            if laid not in sets:
                sets[laid] = task_examples(spec, encoder.preprocess, images)
            examples = sets[laid]
            with torch.inference_mode():
                encoder.features(examples["train"].inputs[:1])  # not every model reads pairs of texts
                head_for(spec, encoder, examples["train"])
            installed = install(spec, encoder, tower)
            scales((f"{ENCODER}{name}" for name in installed.trainable), encoder.map, spec)
            check_penalties(encoder, installed, spec)
            if spec.train.ema is not None:
                EMA(installed.trainable, spec.train.ema)
            if isinstance(spec.after, After):
                spec.after.check(installed)
            if spec.federated is not None:
                held = lay_out(spec, encoder, examples, images, only=() if apart else None)
                check_federation(spec, installed, head_for(spec, encoder, examples["train"]), held, examples)
        except TunescopeError as error:
            raise type(error)(f"runs.{member.group}: {error}") from None
