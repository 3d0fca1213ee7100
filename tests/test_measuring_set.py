"""The same pictures in another guise score the same: orientation, depth, names, junk."""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from measuring_set import PERSONS, drawn, plain_name, write_measuring_set
from PIL import Image

from fedklpr_flwr.commands.data import check
from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.data.benchmarks.folder import searched_rows
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.check import check_dataset
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.model.evaluation import How, evaluate_site
from fedklpr_flwr.model.site import load_site
from fedklpr_flwr.reid.network import build_network


@dataclass(frozen=True)
class Measured:
    scores: object
    pixels: list[torch.Tensor]
    persons: list[list[int]]
    cameras: list[list[int]]


def measured(root, reader="folder"):
    site = load_site("x", read_dataset(reader, root), root, height=32, width=16, cache=None)
    network = build_network("small", weights=None, generator_seed=0).eval()
    parts = (site.train, site.query, site.gallery)
    return Measured(
        evaluate_site(network, site, How(False, False))[0].scores,
        [part.pixels for part in parts],
        [part.persons.tolist() for part in parts],
        [part.cameras.tolist() for part in parts],
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return measured(write_measuring_set(tmp_path_factory.mktemp("plain")))


def assert_same(found, plain):
    assert found.scores == plain.scores
    assert found.persons == plain.persons
    assert found.cameras == plain.cameras
    assert all(torch.equal(a, b) for a, b in zip(found.pixels, plain.pixels, strict=True))


# ---------------------------------------------------------------------------- pictures


def turned(orientation, stored):
    def save(shown, path):
        exif = Image.Exif()
        exif[0x0112] = orientation
        shown.transpose(stored).save(path, exif=exif)

    return save


def with_alpha(shown, path):
    """Colours that only a program sees lie beside the person, where alpha is 0."""
    shown = shown.convert("RGBA")
    wide = Image.new("RGBA", shown.size, (255, 0, 0, 0))
    wide.paste(shown, (0, 0))
    wide.save(path)


def with_profile(shown, path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    shown.save(path, icc_profile=profile)


def as_tiff(shown, path):
    shown.save(path, "TIFF", compression="tiff_lzw")


SAVES = {
    "phone held to the right": turned(6, Image.Transpose.ROTATE_90),
    "phone held to the left": turned(8, Image.Transpose.ROTATE_270),
    "upside down": turned(3, Image.Transpose.ROTATE_180),
    "mirrored": turned(2, Image.Transpose.FLIP_LEFT_RIGHT),
    "opaque alpha": with_alpha,
    "sRGB profile": with_profile,
    "TIFF under another suffix": as_tiff,
}


@pytest.mark.parametrize("how", SAVES)
def test_the_same_pictures_stored_in_another_way_score_the_same(how, plain, tmp_path):
    root = write_measuring_set(tmp_path, save=SAVES[how])
    assert_same(measured(root), plain)
    assert check_dataset("folder", root).problems == ()


def test_sixteen_bits_of_grey_score_as_eight(tmp_path):
    def grey(shown, path):
        shown.convert("L").save(path)

    def deep(shown, path):
        Image.fromarray(np.asarray(shown.convert("L")).astype(np.uint16) * 257).save(path)

    eight = measured(write_measuring_set(tmp_path / "8", save=grey))
    assert_same(measured(write_measuring_set(tmp_path / "16", save=deep)), eight)


# ---------------------------------------------------------------------------- names

NAMES = {
    "benchmark names": lambda part, p, c, n: f"{part}/{p}/{p}_c{c + 1}s1_{n:06d}_00.png",
    "person and camera": lambda part, p, c, n: f"{part}/{p}/{p}_c{c + 1}_{n}.png",
    "person's name first": lambda part, p, c, n: f"{part}/anna{p}/anna{p}_c{c + 1}s1_{n:06d}.png",
    "cam_1": lambda part, p, c, n: f"{part}/{p}/cam_{c + 1}_{n:04d}.png",
    "gate_a": lambda part, p, c, n: f"{part}/{p}/gate_{'abc'[c]}_{n:04d}.png",
    "north_1": lambda part, p, c, n: f"{part}/{p}/north_{c + 1}_{n:04d}.png",
    "two cases": lambda part, p, c, n: (
        f"{part}/{p}/{'Cam' if part == 'query' else 'cam'}{c + 1}_{n:04d}.png"
    ),
    "zeros in front": lambda part, p, c, n: (
        f"{part}/{p}/cam{c + 1:0{2 if part == 'query' else 1}d}_{n:04d}.png"
    ),
    "a folder for each camera": lambda part, p, c, n: f"{part}/{p}/cam{c + 1}/{n:04d}.png",
    "a folder for each camera, spelled otherwise": lambda part, p, c, n: (
        f"{part}/anna{p}/Cam_{c + 1:02d}/cam9_{n:04d}.png"
    ),
    "place and camera": lambda part, p, c, n: (
        f"{part}/{p}/{('lobby_cam1', 'lobby_cam2', 'yard')[c]}_{n:04d}.png"
    ),
    "LTCC": lambda part, p, c, n: f"{part}/{p}/{p}_{int(p) % 2 + 1}_c{c + 1}_{n:06d}.png",
    "MSMT17": lambda part, p, c, n: (
        f"{part}/{p}/{p}_{2 * c + n:03d}_{c + 1:02d}_0303morning_{n:04d}_0.png"
    ),
    "MARS": lambda part, p, c, n: f"{part}/{p}/{p}C{c + 1}T0001F{n:03d}.png",
    "VC-Clothes": lambda part, p, c, n: f"{part}/{p}/{p}-{c + 1:02d}-01-{n:02d}.png",
    "hyphens": lambda part, p, c, n: f"{part}/{p}/cam{c + 1}-{n:04d}.png",
    "spaces": lambda part, p, c, n: f"{part}/anna{p}/cam {c + 1} {n:04d}.png",
    "hours": lambda part, p, c, n: f"{part}/{p}/{'abc'[c]}x_{7 + n:02d}-10-00.png",
    "a time after a day": lambda part, p, c, n: f"{part}/{p}/{'abc'[c]}x_20260131_1015{n:02d}.png",
    "frame and box": lambda part, p, c, n: f"{part}/{p}/{'abc'[c]}x_{int(p) * 10 + n:06d}_01.png",
    "numbers with and without zeros": lambda part, p, c, n: (
        f"{part}/{int(p) + 10:0{4 if part == 'query' else 2}d}/"
        f"{c + 1:0{2 if part == 'query' else 1}d}_{n}.png"
    ),
    "person again": lambda part, p, c, n: f"{part}/{p}/{p}_door{c + 1}_{n}.png",
}


@pytest.mark.parametrize("how", NAMES)
def test_the_same_pictures_by_other_names_score_the_same(how, plain, tmp_path):
    root = write_measuring_set(tmp_path, name=NAMES[how])
    assert_same(measured(root), plain)
    report = check_dataset("folder", root)
    assert report.problems == ()
    assert [(c.train, c.query, c.gallery, c.persons) for c in report.cameras] == [
        (12, 6, 6, 2 * PERSONS)
    ] * 3


DOUBTFUL = {
    "north_101": ("north_101", "north_102", "south_1"),
    "front_door": ("front_door", "front_hall", "yard"),
    "gate_north": ("gate_north", "gate_south", "gate_east"),
}


@pytest.mark.parametrize("how", DOUBTFUL)
def test_second_words_that_may_be_cameras_are_a_problem_that_lists_both_readings(how, tmp_path):
    def name(part, p, c, n):
        return f"{part}/{p}/{DOUBTFUL[how][c]}_{n:04d}.png"

    root = write_measuring_set(tmp_path, name=name)
    first = how.partition("_")[0]
    with pytest.raises(DataError, match=rf"is {first} one camera, or are {first}_\w+ and {first}_"):
        read_dataset("folder", root)
    for part in ("query", "gallery"):
        shutil.rmtree(root / part)
    with pytest.raises(DataError, match=f"is {first} one camera"):
        read_dataset("folder", root)


def test_one_picture_of_another_name_merges_no_cameras(plain, tmp_path):
    root = write_measuring_set(tmp_path, name=NAMES["north_1"])
    other = root / "gallery/0007/north_entrance_9.png"
    Image.fromarray(drawn(7, 1, 7)).save(other)
    with pytest.raises(DataError, match=r"is north one camera, or are north_1 and north_2 two\?"):
        read_dataset("folder", root)
    dataset = read_dataset("folder", root, skip_unreadable=True)
    assert dataset.camera_names == ("north", "north_1", "north_2", "north_3")


def test_hours_after_a_camera_are_a_problem_and_no_cameras(tmp_path):
    def name(part, p, c, n):
        return f"{part}/{p}/{('lobby', 'yard', 'gate')[c]}_{int(p) + 6:02d}_10_{n:02d}.png"

    report = check_dataset("folder", write_measuring_set(tmp_path, name=name))
    assert any(
        "is lobby one camera, or are lobby_07 and lobby_08 two" in f.why for f in report.problems
    )


ALONE = ("LTCC", "MSMT17", "MARS", "VC-Clothes", "hyphens", "spaces", "place and camera")


@pytest.mark.parametrize("how", ALONE)
def test_train_alone_has_persons_where_camera_words_differ_in_a_folder(how, tmp_path):
    def name(part, p, c, n):
        return NAMES[how](part, p, c, n).replace(f"{part}/{p}/", f"{part}/anna{p}/")

    root = write_measuring_set(tmp_path, name=name)
    for part in ("query", "gallery"):
        shutil.rmtree(root / part)
    dataset = read_dataset("folder", root)
    assert "6 persons, 3 cameras" in dataset.notes[0]


SEARCHED = (*ALONE, "north_1", "gate_a", "benchmark names", "cam_1", "person again")


@pytest.mark.parametrize("how", SEARCHED)
def test_a_gallerys_own_folder_is_searched_with_its_persons_and_cameras(how, tmp_path):
    root = write_measuring_set(tmp_path, name=NAMES[how])
    (inside, below) = (
        [(row.path, row.person, row.camera) for row in searched_rows(PictureTree(place))]
        for place in (root, root / "gallery")
    )
    assert inside == below
    assert len({row[1] for row in below}) == PERSONS
    assert len({row[2] for row in below}) == 3


def test_the_layout_of_the_pytorch_baselines_has_a_reader_of_its_own(plain, tmp_path):
    def name(part, p, c, n):
        part = "train_all" if part == "train" else part
        return f"pytorch/{part}/{p}/{p}_c{c + 1}s1_{n:06d}_00.png"

    assert_same(measured(write_measuring_set(tmp_path / "a", name=name), "pytorch"), plain)
    folders = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}

    def box(part, p, c, n):
        return f"{folders[part]}/{int(p):05d}_c{c + 1}s1_{n:06d}_00.png"

    assert_same(measured(write_measuring_set(tmp_path / "b", name=box), "pytorch"), plain)
    for root in (tmp_path / "a", tmp_path / "b"):
        report = check_dataset("pytorch", root)
        assert report.problems == ()
        assert [(c.train, c.query, c.gallery) for c in report.cameras] == [(12, 6, 6)] * 3
    with pytest.raises(DataError, match=r"four digits.*the reader pytorch takes any"):
        read_dataset("market1501", tmp_path / "b")


def test_search_tells_the_camera_of_a_benchmarks_name_and_not_its_person(tmp_path):
    root = write_measuring_set(tmp_path, name=NAMES["benchmark names"])
    for place in (root, root / "gallery"):
        rows = searched_rows(PictureTree(place))
        assert {row.camera for row in rows} == {"c1", "c2", "c3"}
        assert {row.person for row in rows} == {f"{p:04d}" for p in range(7, 13)}


def test_persons_who_have_a_camera_each_are_a_problem(tmp_path):
    def name(part, p, c, n):
        return f"{part}/{p}/x{p}_{c}{n}.png" if part == "train" else plain_name(part, p, c, n)

    root = write_measuring_set(tmp_path, name=name)
    with pytest.raises(DataError, match="6 persons with a camera of their own each"):
        read_dataset("folder", root)
    assert "camera of their own" in check_dataset("folder", root).problems[0].why
    Image.fromarray(drawn(1, 0, 7)).save(root / "train/0001/cam1_000.png")
    assert "camera of their own" in check_dataset("folder", root).problems[0].why


def test_queries_by_a_camera_that_the_gallery_has_not_are_a_problem(tmp_path):
    def name(part, p, c, n):
        return f"{part}/{p}/{'entrance' if part == 'query' else 'door'}{c}_{n}.png"

    report = check_dataset("folder", write_measuring_set(tmp_path, name=name))
    assert any("got queries by entrance0" in fault.why for fault in report.problems)


def test_queries_that_no_other_camera_can_find_are_a_problem(tmp_path):
    root = write_measuring_set(tmp_path, name=lambda part, p, c, n: f"{part}/{p}/cam1_{c}{n}.png")
    report = check_dataset("folder", root)
    assert any("got none in all 18" in fault.why for fault in report.problems)


@pytest.mark.parametrize("day", ["2026-01-{}", "{}.01.2026", "2026-01-{}_evening", "202601{} 1015"])
def test_days_are_no_persons(day, tmp_path):
    def name(part, p, c, n):
        if part == "train":
            return f"train/{day.format(p[2:])}/cam{c + 1}_{n}.png"
        return plain_name(part, p, c, n)

    dataset = read_dataset("folder", write_measuring_set(tmp_path, name=name))
    assert {image.person_id for image in dataset.train} == {-1}
    assert {image.camera_id for image in dataset.train} == {0, 1, 2}
    assert "train/DAY/CAMERA_anything.jpg: 3 cameras, its persons are unknown" in dataset.notes[0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("2026010{c}_10{n}500", "expected a name such as cam1_0001.jpg"),
        ("170000000{c}_{n}", "expected a name such as cam1_0001.jpg"),
        ("IMG_{c}{n}", r"expected cameras that query and gallery have \(IMG\), got folders called"),
        ("north-{c}-{n}", "expected a name such as cam1_0001.jpg"),
        ("x{p}{c}{n}_1", "got 36 cameras for 36 pictures"),
    ],
)
def test_names_that_tell_no_camera_are_a_problem_and_make_no_person_a_camera(name, told, tmp_path):
    def named(part, p, c, n):
        return f"{part}/{p}/{name.format(p=p, c=c + 1, n=n)}.png"

    root = write_measuring_set(tmp_path, name=named)
    with pytest.raises(DataError, match=told):
        read_dataset("folder", root)
    assert check_dataset("folder", root).problems


