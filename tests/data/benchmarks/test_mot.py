"""Tracks that a tracker wrote: boxes cut out of frames, and what cannot be right named by line."""

import numpy as np
import pytest
import torch
from PIL import Image

from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.data.check import check_dataset
from fedklpr_flwr.data.picture_cache import load_pictures, pictures_fingerprint, pictures_stamp
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.model.site import load_site

SIZE = 100, 80  # width, height of a frame


def frame_at(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)


def camera(root, name, lines, frames=range(1, 6), *, challenge=False):
    folder = root / name / "img1" if challenge else root / name
    folder.mkdir(parents=True)
    for number in frames:
        Image.fromarray(frame_at(number)).save(folder / f"{number:06}.png")
    file = root / name / "gt" / "gt.txt" if challenge else root / f"{name}.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_boxes_are_pictures_of_their_camera_and_track(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40,1", "1,8,41,21,20,40,1", "2,7,13,21,20,40,1"])
    camera(tmp_path, "yard", ["3,7,1,1,30,60"], challenge=True)
    dataset = read_dataset("mot", tmp_path)
    told = [(one.path.parent.name, one.camera_id, one.track, one.frame) for one in dataset.train]
    assert told == [("gate", 0, 0, 1), ("gate", 0, 0, 2), ("gate", 0, 1, 1), ("img1", 1, 2, 3)]
    assert dataset.train[0].box == (10, 20, 30, 60)
    assert {one.person_id for one in dataset.train} == {-1}
    assert dataset.query == dataset.gallery == ()
    assert dataset.notes == ("3 tracks by 2 cameras, persons are unknown",)


def test_a_box_is_cut_out_of_its_frame(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40", "1,8,41,21,20,40"])
    images = read_dataset("mot", tmp_path).train
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        pixels, kept = load_pictures(images, height=40, width=20, cache=cache)
        expected = [frame_at(1)[20:60, left : left + 20].transpose(2, 0, 1) for left in (10, 40)]
        assert kept == (0, 1)
        assert torch.equal(pixels, torch.from_numpy(np.stack(expected)))


def test_two_people_in_one_frame_are_no_copies_and_a_moved_box_is_a_change(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40", "1,8,41,21,20,40"])
    before = read_dataset("mot", tmp_path)
    assert len(before.notes) == 1
    report = check_dataset("mot", tmp_path)
    assert [fault.why for fault in report.problems] == []
    (tmp_path / "gate.txt").write_text("1,7,11,21,20,40\n1,8,43,21,20,40\n")
    after = read_dataset("mot", tmp_path)
    assert pictures_stamp(before.train, tmp_path) != pictures_stamp(after.train, tmp_path)
    assert pictures_fingerprint(before.train) != pictures_fingerprint(after.train)


def test_of_a_long_track_ten_pictures_are_taken_evenly_apart(tmp_path):
    camera(tmp_path, "gate", [f"{n} 7 11 21 20 40" for n in range(1, 29)], range(1, 29))
    found = [one.frame for one in read_dataset("mot", tmp_path).train]
    assert found == [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]


def test_boxes_that_show_nobody_whole_are_left_out_and_counted(tmp_path):
    lines = [
        "1,7,11,21,20,40,1",
        "2,7,95,21,20,40,1",
        "3,7,-3,21,20,40,1",
        "4,7,11,21,15,40,1",
        "4,8,11,21,20,31,1",
        "5,7,11,21,20,40,0",
    ]
    dataset = read_dataset("mot", camera(tmp_path, "gate", lines))
    assert [one.frame for one in dataset.train] == [1]
    assert dataset.notes[1] == "boxes not used: 2 cut by the border, 2 tiny, 1 with confidence 0"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,7,13,21,20,40", "line 2: expected track 7 once in frame 1, got it again"),
        ("0,7,13,21,20,40", "line 2: expected frame, track, left, top, width, height in this"),
        ("7,cam,13,21,20,40", "line 2: expected frame, track"),
        ("2.5,7,13,21,20,40", "line 2: expected frame, track"),
        ("2,7,13,21", "line 2: expected frame, track"),
        ("nan,7,13,21,20,40", "line 2: expected frame, track"),
        ("2,7,13,inf,20,40", "line 2: expected frame, track"),
        (
            "2,7,13,21,-20,40",
            "line 2: expected a box of a width and a height above 0, got -20 x 40",
        ),
        ("9,7,13,21,20,40", "line 2: expected a frame among 1 to 5, got 9: its picture is not"),
        ("2,7,103,21,20,40", "line 2: expected a box in the frame of 100 x 80 pixels"),
    ],
)
def test_a_line_that_cannot_be_right_is_named_or_left_out_and_counted(tmp_path, line, message):
    camera(tmp_path, "gate", ["1,7,11,21,20,40", line])
    with pytest.raises(DataError, match=rf"gate\.txt: {message}"):
        read_dataset("mot", tmp_path)
    dataset = read_dataset("mot", tmp_path, skip_unreadable=True)
    assert len(dataset.train) == 1
    assert "1 file left out" in dataset.notes[-1]


