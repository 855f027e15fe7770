"""In what order heads are taken out, by everything that may say what they are worth."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from tunescope.probes.head_losses import head_losses
from tunescope.probes.plasticity import PlasticityProbe
from tunescope.probes.probe import Probe, Subject
from tunescope.probes.updates import UpdatesProbe
from tunescope.results.row import Row

BY_LOSS = ("importance", "gate_gradient", "gate_fisher")

Scores = Float[np.ndarray, "l h"]


def orders(
    probe: Probe,
    subject: Subject,
    rankings: Sequence[str],
    components: Sequence[str],
    *,
    split: str,
    subset: int | None,
    shuffles: int,
) -> dict[tuple[str, str], Int[np.ndarray, "orders heads"]]:
    """By ranking and component, the orders in which heads are taken out, each head as l·H + h.

    Args:
        probe: who asks; errors name it.
        subject: the model, with all its heads in.
        rankings: by what; one that the subject does not allow (`update_relative`, where no weights have
            changed) is left out.
        components: the heads on the features under which losses are read.
        split: which examples heads are ranked on.
        subset: how many of them; None = 256, or all where there are fewer.
        shuffles: how many orders by chance.

    Raises:
        StudyError: the split is not there, or has fewer examples than asked for.
        MethodError: the tower that the task tunes does not read it.
    """
    place = subject.encoder.map.tower(subject.tower)
    shape = (len(place.blocks), place.heads)
    scores: dict[tuple[str, str], Scores | None] = {}
    if not {*BY_LOSS}.isdisjoint(rankings):
        losses = head_losses(probe, subject, split=split, subset=subset)
        for k, component in enumerate(losses.components):
            gradients = losses.gradients[k]
            each = (losses.differences[k], np.abs(gradients), gradients**2)
            scores |= {(name, component): x.mean(-1) for name, x in zip(BY_LOSS, each, strict=True)}
    anyway: dict[str, Scores | None] = {}
    if "update_relative" in rankings:
        rows = UpdatesProbe(spectra=False).measure(subject).rows
        ours = (row for row in rows if row.tower == subject.tower and row.component == "all")
        anyway["update_relative"] = _by_head("heads.update_relative", ours, shape)
    if "plasticity" in rankings:
        pairs = None if subset is None else subset // 2
        rows = PlasticityProbe(split=split, pairs=pairs).measure(subject).rows
        ours = (row for row in rows if row.component == "attention")
        anyway["plasticity"] = _by_head("heads.plasticity", ours, shape)
    found = {}
    for ranking in rankings:
        for component in components:
            if ranking == "random":
                found[ranking, component] = shuffled(shape[0] * shape[1], shuffles)
            elif (known := scores.get((ranking, component), anyway.get(ranking))) is not None:
                found[ranking, component] = np.argsort(known.ravel(), kind="stable")[None]
    return found


def shuffled(heads: int, count: int) -> Int[np.ndarray, "orders heads"]:
    """Orders by chance, always the same ones: those of few are the first of many.

    >>> shuffled(4, 2).tolist(), shuffled(4, 1).tolist()
    ([[2, 0, 1, 3], [3, 2, 1, 0]], [[2, 0, 1, 3]])
    """
    chance = np.random.default_rng(0)
    return np.stack([chance.permutation(heads) for _ in range(count)])


def _by_head(metric: str, rows: Iterable[Row], shape: tuple[int, int]) -> Scores | None:
    """The rows of a metric as "l h"; 0 of a head without one; None where there is no row at all."""
    found = np.zeros(shape)
    known = False
    for row in rows:
        if (
            row.metric == metric and row.layer is not None and row.layer < shape[0]
        ):  # an attention pool is not
            found[row.layer, row.head] = row.value
            known = True
    return found if known else None
