r"""A user's own pictures in a table: a .csv file with the columns path, person, camera, split.

path is relative to the file's folder and may not lead out of it, with / or \ between its parts;
person may be empty, nan or None (unknown), -1 or junk is junk (dropped), 0000 in a gallery a
distractor where no query is called so; camera is any name; split is train, query or gallery; 12.0
is 12. Two more columns may tell what a tracker knows: track, any name within a camera (empty, -1,
unknown and the like = none), and beside it frame, a whole number by the camera's clock (empty or
-1 = unknown), so that tracks that are there at the same time are not taken for one person. A track
is one person's, and is there once in a frame; the lines may stand in any order, so that time that
goes backwards from line to line is no fault. Other columns are passed over.
UTF-8 or UTF-16; comma, semicolon, tab or | between the columns; empty lines and lines that begin
with # are passed over. The columns may also be called as others call them: file, filename, image,
image_name; pid, person_id, identity; camid, camera_id, cam; set, part, subset; track_id, tracklet;
frame_id, frame_no, frame_number.
The root is the file, or a folder with one .csv file in it.
Person ids: 1, 2, ... in order of the names. Cameras: 0, 1, ... in order of the names.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.numbering import PictureRow, numbered_dataset
from fedklpr_flwr.data.benchmarks.own_names import without_days
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.spoken_names import (
    person_called,
    person_key,
    told_name,
    track_called,
)
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.wording import counted

CARD = DatasetCard(
    title="csv",
    layout="a .csv file with the columns path, person, camera and split",
    words=__doc__ or "",
)

_COLUMNS = ("path", "person", "camera", "split")
_IMAGE_NAMES = (
    "image_name",
    "imagename",
    "img_name",
    "imgname",
    "image_file",
    "file_path",
    "filepath",
)
_ALSO_CALLED = {
    "path": (
        "file",
        "filename",
        "file_name",
        "image",
        "img",
        "img_path",
        "image_path",
        *_IMAGE_NAMES,
    ),
    "person": ("pid", "person_id", "personid", "identity", "id", "label"),
    "camera": ("camid", "cam", "camera_id", "cameraid", "cam_id"),
    "split": ("set", "part", "subset", "partition"),
    "track": ("track_id", "trackid", "track_no", "tracklet", "tracklet_id"),
    "frame": ("frame_id", "frameid", "frame_no", "frame_number", "frame_index"),
}
_DELIMITERS = (",", ";", "\t", "|")
_NOT_CSV = (".tsv", ".tab", ".txt", ".xlsx", ".xls", ".ods", ".json", ".parquet")
# A spreadsheet's sep=; or a comment; a column may be called # as well.
_NOTE = re.compile(r"sep=|#(?!\s*[,;\t|])")
_PARTS = ("train", "query", "gallery")
_LARGEST_FRAME = 2**63 - 1  # int64
_LONGEST_NUMBER = 40  # Python refuses to read digits by the thousand
_TESTED = "say of each test picture whether it is searched for (query) or searched in (gallery)"
_TRAINED = "call it train, or leave those lines out"
_OTHER_PARTS = {
    **dict.fromkeys(("test", "testing", "eval"), f": {_TESTED}"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "training"), f": {_TRAINED}"),
}


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
    inside = tree.below(file.parent)
    rows: list[PictureRow] = []
    known = _KnownTracks()
    for number, line in _lines(file):
        track = track_called(line["track"])
        frame = _frame(line["frame"])
        row = PictureRow(
            file.parent / line["path"],
            line["person"],
            line["camera"],
            line["split"].casefold(),
            track,
            -1 if frame is None else frame,
        )
        if frame is None:
            fault = f"a whole frame, got {line['frame'][:40]!r}: 0 to {_LARGEST_FRAME}, or none"
        else:
            fault = _fault(row) or known.fault(row)
        if fault:
            inside.note(row.path, f"{file.name}, line {number}: expected {fault}")
        elif inside.listed_picture(row.path):
            rows.append(row)
            known.add(row, number)
    return numbered_dataset("csv", without_days(inside, rows), _track_notes(rows))


class _KnownTracks:
    """Whom each track showed so far, and when."""

    def __init__(self) -> None:
        self._moments: set[tuple[str, str, str, int]] = set()
        self._persons: dict[tuple[str, str, str], tuple[str, int]] = {}

    def fault(self, row: PictureRow) -> str:
        """Say what of a row's track is not as the rows before have it; empty if all is."""
        key = row.part, row.camera, row.track
        if row.track and row.frame >= 0 and (*key, row.frame) in self._moments:
            return (
                f"one picture of track {row.track} in frame {row.frame} of camera {row.camera}, "
                "got another"
            )
        person, line = self._persons.get(key, (row.person, 0))
        if person_key(person) != person_key(row.person) and _is_somebody(row):
            return (
                f"one person in track {row.track} of camera {row.camera}, got {row.person} and, in "
                f"line {line}, {person}"
            )
        return ""

    def add(self, row: PictureRow, line: int) -> None:
        """Remember a row that is right, and its line."""
        key = row.part, row.camera, row.track
        self._moments.add((*key, row.frame))
        if _is_somebody(row):
            self._persons.setdefault(key, (row.person, line))


def _is_somebody(row: PictureRow) -> bool:
    """Whether a row is of a track, and says whom it shows."""
    return bool(row.track and row.person) and person_called(row.person) == row.person


def _frame(cell: str) -> int | None:
    """A frame's number, -1 where it is not known; None where it is none."""
    if cell in ("", "-1"):
        return -1
    if not cell.isdecimal() or len(cell) > _LONGEST_NUMBER:
        return None
    return number if (number := int(cell)) <= _LARGEST_FRAME else None