def test_time_that_goes_backwards_is_named(tmp_path):
    camera(tmp_path, "gate", ["3,7,11,21,20,40", "3,8,41,21,20,40", "2,7,11,21,20,40"])
    with pytest.raises(DataError, match="line 3: expected track 7 after frame 3, got frame 2"):
        read_dataset("mot", tmp_path)


@pytest.mark.parametrize(("one", "other"), [("gate", "Gate"), ("Cam_01", "cam1")])
def test_cameras_that_differ_in_spelling_alone_are_refused(tmp_path, one, other):
    camera(tmp_path, one, ["1,7,11,21,20,40"])
    camera(tmp_path, other, ["3,7,41,21,20,40"], challenge=True)
    with pytest.raises(DataError, match=rf"different names, got {one} beside {other}|{other} be"):
        read_dataset("mot", tmp_path)


def test_two_cameras_of_one_name_are_refused(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40"], challenge=True)
    (tmp_path / "gate.txt").write_text("1,7,11,21,20,40\n")
    with pytest.raises(DataError, match=r"gate\.txt: expected one text file for camera gate"):
        read_dataset("mot", tmp_path)


def test_a_camera_without_frames_and_a_folder_without_text_are_named(tmp_path):
    (tmp_path / "gate.txt").write_text("1,7,11,21,20,40\n")
    with pytest.raises(DataError, match="expected frames of camera gate"):
        read_dataset("mot", tmp_path)
    (tmp_path / "gate.txt").unlink()
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"CAMERA\.txt"):
        read_dataset("mot", tmp_path)


def test_a_box_lies_in_the_frame_as_a_viewer_shows_it(tmp_path):
    """A phone's film stored on its side: its tracker saw it upright."""
    camera(tmp_path, "gate", ["1,7,11,61,20,35"], frames=[1])
    exif = Image.Exif()
    exif[0x0112] = 6
    camera(tmp_path, "yard", ["1,7,11,61,20,35"], frames=[1])
    upright = Image.fromarray(frame_at(1)).transpose(Image.Transpose.ROTATE_90)
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "gate/000001.png", exif=exif)
    upright.save(tmp_path / "yard/000001.png")
    images = read_dataset("mot", tmp_path).train
    assert len(images) == 2, "35 pixels below the 60th are inside of an upright frame alone"
    pixels, _ = load_pictures(images, height=35, width=20, cache=None)
    assert torch.equal(pixels[0], pixels[1])