def test_folders_of_pictures_that_nobody_reads_are_a_problem(tmp_path):
    def name(part, p, c, n):
        return plain_name("train" if part == "train" else "test", p, c, n)

    report = check_dataset("folder", write_measuring_set(tmp_path, name=name))
    assert any("its reader passes over: 36, beside 36" in one.why for one in report.problems)


def test_folders_that_a_system_leaves_are_nobody(plain, tmp_path):
    root = write_measuring_set(tmp_path)
    for folder in ("train/__MACOSX", "train/0001/@eaDir", "gallery/lost+found", "#recycle"):
        (root / folder).mkdir()
        Image.fromarray(drawn(1, 0, 0)).save(root / folder / "cam1_7.png")
    assert_same(measured(root), plain)
    assert check_dataset("folder", root).problems == ()


def test_the_cameras_that_were_found_are_printed_with_their_counts(tmp_path, capsys):
    root = write_measuring_set(tmp_path, name=NAMES["north_1"])
    check("folder", root)
    assert "north_2                     12         6         6        12" in capsys.readouterr().out
    check("folder", root, as_json=True)
    cameras = json.loads(capsys.readouterr().out)["cameras"]
    assert [one["name"] for one in cameras] == ["north_1", "north_2", "north_3"]


# ---------------------------------------------------------------------------- junk


