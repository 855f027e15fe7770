"""A run's identity: what decides its result, as one sha256."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tunescope.study.component import Component
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
    versions = {place: part.version for place, part in spec.components().items()}
    return _digest({"schema": SCHEMA, "spec": _by_content(spec, fingerprints), "versions": versions})


def base_identity(spec: RunSpec, probe: Component, fingerprints: Mapping[str, str]) -> str:
    """The identity of what one probe of a run sees in the model before tuning: the same for many runs.

    Args:
        spec: the run; its model, image size, token limit, task and transfer count.
        probe: one of the run's probes.
        fingerprints: as for `identity`.
    """
    said = _by_content(spec, fingerprints)
    seen = {part: said[part] for part in ("model", "image_size", "max_tokens", "task", "transfer")}
    return _digest(
        {"schema": SCHEMA, "base": seen, "probe": probe.model_dump(mode="json"), "version": probe.version}
    )


def _by_content(spec: RunSpec, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """The spec with fingerprints in the place of references."""
    said = spec.model_dump(mode="json")
    said["model"] = fingerprints[spec.model]
    said["task"]["data"] = fingerprints[spec.task.data]
    del said["task"]["num_classes"]  # only ever an error
    for kind in ("zero_shot", "shifts"):
        said["transfer"][kind] = [fingerprints[reference] for reference in said["transfer"][kind]]
    federated = said.pop("federated")
    if federated is not None:  # else it is as if it had never been thought of: no published run is orphaned
        federated["data"] = [fingerprints[reference] for reference in federated["data"]]
        said["federated"] = federated
    return said


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(document).encode()).hexdigest()
