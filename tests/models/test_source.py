import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from tunescope.errors import ModelError
from tunescope.models.fingerprint import fingerprint
from tunescope.models.load import load
from tunescope.models.source import BUNDLED, commit, local

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def cached(cache: Path, tiny_folder) -> str:
    """A hub cache that holds one repository, as the hub's client lays it out."""
    repository = cache / "models--someone--tiny-clip"
    shutil.copytree(tiny_folder("clip"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return "someone/tiny-clip"


def test_a_cached_hub_model_loads_offline_at_its_commit(cached, tiny):
    encoder, same = load(cached), tiny("clip")
    assert encoder.name == cached
    for name, value in same.model.state_dict().items():
        assert torch.equal(value, encoder.model.state_dict()[name])
    assert fingerprint(cached) == commit(cached) == COMMIT


@pytest.mark.parametrize("ask", [load, fingerprint])
def test_an_uncached_hub_model_offline_says_what_to_do(cache, ask):
    with pytest.raises(ModelError) as caught:
        ask("someone/emoji-clp")
    for part in ("'someone/emoji-clp'", "offline", "did you mean 'emoji-clip'", "Give a folder", "online"):
        assert part in str(caught.value)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Online, as far as anybody has said, but no hub answers: nothing listens on the discard port."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def test_a_hub_that_does_not_answer(cache, unreachable):
    with pytest.raises(ModelError, match="the hub does not give it"):
        load("someone/tiny-clip")


def test_what_is_cached_whole_is_not_asked_for(cached, unreachable):
    assert load(cached).joint


@pytest.mark.parametrize("kind", ["preprocessor_config.json", "model.safetensors", "tokenizer*.json"])
def test_what_another_program_cached_in_part_is_an_error_offline(cached, cache, kind):
    for path in (cache / "models--someone--tiny-clip" / "snapshots" / COMMIT).glob(kind):
        path.unlink()
    with pytest.raises(ModelError, match=COMMIT):
        load(cached)


def test_a_text_encoder_is_whole_without_preprocessing(cache, unreachable, tiny_folder):
    repository = cache / "models--someone--tiny-bert"
    shutil.copytree(tiny_folder("bert"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert load("someone/tiny-bert").map.family == "bert"


def test_a_commit_whose_files_are_gone(cached, cache):
    shutil.rmtree(cache / "models--someone--tiny-clip" / "snapshots")
    with pytest.raises(ModelError, match="the hub does not give it"):
        load(cached)


def test_a_folder_wins_over_a_hub_id_of_the_same_spelling(tmp_path, monkeypatch):
    (tmp_path / "someone" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local("someone/model") == Path("someone/model")
    assert local("someone/other") is None


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "a/b/c", "~/nowhere-at-all", Path("a/b")])
def test_what_looks_like_a_folder_is_never_looked_for_on_the_hub(name):
    with pytest.raises(ModelError, match="no such folder"):
        local(name)


@pytest.mark.parametrize("name", ["", "emoji", "a b/c", "owner/na me", "-/?"])
def test_a_name_that_is_nothing(name):
    with pytest.raises(ModelError, match="unknown model"):
        local(name)


def test_bundled_names_win_over_folders(tmp_path, monkeypatch):
    (tmp_path / "emoji-clip").mkdir()
    monkeypatch.chdir(tmp_path)
    assert local("emoji-clip") == BUNDLED["emoji-clip"]
