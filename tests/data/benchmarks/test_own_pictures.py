"""A user's own pictures: folders and tables, with and without labels."""

import time

import pytest
from PIL import Image

from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.errors import DataError

LABELLED = [
    "train/anna/door_0001.jpg",
    "train/anna/hall_0001.jpg",
    "train/ben/hall_0002.jpg",
    "query/carl/door_1.jpg",
    "gallery/carl/hall_9.jpg",
    "gallery/dora/hall_9.jpg",
]


def facts(images):
    return [(image.path.name, image.person_id, image.camera_id) for image in images]


def test_persons_are_folders_and_cameras_the_word_in_front(plant, tmp_path):
    dataset = read_dataset("folder", plant(tmp_path, LABELLED))
    assert facts(dataset.train) == [
        ("door_0001.jpg", 1, 0),
        ("hall_0001.jpg", 1, 1),
        ("hall_0002.jpg", 2, 1),
    ]
    assert facts(dataset.query) == [("door_1.jpg", 3, 0)]
    assert facts(dataset.gallery) == [("hall_9.jpg", 3, 1), ("hall_9.jpg", 4, 1)]
    assert dataset.single_shot


@pytest.mark.parametrize(
    "names",
    [
        ["train/cam1/a_1.jpg", "train/cam2/b_2.jpg"],
        ["train/entrance/0001.jpg", "train/exit/0002.jpg"],
        ["train/entrance/frame_0001.jpg", "train/exit/frame_0002.jpg"],
    ],
)
def test_a_train_folder_without_persons_is_unlabelled(plant, tmp_path, names):
    dataset = read_dataset("folder", plant(tmp_path, names))
    assert [(image.person_id, image.camera_id) for image in dataset.train] == [(-1, 0), (-1, 1)]
    assert dataset.query == dataset.gallery == ()
    assert "persons are unknown" in dataset.notes[0]


def test_an_unlabelled_train_shares_its_cameras_with_a_labelled_query(plant, tmp_path):
    names = ["train/cam1/x.jpg", "train/cam2/y.jpg", "query/p/cam2_1.jpg", "gallery/p/cam1_1.jpg"]
    dataset = read_dataset("folder", plant(tmp_path, names))
    assert [image.camera_id for image in dataset.train] == [0, 1]
    assert facts(dataset.query) == [("cam2_1.jpg", 1, 1)]
    assert facts(dataset.gallery) == [("cam1_1.jpg", 1, 0)]


def test_a_folder_of_cameras_as_a_search_takes_it_is_all_to_train_on(plant, tmp_path):
    names = ["gate/0001.jpg", "gate/frame_2.jpg", "yard/x.jpg"]
    dataset = read_dataset("folder", plant(tmp_path, names))
    assert [(image.person_id, image.camera_id) for image in dataset.train] == [
        *((-1, 0), (-1, 0), (-1, 1))
    ]
    assert dataset.query == dataset.gallery == ()
    assert dataset.notes[0].startswith("read as CAMERA/anything.jpg, all of it to train on")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["anna/cam1_1.jpg", "anna/cam2_1.jpg", "ben/cam1_2.jpg"], "look like persons"),
        (["cam1/1.jpg", "plain.jpg"], "or CAMERA/anything.jpg alone"),
        (["bounding_box_test/0001_c1s1_1.jpg", "query/0001_c2s1_1.jpg"], "query and gallery"),
        (["my_test/1.jpg", "other/2.jpg"], "or CAMERA/anything.jpg alone"),
    ],
)
def test_what_is_no_folder_of_cameras_is_refused_and_not_guessed(plant, tmp_path, names, why):
    with pytest.raises(DataError, match=why):
        read_dataset("folder", plant(tmp_path, names))


def test_one_camera_with_persons_is_labelled_if_it_is_called_like_one(plant, tmp_path):
    dataset = read_dataset("folder", plant(tmp_path, ["train/p/c1_1.jpg", "train/q/c1_2.jpg"]))
    assert [image.person_id for image in dataset.train] == [1, 2]


