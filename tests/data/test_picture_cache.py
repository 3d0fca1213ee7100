"""Pictures decoded once: what comes back, and that it stays right when files change."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedklpr_flwr.data import picture_cache
from fedklpr_flwr.data.person_image import PersonImage
from fedklpr_flwr.data.picture_cache import load_pictures, pictures_fingerprint, pictures_stamp
from fedklpr_flwr.errors import DataError


def plant(folder: Path, count: int, *, suffix: str = ".png", size=(20, 40)) -> list[PersonImage]:
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for index in range(count):
        generator = np.random.default_rng(index)
        pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        path = folder / f"{index:03d}{suffix}"
        Image.fromarray(pixels).save(path)
        images.append(PersonImage(path, index, 0))
    return images


def load(images, cache, **settings):
    return load_pictures(images, height=16, width=8, cache=cache, **settings)


def test_pictures_are_resized_bilinear_and_come_in_the_order_asked_for(tmp_path):
    images = plant(tmp_path, 5)
    rows, kept = load(list(reversed(images)), None)
    assert kept == (0, 1, 2, 3, 4)
    for row, image in zip(rows, reversed(images), strict=True):
        resized = Image.open(image.path).resize((8, 16), Image.Resampling.BILINEAR)
        assert np.array_equal(row.numpy(), np.asarray(resized).transpose(2, 0, 1))


def test_the_cache_gives_what_decoding_gives_whatever_the_workers(tmp_path):
    images = plant(tmp_path / "set", 300)
    plain, _ = load(images, None)
    for workers in (1, 3):
        cached, kept = load(images, tmp_path / f"cache{workers}", workers=workers)
        again, _ = load(images, tmp_path / f"cache{workers}")
        assert torch.equal(cached, plain)
        assert torch.equal(again, plain)
        assert kept == tuple(range(300))


def test_the_second_time_no_picture_is_opened(tmp_path):
    images = plant(tmp_path / "set", 3)
    rows, _ = load(images, tmp_path / "cache")
    for image in images:
        # Same size and change time: only who opens the file can tell.
        state = image.path.stat()
        image.path.write_bytes(b"x" * state.st_size)
        os.utime(image.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    again, _ = load(images, tmp_path / "cache")
    assert torch.equal(rows, again)


def test_a_changed_picture_is_decoded_anew(tmp_path):
    images = plant(tmp_path / "set", 3)
    before, _ = load(images, tmp_path / "cache")
    Image.new("RGB", (20, 40), "red").save(images[1].path)
    after, _ = load(images, tmp_path / "cache")
    assert after[1, :, 0, 0].tolist() == [255, 0, 0]
    assert torch.equal(before[0], after[0])


def test_pictures_decoded_in_another_way_are_not_used(tmp_path, monkeypatch):
    images = plant(tmp_path / "set", 2)
    load(images, tmp_path / "cache")
    monkeypatch.setattr(picture_cache, "DECODING", picture_cache.DECODING + 1)
    load(images, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_another_size_is_another_file(tmp_path):
    images = plant(tmp_path / "set", 2)
    load(images, tmp_path / "cache")
    small, _ = load_pictures(images, height=4, width=4, cache=tmp_path / "cache")
    assert small.shape == (2, 3, 4, 4)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_writing_to_the_tensor_changes_no_file(tmp_path):
    images = plant(tmp_path / "set", 2)
    rows, _ = load(images, tmp_path / "cache")
    before = rows.clone()
    rows[:] = 0
    again, _ = load(images, tmp_path / "cache")
    assert torch.equal(again, before)


def test_many_may_build_one_cache_at_once(tmp_path):
    images = plant(tmp_path / "set", 40)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: load(images, tmp_path / "cache")[0].clone(), range(6)))
    plain, _ = load(images, None)
    assert all(torch.equal(rows, plain) for rows in results)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


@pytest.mark.parametrize("damage", [b"", b"not numpy", None])
def test_a_damaged_cache_is_built_again(tmp_path, damage):
    images = plant(tmp_path / "set", 4)
    rows, _ = load(images, tmp_path / "cache")
    rows = rows.clone()
    (file,) = (tmp_path / "cache").glob("*.npy")
    file.write_bytes(file.read_bytes()[:-10] if damage is None else damage)
    again, _ = load(images, tmp_path / "cache")
    assert torch.equal(again, rows)


def test_an_unreadable_picture_is_an_error_that_names_it(tmp_path):
    images = plant(tmp_path / "set", 4)
    images[2].path.write_bytes(b"")
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(DataError, match=r"002\.png.*0 bytes.*skip_unreadable"):
            load(images, cache, workers=2)
    assert list((tmp_path / "cache").iterdir()) == []


def test_unreadable_pictures_can_be_skipped_and_are_told_by_index(tmp_path):
    images = plant(tmp_path / "set", 5)
    images[1].path.write_bytes(b"")
    images[4].path.unlink()
    whole, _ = load([images[0], images[2], images[3]], None)
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        rows, kept = load(images, cache, skip_unreadable=True)
        assert kept == (0, 2, 3)
        assert torch.equal(rows, whole)


def test_a_cache_with_gaps_does_not_serve_who_allows_none(tmp_path):
    images = plant(tmp_path / "set", 3)
    images[0].path.write_bytes(b"")
    load(images, tmp_path / "cache", skip_unreadable=True)
    with pytest.raises(DataError, match="0 bytes"):
        load(images, tmp_path / "cache")


def test_a_set_of_which_nothing_can_be_read_is_an_error_even_when_skipping(tmp_path):
    images = plant(tmp_path / "set", 2)
    for image in images:
        image.path.write_bytes(b"")
    with pytest.raises(DataError, match="none of 2 pictures"):
        load(images, None, skip_unreadable=True)


def test_no_pictures_give_an_empty_tensor(tmp_path):
    rows, kept = load([], tmp_path / "cache")
    assert rows.shape == (0, 3, 16, 8)
    assert kept == ()


def test_a_cache_that_is_a_file_is_an_error_that_names_it(tmp_path):
    images = plant(tmp_path / "set", 1)
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DataError, match=r"cache: expected a folder.*FEDKLPR_CACHE"):
        load(images, tmp_path / "cache")


def test_paths_with_blanks_and_other_alphabets_are_read(tmp_path):
    images = plant(tmp_path / "a set" / "Grüße 人", 2)
    rows, _ = load(images, tmp_path / "cache dir é")
    assert rows.shape == (2, 3, 16, 8)


def test_the_fingerprint_tells_a_changed_picture_person_or_order_but_not_a_moved_folder(tmp_path):
    here, there = plant(tmp_path / "here", 3), plant(tmp_path / "there", 3)
    fingerprint = pictures_fingerprint(here)
    assert pictures_fingerprint(there) == fingerprint
    assert pictures_fingerprint(here[:2]) != fingerprint
    assert pictures_fingerprint([here[1], here[0], here[2]]) != fingerprint
    renamed = [*here[:2], PersonImage(here[2].path, 9, 0)]
    assert pictures_fingerprint(renamed) != fingerprint
    Image.new("RGB", (3, 3)).save(here[0].path)
    assert pictures_fingerprint(here) != fingerprint


def test_the_fingerprint_of_a_picture_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match="changed while it was read"):
        pictures_fingerprint([PersonImage(tmp_path / "folder.png", 1, 0)])


def test_the_stamp_tells_what_a_listing_shows_and_not_where_the_folder_lies(tmp_path):
    here = plant(tmp_path / "here", 3)
    stamp = pictures_stamp(here, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = [
        PersonImage(tmp_path / "there" / i.path.relative_to(tmp_path / "here"), i.person_id, 0)
        for i in here
    ]
    assert pictures_stamp(moved, tmp_path / "there") == stamp
    assert pictures_stamp(moved[:2], tmp_path / "there") != stamp
    assert pictures_stamp(here, tmp_path / "here") != stamp, "a picture that is gone"
    renamed = [PersonImage(moved[0].path, 9, 0), *moved[1:]]
    assert pictures_stamp(renamed, tmp_path / "there") != stamp
    Image.new("RGB", (3, 3)).save(moved[0].path)
    assert pictures_stamp(moved, tmp_path / "there") != stamp


def test_decoded_people_are_readable_by_their_user_alone(tmp_path):
    before = os.umask(0)
    try:
        load(plant(tmp_path / "set", 3), tmp_path / "cache" / "pictures")
    finally:
        os.umask(before)
    folder = tmp_path / "cache" / "pictures"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = list(folder.iterdir())
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
