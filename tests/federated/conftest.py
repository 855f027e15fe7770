import pytest
from families import save_tiny
from federated.small_runs import EACH, SPLIT, TRAIN
from tiny_study import images

from tunescope.study.run import RunSpec


@pytest.fixture(scope="session")
def federated_images(tmp_path_factory):
    """A folder of images of three colours."""
    return images(tmp_path_factory.mktemp("federated") / "images", each=EACH)


@pytest.fixture(scope="session")
def one_block(tmp_path_factory):
    """A tiny CLIP whose vision tower has one block."""
    return save_tiny("clip", tmp_path_factory.mktemp("one_block") / "clip", num_hidden_layers=1)


@pytest.fixture(scope="session")
def spec(one_block, federated_images):
    """Makes a run of a tiny CLIP on that folder."""
    task = {"data": f"folder:{federated_images}", "split": SPLIT}
    said = {"model": str(one_block), "task": task, "lr": 1e-2, "train": TRAIN}

    def made(adapt, federated=None, **settings) -> RunSpec:
        return RunSpec.parse(said | {"adapt": adapt, "federated": federated} | settings, "test")

    return made