def test_numbers_are_sorted_by_value(plant, tmp_path):
    names = [f"train/{person}/{camera}_x.jpg" for person in (2, 10) for camera in (2, 10)]
    dataset = read_dataset("folder", plant(tmp_path, names))
    assert [(i.path.parts[-2], i.person_id) for i in dataset.train[:1]] == [("10", 2)]
    assert {i.path.name: i.camera_id for i in dataset.train} == {"2_x.jpg": 0, "10_x.jpg": 1}


def test_a_site_with_a_gallery_alone_can_be_searched(plant, tmp_path):
    dataset = read_dataset("folder", plant(tmp_path, LABELLED[3:]))
    assert dataset.train == ()
    assert len(dataset.gallery) == 2


def test_a_query_without_a_gallery_is_an_error(plant, tmp_path):
    with pytest.raises(DataError, match="both query and gallery"):
        read_dataset("folder", plant(tmp_path, LABELLED[:4]))


@pytest.mark.parametrize(
    "stray", ["train/loose.jpg", "train/anna/deeper/door_1.jpg", "gallery/carl/nocamera.jpg"]
)
def test_a_picture_out_of_place_is_an_error_and_never_silently_lost(plant, tmp_path, stray):
    with pytest.raises(DataError, match="expected"):
        read_dataset("folder", plant(tmp_path, [*LABELLED, stray]))


def test_persons_in_train_and_query_are_told(plant, tmp_path):
    names = [*LABELLED, "query/anna/door_7.jpg", "gallery/anna/hall_7.jpg"]
    dataset = read_dataset("folder", plant(tmp_path, names))
    assert any("1 person both in train and query" in note for note in dataset.notes)


def test_how_train_was_read_is_told_with_numbers(plant, tmp_path):
    names = ["train/north/gate1_0001.jpg", "train/south/gate2_0001.jpg"]
    (note,) = read_dataset("folder", plant(tmp_path, names)).notes[:1]
    assert "train/PERSON/CAMERA_anything.jpg: 2 persons, 2 cameras" in note


def test_one_misnamed_picture_is_refused_and_does_not_make_a_set_unlabelled(plant, tmp_path):
    root = plant(tmp_path, [*LABELLED, "train/ben/IMG0001.jpg"])
    with pytest.raises(DataError, match="IMG0001"):
        read_dataset("folder", root)
    dataset = read_dataset("folder", root, skip_unreadable=True)
    assert sorted({image.person_id for image in dataset.train}) == [1, 2]
    assert any("IMG0001" in note for note in dataset.notes)


def test_pictures_of_a_kind_that_is_not_read_are_no_silent_loss(plant, tmp_path):
    root = plant(tmp_path, [*LABELLED, "train/ben/door_0005.jfif"])
    (root / "train" / "ben" / "door_0003.HEIC").write_bytes(b"a phone's")
    with pytest.raises(DataError, match=r"door_0003\.HEIC"):
        read_dataset("folder", root)
    dataset = read_dataset("folder", root, skip_unreadable=True)
    assert "door_0005.jfif" in [image.path.name for image in dataset.train]
    assert any("door_0003.HEIC" in note for note in dataset.notes)


