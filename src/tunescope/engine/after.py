"""What follows tuning: a run's own weights edited, or several runs averaged to a soup."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from tunescope.data.examples import Examples
from tunescope.engine.job import Job
from tunescope.engine.plan import Planned, fingerprints
from tunescope.engine.together import launched
from tunescope.errors import Diverged, MethodError, Stopped
from tunescope.methods.method import Installed
from tunescope.results.store import Store
from tunescope.study.identity import identity
from tunescope.study.run import RunSpec
from tunescope.study.study import Member
from tunescope.training.after import Edit
from tunescope.training.history import History, Log
from tunescope.training.loop import OnStep
from tunescope.training.model_mean import ModelMean
from tunescope.training.score import Score
from tunescope.training.soup import Ingredient, IngredientDiverged, Soup

POLL = 0.1  # seconds between looks at an ingredient that another process tunes

Fetch = Callable[[str, RunSpec], Ingredient]  # called with an ingredient's name and its run


def edited(
    edit: Edit,
    begun: Any,
    installed: Installed,
    head: nn.Module,
    spec: RunSpec,
    val: Examples,
    history: History,
    on_log: Log | None,
) -> Installed:
    """Edit the weights that tuning has left; rows and log lines go into the history.

    Args:
        edit: what the run asks for.
        begun: what `edit.begin` returned before the first step.
        installed: the tuned model.
        head: its head.
        spec: the run.
        val: the task's validation examples, by which alone anything is chosen.
        history: of the tuning.
        on_log: called with every line of the log.

    Returns:
        the model as it is now: a plain one where the edit merges adapters.
    """
    if edit.merges:
        installed.merge()
        installed = _plain(installed)
    score = Score(installed, head, spec, val)
    history.rows += edit.finish(begun, score, partial(_tell, history, on_log))
    return installed


def averaged(
    soup: Soup,
    fetch: Fetch,
    installed: Installed,
    again: Callable[[], Installed],
    head: nn.Module,
    spec: RunSpec,
    val: Examples,
    on_log: Log | None,
) -> tuple[Installed, History]:
    """Average a soup in the model that the method has been installed on; it is a plain one afterwards.

    Args:
        soup: what the run asks for.
        fetch: where its ingredients come from.
        installed: the method, just installed.
        again: installs it once more, on a model of its own.
        head: before its first step; it becomes the soup's.
        spec: the soup's run.
        val: the task's validation examples.
        on_log: called with every line of the log.

    Returns:
        the soup's weights, on `installed.encoder`, and what happened.

    Raises:
        MethodError: the method cannot be merged.
        Diverged: too many ingredients have.
    """
    trained = set(installed.trainable)
    soup.check(installed)  # which merges it
    model = _plain(installed)
    history = History()
    head.to(installed.encoder.device)  # as the training loop does
    mean = ModelMean(model, model if model.trainable.keys() == trained else again(), head)
    parts = (fetch(name, run) for name, run in soup.ingredients(spec).items())
    score = Score(model, head, spec, val)
    try:
        history.rows += soup.average(mean, parts, score, partial(_tell, history, on_log))
    except IngredientDiverged as error:
        error.history = history
        raise
    return model, history


def with_ingredients(
    job: Job,
    store: Store,
    carry_out: Callable[..., dict[str, Any]],
    on_step: OnStep | None,
    stopping: Callable[[], bool],
) -> Fetch | None:
    """Have every ingredient of a soup published: from the store, or carried out here under its own claim.

    The job holds the soup's claim meanwhile, and waits for ingredients that other processes are at. These
    never wait for a soup, so nobody waits for ever.

    Args:
        job: the soup's.
        store: where runs are published.
        carry_out: carries out a job whose claim is held, and publishes it.
        on_step: called after every optimiser step, counted over the steps of all ingredients.
        stopping: asked after every step, and between ingredients.

    Returns:
        the store's ingredients; None where the run is no soup.

    Raises:
        Stopped: `stopping` said so; the ingredient that was under way is checkpointed.
        MethodError: several processes share the run.
    """
    spec = job.run.member.spec
    soup = spec.after
    if not isinstance(soup, Soup):
        return None
    if launched():
        raise MethodError(
            f"{soup.kind}: several processes share this run, and a soup is averaged by one; carry out its "
            "ingredients together, as runs of a study, and the soup in one process afterwards"
        )
    prints, found = fingerprints(spec), soup.ingredients(spec)
    for place, (name, run) in enumerate(found.items()):
        factors = job.run.member.factors | {"lr": run.lr, "seed": run.seed}
        member = Member(group=job.run.member.group, factors=factors, spec=run)
        part = replace(job, run=Planned(member, identity(run, prints), "missing"))

        def step(now: int, of: int, place: int = place) -> None:
            if on_step is not None:
                on_step(place * of + now, len(found) * of)

        while not _have(part, store, partial(carry_out, part, store, step, stopping)):
            if stopping():
                raise Stopped(f"stopped while another process tuned the ingredient {name}")
            time.sleep(POLL)
        if stopping():
            raise Stopped(f"stopped after the ingredient {name}")
    return lambda name, run: _published(name, identity(run, prints), store)


def in_memory(tune: Callable[[RunSpec], dict[str, torch.Tensor]], name: str, run: RunSpec) -> Ingredient:
    """An ingredient that is tuned here and now, and kept nowhere.

    Args:
        tune: tunes a run, and returns what was trained by name.
        name: of the ingredient.
        run: its run. What probes see of it is of no use here, so it has none.
    """
    try:
        weights = tune(run.model_copy(update={"probes": ()}))
    except Diverged as error:
        return Ingredient(name, None, str(error))
    return Ingredient(name, lambda: weights)


def _plain(merged: Installed) -> Installed:
    """The plain model, and its parameters that the method has changed."""
    changed = {name: merged.encoder.model.get_parameter(name) for name in merged.weights()}
    return Installed(merged.encoder, merged.tower, changed)


def _have(part: Job, store: Store, carry_out: Callable[[], dict[str, Any]]) -> bool:
    """Whether the ingredient is published by now; it is carried out here where nobody else is at it."""
    with store.claim(part.run.id) as mine:
        if mine:
            carry_out()
            store.clear_failure(part.run.id)
        return store.has(part.run.id)


def _published(name: str, run_id: str, store: Store) -> Ingredient:
    found = store.read(run_id)
    if found.outcome["status"] == "failed":
        return Ingredient(name, None, found.outcome["cause"])
    path = found.weights
    assert path is not None  # of every run that is done
    return Ingredient(name, lambda: load_file(path))


def _tell(history: History, on_log: Log | None, line: dict[str, Any]) -> None:
    history.log.append(line)
    if on_log is not None:
        on_log(line)
