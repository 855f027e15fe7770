"""The moments of clients between rounds, where they are kept."""

import pytest
import torch

from tunescope.federated.moments import KeptMoments


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_those_of_two_rounds_are_kept_for_each_client(tmp_path, where):
    folder = None if where == "memory" else tmp_path / "clients"
    kept = KeptMoments(("a/../b", "c"), folder)
    assert kept.read("a/../b", 1) == {}
    for round in (1, 2, 3):
        kept.write("a/../b", round, {"head.w": {"step": torch.tensor(float(round)), "max": None}})
    kept.write("c", 2, {"head.w": {"step": torch.tensor(7.0)}})
    assert float(kept.read("a/../b", 4)["head.w"]["step"]) == 3  # the last one before this round
    assert float(kept.read("a/../b", 3)["head.w"]["step"]) == 2  # round 3 is tuned again
    assert (kept.read("a/../b", 2), kept.last("a/../b", 2)) == ({}, None)
    assert (kept.last("c", 2), kept.last("c", 9)) == (None, 2)
    kept.write("a/../b", 3, {"head.w": {"step": torch.tensor(4.0)}})
    again = kept if folder is None else KeptMoments(("a/../b", "c"), folder)
    assert [float(again.read("a/../b", before)["head.w"]["step"]) for before in (3, 4)] == [2, 4]
    if folder is not None:
        assert sorted(path.name for path in folder.rglob("*.*")) == [
            "2.safetensors",
            "2.safetensors",
            "3.safetensors",
        ]
        assert [path.name for path in tmp_path.iterdir()] == ["clients"]