def add_nobody(root):
    """Pictures of searched persons under junk's and distractors' names."""
    for part, folder, count in (("gallery", "-1", 4), ("train", "-1", 3), ("train", "0000", 2)):
        for number in range(count):
            path = root / part / folder / f"cam{number % 3 + 1}_9{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn(7 + number, number % 3, 0)).save(path)


def test_junk_is_nobody_for_the_reader_folder(plain, tmp_path):
    root = write_measuring_set(tmp_path)
    add_nobody(root)
    (root / "gallery" / "0000").mkdir()
    Image.new("RGB", (32, 64)).save(root / "gallery" / "0000" / "cam1_1.png")
    found = measured(root)
    assert found.persons[:2] == plain.persons[:2]
    assert sorted(found.persons[2]) == [0, *sorted(plain.persons[2])]
    notes = check_dataset("folder", root).notes
    assert any("9 pictures of nobody" in note for note in notes)
    assert any("1 distractor (0000) in the gallery" in note for note in notes)


def test_words_for_nobody_are_nobody(plain, tmp_path):
    root = write_measuring_set(tmp_path)
    nobody = ("Unknown", "none", "?", "-2", "nobody", "unlabeled", "Unknown_person")
    places = [(f"train/{word}", 1) for word in nobody]
    for place, camera in (*places, ("gallery/junk", 2), ("gallery/distractors", 3)):
        (root / place).mkdir()
        Image.fromarray(drawn(7, camera - 1, 0)).save(root / place / f"cam{camera}_1.png")
    found = measured(root)
    assert found.persons[:2] == plain.persons[:2]
    assert sorted(found.persons[2]) == [0, *sorted(plain.persons[2])]
    assert "6 persons, 3 cameras" in read_dataset("folder", root).notes[0]
    rows = searched_rows(PictureTree(root))
    assert {row.person for row in rows} == {"", *(f"{p:04d}" for p in range(7, 13))}


