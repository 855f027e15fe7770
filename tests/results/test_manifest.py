import json

import pytest
from results.runs_on_disk import identity_of

from tunescope.results.manifest import Manifest


@pytest.mark.parametrize("names", [(), ("rows.parquet",), ("b.json", "a.json", "Z-1_x")])
def test_a_manifest_is_the_json_that_it_looks_like(tmp_path, names):
    for size, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes(size))
    manifest = Manifest.of(identity_of(0), tmp_path)
    files = {name: {"size": size, "sha256": digest} for name, (size, digest) in manifest.files.items()}
    value = {"schema": 1, "run": identity_of(0), "files": files}
    assert {name: entry["size"] for name, entry in files.items()} == {name: i for i, name in enumerate(names)}
    assert manifest.dump() == json.dumps(value, indent=1, sort_keys=True) + "\n"
    (tmp_path / "manifest.json").write_text(manifest.dump(), encoding="utf-8")
    assert Manifest.read(tmp_path) == manifest
