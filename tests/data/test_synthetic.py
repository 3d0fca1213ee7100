"""Drawn people: the same to the byte everywhere, and put together like re-ID sets."""

import ast
import hashlib
import multiprocessing
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fedklpr_flwr.data.drawn as drawn
from fedklpr_flwr.data import synthetic
from fedklpr_flwr.data.drawn import photograph
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.data.synthetic import SITES, draw_site, list_site, picture
from fedklpr_flwr.errors import DataError

VERSION_1 = "679ef45673b5bdeaa88df2e541dfef4c36c57cdc296523b8561aec92bca07961"


def sample_hash() -> str:
    """A hash of 232 pictures: 29 persons of every site, two seeds."""
    pixels = hashlib.sha256()
    for site, style in SITES.items():
        for person in range(1, 30):
            shown = picture(site, person, person % style.cameras, person % 3, person % 2)
            pixels.update(shown.tobytes())
    return pixels.hexdigest()


@pytest.fixture(scope="module")
def all_sites() -> dict[str, ReidDataset]:
    return {site: list_site(site, Path(site)) for site in SITES}


def test_version_1_is_frozen() -> None:
    # A change here is a change of everybody's pictures: raise VERSION and measure the task anew.
    assert synthetic.VERSION == 1
    assert sample_hash() == VERSION_1


def test_pictures_do_not_depend_on_the_vector_unit_of_the_processor() -> None:
    from numpy._core import _multiarray_umath

    features = " ".join(
        feature
        for feature in _multiarray_umath.__cpu_dispatch__
        if _multiarray_umath.__cpu_features__.get(feature)
    )
    script = (
        "from fedklpr_flwr.data.synthetic import picture; import hashlib; "
        "print(hashlib.sha256(b''.join(picture('campus', p, 3, 1, 5).tobytes() "
        "for p in range(1, 20))).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"NPY_DISABLE_CPU_FEATURES": disabled},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disabled in ("", features)
    }
    assert len(hashes) == 1


def test_drawing_uses_no_operation_whose_last_bit_depends_on_the_machine() -> None:
    allowed = {
        "abs", "arange", "asarray", "concatenate", "empty", "float64", "floor", "int64", "maximum",
        "minimum", "ndarray", "random", "sqrt", "uint8", "where", "zeros_like",
    }  # fmt: skip
    modules = sorted(Path(drawn.__file__).parent.glob("*.py"))
    assert len(modules) > 5
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id == "np":
                    assert node.attr in allowed, f"{module.name}:{node.lineno} np.{node.attr}"
                if node.value.id == "math":
                    assert node.attr in {"floor", "fsum", "sqrt"}, f"{module.name}:{node.lineno}"
            if isinstance(node, ast.BinOp | ast.AugAssign):
                assert not isinstance(node.op, ast.Pow | ast.MatMult), f"{module.name}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in {"sum", "mean", "dot", "cumsum", "prod", "std"}


def test_a_picture_depends_on_its_arguments_alone() -> None:
    first = picture("hall", 3, 1, 2, 7)
    picture("hall", 4, 0, 0, 7)
    for cached in (photograph._person, photograph._camera, photograph._scene, photograph._passage):
        cached.cache_clear()
    again = picture("hall", 3, 1, 2, 7)
    assert first.shape == (64, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    "other", [("market", 3, 1, 2, 7), ("hall", 4, 1, 2, 7), ("hall", 3, 0, 2, 7),
              ("hall", 3, 1, 1, 7), ("hall", 3, 1, 2, 8)],
)  # fmt: skip
def test_site_person_camera_shot_and_seed_each_change_the_picture(
    other: tuple[str, int, int, int, int],
) -> None:
    assert not np.array_equal(picture("hall", 3, 1, 2, 7), picture(*other))


def test_pictures_may_have_any_size() -> None:
    assert picture("lawn", 1, 0, 0, 0, height=128, width=64).shape == (128, 64, 3)
    assert picture("lawn", 1, 0, 0, 0, height=33, width=17).shape == (33, 17, 3)