def table(root, *lines, header="path,person,camera,split"):
    (root / "people.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return root


def test_a_table_is_read_from_its_folder_or_its_file(plant, tmp_path):
    plant(tmp_path, ["a/1.jpg", "2.jpg", "é 3.jpg"])
    table(tmp_path, "a/1.jpg,anna,door,train", "2.jpg,ben,door,query", "é 3.jpg,ben,hall,gallery")
    for root in (tmp_path, tmp_path / "people.csv"):
        dataset = read_dataset("csv", root)
        assert facts(dataset.train) == [("1.jpg", 1, 0)]
        assert facts(dataset.query) == [("2.jpg", 2, 0)]
        assert facts(dataset.gallery) == [("é 3.jpg", 2, 1)]


def test_a_person_may_be_unknown_in_train_alone(plant, tmp_path):
    plant(tmp_path, ["1.jpg", "2.jpg"])
    assert facts(read_dataset("csv", table(tmp_path, "1.jpg,,door,train")).train) == [
        ("1.jpg", -1, 0)
    ]
    table(tmp_path, "1.jpg,,door,train", "2.jpg,,door,query")
    with pytest.raises(DataError, match="line 3: expected a person in query"):
        read_dataset("csv", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.jpg,a,door,test", "expected split train, query or gallery, got 'test'"),
        ("1.jpg,a,,train", "expected a camera"),
        ("gone.jpg,a,door,train", "got nothing"),
        ("../outside.jpg,a,door,train", "got a path that leads out of it"),
        ("../gone.jpg,a,door,train", "got a path that leads out of it"),
        ("1.jpg", "expected split"),
    ],
)
def test_a_wrong_line_is_an_error_that_says_why(plant, tmp_path, line, message):
    root = plant(tmp_path / "set", ["1.jpg"])
    plant(tmp_path, ["outside.jpg"])
    table(root, line)
    with pytest.raises(DataError, match=message):
        read_dataset("csv", root)


def test_a_table_without_a_column_is_an_error_that_names_it(plant, tmp_path):
    plant(tmp_path, ["1.jpg"])
    table(tmp_path, "1.jpg,a,train", header="path,person,split")
    with pytest.raises(DataError, match="got path, person, split; add camera"):
        read_dataset("csv", tmp_path)


def test_a_table_with_a_byte_order_mark_is_read(plant, tmp_path):
    plant(tmp_path, ["1.jpg"])
    (tmp_path / "x.csv").write_bytes("﻿path,person,camera,split\r\n1.jpg,a,c,train\r\n".encode())
    assert len(read_dataset("csv", tmp_path).train) == 1


