r"""A user's own pictures in a table: a .csv file with the columns path, person, camera, split.

path is relative to the file's folder and may not lead out of it, with / or \ between its parts;
person may be empty, nan or None (unknown), -1 or junk is junk (dropped), 0000 in a gallery a
distractor where no query is called so; camera is any name; split is train, query or gallery; 12.0
is 12. Two more columns may tell what a tracker knows: track, any name within a camera (empty =
none), and frame, a whole number by the camera's clock, so that tracks that are there at the same
time are not taken for one person. Other columns are passed over.
UTF-8 or UTF-16; comma, semicolon, tab or | between the columns; empty lines and lines that begin
with # are passed over. The columns may also be called as others call them: file, filename, image,
image_name; pid, person_id, identity; camid, camera_id, cam; set, part, subset.
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
from fedklpr_flwr.data.benchmarks.spoken_names import told_name
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.errors import DataError

CARD = DatasetCard(
    title="csv",
    layout="a .csv file with the columns path, person, camera and split",
    words=__doc__ or "",
)

_COLUMNS = ("path", "person", "camera", "split")
_TOLD_BY_TRACKERS = ("track", "frame")
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
}
_DELIMITERS = (",", ";", "\t", "|")
_NOT_CSV = (".tsv", ".tab", ".txt", ".xlsx", ".xls", ".ods", ".json", ".parquet")
# A spreadsheet's sep=; or a comment; a column may be called # as well.
_NOTE = re.compile(r"sep=|#(?!\s*[,;\t|])")
_PARTS = ("train", "query", "gallery")
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
    inside = PictureTree(file.parent, tree.problems)
    rows: list[PictureRow] = []
    seen: set[tuple[str, str, str, int]] = set()
    for number, line in _lines(file):
        row = PictureRow(
            file.parent / line["path"],
            line["person"],
            line["camera"],
            line["split"].casefold(),
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
    return numbered_dataset("csv", without_days(inside, rows), ())


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
        names |= {column: column for column in _TOLD_BY_TRACKERS}
        lines = [
            (
                above + table.line_num,
                {column: told_name(line.get(str(name)) or "") for column, name in names.items()},
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
