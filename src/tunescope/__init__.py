"""What fine-tuning did to your model, and what to do about it.

>>> import tunescope as ts
>>> ts.__version__
'0.1.0'
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Imported when first used: `import tunescope` costs nothing.
_FACE = {
    "load": "tunescope.api",
    "tune": "tunescope.api",
    "measure": "tunescope.api",
    "run": "tunescope.api",
    "report": "tunescope.api",
    "TunescopeError": "tunescope.errors",
    "Table": "tunescope.results.table",
    "Full": "tunescope.methods.full",
    "Freeze": "tunescope.methods.freeze",
    "LinearProbe": "tunescope.methods.linear_probe",
    "LoRA": "tunescope.methods.lora",
}


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(_FACE[name]), name)
    raise AttributeError(f"module 'tunescope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FACE})