def test_two_tables_in_a_folder_are_an_error(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("path,person,camera,split\n")
    with pytest.raises(DataError, match=r"expected one \.csv file, got a\.csv, b\.csv"):
        read_dataset("csv", tmp_path)


def test_a_table_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a\.csv: expected"):
        read_dataset("csv", tmp_path)


def test_a_link_to_itself_is_left_out_in_words(plant, tmp_path):
    root = plant(tmp_path, ["train/a/c1_1.jpg", "train/b/c1_1.jpg"])
    (root / "train" / "a" / "c1_2.jpg").symlink_to("c1_2.jpg")
    dataset = read_dataset("folder", root)
    assert len(dataset.train) == 2
    assert dataset.notes[1:] == ("1 link to nothing or to themselves left out: train/a/c1_2.jpg",)


def test_a_link_to_nothing_is_called_so_in_a_table_and_in_a_folder(plant, tmp_path):
    root = plant(tmp_path, ["train/a/c1_1.jpg", "train/b/c1_1.jpg"])
    (root / "train" / "a" / "c1_2.jpg").symlink_to(root / "nowhere.jpg")
    dataset = read_dataset("folder", root)
    assert len(dataset.train) == 2
    assert "left out: train/a/c1_2.jpg" in dataset.notes[-1]
    table(root, "train/a/c1_2.jpg,anna,door,train")
    with pytest.raises(DataError, match=r"c1_2\.jpg: expected a picture, got a link to nothing"):
        read_dataset("csv", root)


def test_tracks_are_folders_in_folders_of_cameras(plant, tmp_path):
    names = [
        "train/gate/7/a.jpg",
        "train/gate/7/b.jpg",
        "train/gate/9/a.jpg",
        "train/yard/7/a.jpg",
        "train/yard/alone.jpg",
    ]
    dataset = read_dataset("folder", plant(tmp_path, names))
    told = {str(one.path.relative_to(tmp_path)): one for one in dataset.train}
    assert {name: told[name].track for name in names} == dict(
        zip(names, [0, 0, 1, 2, -1], strict=True)
    )
    assert {one.person_id for one in dataset.train} == {-1}
    assert [told[name].camera_id for name in names] == [0, 0, 0, 1, 1]
    assert "3 tracks in folders of cameras" in dataset.notes[0]


def test_tracks_of_a_camera_in_two_folders_are_two(plant, tmp_path):
    names = ["train/cam1/1/a.jpg", "train/cam1/1/b.jpg", "train/Cam_01/1/a.jpg"]
    dataset = read_dataset("folder", plant(tmp_path, names))
    tracks = {one.path.parts[-3]: one.track for one in dataset.train}
    assert tracks == {"Cam_01": 0, "cam1": 1}
    assert {one.camera_id for one in dataset.train} == {0}
    assert "tracks are told apart by how their camera is written" in dataset.notes


def test_a_folder_of_cameras_alone_says_what_it_took_for_tracks(plant, tmp_path):
    names = ["anna/monday/a.jpg", "anna/tuesday/b.jpg", "ben/monday/c.jpg"]
    (note,) = read_dataset("folder", plant(tmp_path, names)).notes
    assert (
        "2 cameras, its persons are unknown; 3 tracks in folders of cameras (CAMERA/TRACK" in note
    )
    plant(tmp_path, ["anna/monday/deep/d.jpg"])
    with pytest.raises(DataError, match="deep: expected pictures in track monday, got a folder"):
        read_dataset("folder", tmp_path)


def test_a_folder_in_a_track_is_no_silent_loss(plant, tmp_path):
    names = ["train/gate/7/a.jpg", "train/gate/7/b.jpg", "train/gate/7/deep/c.jpg"]
    with pytest.raises(DataError, match="deep: expected pictures in track 7, got a folder"):
        read_dataset("folder", plant(tmp_path, names))


def table_with_tracks(tmp_path, plant, *lines):
    plant(tmp_path, [f"{number}.jpg" for number in range(len(lines))])
    rows = [f"{number}.jpg,,{line},train" for number, line in enumerate(lines)]
    text = "\n".join(["path,person,camera,track,frame,split", *rows])
    (tmp_path / "pictures.csv").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_table_may_tell_tracks_and_frames(plant, tmp_path):
    root = table_with_tracks(tmp_path, plant, "gate,b,5", "gate,b,7", "yard,b,", "yard,,9")
    told = [(one.track, one.frame) for one in read_dataset("csv", root).train]
    assert told == [(0, 5), (0, 7), (1, -1), (-1, 9)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gate,b,soon", "line 3: expected a whole frame, got 'soon'"),
        ("gate,b,5", "line 3: expected one picture of track b in frame 5 of camera gate"),
    ],
)
def test_a_track_that_repeats_a_frame_is_named_with_its_line(plant, tmp_path, line, message):
    root = table_with_tracks(tmp_path, plant, "gate,b,5", line)
    with pytest.raises(DataError, match=message):
        read_dataset("csv", root)


def test_a_tables_tracks_of_two_cameras_are_two_however_the_cameras_are_called(plant, tmp_path):
    root = table_with_tracks(tmp_path, plant, "gate,b,5", "Gate,b,6", "gate,b,7")
    assert [one.track for one in read_dataset("csv", root).train] == [1, 0, 1]


def test_a_track_called_after_nobody_is_none(plant, tmp_path):
    lines = ["gate,-1,1", "gate,-1,1", "gate,unknown,2", "gate,,-1", "gate,4,3"]
    dataset = read_dataset("csv", table_with_tracks(tmp_path, plant, *lines))
    assert [(one.track, one.frame) for one in dataset.train] == [
        *((-1, 1), (-1, 1), (-1, 2), (-1, -1)),
        (0, 3),
    ]
    assert dataset.notes == ("1 track, 4 pictures without",)
    names = ["train/gate/-1/a.jpg", "train/gate/-1/b.jpg", "train/gate/4/c.jpg"]
    told = read_dataset("folder", plant(tmp_path / "folders", names)).train
    assert [one.track for one in told] == [-1, -1, 0]


