"""A penalty that goes wrong on purpose, installed as plug-ins are: by an entry point."""

import os
import resource
import signal
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tunescope.objectives.objective import Penalty


class Chaos(Penalty):
    """Does `what` at the third step; `once` names a file that says it has been done."""

    kind: str = "chaos"
    weight: Annotated[float, Field(gt=0)] = 1.0
    what: Literal["hang", "kill", "memory", "error"]
    once: str | None = None

    def prepare(self, encoder, tower, examples) -> list[int]:
        return []

    def value(self, state: list[int], shown, indices) -> Any:
        import torch

        state.append(len(state))
        if len(state) == 3 and (self.once is None or not Path(self.once).exists()):
            if self.once is not None:
                Path(self.once).touch()
            self._do()
        return torch.zeros(())

    def _do(self) -> None:
        import torch

        if self.what == "hang":
            time.sleep(3600)
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "error":
            raise ValueError("on purpose")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
        torch.ones(2**40)
