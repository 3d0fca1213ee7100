"""Claims about a gallery: each picture is looked at once a model, and again when it changes."""

import os
import shutil
import stat
import time

import numpy as np
import pytest
from galleries import counted, small_model, write_figure, write_gallery

from fedklpr_flwr.errors import DataError, WeightsError
from fedklpr_flwr.search import gallery as gallery_module
from fedklpr_flwr.search import index_file
from fedklpr_flwr.search.gallery import open_gallery
from fedklpr_flwr.search.index_file import index_path, settled
from fedklpr_flwr.search.nearest_people import nearest_people, query_feature

SECOND = 1_000_000_000


@pytest.fixture
def root(tmp_path):
    return write_gallery(tmp_path / "gallery")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def believed(monkeypatch):
    """Files count as settled at once: a test does not wait for two seconds to pass."""
    monkeypatch.setattr("fedklpr_flwr.search.index_file._SETTLED_NS", 0)
    monkeypatch.setattr(gallery_module, "settled", lambda state, now: state)


def by_name(found):
    names = [str(row.path.relative_to(found.root)) for row in found.pictures]
    return dict(zip(names, found.features, strict=True))


def test_features_are_the_models_own_for_every_picture_in_order(root, cache):
    model = small_model()
    found = open_gallery(model, root, cache)
    assert [(row.camera, row.path.name) for row in found.pictures] == [
        (camera, f"{person}.png") for camera in ("east", "west") for person in range(4)
    ]
    assert found.cameras == 2
    for row, feature in zip(found.pictures, found.features, strict=True):
        assert np.abs(query_feature(model, row.path) - feature).max() < 1e-5
        assert np.linalg.norm(feature) == pytest.approx(1, abs=1e-5)


def test_a_gallery_seen_before_is_not_looked_at_again(root, cache, believed):
    model = small_model()
    first = open_gallery(model, root, cache)
    calls, reads = counted(model), []
    again = open_gallery(model, root, cache, progress=lambda done, total: reads.append(total))
    assert (first.looked_at, again.looked_at, calls) == (8, 0, [])
    assert set(reads) == {0}, "files were read"
    assert np.array_equal(first.features, again.features)


def test_only_what_is_new_or_changed_is_looked_at(root, cache, believed):
    model = small_model()
    before = by_name(open_gallery(model, root, cache))
    write_figure(root / "west" / "9.png", 9)
    write_figure(root / "east" / "2.png", 7)
    (root / "east" / "0.png").unlink()
    calls = counted(model)
    found = open_gallery(model, root, cache)
    assert (found.looked_at, calls) == (2, [2])
    after = by_name(found)
    assert after.keys() == (before.keys() | {"west/9.png"}) - {"east/0.png"}
    for name, feature in after.items():
        same = name in before and np.array_equal(before[name], feature)
        assert same == (name not in ("west/9.png", "east/2.png"))


def test_a_change_that_keeps_size_and_time_is_seen(root, cache, believed):
    model, file = small_model(), root / "east" / "1.png"
    os.utime(file, ns=(SECOND, SECOND))
    before = by_name(open_gallery(model, root, cache))["east/1.png"]
    old = file.read_bytes()
    new = write_figure(root / "other.png", 8).read_bytes()[: len(old)].ljust(len(old), b"\0")
    (root / "other.png").unlink()
    file.write_bytes(new)
    os.utime(file, ns=(SECOND, SECOND))
    found = open_gallery(model, root, cache)
    assert found.looked_at == 1
    assert not np.array_equal(by_name(found)["east/1.png"], before)


def test_a_file_only_just_changed_is_not_believed_to_be_the_same_later():
    now = time.time_ns()
    assert settled((1, now, now - 9 * SECOND, 4), now)[0] == -1
    assert settled((1, now - 9 * SECOND, now - SECOND, 4), now)[0] == -1
    assert settled((1, now - 9 * SECOND, now - 3 * SECOND, 4), now)[0] == 1


def test_a_touched_or_renamed_file_is_read_but_not_looked_at(root, cache):
    model = small_model()
    open_gallery(model, root, cache)
    (root / "east" / "0.png").rename(root / "west" / "zero.png")
    os.utime(root / "east" / "1.png")
    calls = counted(model)
    found = open_gallery(model, root, cache)
    assert (calls, len(found.pictures)) == ([], 8)
    recheck = open_gallery(model, root, cache, recheck=True)
    assert (calls, recheck.looked_at) == ([], 0)


def test_each_model_has_its_own_features(root, cache):
    one, other = small_model(0), small_model(1)
    first = open_gallery(one, root, cache)
    second = open_gallery(other, root, cache)
    assert (first.looked_at, second.looked_at) == (8, 8)
    assert not np.allclose(first.features, second.features)
    assert np.array_equal(open_gallery(one, root, cache).features, first.features)


def test_unreadable_pictures_are_named_and_left_out(root, cache):
    (root / "east" / "broken.png").write_bytes(b"no picture")
    (root / "east" / "empty.jpg").write_bytes(b"")
    (root / "west" / "phone.heic").write_bytes(b"?")
    found = open_gallery(small_model(), root, cache)
    assert len(found.pictures) == 8
    why = {path.name: words for path, words in found.problems}
    assert why.keys() == {"broken.png", "empty.jpg", "phone.heic"}
    assert why["broken.png"] == "no picture of a known format"
    assert why["empty.jpg"] == "0 bytes"