@pytest.mark.parametrize(
    "columns", ["Track,Frame", "track_id,frame_id", "TrackID,frame_no", "tracklet,frame_number"]
)
def test_columns_of_tracks_have_many_names(plant, tmp_path, columns):
    root = table_with_tracks(tmp_path, plant, "gate,b,5", "gate,b,7")
    text = (root / "pictures.csv").read_text().replace("track,frame", columns)
    (root / "pictures.csv").write_text(text)
    assert [(one.track, one.frame) for one in read_dataset("csv", root).train] == [(0, 5), (0, 7)]


def test_two_columns_of_tracks_are_refused(plant, tmp_path):
    root = table_with_tracks(tmp_path, plant, "gate,b,5")
    text = (root / "pictures.csv").read_text().replace("track,frame", "Track,track_id")
    (root / "pictures.csv").write_text(text)
    with pytest.raises(DataError, match="one column track, got several; rename one of Track, tr"):
        read_dataset("csv", root)


@pytest.mark.parametrize("frame", ["9" * 20, str(2**63), "9" * 5000, "1.5"])
def test_a_frame_that_is_no_whole_number_of_64_bits_is_named(plant, tmp_path, frame):
    root = table_with_tracks(tmp_path, plant, "gate,b,5", f"gate,b,{frame}")
    with pytest.raises(DataError, match=r"pictures\.csv, line 3: expected a whole frame, got '"):
        read_dataset("csv", root)
    largest = table_with_tracks(tmp_path, plant, f"gate,b,{2**63 - 1}")
    assert read_dataset("csv", largest).train[0].frame == 2**63 - 1


def test_one_track_of_two_persons_is_named_with_both_lines(plant, tmp_path):
    plant(tmp_path, [f"{number}.jpg" for number in range(5)])
    persons = ["anna", "", "Anna", "unknown", "ben"]
    rows = [f"{number}.jpg,{who},gate,train,7" for number, who in enumerate(persons)]
    (tmp_path / "t.csv").write_text("\n".join(["path,person,camera,split,track", *rows]))
    with pytest.raises(
        DataError, match=r"t\.csv, line 6: expected one person in track 7 of camera "
    ):
        read_dataset("csv", tmp_path)
    dataset = read_dataset("csv", tmp_path, skip_unreadable=True)
    assert [(one.person_id, one.track) for one in dataset.train] == [(1, 0), (-1, 0), (1, 0)]
    assert "got ben and, in line 2, anna" in dataset.notes[-1]


def test_many_faults_are_noted_in_time_that_grows_with_their_number(tmp_path):
    """20,000 twice: looked for in a list each of them took minutes."""
    tree = PictureTree(tmp_path)
    start = time.process_time()
    for number in [*range(20_000)] * 2:
        tree.note(tmp_path / "a.txt", f"line {number}")
    assert len(tree.problems) == 20_000
    assert time.process_time() - start < 20
    below = tree.below(tmp_path / "b")
    below.note(tmp_path / "a.txt", "line 1")
    below.note(tmp_path / "b" / "c.txt", "line 1")
    assert len(tree.problems) == 20_001


def test_a_table_without_tracks_has_none(plant, tmp_path):
    plant(tmp_path, ["1.jpg"])
    (tmp_path / "t.csv").write_text("path,person,camera,split\n1.jpg,,gate,train\n")
    (one,) = read_dataset("csv", tmp_path).train
    assert (one.track, one.frame) == (-1, -1)


