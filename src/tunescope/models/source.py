"""Where a model's files are: bundled, a folder, or a snapshot of a hub repository. Torch-free."""

import json
import re
from pathlib import Path
from typing import Any

from tunescope.errors import ModelError, nearest
from tunescope.models.families import TEXT_ALONE

BUNDLED = {"emoji-clip": Path(__file__).parents[1] / "bundled" / "emoji-clip"}

# What a model's folder may hold that we read; nothing else of a hub repository is fetched.
FILES = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "spm.model",
)


def local(name: str | Path) -> Path | None:
    """The folder that a name stands for, or None for a hub id (`owner/name`).

    A folder that exists wins over a hub id of the same spelling.

    Raises:
        ModelError: neither a bundled name, a folder nor the spelling of a hub id.

    >>> local("emoji-clip").name
    'emoji-clip'
    >>> local("openai/clip-vit-base-patch32") is None
    True
    >>> local("emoji-clpi")
    Traceback (most recent call last):
    tunescope.errors.ModelError: unknown model 'emoji-clpi'; did you mean 'emoji-clip'? Known: emoji-clip. \
Or give a folder, or a hub id such as 'openai/clip-vit-base-patch32'
    """
    text = str(name)
    if text in BUNDLED:
        return BUNDLED[text]
    folder = Path(text).expanduser()
    if text and folder.is_dir():
        return folder
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise ModelError(f"model {text!r}: no such folder; give a folder that holds a config.json")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text):
        return None
    raise ModelError(
        f"unknown model {text!r}; {nearest(text, BUNDLED)}. "
        "Or give a folder, or a hub id such as 'openai/clip-vit-base-patch32'"
    )


def commit(hub_id: str) -> str:
    """The commit of a hub repository: the cached one if there is one, so that nothing moves under a study.

    Raises:
        ModelError: not in the cache, and the hub cannot be asked.
    """
    from huggingface_hub import HfApi, constants

    main = _cache(hub_id) / "refs" / "main"
    if main.is_file():
        return main.read_text().strip()
    if constants.HF_HUB_OFFLINE:
        raise _absent(
            hub_id, "it is not in the local hub cache, and this machine is offline (HF_HUB_OFFLINE)"
        )
    try:
        return str(HfApi().model_info(hub_id).sha)
    except Exception as error:  # network errors are those of whichever HTTP library the hub's client uses
        raise _absent(hub_id, f"the hub does not give it ({_first_line(error)})") from error


def snapshot(hub_id: str) -> Path:
    """The folder of a hub repository at `commit(hub_id)`; the hub is asked only for what is not cached.

    Raises:
        ModelError: not in the cache, and the hub does not give it.
    """
    from huggingface_hub import constants, snapshot_download

    revision = commit(hub_id)
    folder = _cache(hub_id) / "snapshots" / revision
    if _is_whole(folder):
        return folder
    try:
        fetched = snapshot_download(
            hub_id, revision=revision, allow_patterns=list(FILES), cache_dir=constants.HF_HUB_CACHE
        )
    except Exception as error:  # as above
        raise _absent(hub_id, f"the hub does not give it ({_first_line(error)})") from error
    return Path(fetched)


def _cache(hub_id: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"


def _is_whole(folder: Path) -> bool:
    """Whether all kinds of files are there: other programs may have cached the weights alone."""
    config = folder / "config.json"
    if not config.is_file():
        return False
    said = settings(config)
    kinds = ["model*.safetensors"]
    if said.get("model_type") not in TEXT_ALONE:
        kinds.append("*processor_config.json")
    if said.get("model_type") in TEXT_ALONE or "text_config" in said:
        kinds.append("tokenizer*.json")
    return all(any(folder.glob(kind)) for kind in kinds)


def settings(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        ModelError: it holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error}); fetch or save it again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _absent(hub_id: str, why: str) -> ModelError:
    return ModelError(
        f"model {hub_id!r}: no folder of this name, and {why}; "
        f"bundled models: {nearest(hub_id.split('/')[-1], BUNDLED)}. Give a folder, or go online once"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