def test_a_folder_without_a_picture_is_an_error(tmp_path, cache):
    (tmp_path / "empty" / "cam1").mkdir(parents=True)
    with pytest.raises(DataError, match="expected pictures to search in"):
        open_gallery(small_model(), tmp_path / "empty", cache)
    (tmp_path / "empty" / "cam1" / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="1 cannot be read"):
        open_gallery(small_model(), tmp_path / "empty", cache)
    with pytest.raises(DataError, match="there is no such path"):
        open_gallery(small_model(), tmp_path / "nowhere", cache)


def test_what_was_drawn_before_an_interruption_is_kept(root, cache, believed, monkeypatch):
    monkeypatch.setattr(gallery_module, "_CHUNK", 3)
    model = small_model()

    def stop(done, total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_gallery(model, root, cache, progress=stop)
    assert open_gallery(model, root, cache).looked_at == 2


def test_a_damaged_index_is_made_anew(root, cache):
    model = small_model()
    first = open_gallery(model, root, cache)
    file = index_path(cache, model.key, root)
    content = file.read_bytes()
    for damage in (content[: len(content) // 2], b"", b"rubbish" * 9):
        file.write_bytes(damage)
        again = open_gallery(model, root, cache)
        assert again.looked_at == 8
        assert np.array_equal(again.features, first.features)


def test_features_of_pictures_decoded_in_another_way_are_not_used(root, cache, monkeypatch):
    model = small_model()
    open_gallery(model, root, cache)
    monkeypatch.setattr(index_file, "_FORMAT", f"{index_file._FORMAT}-of-tomorrow")
    assert open_gallery(model, root, cache).looked_at == 8


def test_features_of_people_are_readable_by_their_user_alone(root, cache):
    model = small_model()
    open_gallery(model, root, cache)
    (file,) = (cache / "search").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file == index_path(cache, model.key, root)
    assert open_gallery(model, root, None).looked_at == 8, "without a cache nothing is kept"


def test_a_cache_that_cannot_be_written_costs_only_the_next_time(root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = open_gallery(small_model(), root, tmp_path / "file")
    assert len(found.pictures) == 8
    assert "cannot keep the features" in found.remark
    assert "FEDKLPR_CACHE sets another place" in found.remark


def test_a_model_whose_numbers_overflow_is_named(root, cache):
    model = small_model()
    model.network.neck.weight.data.fill_(float("nan"))
    with pytest.raises(WeightsError, match=r"a model: the features of .* are infinite"):
        open_gallery(model, root, cache)


def test_the_query_itself_is_found_first_then_the_same_person_by_the_other_camera(root, cache):
    model = small_model()
    found = open_gallery(model, root, cache)
    near = nearest_people(found, query_feature(model, root / "east" / "3.png"), 3)
    assert (near[0].path.name, near[0].camera) == ("3.png", "east")
    assert near[0].score == pytest.approx(1, abs=1e-5)
    assert [one.score for one in near] == sorted((one.score for one in near), reverse=True)
    assert len(nearest_people(found, query_feature(model, root / "east" / "3.png"), 99)) == 8


def test_with_its_cameras_looks_taken_out_a_gallery_is_searched_by_what_is_left(root, cache):
    model = small_model()
    plain = open_gallery(model, root, cache)
    found = open_gallery(model, root, cache, camera_norm=True)
    assert found.looks is not None
    # Fewer than ten pictures a camera: all of them tell the mean and the spread.
    mean, spread = plain.features.mean(axis=0), plain.features.std(axis=0)
    moved = (plain.features - mean) / np.maximum(spread, 1e-12)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(found.features, moved, atol=1e-4)
    near = nearest_people(found, query_feature(model, root / "east" / "3.png"), 8)
    assert near[0].path.name == "3.png"
    assert near[0].camera == "east"
    assert near[0].score == pytest.approx(1, abs=1e-4)


def test_a_picture_that_is_gone_is_forgotten_under_every_model_at_the_next_search(root, cache):
    old, other, new = small_model(0), small_model(1), small_model(2)
    for model in (old, other):
        open_gallery(model, root, cache)
    elsewhere = write_gallery(root.with_name("elsewhere"))
    open_gallery(old, elsewhere, cache)
    open_gallery(new, root, cache)
    assert len(list((cache / "search").iterdir())) == 4, "all pictures are there: nothing goes"
    (root / "east" / "2.png").unlink()
    open_gallery(new, root, cache)
    left = {index_path(cache, new.key, root), index_path(cache, old.key, elsewhere)}
    assert set((cache / "search").iterdir()) == left
    shutil.rmtree(root)
    with pytest.raises(DataError, match="no such path"):
        open_gallery(new, root, cache)
    assert set((cache / "search").iterdir()) == left - {index_path(cache, new.key, root)}


def test_what_a_picture_showed_before_it_was_written_over_is_forgotten(root, cache):
    model = small_model()
    before = by_name(open_gallery(model, root, cache))["east/1.png"].tobytes()
    file = index_path(cache, model.key, root)
    assert before in file.read_bytes()
    (root / "east" / "1.png").write_bytes(b"no picture")
    open_gallery(model, root, cache)
    assert before not in file.read_bytes()
