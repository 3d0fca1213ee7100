"""The official counts, on trees of the full size with official names and generated pictures."""

from itertools import cycle, islice

import pytest
from scipy.io import savemat

from fedklpr_flwr.data.benchmarks import read_dataset


def counts(images):
    persons = {image.person_id for image in images} - {0}
    return len(images), len(persons), len({image.camera_id for image in images})


def dealt(persons, images):
    """Deal pictures to persons in turn."""
    return islice(cycle(persons), images)


def market_like(folder, persons, images, cameras, name):
    return [
        f"{folder}/{name.format(person=person, camera=1 + number % cameras, number=number)}"
        for number, person in enumerate(dealt(persons, images))
    ]


MARKET = "{person:04d}_c{camera}s1_{number:06d}_00.jpg"
DUKE = "{person:04d}_c{camera}_f{number:07d}.jpg"
CUHK03 = "{person:04d}_c{camera}_{number}.png"


@pytest.mark.slow
def test_market1501(plant, tmp_path):
    junk = [f"bounding_box_test/-1_c1s1_{number:06d}_01.jpg" for number in range(3819)]
    names = [
        *market_like("bounding_box_train", range(2, 753), 12936, 6, MARKET),
        *market_like("query", range(753, 1503), 3368, 6, MARKET),
        *market_like("bounding_box_test", range(753, 1503), 13115, 6, MARKET),
        *market_like("bounding_box_test", [0], 2798, 6, MARKET),
        *junk,
    ]
    dataset = read_dataset("market1501", plant(tmp_path, names))
    assert counts(dataset.train) == (12936, 751, 6)
    assert counts(dataset.query) == (3368, 750, 6)
    # 19,732 files, of which the junk is never ranked.
    assert counts(dataset.gallery) == (19732 - 3819, 750, 6)


@pytest.mark.slow
def test_dukemtmc(plant, tmp_path):
    names = [
        *market_like("bounding_box_train", range(1, 703), 16522, 8, DUKE),
        *market_like("query", range(703, 1405), 2228, 8, DUKE),
        *market_like("bounding_box_test", range(703, 1813), 17661, 8, DUKE),
    ]
    dataset = read_dataset("dukemtmc", plant(tmp_path, names))
    assert counts(dataset.train) == (16522, 702, 8)
    assert counts(dataset.query) == (2228, 702, 8)
    assert counts(dataset.gallery) == (17661, 1110, 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "train", "gallery"), [("detected", 7365, 5332), ("labeled", 7368, 5328)]
)
def test_cuhk03_np(plant, tmp_path, kind, train, gallery):
    names = [
        *market_like(f"{kind}/bounding_box_train", range(1, 768), train, 2, CUHK03),
        *market_like(f"{kind}/query", range(768, 1468), 1400, 2, CUHK03),
        *market_like(f"{kind}/bounding_box_test", range(768, 1468), gallery, 2, CUHK03),
    ]
    dataset = read_dataset("cuhk03", plant(tmp_path, names))
    assert counts(dataset.train) == (train, 767, 2)
    assert counts(dataset.query) == (1400, 700, 2)
    assert counts(dataset.gallery) == (gallery, 700, 2)


@pytest.mark.slow
def test_cuhk03_from_the_protocols_file(plant, tmp_path):
    names = [
        f"{1 + n % 5}_{1 + n // 50:03d}_{1 + n // 5 % 2}_{1 + n // 5 % 10:02d}.png"
        for n in range(14097)
    ]
    tested = [768 + number % 700 for number in range(1400 + 5332)]
    savemat(
        tmp_path / "cuhk03_new_protocol_config_detected.mat",
        {
            "filelist": [[name] for name in names],
            "labels": [[person] for person in [*dealt(range(1, 768), 7365), *tested]],
            "train_idx": [[at] for at in range(1, 7366)],
            "query_idx": [[at] for at in range(7366, 8766)],
            "gallery_idx": [[at] for at in range(8766, 14098)],
        },
    )
    plant(tmp_path, [f"images_detected/{name}" for name in names])
    dataset = read_dataset("cuhk03", tmp_path)
    assert counts(dataset.train) == (7365, 767, 2)
    assert counts(dataset.query) == (1400, 700, 2)
    assert counts(dataset.gallery) == (5332, 700, 2)


def test_prid2011(plant, tmp_path):
    names = [
        f"single_shot/{camera}/person_{person:04d}.png"
        for camera, last in (("cam_a", 385), ("cam_b", 749))
        for person in range(1, last + 1)
    ]
    plant(tmp_path, names)
    for seed in (0, 1):
        dataset = read_dataset("prid2011", tmp_path, seed=seed)
        assert counts(dataset.train) == (385, 285, 2)
        assert counts(dataset.query) == (100, 100, 1)
        assert counts(dataset.gallery) == (649, 649, 1)


@pytest.mark.slow
def test_prid2011_with_tracks(plant, tmp_path):
    # 285 training persons with 385 tracks; 3,744 pictures if all but a few have ten frames.
    names = [
        f"multi_shot/{camera}/person_{person:04d}/{frame:04d}.png"
        for camera, last in (("cam_a", 385), ("cam_b", 749))
        for person in range(1, last + 1)
        for frame in range(1, 8 if person > 200 and person <= 235 and camera == "cam_a" else 13)
    ]
    dataset = read_dataset("prid2011", plant(tmp_path, names))
    assert counts(dataset.train) == (385 * 10 - 35 * 3, 285, 2)
    assert counts(dataset.query) == (100, 100, 1)
    assert counts(dataset.gallery) == (649, 649, 1)


