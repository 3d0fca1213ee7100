"""Claims about names of a user's own: cameras, persons, days and nobody, by every reader alike."""

import shutil

import pytest
from measuring_set import PERSONS, plain_name, write_measuring_set

from fedklpr_flwr.data.benchmarks import IN_DOUBT, read_dataset
from fedklpr_flwr.data.benchmarks.folder import searched_rows
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.check import check_dataset
from fedklpr_flwr.errors import DataError

READERS = ("folder", "csv", "pytorch")


def written(root, reader, name=plain_name):
    """The measuring set as a reader wants it; `name` gives part/person/camera_number.png."""

    def as_benchmark(part, person, camera, number):
        folder, who, file = name(part, person, camera, number).split("/")
        number = int(file.split("_")[0].removeprefix("cam"))
        whole = "train_all" if folder == "train" else folder
        return f"pytorch/{whole}/{who}/{who}_c{number}s1_{file.split('_')[1]}"

    write_measuring_set(root, name=as_benchmark if reader == "pytorch" else name)
    if reader == "csv":
        lines = ["path,person,camera,split"]
        for path in sorted(root.rglob("*.png")):
            part, person, file = path.relative_to(root).parts
            lines.append(f"{part}/{person}/{file},{person},{file.split('_')[0]},{part}")
        (root / "all.csv").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("reader", READERS)
def test_queries_by_strange_cameras_are_told_by_every_reader_and_a_problem_of_the_check(
    reader, tmp_path
):
    def name(part, person, camera, number):
        return f"{part}/{person}/cam{camera + 1 + 3 * (part == 'query')}_{number}.png"

    root = written(tmp_path, reader, name)
    dataset = read_dataset(reader, root)
    assert f"{IN_DOUBT} expected queries by cameras of the gallery" in dataset.notes[-1]
    report = check_dataset(reader, root)
    assert [fault.why in dataset.notes[-1] for fault in report.problems] == [True]
    assert not any(IN_DOUBT in note for note in report.notes)


@pytest.mark.parametrize("reader", READERS)
def test_cameras_that_train_has_beside_the_gallerys_are_no_strangers(reader, tmp_path):
    def name(part, person, camera, number):
        two = camera + 1 + 3 * (part == "query" or (part == "train" and number == 1))
        return f"{part}/{person}/cam{two}_{number}.png"

    root = written(tmp_path, reader, name)
    assert not any(IN_DOUBT in note for note in read_dataset(reader, root).notes)
    assert check_dataset(reader, root).problems == ()


@pytest.mark.parametrize("reader", READERS)
def test_persons_who_have_a_camera_each_are_refused_by_every_reader(reader, tmp_path):
    def name(part, person, camera, number):
        own = int(person) if part == "train" else camera + 1
        return f"{part}/{person}/cam{own}_{camera}{number}.png"

    root = written(tmp_path, reader, name)
    with pytest.raises(DataError, match="6 persons with a camera of their own each in train"):
        read_dataset(reader, root)
    assert "camera of their own" in check_dataset(reader, root).problems[0].why


@pytest.mark.parametrize("moment", ["2026013110{c}{p}{n}", "2026013110{c}{p}{n}000"])
def test_moments_are_no_cameras_where_nothing_is_trained_on(moment, tmp_path):
    def name(part, person, camera, number):
        return f"{part}/{person}/{moment.format(c=camera, p=person[2:], n=number)}_1.png"

    root = write_measuring_set(tmp_path, name=name)
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="expected a name such as cam1_0001"):
        read_dataset("folder", root)


def test_a_camera_for_each_picture_is_refused_where_nothing_is_trained_on(tmp_path):
    def name(part, person, camera, number):
        return f"{part}/{person}/x{person}{camera}{number}_1.png"

    root = write_measuring_set(tmp_path, name=name)
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="got 36 cameras for 36 pictures in query and gallery"):
        read_dataset("folder", root)


DAYS = (
    "2026-1-{}",
    "{}.1.26",
    "2026-01-{:02d}T10",
    "jan-{:02d}-2026",
    "{} March 2026",
    "2026-W{:02d}",
)


@pytest.mark.parametrize("day", DAYS)
def test_days_are_days_however_they_are_written(day, tmp_path):
    def name(part, person, camera, number):
        who = day.format(int(person)) if part == "train" else person
        return f"{part}/{who}/cam{camera + 1}_{number}.png"

    dataset = read_dataset("folder", write_measuring_set(tmp_path, name=name))
    assert {image.person_id for image in dataset.train} == {-1}
    assert "train/DAY/CAMERA_anything.jpg: 3 cameras" in dataset.notes[0]