def test_a_link_in_circles_is_told_and_left_out(plant, tmp_path):
    root = plant(tmp_path, ["train/a/c1_1.jpg", "train/b/c1_1.jpg", "train/b/c2_1.jpg"])
    for name in ("a/c1_2.jpg", "loop"):
        (root / "train" / name).symlink_to(root / "train" / name)
    (root / "val").symlink_to("nope")
    dataset = read_dataset("folder", root)
    assert len(dataset.train) == 3
    assert dataset.notes[-1].startswith("3 links to nothing or to themselves left out: ")
    assert {"train/a/c1_2.jpg", "train/loop", "val"} == {
        *dataset.notes[-1].partition("left out: ")[2].split(", ")
    }


def test_links_to_a_disk_that_is_not_there_are_refused(plant, tmp_path):
    root = plant(tmp_path / "few", ["train/a/c1_1.jpg", "train/b/c1_1.jpg"])
    for number in range(2, 5):
        (root / "train" / "a" / f"c1_{number}.jpg").symlink_to(f"/nas/{number}.jpg")
    with pytest.raises(DataError, match=r"3 links to nothing .* beside 2 pictures: is what they"):
        read_dataset("folder", root)
    root = plant(tmp_path / "part", LABELLED[3:])
    (root / "train").symlink_to("/nas/train")
    with pytest.raises(DataError, match="train: expected a folder of pictures, got a link to none"):
        read_dataset("folder", root)


def test_a_picture_without_a_suffix_is_told_and_jpe_is_read(plant, tmp_path):
    root = plant(tmp_path, ["train/a/c1_1.jpg", "train/b/c1_1.jpg", "train/b/c2_1.jpe"])
    assert len(read_dataset("folder", root).train) == 3
    (root / "train/b/c2_2").write_bytes((root / "train/a/c1_1.jpg").read_bytes())
    with pytest.raises(DataError, match=r"c2_2: expected a name that ends in \.jpg"):
        read_dataset("folder", root)


@pytest.mark.parametrize("suffix", [".pnm", ".dib", ".mpo", ".apng", ".jpg_large", ".00", ".JIF"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "PPM", "WEBP", "GIF", "TIFF"])
def test_a_picture_of_an_unknown_suffix_is_told_by_its_first_bytes(plant, tmp_path, suffix, kind):
    root = plant(tmp_path, ["train/a/c1_1.jpg", "train/b/c1_1.jpg"])
    Image.new("RGB", (4, 8), "red").save(root / f"train/a/c2_10.15{suffix}", kind)
    for name, other in (
        ("a.wav", b"RIFF1234WAVE"),
        ("a.txt", b"BM is no picture"),
        ("b.csv", b"P1,x"),
    ):
        (root / "train/a" / name).write_bytes(other)
    tree = PictureTree(root)
    assert len(tree.pictures(root / "train/a")) == 1
    (fault,) = tree.problems
    assert fault.path.name == f"c2_10.15{suffix}"
    assert "rename it" in fault.why


@pytest.mark.parametrize("suffix", [".dng", ".CR2", ".nef", ".arw", ".svg", ".ico"])
def test_a_picture_of_a_kind_that_is_not_read_asks_to_be_converted(plant, tmp_path, suffix):
    root = plant(tmp_path, ["train/a/c1_1.jpg", "train/b/c1_1.jpg"])
    (root / f"train/a/c2_1{suffix}").write_bytes(b"II*\0")
    with pytest.raises(DataError, match=r"c2_1.*: convert it"):
        read_dataset("folder", root)


