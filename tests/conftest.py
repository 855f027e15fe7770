import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tunescope.engine.events import Event
    from tunescope.models.encoder import Encoder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny saved model of a family of `families.FAMILIES`; read it, never write to it."""
    folders: dict[str, Path] = {}

    def folder(family: str) -> Path:
        from families import save_tiny

        if family not in folders:
            folders[family] = save_tiny(family, tmp_path_factory.mktemp("tiny") / family)
        return folders[family]

    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Callable[[str], Path]) -> "Callable[[str], Encoder]":
    """A freshly loaded tiny encoder of a family: yours to change."""

    def load_tiny(family: str) -> "Encoder":
        from tunescope.models.load import load

        return load(tiny_folder(family))

    return load_tiny


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, list[Event]]":
    """The small study, carried out without interruption: its folder and what was told meanwhile."""
    from engine_study import STUDY

    from tunescope import api

    folder = tmp_path_factory.mktemp("straight")
    (folder / "small.yaml").write_text(STUDY)
    events: "list[Event]" = []
    api.run(folder / "small.yaml", folder / "results", workers=2, tell=events.append)
    return folder, events