def test_a_person_looks_more_like_themselves_than_like_others_by_another_camera() -> None:
    # The middle of the picture is clothes; its mean colour over rows is all that is compared here.
    views = np.stack(
        [
            [
                picture("passage", person, camera, 0, 0)[8:60, 10:22].mean(axis=1)
                for camera in (0, 1)
            ]
            for person in range(1, 41)
        ]
    ).reshape(40, 2, -1)
    views -= views.mean(axis=0)
    gaps = np.abs(views[:, None, 0] - views[None, :, 1]).mean(axis=2)
    own = np.diag(gaps)
    assert own.mean() < 0.75 * gaps.mean()
    assert (own < np.median(gaps, axis=1)).mean() > 0.8


def test_eight_sites_have_the_cameras_of_the_eight_benchmarks(
    all_sites: dict[str, ReidDataset],
) -> None:
    cameras = [
        len({image.camera_id for image in site.train + site.query + site.gallery})
        for site in all_sites.values()
    ]
    assert cameras == [8, 6, 2, 2, 2, 2, 2, 2]


def test_sites_are_very_unequal(all_sites: dict[str, ReidDataset]) -> None:
    pictures = {name: len(site.train) for name, site in all_sites.items()}
    persons = {name: len({i.person_id for i in site.train}) for name, site in all_sites.items()}
    per_person = {name: pictures[name] / persons[name] for name in pictures}
    assert max(pictures.values()) > 7 * min(pictures.values())
    assert max(persons.values()) > 4 * min(persons.values())
    assert max(per_person.values()) > 5 * min(per_person.values())
    assert 2000 < sum(pictures.values()) < 3000


@pytest.mark.parametrize("site", SITES)
def test_train_and_test_show_different_persons(
    all_sites: dict[str, ReidDataset], site: str
) -> None:
    dataset = all_sites[site]
    train = {image.person_id for image in dataset.train}
    query = {image.person_id for image in dataset.query}
    gallery = {image.person_id for image in dataset.gallery}
    assert train == set(range(1, SITES[site].train_persons + 1))
    assert not train & (query | gallery)
    assert query <= gallery
    assert len(query) == SITES[site].test_persons


@pytest.mark.parametrize("site", SITES)
def test_every_query_has_a_match_by_another_camera(
    all_sites: dict[str, ReidDataset], site: str
) -> None:
    dataset = all_sites[site]
    seen_by: dict[int, set[int]] = defaultdict(set)
    for image in dataset.gallery:
        seen_by[image.person_id].add(image.camera_id)
    assert all(seen_by[image.person_id] - {image.camera_id} for image in dataset.query)


@pytest.mark.parametrize("site", [site for site in SITES if site != "lawn"])
def test_a_query_is_one_picture_of_a_person_and_camera(
    all_sites: dict[str, ReidDataset], site: str
) -> None:
    queries = Counter((image.person_id, image.camera_id) for image in all_sites[site].query)
    passages = {(image.person_id, image.camera_id) for image in all_sites[site].gallery}
    assert set(queries.values()) == {1}
    assert set(queries) == passages


def test_the_lawn_has_two_pictures_a_person_and_searches_one_camera_for_the_other(
    all_sites: dict[str, ReidDataset],
) -> None:
    lawn = all_sites["lawn"]
    assert lawn.single_shot
    assert set(Counter(image.person_id for image in lawn.train).values()) == {2}
    assert {image.camera_id for image in lawn.query} == {0}
    assert {image.camera_id for image in lawn.gallery} == {1}
    assert len(lawn.query) == len(lawn.gallery) == SITES["lawn"].test_persons


def test_files_hold_the_pictures_that_their_names_tell(tmp_path: Path) -> None:
    airport = draw_site("airport", tmp_path, seed=4)
    for image in (airport.train[5], airport.query[0], airport.gallery[-1]):
        person, camera, shot = image.path.stem.split("_")
        assert (int(person[1:]), int(camera[1:])) == (image.person_id, image.camera_id)
        with Image.open(image.path) as stored:
            pixels = np.asarray(stored)
        expected = picture("airport", image.person_id, image.camera_id, int(shot[1:]), 4)
        assert np.array_equal(pixels, expected)