def test_a_table_as_programs_write_it(plant, tmp_path):
    """Floats for whole numbers, nan for nothing, capitals, an index, empty lines, a first line."""
    plant(tmp_path, [f"{number}.jpg" for number in range(6)])
    lines = [
        "sep=,",
        ",path,person,camera,split,frame",
        "0,0.jpg,12.0,1.0,Train,5.0",
        ",,,,,",
        "1,1.jpg,12,1,TRAIN,",
        "",
        "2,2.jpg,nan,2,train,nan",
        "3,3.jpg,-1.0,2.0,train,",
        "4,4.jpg,7.0,1,Query,",
        "5,5.jpg,7,2,gallery,",
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    dataset = read_dataset("csv", tmp_path)
    assert facts(dataset.train) == [("0.jpg", 2, 0), ("1.jpg", 2, 0), ("2.jpg", -1, 1)]
    assert [one.frame for one in dataset.train] == [5, -1, -1]
    assert facts(dataset.query) == [("4.jpg", 1, 0)]
    (tmp_path / "t.csv").write_text("\n".join([*lines, "6,6.jpg,7,nan,gallery,"]))
    with pytest.raises(DataError, match="line 11: expected a camera, got none"):
        read_dataset("csv", tmp_path)


@pytest.mark.parametrize("cell", ["?", "#N/A", "None", "nan"])
def test_a_cell_that_says_nothing_is_no_persons_name(plant, tmp_path, cell):
    plant(tmp_path, ["1.jpg"])
    assert facts(read_dataset("csv", table(tmp_path, f"1.jpg,{cell},door,train")).train) == [
        ("1.jpg", -1, 0)
    ]


@pytest.mark.parametrize(
    "above", ["", '"sep=,"\n', "\n\n", "# made by hand\n\nsep=,\n", ",,,\n", "#\n"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_stands_above_a_tables_columns_is_passed_over(plant, tmp_path, above, encoding):
    plant(tmp_path, ["1.jpg", "2.jpg"])
    text = f"{above}path,person,camera,split\n1.jpg,a,door,train\n# a word\n2.jpg,b,hall,train\n"
    (tmp_path / "t.csv").write_text(text, encoding=encoding)
    assert facts(read_dataset("csv", tmp_path).train) == [("1.jpg", 1, 0), ("2.jpg", 2, 1)]
    (tmp_path / "t.csv").write_text(f"{text}#3.jpg,b,,train\n", encoding=encoding)
    with pytest.raises(DataError, match=f"line {5 + above.count(chr(10))}: expected a camera"):
        read_dataset("csv", tmp_path)


def test_a_column_may_be_called_by_the_sign_of_comments(plant, tmp_path):
    plant(tmp_path, ["1.jpg"])
    table(tmp_path, "0,1.jpg,a,door,train", header="#,path,person,camera,split")
    assert facts(read_dataset("csv", tmp_path).train) == [("1.jpg", 1, 0)]


@pytest.mark.parametrize("text", ["", "\n", "sep=,\n", "#", "\n\n,,"])
def test_a_table_of_nothing_is_a_sentence(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match="expected a first line with the columns"):
        read_dataset("csv", tmp_path)


def test_two_columns_for_one_thing_are_named(plant, tmp_path):
    plant(tmp_path, ["1.jpg"])
    table(tmp_path, "1.jpg,a,b,door,train", header="path,pid,label,camera,split")
    with pytest.raises(DataError, match="rename one of pid, label to person"):
        read_dataset("csv", tmp_path)


@pytest.mark.parametrize(("there", "listed"), [("a.jpg", "A.JPG"), ("\u00e9.jpg", "e\u0301.jpg")])
def test_a_file_whose_name_differs_in_case_or_accents_is_named(plant, tmp_path, there, listed):
    plant(tmp_path, [there])
    with pytest.raises(DataError, match=f"got nothing; there is {there}"):
        read_dataset("csv", table(tmp_path, f"{listed},anna,door,train"))


@pytest.mark.parametrize("leads", [".", "..", "../../{root}/gate"])
def test_no_picture_is_trained_on_twice_by_a_link_to_a_folder_that_it_lies_in(
    plant, tmp_path, leads
):
    root = plant(tmp_path, ["gate/1.jpg", "gate/2.jpg", "yard/1.jpg"])
    (root / "gate" / "again").symlink_to(leads.format(root=root.name))
    with pytest.raises(DataError, match="again: expected a folder, got a link to one that it lies"):
        read_dataset("folder", root)
    assert len(read_dataset("folder", root, skip_unreadable=True).train) == 3