@pytest.mark.parametrize("reader", ["folder", "csv"])
@pytest.mark.parametrize("last", [3, 6])
def test_days_are_no_persons_of_a_table_and_none_among_persons(reader, last, tmp_path):
    def name(part, person, camera, number):
        day = part == "train" and int(person) <= last
        return f"{part}/{f'2026-01-{person[2:]}' if day else person}/cam{camera + 1}_{number}.png"

    root = written(tmp_path, reader, name)
    if (reader, last) == ("folder", 6):
        assert {image.person_id for image in read_dataset("folder", root).train} == {-1}
        return
    with pytest.raises(DataError, match="expected a person in train, got the day 2026-01-01"):
        read_dataset(reader, root)
    assert len(check_dataset(reader, root).problems) == last
    assert len(read_dataset(reader, root, skip_unreadable=True).train) == 6 * (PERSONS - last)


def test_numbers_of_eight_digits_of_which_some_look_like_days_are_persons(tmp_path):
    def name(part, person, camera, number):
        return f"{part}/202601{int(person) * 8:02d}/cam{camera + 1}_{number}.png"

    dataset = read_dataset("folder", write_measuring_set(tmp_path, name=name))
    assert "6 persons, 3 cameras" in dataset.notes[0]


def test_days_with_folders_of_cameras_are_read(tmp_path):
    def name(part, person, camera, number):
        who = f"2026-01-{person[2:]}" if part == "train" else person
        return f"{part}/{who}/cam{camera + 1}/{number}.png"

    dataset = read_dataset("folder", write_measuring_set(tmp_path, name=name))
    assert [image.person_id for image in dataset.train] == [-1] * 36


def test_second_words_that_are_the_same_behind_every_first_one_are_a_doubt(tmp_path):
    def name(part, person, camera, number):
        return f"{part}/{person}/{('lobby', 'yard', 'gate')[camera]}_{number + 1}_crop.png"

    for part in ("query", "gallery"):  # so that each part has both numbers
        write_measuring_set(tmp_path, name=lambda _, *rest, here=part: name(here, *rest))
    dataset = read_dataset("folder", tmp_path)
    assert len(dataset.camera_names) == 6
    assert "are taken for 6 cameras: if 1 and 2 are numbers of pictures by 3" in dataset.notes[-1]
    assert dataset.notes[-1].startswith(IN_DOUBT)


NOBODY = ("unknown_1", "Unknown 2", "unidentified_003", "unk", "unassigned", "-01", "\u22121")


@pytest.mark.parametrize("word", [*NOBODY, "distractor_1", "00000", "0"])
def test_nobody_is_nobody_however_it_is_written(word, tmp_path):
    def name(part, person, camera, number):
        nobody = person == "0001" or (person == "0010" and part == "gallery")
        return plain_name(part, word if nobody else person, camera, number)

    root = write_measuring_set(tmp_path, name=name)
    shutil.rmtree(root / "query" / "0010")
    dataset = read_dataset("folder", root)
    assert len({image.person_id for image in dataset.train} - {-1}) == PERSONS - 1
    searched = [image.person_id for image in dataset.gallery]
    assert len(set(searched) - {0}) == PERSONS - 1
    assert searched.count(0) == 3 * (word in ("distractor_1", "00000", "0"))
    assert any(f"called {word}" in note for note in dataset.notes)
    assert {row.person for row in searched_rows(PictureTree(root))} == {
        "",
        *(f"{person:04d}" for person in range(7, 13) if person != 10),
    }


def test_numbered_unknowns_who_are_asked_for_or_are_most_of_all_are_persons(tmp_path):
    def asked(part, person, camera, number):
        return plain_name(part, "unknown_7" if person == "0007" else person, camera, number)

    dataset = read_dataset("folder", write_measuring_set(tmp_path / "asked", name=asked))
    assert len({image.person_id for image in dataset.query}) == PERSONS
    assert any("unknown_7 taken for 1 person; call nobody -1" in note for note in dataset.notes)

    def every(part, person, camera, number):
        return plain_name(part, f"unknown_{person}", camera, number)

    dataset = read_dataset("folder", write_measuring_set(tmp_path / "every", name=every))
    assert "6 persons, 3 cameras" in dataset.notes[0]
