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
    """sha256 of the run's spec, every default written out, with schema and component versions.

    What the model and the data hold stands in it; where they lie does not, so a study that moves with
    its folders keeps its results.

    Args:
        spec: the run.
        fingerprints: a digest of what it holds, for the model and for every data reference of the run.

    Returns:
        64 hexadecimal digits.
    """
    said = spec.model_dump(mode="json")
    said["model"] = fingerprints[spec.model]
    said["task"]["data"] = fingerprints[spec.task.data]
    for kind in ("zero_shot", "shifts"):
        said["transfer"][kind] = [fingerprints[reference] for reference in said["transfer"][kind]]
    versions = {place: part.version for place, part in spec.components().items()}
    document = {"schema": SCHEMA, "spec": said, "versions": versions}
    return hashlib.sha256(canonical(document).encode()).hexdigest()