def test_a_site_is_drawn_once_and_then_listed(tmp_path: Path) -> None:
    first = draw_site("airport", tmp_path, height=16, width=8)
    drawn_at = first.train[0].path.stat().st_mtime_ns
    again = draw_site("airport", tmp_path, height=16, width=8)
    assert again == first == list_site("airport", first.train[0].path.parents[1])
    assert again.train[0].path.stat().st_mtime_ns == drawn_at


@pytest.mark.slow
def test_sizes_and_seeds_live_side_by_side(tmp_path: Path) -> None:
    paths = {
        draw_site("airport", tmp_path, seed=seed, height=height, width=8).train[0].path
        for seed, height in ((0, 16), (1, 16), (0, 24))
    }
    assert len(paths) == 3
    assert all(path.is_file() for path in paths)


@pytest.mark.slow
def test_two_processes_may_draw_one_site_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        one, other = pool.starmap(
            draw_site, [("airport", tmp_path), ("airport", tmp_path)], chunksize=1
        )
    assert one == other
    assert all(image.path.is_file() for image in one.train + one.query + one.gallery)
    assert [folder.name for folder in one.train[0].path.parents[2].iterdir()] == ["airport-0"]


def test_an_interrupted_drawing_leaves_no_site_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Image.Image.save

    def full_disk(self: Image.Image, path: Path, **options: int) -> None:
        if path.name.startswith("p0010"):
            raise OSError("No space left on device")
        saved(self, path, **options)

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(DataError, match=r"No space left on device.*choose a folder"):
        draw_site("airport", tmp_path, height=16, width=8)
    assert not list((tmp_path / "v1-16x8").iterdir())
    monkeypatch.undo()
    assert draw_site("airport", tmp_path, height=16, width=8).train


def test_a_removed_picture_is_named(tmp_path: Path) -> None:
    lost = draw_site("airport", tmp_path, height=16, width=8).gallery[3].path
    lost.unlink()
    with pytest.raises(DataError, match=f"1 are missing.*{lost.name}.*remove .*airport-0"):
        draw_site("airport", tmp_path, height=16, width=8)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(DataError, match=r"cannot draw site 'airport' into .*root"):
        draw_site("airport", tmp_path / "root")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("beach", 1, 0, 0, 0), "no drawn site 'beach'; choose one of campus, market"),
        (("hall", 0, 0, 0, 0), "got person 0"),
        (("hall", 1, 2, 0, 0), r"camera in 0\.\.1.*camera 2"),
        (("hall", 1, 0, -1, 0), "shot -1"),
        (("hall", 1, 0, 0, -1), "seed -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    arguments: tuple[str, int, int, int, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        picture(*arguments)


def test_a_site_of_tiny_pictures_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="height 4"):
        draw_site("hall", tmp_path, height=4)
    with pytest.raises(DataError, match="seed -3"):
        draw_site("hall", tmp_path, seed=-3)
    assert not list(tmp_path.iterdir())


def test_a_crowd_has_people_for_so_many_clients_and_a_smaller_one_is_its_beginning() -> None:
    small, large = (list_site(f"crowd-{clients}", Path("x")) for clients in (2, 50))
    assert {image.person_id for image in small.train} == set(range(1, 9))
    assert {image.person_id for image in large.gallery} == set(range(201, 301))
    assert len(large.train) == 50 * 4 * 4
    assert len(large.query) == len(large.gallery) == 50 * 2 * 2
    assert np.array_equal(picture("crowd-2", 3, 1, 0, 0), picture("crowd-50", 3, 1, 0, 0))
    assert not np.array_equal(picture("crowd-2", 3, 1, 0, 0), picture("yard", 3, 1, 0, 0))


@pytest.mark.parametrize("name", ["crowd", "crowd-0", "crowd-07", "crowd-x", "crowd-100000"])
def test_a_crowd_that_cannot_be_is_refused_with_what_can(name: str) -> None:
    with pytest.raises(DataError, match=rf"'{name}'.*crowd-N"):
        list_site(name, Path("x"))