def _track_notes(rows: Sequence[PictureRow]) -> tuple[str, ...]:
    """How many tracks a table tells, in words; nothing where it tells none."""
    tracks = len({(row.part, row.camera, row.track) for row in rows if row.track})
    alone = sum(not row.track for row in rows)
    return (f"{counted(tracks, 'track')}, {counted(alone, 'picture')} without",) * bool(tracks)


def _fault(row: PictureRow) -> str:
    """Say what a line should hold and does not; empty if it is right."""
    if row.part not in _PARTS:
        told = _OTHER_PARTS.get(row.part, "")
        return f"split train, query or gallery, got {row.part!r}{told}"
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
        others = [path.name for path in sorted(root.iterdir()) if path.suffix.lower() in _NOT_CSV]
        if others and not tables:
            what = "point data.root at the file itself if it is such a table in text"
            raise DataError(
                f"{root}: expected one .csv file, got none, beside {', '.join(others[:8])}; "
                f"{what}, or save it as .csv"
            )
        names = ", ".join(path.name for path in tables) or "none"
        raise DataError(f"{root}: expected one .csv file, got {names}; point data.root at the file")
    return tables[0]


def _lines(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the table's lines, with their numbers, as column to text; empty ones are passed over."""
    text = _text(file)
    # A spreadsheet's own first line, comments and empty lines may stand above the columns.
    heads = text.splitlines(keepends=True)
    above = next((number for number, line in enumerate(heads) if not _is_above(line)), len(heads))
    text = "".join(heads[above:])
    first = heads[above].rstrip() if above < len(heads) else ""
    try:
        # The one that tells most of the columns: a column's name may hold another.
        delimiter = max(_DELIMITERS, key=lambda one: (_columns_told(first, one), first.count(one)))
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        found = [name or "" for name in table.fieldnames or ()]
        names = {column: _header(column, found) for column in _COLUMNS}
        missing = [column for column, name in names.items() if name is None]
        if missing:
            raise DataError(
                f"{file}: expected a first line with the columns {', '.join(_COLUMNS)}, got "
                f"{', '.join(found) or 'none'}; {_what_to_do(missing[0], found)}"
            )
        names |= _told_by_trackers(file, found)
        lines = [
            (
                above + table.line_num,
                dict.fromkeys(("track", "frame"), "")
                | {column: told_name(line.get(str(name)) or "") for column, name in names.items()},
            )
            for line in table
            if any(isinstance(cell, str) and cell.strip() for cell in line.values())
            and not _is_comment(line[found[0]], [line[name] for name in found[1:]])
        ]
    except csv.Error as error:
        raise DataError(f"{file}: expected a .csv file, got: {error}") from error
    for _, line in lines:
        line["path"] = line["path"].replace("\\", "/")
    return lines


def _told_by_trackers(file: Path, found: Sequence[str]) -> dict[str, str | None]:
    """The names of the columns track and frame; another name for a frame stands beside a track."""
    followed = bool(_called("track", found))
    columns = {"track": followed, "frame": followed or "frame" in found}
    names = {column: _header(column, found) for column, there in columns.items() if there}
    for column, name in names.items():
        if name is None and _called(column, found):
            raise DataError(
                f"{file}: expected one column {column}, got several; {_what_to_do(column, found)}"
            )
    return names


def _columns_told(first: str, delimiter: str) -> int:
    """How many of the columns a first line has, cut in this way."""
    found = next(csv.reader([first], delimiter=delimiter), [])
    return sum(bool(_called(column, found)) for column in _COLUMNS)


def _is_above(line: str) -> bool:
    """Whether a line may stand above the columns: it is empty, a comment or a spreadsheet's own."""
    words = line.strip().strip('"').strip(",;\t| ")
    return not words or _NOTE.match(line.strip().strip('"')) is not None


def _is_comment(first: str | None, others: Sequence[str | None]) -> bool:
    """Whether a line has one cell, which begins with #; a picture's name may begin so as well."""
    return (first or "").lstrip().startswith("#") and not any(others)


def _text(file: Path) -> str:
    """The table's text, of whichever encoding its first bytes tell."""
    try:
        data = file.read_bytes()
        if data.startswith(_UTF_32) or data[1:4] == b"\0\0\0" or data[:3] == b"\0\0\0":
            raise DataError(f"{file}: expected UTF-8 or UTF-16, got UTF-32; save it as UTF-8")
        # Spreadsheets put a byte-order mark in front.
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        # Without it every other byte of a first line in UTF-16 is 0.
        wide = {b"\0": "utf-16-be"}.get(
            data[:1], "utf-16-le" if data[1:2] == b"\0" else "utf-8-sig"
        )
        return data.decode(wide)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: expected a .csv file in UTF-8 or UTF-16, got: {error}; save it as UTF-8"
        ) from error


_UTF_32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")


def _header(column: str, found: Sequence[str]) -> str | None:
    """The name under which a table has a column; None where it has none, or two."""
    if column in found:
        return column
    alike = _called(column, found)
    return alike[0] if len(alike) == 1 else None


def _called(column: str, found: Sequence[str]) -> list[str]:
    """The names of a table's columns that may be meant."""
    return [name for name in found if name.strip().casefold() in (column, *_ALSO_CALLED[column])]


def _what_to_do(column: str, found: Sequence[str]) -> str:
    """How to mend a table that lacks a column, or has two for it."""
    alike = _called(column, found)
    return f"rename one of {', '.join(alike)} to {column}" if alike else f"add {column}"
