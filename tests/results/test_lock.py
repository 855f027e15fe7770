import os
import threading

import pytest

from tunescope.results.lock import held


def test_one_holder_at_a_time_and_no_file_stays(tmp_path):
    path = tmp_path / "a.lock"
    with held(path) as first, held(path) as second:
        assert (first, second) == (True, False)
    assert os.listdir(tmp_path) == []
    with held(path) as again:
        assert again


def test_whoever_waits_gets_it_afterwards(tmp_path):
    path, order = tmp_path / "a.lock", []

    def wait():
        with held(path, wait=True) as mine:
            order.append(mine)

    waiting = threading.Thread(target=wait)
    with held(path):
        waiting.start()
        waiting.join(0.05)
        assert order == []
    waiting.join()
    assert order == [True]


def test_a_lock_whose_file_was_removed_leaves_the_next_ones_alone(tmp_path):
    path = tmp_path / "a.lock"
    first = held(path)
    assert first.__enter__()
    path.unlink()
    with held(path) as second:
        assert second
        first.__exit__(None, None, None)
        with held(path) as third:
            assert not third
    assert os.listdir(tmp_path) == []


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), held(tmp_path / "a.lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()
