import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunescope.errors import ModelError
from tunescope.models.fingerprint import fingerprint

FILES = [
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_folder("clip"), tmp_path / "clip"))


def test_it_is_the_digest_of_a_checksum_file(folder):
    assert sorted(os.listdir(folder)) == FILES
    lines = "".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in FILES)
    assert fingerprint(folder) == hashlib.sha256(lines.encode()).hexdigest()


def test_place_time_and_other_files_are_not_in_it(folder, tiny_folder):
    (folder / "README.md").write_text("hello")
    os.utime(folder / "config.json", (1, 1))
    assert fingerprint(folder) == fingerprint(str(tiny_folder("clip")))


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_matters_is_in_it_though_it_was_read_before(folder, name):
    before = fingerprint(folder)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # same size
    path.write_bytes(content)
    assert fingerprint(folder) != before


@pytest.mark.parametrize("name", ["vocab.txt", "spm.model"])
def test_vocabularies_of_text_encoders_are_in_it(folder, name):
    before = fingerprint(folder)
    (folder / name).write_text("[CLS]")
    assert fingerprint(folder) != before


def test_a_renamed_file_is_another_model(folder):
    before = fingerprint(folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    assert fingerprint(folder) != before


def test_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        fingerprint(tmp_path)


def test_neither_torch_nor_transformers_is_imported(folder):
    code = (
        "import sys; from tunescope.models.fingerprint import fingerprint; "
        "import tunescope.models.preprocess; "
        f"fingerprint({str(folder)!r}); assert not {{'torch', 'transformers'}} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
