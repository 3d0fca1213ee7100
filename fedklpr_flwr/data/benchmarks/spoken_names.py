"""Names that people write in different ways: which camera, which person, or no name but a date."""

import re
import unicodedata
from datetime import date

CAMERA = r"(?:c|cam|camera)[-_ ]?(?:\d+|[a-z])"
_CAMERA_NAME = re.compile(CAMERA, re.IGNORECASE)
_CAMERA_PARTS = re.compile(r"(?:(.+)[-_ ])?(?:c|cam|camera)[-_ ]?0*(\d+|[a-z])", re.IGNORECASE)
# A file's moment (seconds or milliseconds since 1970) is no camera, and neither is its day.
_MOMENT = re.compile(r"1\d{9}|1\d{12}")
_NUMBER = re.compile(r"(-?\d+)\.0+")
_NOBODY = {
    **dict.fromkeys(("junk", "unknown", "unidentified", "unlabeled", "unlabelled", "nobody"), "-1"),
    **dict.fromkeys(("none", "null", "?", "-2", "#n/a"), "-1"),
    **dict.fromkeys((f"unknown{gap}{who}" for gap in "_- " for who in ("person", "id")), "-1"),
    **dict.fromkeys(("distractor", "distractors"), "0000"),
}
_NOTHING = frozenset(("nan", "none", "null", "na", "n/a", "<na>", "nat", "-", "?", "#n/a"))
_WHEN = r"(?:[-_ ](?:morning|noon|afternoon|evening|night|am|pm|day|\d{1,6}))?"
_DATE = re.compile(rf"(\d{{4}})[-_.]?(\d{{2}})[-_.]?(\d{{2}}){_WHEN}", re.IGNORECASE)
_DAY_FIRST = re.compile(rf"(\d{{2}})[-_.](\d{{2}})[-_.](\d{{4}}){_WHEN}", re.IGNORECASE)


def is_camera(word: str) -> bool:
    """Whether a word is a camera's as such: cam1, camera_b, c3."""
    return _CAMERA_NAME.fullmatch(word) is not None


def is_date(word: str) -> bool:
    """Whether a word is a day from 1990 to 2099: 2026-01-31, 20260131_evening, 31.01.2026."""
    if found := _DATE.fullmatch(word):
        year, month, day = map(int, found.groups())
    elif found := _DAY_FIRST.fullmatch(word):
        day, month, year = map(int, found.groups())
        day, month = (month, day) if month > 12 else (day, month)  # 01-31-2026
    else:
        return False
    try:
        return 1990 <= year < 2100 and bool(date(year, month, day))
    except ValueError:
        return False


def camera_key(word: str) -> str:
    """What is compared of a camera's name: Cam_01, cam1 and c1 are one, Door and door, 01 and 1."""
    found = _CAMERA_PARTS.fullmatch(plain(word))
    return f"{found[1] or ''} camera {found[2]}" if found else _number(plain(word))


def person_key(word: str) -> str:
    """What is compared of a person's name: Anna and anna are one, 0001 and 1 too."""
    return _number(plain(word))


def person_called(word: str) -> str:
    """What a person's name means: words for nobody are Market-1501's, -1 and 0000."""
    return _NOBODY.get(plain(word), word)


def told_name(cell: str) -> str:
    """A name as a table tells it: nan and None are none, 12.0 is 12, as programs write them."""
    cell = cell.strip()
    number = _NUMBER.fullmatch(cell)
    return number[1] if number else "" if plain(cell) in _NOTHING else cell


def is_moment(word: str) -> bool:
    """Whether a word is a day, or a moment as programs count them: no camera's."""
    return is_date(word) or _MOMENT.fullmatch(word) is not None


def plain(word: str) -> str:
    """A word as it is compared: letters of either case, written in either form."""
    return unicodedata.normalize("NFKC", word).strip().casefold()


def same_person(word: str, folder: str) -> bool:
    """Whether a name's first word is its folder's person: the same, or the same number."""
    if word.isdecimal() and folder.isdecimal():
        return int(word) == int(folder)
    return plain(word) == plain(folder)


def _number(word: str) -> str:
    return str(int(word)) if word.isdecimal() else word