def test_cuhk01(plant, tmp_path):
    names = [f"campus/{p:04d}{n:03d}.png" for p in range(1, 972) for n in range(1, 5)]
    dataset = read_dataset("cuhk01", plant(tmp_path, names))
    assert counts(dataset.train) == (1940, 485, 2)
    assert counts(dataset.query) == (972, 486, 1)
    assert counts(dataset.gallery) == (972, 486, 1)


def test_viper(plant, tmp_path):
    names = [f"cam_{camera}/{person:03d}_45.bmp" for person in range(632) for camera in "ab"]
    dataset = read_dataset("viper", plant(tmp_path, names))
    assert counts(dataset.train) == (632, 316, 2)
    assert counts(dataset.query) == (316, 316, 1)
    assert counts(dataset.gallery) == (316, 316, 1)


def processed(folder, persons, images, cameras, suffix):
    """Names of the processed layout: pictures dealt to persons and cameras."""
    numbers = enumerate(dealt(persons, images))
    return [
        f"pytorch/{folder}/{person}/cam_{cameras[n % len(cameras)]}_{person:05d}_{n:05d}{suffix}"
        for n, person in numbers
    ]


@pytest.mark.parametrize(
    ("name", "train", "query", "gallery"),
    [
        ("3dpes", (450, 93, 2), (246, 86, 1), (316, 100, 1)),
        ("ilids_vid", (248, 59, 2), (98, 60, 1), (130, 60, 1)),
        ("prid2011", (3744, 285, 2), (100, 100, 1), (649, 649, 1)),
        ("cuhk01", (1940, 485, 2), (972, 486, 1), (972, 486, 1)),
        ("viper", (632, 316, 2), (316, 316, 1), (316, 316, 1)),
    ],
)
def test_the_fedreid_benchmarks_processed_sets(plant, tmp_path, name, train, query, gallery):
    trained, tested = range(1000, 1000 + train[1]), range(gallery[1])
    names = [
        *processed("train_all", trained, train[0], (0, 1), ".png"),
        *processed("query", tested[: query[1]], query[0], (0,), ".png"),
        *processed("gallery", tested, gallery[0], (1,), ".png"),
    ]
    dataset = read_dataset(name, plant(tmp_path, names))
    assert counts(dataset.train) == train
    assert counts(dataset.query) == query
    assert counts(dataset.gallery) == gallery


def test_3dpes(plant, tmp_path):
    names = [
        f"RGB/{person}_{1 + n // 2}_FRAME_{n}_RGB.bmp"
        for person in range(1, 194)
        for n in range(5 + (person <= 47))
    ]
    dataset = read_dataset("3dpes", plant(tmp_path, names))
    assert counts(dataset.train + dataset.query + dataset.gallery) == (1012, 193, 2)
    assert counts(dataset.train)[1:] == (93, 2)
    assert counts(dataset.gallery)[1:] == (100, 1)


def test_ilids(plant, tmp_path):
    names = [f"Persons/{person:04d}{n:03d}.jpg" for person in range(1, 120) for n in range(1, 5)]
    dataset = read_dataset("ilids_vid", plant(tmp_path, names))
    assert counts(dataset.train) == (59 * 4, 59, 2)
    assert counts(dataset.query) == (60 * 2, 60, 1)
    assert counts(dataset.gallery) == (60 * 2, 60, 1)


def test_ilids_vid(plant, tmp_path):
    names = [
        f"images/cam{camera}/person{person:03d}/cam{camera}_person{person:03d}.png"
        for camera in (1, 2)
        for person in range(1, 301)
    ]
    dataset = read_dataset("ilids_vid", plant(tmp_path, names))
    assert counts(dataset.train) == (300, 150, 2)
    assert counts(dataset.query) == counts(dataset.gallery) == (150, 150, 1)


@pytest.mark.slow
def test_msmt17(plant, tmp_path):
    parts = {
        "list_train.txt": ("train", range(1041), 30248),
        "list_val.txt": ("train", range(1041), 2373),
        "list_query.txt": ("test", range(3060), 11659),
        "list_gallery.txt": ("test", range(3060), 82161),
    }
    for listed, (folder, persons, images) in parts.items():
        lines = [
            (
                f"{person:04d}/{person:04d}_{n % 1000:03d}_{1 + n % 15:02d}_{listed[5:8]}{n}.jpg",
                person,
            )
            for n, person in enumerate(dealt(persons, images))
        ]
        plant(tmp_path, [f"{folder}/{path}" for path, _ in lines])
        (tmp_path / listed).write_text("".join(f"{path} {person}\n" for path, person in lines))
    dataset = read_dataset("msmt17", tmp_path)
    assert counts(dataset.train) == (32621, 1041, 15)
    assert counts(dataset.query) == (11659, 3060, 15)
    assert counts(dataset.gallery) == (82161, 3060, 15)


def test_prid450s(plant, tmp_path):
    names = [f"cam_{camera}/img_{person:03d}.png" for person in range(1, 451) for camera in "ab"]
    dataset = read_dataset("prid450s", plant(tmp_path, names))
    assert counts(dataset.train) == (450, 225, 2)
    assert counts(dataset.query) == counts(dataset.gallery) == (225, 225, 1)
