"""The most memory that this process has held."""

import resource
import sys
from typing import Any


def peak() -> dict[str, Any]:
    """`peak_memory`, bytes of main memory; with a graphics processor, `peak_gpu_memory`, bytes of its own.

    Of the whole process, since it began: of one run only where the process has carried out no other.
    """
    import torch

    found = {"peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    found["peak_memory"] *= 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    if torch.cuda.is_available():
        found["peak_gpu_memory"] = torch.cuda.max_memory_allocated()
    return found
