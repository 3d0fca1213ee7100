"""Claims about decoded pictures on disk: they go when one of their files has gone."""

import os
import time

import numpy as np
import pytest
from tiny_federation import write_pictures

from fedklpr_flwr.data.cached_files import forget_gone
from fedklpr_flwr.data.person_image import PersonImage
from fedklpr_flwr.data.picture_cache import load_pictures


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def decoded(root, cache, height=32):
    """Decode a folder of four pictures."""
    if not root.exists():
        write_pictures(root, [0], 2, 0)
    images = [PersonImage(path, 0, 0) for path in sorted(root.glob("*/*"))]
    load_pictures(images, height=height, width=16, cache=cache, skip_unreadable=True, root=root)
    return images


def test_nothing_goes_while_all_pictures_are_there(tmp_path, cache):
    decoded(tmp_path / "gate", cache)
    assert forget_gone(cache, tmp_path / "gate") == 0
    assert forget_gone(tmp_path / "no cache", tmp_path / "gate") == 0
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("how", ["gone", "another"])
def test_all_sizes_of_a_folder_go_and_another_folder_stays(tmp_path, cache, how):
    images = decoded(tmp_path / "gate", cache)
    decoded(tmp_path / "gate", cache, height=16)
    decoded(tmp_path / "yard", cache)
    if how == "gone":
        images[0].path.unlink()
    else:
        images[0].path.write_bytes(images[1].path.read_bytes() + b" ")
    assert forget_gone(cache, tmp_path / "gate") == 2
    assert len(list(cache.iterdir())) == 1
    assert forget_gone(cache, tmp_path / "yard") == 0


def test_the_list_of_what_could_be_decoded_goes_with_the_pixels(tmp_path, cache):
    write_pictures(tmp_path / "gate", [0], 2, 0)
    broken = tmp_path / "gate" / "p0" / "c0_0.png"
    broken.write_bytes(b"")
    decoded(tmp_path / "gate", cache)
    assert sorted(path.suffixes[0] for path in cache.iterdir()) == [".kept", ".npy"]
    broken.unlink()
    forget_gone(cache, tmp_path / "gate")
    assert list(cache.iterdir()) == []


def test_pixels_of_nobody_knows_whom_go_and_a_users_own_files_stay(tmp_path, cache):
    cache.mkdir()
    for name in ("0" * 32, "features"):
        np.save(cache / f"{name}.npy", np.zeros((2, 3, 4, 4), np.uint8))
    forget_gone(cache, tmp_path / "gate")
    assert [path.name for path in cache.iterdir()] == ["features.npy"]


def test_what_a_killed_process_left_goes_after_an_hour(tmp_path, cache):
    cache.mkdir()
    for name, age in (("now.partial", 0), ("old.partial", 4000)):
        (cache / name).write_bytes(b"pixels")
        os.utime(cache / name, (time.time() - age, time.time() - age))
    forget_gone(cache, tmp_path / "gate")
    assert [path.name for path in cache.iterdir()] == ["now.partial"]
