"""What the caller of a study chooses for this one time: how, how many, which."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from tunescope.engine.plan import Planned
from tunescope.errors import StudyError, nearest

if TYPE_CHECKING:
    from tunescope.engine.runtime import Runtime

Executor = Literal["serial", "process", "ray", "slurm"]


@dataclass(frozen=True)
class Options:
    """How a study is carried out this time. None of it changes a result.

    Args:
        executor: `process` (one operating-system process per run), `serial` (here), `ray` (one task per run)
            or `slurm` (one job per run).
        workers: runs at a time; by default one for each core of this machine, at most four.
        only: globs; runs whose name or group matches one of them, such as `lora` or `* seed=0`. None = all.
        limit: at most so many runs.
        fail_fast: the first run that fails for good ends the rest.
        retry: try runs again that were quarantined.
        address: of a Ray cluster; by default the environment's (`RAY_ADDRESS`), else one is started here.
        runtime: where the clients of federated runs work, for `serial`; as the study says, if left out.
    """

    executor: Executor = "process"
    workers: int | None = None
    only: Sequence[str] | None = None
    limit: int | None = None
    fail_fast: bool = False
    retry: bool = False
    address: str | None = None
    runtime: "Runtime | None" = None

    def matching(self, planned: Sequence[Planned]) -> list[Planned]:
        """The runs that `only` lets through.

        Raises:
            StudyError: a glob that no run of the study matches.
        """
        if self.only is None:
            return list(planned)
        for glob in self.only:
            if not any(_matches(run, glob) for run in planned):
                groups = {run.member.group for run in planned}
                raise StudyError(
                    f"--only {glob!r}: no run and no group is called so; {nearest(glob, groups)}"
                )
        return [run for run in planned if any(_matches(run, glob) for glob in self.only)]

    def chosen(self, planned: Sequence[Planned]) -> list[Planned]:
        """The runs to carry out now, each once, in the study's order.

        Raises:
            StudyError: as `matching`.
        """
        wanted = ("missing", "quarantined") if self.retry else ("missing",)
        found = {run.id: run for run in self.matching(planned) if run.state in wanted}
        return list(found.values())[: self.limit]


def _matches(run: Planned, glob: str) -> bool:
    return fnmatchcase(run.member.group, glob) or fnmatchcase(run.member.name, glob)
