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
    "compare": "tunescope.api",
    "create_clip_model": "tunescope.federated.clip_model",
    "TunescopeError": "tunescope.errors",
    "Table": "tunescope.results.table",
}


def _face() -> dict[str, str]:
    """Every name and the module behind it: those above, and the class of every component."""
    from tunescope.study.component import COMPONENTS

    paths = (path.partition(":") for table in COMPONENTS.values() for path in table.values())
    return _FACE | {name: module for module, _, name in paths}


def __getattr__(name: str) -> Any:
    module = _FACE.get(name) or (_face().get(name) if name[:1].isupper() else None)
    if module is None:
        raise AttributeError(f"module 'tunescope' has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_face()})
