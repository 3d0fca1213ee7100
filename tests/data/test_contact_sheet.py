"""The contact sheet shows pairs of pictures, row by row."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedklpr_flwr.data.contact_sheet import SheetRow, contact_sheet, search_sheet
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.errors import DataError


def colourful(folder: Path, name: str, persons: int) -> ReidDataset:
    """One colour a person; camera 1 sees it darker than camera 0."""
    images = []
    for person in range(1, persons + 1):
        for camera in (0, 1):
            path = folder / f"{name}-{person}-{camera}.png"
            tone = (40 * person, 200, 250) if camera == 0 else (20 * person, 100, 125)
            Image.new("RGB", (32, 64), tone).save(path)
            images.append(PersonImage(path, person, camera))
    return ReidDataset(name, tuple(images), (), ())


def test_each_set_is_a_row_of_pairs_of_one_person(tmp_path: Path) -> None:
    sets = [colourful(tmp_path, "one", 4), colourful(tmp_path, "two", 2)]
    path = contact_sheet(sets, tmp_path / "new" / "sheet.png", persons=3)
    pixels = np.asarray(Image.open(path)).astype(int)
    tones = {tuple(tone) for tone in pixels.reshape(-1, 3)}
    for person in (1, 2, 3):
        assert (40 * person, 200, 250) in tones
        assert (20 * person, 100, 125) in tones
    assert (160, 200, 250) not in tones  # the fourth person has no place
    first = np.argwhere((pixels == (40, 200, 250)).all(axis=2))
    second = np.argwhere((pixels == (20, 100, 125)).all(axis=2))
    assert first[:, 1].min() + 64 == second[:, 1].min()  # side by side
    assert len(first) == 2 * 64 * 128  # person 1 of both sets


def test_a_set_to_test_on_alone_is_shown_too(tmp_path: Path) -> None:
    images = colourful(tmp_path, "set", 1).train
    alone = ReidDataset("set", (), images[:1], images[1:])
    pixels = np.asarray(Image.open(contact_sheet([alone], tmp_path / "sheet.png")))
    assert (pixels == (40, 200, 250)).all(axis=2).sum() == 64 * 128


def test_persons_seen_by_one_camera_come_last(tmp_path: Path) -> None:
    images = colourful(tmp_path, "set", 2).train
    half = ReidDataset("set", images[1:], (), ())  # person 1 by camera 1 alone
    pixels = np.asarray(Image.open(contact_sheet([half], tmp_path / "sheet.png", persons=1)))
    assert (pixels == (80, 200, 250)).all(axis=2).any()
    assert not (pixels == (20, 100, 125)).all(axis=2).any()


def test_nothing_to_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got 0 data sets"):
        contact_sheet([], tmp_path / "sheet.png")
    with pytest.raises(DataError, match="persons=0"):
        contact_sheet([colourful(tmp_path, "set", 1)], tmp_path / "sheet.png", persons=0)


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    dataset = colourful(tmp_path, "set", 1)
    dataset.train[1].path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"set-1-1\.png: expected a picture"):
        contact_sheet([dataset], tmp_path / "sheet.png")


def test_a_sheet_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    dataset = colourful(tmp_path, "set", 1)
    with pytest.raises(DataError, match="cannot write the contact sheet"):
        contact_sheet([dataset], dataset.train[0].path / "sheet.png")


def test_a_sheet_is_its_users_alone_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("another's")
    (tmp_path / "sheet.png").symlink_to(tmp_path / "kept")
    path = contact_sheet([colourful(tmp_path, "one", 1)], tmp_path / "sheet.png")
    assert (tmp_path / "kept").read_text() == "another's"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_search_sheet_shows_each_query_and_what_was_found_in_their_order(tmp_path: Path) -> None:
    one, two, three = (image.path for image in colourful(tmp_path, "set", 3).train[::2])
    rows = [SheetRow(one, [two, three], ["1: 0.900 gate", "2: ворота"]), SheetRow(one, [], [])]
    pixels = np.asarray(Image.open(search_sheet(rows, tmp_path / "new" / "found.png"))).astype(int)

    shown = [(pixels == (40 * person, 200, 250)).all(axis=2) for person in (1, 2, 3)]
    lefts = [int(np.argwhere(one)[:, 1].min()) for one in shown]
    assert lefts == sorted(set(lefts))
    assert [int(one.sum()) for one in shown] == [2 * 96 * 192, 96 * 192, 96 * 192]
