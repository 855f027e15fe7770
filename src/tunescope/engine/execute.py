"""Carry out a study: what is missing of it, and nothing else."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tunescope.engine.check import check
from tunescope.engine.events import Tell
from tunescope.engine.options import Options
from tunescope.engine.plan import Planned, State
from tunescope.engine.process import Processes, context, serve, shared_out
from tunescope.engine.supervise import Pool, supervise
from tunescope.engine.together import announce, launched
from tunescope.errors import Stopped, StudyError
from tunescope.results.store import Store
from tunescope.study.study import Study


def execute(study: Study, planned: Sequence[Planned], store: Store, tell: Tell, options: Options) -> None:
    """Carry out the runs of a study that the store does not hold; each is published then, or has failed.

    Args:
        study: what to carry out.
        planned: its runs and where they stand.
        store: where runs are published, and found again.
        tell: called with every event, in this process.
        options: how, how many, which.

    Raises:
        TunescopeError: something that the study asks for does not fit; nothing has been started.
        Stopped: somebody asked to stop; what was under way is checkpointed, or has been finished.
    """
    todo = options.chosen(planned)
    if todo:
        workers, threads = shared_out(study.engine, options.workers)
        _look_first(study, todo, store, options, threads)
        for run in todo if options.retry else ():
            store.clear_failure(run.id)
        pool = _pool(study, store, tell, options, workers, threads)
        if not supervise(todo, pool, store, tell, study.engine, options.fail_fast):
            raise Stopped("stopped; runs under way are checkpointed, and the same command goes on from here")
    if launched():
        announce(None)


def counts(planned: Iterable[Planned]) -> dict[State, int]:
    """How many runs stand where, by state."""
    found: dict[State, int] = {"done": 0, "failed": 0, "quarantined": 0, "missing": 0}
    for run in planned:
        found[run.state] += 1
    return found


def _look_first(study: Study, todo: list[Planned], store: Store, options: Options, threads: int) -> None:
    """Find what does not fit before anything is started, and decode the images once for all workers."""
    members = [run.member for run in todo]
    if (
        options.executor == "ray"
        and study.engine.federation == "ray"
        and any(m.spec.federated for m in members)
    ):
        raise StudyError(
            "executor 'ray' and engine.federation 'ray': a run holds the cores that its clients would wait "
            "for; take --executor process, where each run has a Ray of its own, or engine: "
            "{federation: local}"
        )
    if options.executor == "serial":
        check(members, store, study.engine.trackers, options.runtime is not None and options.runtime.apart)
        return
    with ProcessPoolExecutor(1, context(threads), initializer=serve) as pool:  # torch stays out of here
        try:
            pool.submit(check, members, store, study.engine.trackers).result()
        except BrokenProcessPool:
            raise StudyError(
                "the look before the first run was ended: by somebody, or by the system for want of memory; "
                "nothing has been started"
            ) from None


def _pool(study: Study, store: Store, tell: Tell, options: Options, workers: int, threads: int) -> Pool:
    if options.executor == "serial":
        from tunescope.engine.serial import InProcess

        return InProcess(store, study.engine, tell, options.runtime)
    if launched():
        raise StudyError(
            f"executor {options.executor!r}: several launched processes share each run, one run after the "
            "other; give --executor serial"
        )
    if options.executor == "ray":
        from tunescope.engine.cluster import RayTasks

        return RayTasks(store, study.engine, options.workers, threads, options.address)
    if options.executor == "slurm":
        from tunescope.engine.slurm import SlurmJobs

        return SlurmJobs(store, study.engine, workers, threads)
    return Processes(store, study.engine, workers, threads)