def test_junk_is_nobody_for_the_reader_csv(plain, tmp_path):
    root = write_measuring_set(tmp_path)
    add_nobody(root)
    lines = ["path;pid;camid;subset"]
    for path in sorted(root.rglob("*.png")):
        part, person, name = path.relative_to(root).parts
        if (part, person) != ("train", "0000"):
            lines.append(f"{part}\\{person}\\{name};{person};{name[:4]};{part}")
    (root / "all.csv").write_text("\n".join(lines), encoding="utf-16")
    assert_same(measured(root, "csv"), plain)
    report = check_dataset("csv", root)
    assert report.problems == ()
    assert "7 pictures of nobody (-1) dropped" in report.notes
    told = [(c.name, c.train, c.query, c.gallery) for c in report.cameras]
    assert told == [(f"cam{number}", 12, 6, 6) for number in (1, 2, 3)]


def test_a_person_called_0000_who_is_searched_for_is_a_person(tmp_path, plain):
    def name(part, p, c, n):
        return plain_name(part, "0000" if p == "0007" else p, c, n)

    dataset = read_dataset("folder", write_measuring_set(tmp_path, name=name))
    assert len({image.person_id for image in dataset.gallery} - {0, -1}) == PERSONS


def test_a_person_called_0000_in_train_alone_is_told(tmp_path):
    root = write_measuring_set(tmp_path)
    (root / "train" / "0000").mkdir()
    Image.new("RGB", (32, 64)).save(root / "train" / "0000" / "cam1_1.png")
    assert any(
        "0000 in train is taken for a person" in n for n in read_dataset("folder", root).notes
    )
