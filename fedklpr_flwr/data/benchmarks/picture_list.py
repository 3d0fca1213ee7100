"""A user's own pictures in a table: a .csv file with the columns path, person, camera, split.

path is relative to the file's folder and may not lead out of it; person may be empty (unknown);
camera is any name; split is train, query or gallery. Two more columns may tell what a tracker
knows: track, any name within a camera (empty = none), and frame, a whole number by the camera's
clock, so that tracks that are there at the same time are not taken for one person. Other columns
are passed over. The root is the file, or a folder with one .csv file in it.
Person ids: 1, 2, ... in order of the names. Cameras: 0, 1, ... in order of the names.
"""

import csv
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.numbering import PictureRow, numbered_dataset
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.errors import DataError

CARD = DatasetCard(
    title="csv",
    layout="a .csv file with the columns path, person, camera and split",
    words=__doc__ or "",
)

_COLUMNS = ("path", "person", "camera", "split")
_TOLD_BY_TRACKERS = ("track", "frame")
_PARTS = ("train", "query", "gallery")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read a user's own table of pictures.

    Args:
        tree: The .csv file, or a folder with one in it.
        seed: Not used; the table is the split.

    Returns:
        The set, in the order of the table.

    Raises:
        DataError: If there is no table, more than one, or one without the columns.
    """
    file = _table(tree.root)
    inside = PictureTree(file.parent, tree.problems)
    rows: list[PictureRow] = []
    seen: set[tuple[str, str, str, int]] = set()
    for number, line in enumerate(_lines(file), 2):
        row = PictureRow(
            file.parent / line["path"],
            line["person"],
            line["camera"],
            line["split"],
            line["track"],
            int(line["frame"]) if line["frame"].isdecimal() else -1,
        )
        moment = (row.part, row.camera, row.track, row.frame)
        if line["frame"] and row.frame < 0:
            inside.note(row.path, f"line {number}: expected a whole frame, got {line['frame']!r}")
        elif row.track and row.frame >= 0 and moment in seen:
            inside.note(
                row.path,
                f"line {number}: expected one picture of track {row.track} in frame {row.frame} of "
                f"camera {row.camera}, got another",
            )
        elif fault := _fault(row):
            inside.note(row.path, f"line {number}: expected {fault}")
        elif inside.listed_picture(row.path):
            rows.append(row)
            seen.add(moment)
    return numbered_dataset("csv", rows, ())


def _fault(row: PictureRow) -> str:
    """Say what a line should hold and does not; empty if it is right."""
    if row.part not in _PARTS:
        return f"split train, query or gallery, got {row.part!r}"
    if not row.camera:
        return "a camera, got none"
    if row.part != "train" and not row.person:
        return f"a person in {row.part}, got none"
    return ""


def _table(root: Path) -> Path:
    """Find the table: the root itself, or the one .csv file in it."""
    if root.is_file():
        return root
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv")
    if len(tables) != 1:
        names = ", ".join(path.name for path in tables) or "none"
        raise DataError(f"{root}: expected one .csv file, got {names}; point data.root at the file")
    return tables[0]


def _lines(file: Path) -> list[dict[str, str]]:
    """Read the table's lines as column to text, without blanks around."""
    try:
        # utf-8-sig: spreadsheets put a byte-order mark in front.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                found = ", ".join(table.fieldnames or ()) or "none"
                raise DataError(
                    f"{file}: expected the columns {', '.join(_COLUMNS)}, got {found}; add "
                    f"{missing[0]}"
                )
            names = (*_COLUMNS, *_TOLD_BY_TRACKERS)
            return [{name: (line.get(name) or "").strip() for name in names} for line in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: expected a .csv file in UTF-8, got: {error}") from error
