"""A run's identity: what decides its result, as one sha256."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tunescope.study.run import RunSpec

SCHEMA = 1


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces, no NaN: the same text for the same value, everywhere.

    >>> canonical({"b": 1e-5, "a": [True, None]})
    '{"a":[true,null],"b":1e-05}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity(spec: RunSpec, fingerprints: Mapping[str, str]) -> str:
    """sha256 of the run's spec, every default written out, with versions and fingerprints.

    Args:
        spec: the run.
        fingerprints: what the model and every data reference of the run hold, by reference.

    Returns:
        64 hexadecimal digits.
    """
    document = {
        "schema": SCHEMA,
        "spec": spec.model_dump(mode="json"),
        "versions": {place: part.version for place, part in spec.components().items()},
        "fingerprints": dict(fingerprints),
    }
    return hashlib.sha256(canonical(document).encode()).hexdigest()