def test_a_damaged_first_frame_is_one_picture_less_and_no_more(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40", "2,7,11,21,20,40"])
    (tmp_path / "gate" / "000001.png").write_bytes(b"")
    images = read_dataset("mot", tmp_path).train
    assert load_pictures(images, height=8, width=4, cache=None, skip_unreadable=True)[1] == (1,)
    assert "000001.png" in check_dataset("mot", tmp_path).problems[0].path.name


def test_a_frame_smaller_than_its_cameras_is_no_black_picture(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40", "2,7,11,21,20,40"])
    Image.fromarray(frame_at(2)[:50]).save(tmp_path / "gate" / "000002.png")
    images = read_dataset("mot", tmp_path).train
    with pytest.raises(DataError, match=r"100 x 50 pixels, in which the box \(10, 20, 30, 60\)"):
        load_pictures(images, height=8, width=4, cache=None)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("turn", "stored"), [(1, None), (6, Image.Transpose.ROTATE_90)])
def test_boxes_are_of_the_frame_as_it_is_shown(tmp_path, suffix, turn, stored):
    camera(tmp_path, "gate", ["1,7,31,41,20,40,1"], frames=())
    shown = Image.fromarray(frame_at(1).transpose(1, 0, 2))  # 80 x 100
    exif = Image.Exif()
    exif[0x0112] = turn
    frame = shown if stored is None else shown.transpose(stored)
    frame.save(tmp_path / "gate" / f"000001{suffix}", exif=exif)
    dataset = read_dataset("mot", tmp_path)
    assert dataset.notes == ("1 track by 1 camera, persons are unknown",)
    pixels, _ = load_pictures(dataset.train, height=40, width=20, cache=None)
    assert np.array_equal(pixels[0].numpy().transpose(1, 2, 0), np.asarray(shown)[40:80, 30:50])


def test_a_track_is_there_also_while_its_boxes_are_not_used(tmp_path):
    """Person 1 is cut by the border from frame 6 on, and person 2 comes in frame 7."""
    first = [f"{n},1,11,21,20,40" if n < 6 else f"{n},1,95,21,20,40" for n in range(1, 11)]
    second = [f"{n},2,41,21,20,40,{n != 20:d}" for n in range(7, 21)]
    root = camera(tmp_path, "gate", [*first, *second], range(1, 21))
    spans = {one.track: one.span for one in read_dataset("mot", root).train}
    assert spans == {0: (1, 10), 1: (7, 20)}
    site = load_site("gate", read_dataset("mot", root), root, height=8, width=4, cache=None)
    tracks = site.train.tracks
    assert set(zip(tracks.first.tolist(), tracks.last.tolist(), strict=True)) == {(1, 10), (7, 20)}


def test_names_in_the_first_line_say_where_each_column_is(tmp_path):
    camera(tmp_path, "gate", ["id,frame,bb_left,bb_top,w,h,score", "7,2,11,21,20,40,1"])
    (tmp_path / "gate.txt").write_text(
        "# ID; Frame".replace(";", ",") + ",bb_height,bb_width,conf,bb_left,bb_top,x,y\n"
        "7,2,40,20,1,11,21,0,0\n7,3,40,20,0,11,21,0,0\n"
    )
    dataset = read_dataset("mot", tmp_path)
    assert [(one.frame, one.box) for one in dataset.train] == [(2, (10, 20, 30, 60))]
    assert dataset.notes[1] == "boxes not used: 1 with confidence 0"
    (tmp_path / "gate.txt").write_text("frame,id,x1,y1,x2,y2\n2,7,11,21,31,61\n")
    with pytest.raises(
        DataError, match=r"gate\.txt: line 1: expected names of .*: width, height missing"
    ):
        read_dataset("mot", tmp_path)


def walk(person, frame):
    """Where somebody is: people stand 20 pixels apart and go two a frame."""
    return f"{20 * person + 2 * frame},11,20,40"


@pytest.mark.parametrize("by_track", [False, True])
def test_columns_that_are_exchanged_are_refused_and_right_ones_are_not(tmp_path, by_track):
    seen = [(frame, person) for frame in range(1, 11) for person in (1, 2, 3)]
    seen = sorted(seen, key=lambda one: one[by_track])
    right = [f"{frame},{person},{walk(person, frame)}" for frame, person in seen]
    wrong = [f"{person},{frame},{walk(person, frame)}" for frame, person in seen]
    camera(tmp_path, "gate", right, range(1, 11))
    assert len(read_dataset("mot", tmp_path).train) == 30
    (tmp_path / "gate.txt").write_text("\n".join(wrong))
    with pytest.raises(DataError, match=r"gate\.txt: line 1: .* move by 20 pixels .* and by 2 if"):
        read_dataset("mot", tmp_path)
    (tmp_path / "gate.txt").write_text("\n".join(["track,frame,left,top,width,height", *wrong]))
    assert len(read_dataset("mot", tmp_path).train) == 30


@pytest.mark.parametrize(
    "line",
    [
        "2,7,1e308,21,1e308,40",
        "2,,11,21,20,40,1,-1",
        "2,7,,21,20,40,1,-1",
        "2,7,11,21,20,40,,1",
        f"2,{2**63},11,21,20,40",
        "2,1e999999999,11,21,20,40",
    ],
)
def test_a_cell_that_is_empty_or_beyond_all_numbers_is_named(tmp_path, line):
    camera(tmp_path, "gate", ["1,7,11,21,20,40", line])
    with pytest.raises(DataError, match=r"gate\.txt: line 2: expected frame, track, left, top"):
        read_dataset("mot", tmp_path)


def test_tracks_of_large_numbers_are_told_apart(tmp_path):
    lines = ["1,9007199254740993,11,21,20,40,", "1,9007199254740992,41,21,20,40", "2,7e0,1,1,20,40"]
    dataset = read_dataset("mot", camera(tmp_path, "gate", lines))
    assert sorted(one.track for one in dataset.train) == [0, 1, 2]


def test_folders_and_videos_without_a_text_file_are_told(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40"])
    camera(tmp_path, "yard", [])
    (tmp_path / "yard.txt").unlink()
    (tmp_path / "gate.old" / "det").mkdir(parents=True)
    (tmp_path / "hall.mp4").write_bytes(b"")
    dataset = read_dataset("mot", tmp_path)
    assert dataset.notes[-1].endswith("passed over: gate.old, yard, hall.mp4")
    (tmp_path / "hall.txt").write_text("1,7,11,21,20,40")
    with pytest.raises(
        DataError, match=r"got none but the video hall\.mp4, .* ffmpeg -i hall\.mp4 "
    ):
        read_dataset("mot", tmp_path)


def test_an_empty_text_file_is_told(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40"])
    camera(tmp_path, "yard", [""])
    assert (
        read_dataset("mot", tmp_path)
        .notes[-1]
        .endswith("yard.txt has no line: camera yard has no picture")
    )


def test_why_no_box_at_all_can_be_used_is_said(tmp_path):
    camera(tmp_path, "gate", [""])
    camera(tmp_path, "yard", ["1,7,11,21,31,81", "2,7,11,21,31,81", "3,7,11,21,5,40"])
    why = r"got none: boxes not used: 2 cut by the border, 1 tiny; .*gate\.txt has no line"
    with pytest.raises(DataError, match=why):
        read_dataset("mot", tmp_path)


def test_frames_lie_where_the_sequences_file_says(tmp_path):
    camera(tmp_path, "gate", ["1,7,11,21,20,40"], challenge=True)
    (tmp_path / "gate" / "img1").rename(tmp_path / "gate" / "frames%d")
    told = tmp_path / "gate" / "seqinfo.ini"
    told.write_text("[Sequence]\nname=gate\nimDir=frames%d\n")
    assert read_dataset("mot", tmp_path).train[0].path.parent.name == "frames%d"
    for text in ("[Sequence]\nimDir=../../elsewhere\n", "imDir=img1\n"):
        told.write_text(text)
        with pytest.raises(DataError, match=r"seqinfo\.ini: expected .*imDir"):
            read_dataset("mot", tmp_path)


def test_of_a_true_file_pedestrians_alone_are_used_and_others_counted(tmp_path):
    lines = ["1,7,11,21,20,40,1,1,1", "2,7,11,21,20,40,1,1,.5", "1,8,41,21,20,40,0,3,1"]
    camera(tmp_path, "gate", lines, challenge=True)
    camera(tmp_path, "yard", ["1,7,11,21,20,40,1,-1,-1", "2,7,11,21,20,40,1,-1,-1,-1"])
    dataset = read_dataset("mot", tmp_path)
    assert [one.track for one in dataset.train] == [0, 0, 1, 1]
    assert dataset.notes[1] == "boxes not used: 1 of another class than 1 (pedestrian)"
    (tmp_path / "yard.txt").write_text("frame,id,left,top,width,height,class\n1,7,11,21,20,40,0\n")
    assert "in doubt: " in (note := read_dataset("mot", tmp_path).notes[-1])
    assert "yard.txt has a column of classes" in note


def test_lines_with_one_fault_are_told_as_one_problem(tmp_path):
    """A video that ends early, and a line that cannot be right."""
    lines = [f"{n},7,11,21,20,40" for n in range(1, 2_001)]
    camera(tmp_path, "gate", [*lines, "cam"])
    why = [fault.why for fault in check_dataset("mot", tmp_path).problems]
    assert why == [
        "line 6: expected a frame among 1 to 5, got 6: its picture is not there (and 1,994 more "
        "lines like it, up to line 2000)",
        "line 2001: expected frame, track, left, top, width, height in this order, frame and track "
        "from 1, got 'cam'",
    ]
