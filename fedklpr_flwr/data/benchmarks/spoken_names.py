"""Names that people write in different ways: which camera, which person, or no name but a date."""

import re
import unicodedata
from collections.abc import Collection
from datetime import date

CAMERA = r"(?:c|cam|camera)[-_ ]?(?:\d+|[a-z])"
_CAMERA_NAME = re.compile(CAMERA, re.IGNORECASE)
_CAMERA_PARTS = re.compile(r"(?:(.+)[-_ ])?(?:c|cam|camera)[-_ ]?0*(\d+|[a-z])", re.IGNORECASE)
# A file's moment is no camera, and neither is its day: seconds or milliseconds since 1970, or a
# day with its time (20260131101500).
_MOMENT = re.compile(r"1\d{9}|1\d{12}|(\d{8})\d{6}(?:\d{3})?")
_NUMBER = re.compile(r"(-?\d+)\.0+")
_JUNK = "-1"
_NOBODY = {
    **dict.fromkeys(("junk", "unknown", "unidentified", "unlabeled", "unlabelled", "nobody"), "-1"),
    **dict.fromkeys(("unk", "unassigned", "anonymous", "noid", "noise", "background"), "-1"),
    **dict.fromkeys(("none", "null", "?", "#n/a"), "-1"),
    **dict.fromkeys((f"unknown{gap}{who}" for gap in "_- " for who in ("person", "id")), "-1"),
    **dict.fromkeys((f"{a}{gap}{b}" for gap in "_- " for a, b in (("no", "id"), ("n", "a"))), "-1"),
    **dict.fromkeys(("distractor", "distractors"), "0000"),
}
# -1, -01, -2, and "-1 (2)" of a folder that was copied; 0, 0000 and 00000.
_JUNK_NUMBER, _ZEROS = re.compile(r"-0*[12](?: ?\(\d+\))?"), re.compile(r"0+")
_COUNTED = re.compile(r"(.+?)[-_ ]?\(?\d+\)?")
_MINUS = str.maketrans(dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014", "-"))
_NOTHING = frozenset(("nan", "none", "null", "na", "n/a", "<na>", "nat", "-", "?", "#n/a"))
_WHEN = (
    r"(?:[-_ t](?:morning|noon|afternoon|evening|night|am|pm|day|\d{1,6}"
    r"|\d{1,2}(?:[-_.:h]\d{2}){1,2})z?)?"
)
_DATE = re.compile(
    rf"(\d{{4}})(?:[-_.]?(\d{{2}})[-_.]?(\d{{2}})|[-_.](\d{{1,2}})[-_.](\d{{1,2}})){_WHEN}",
    re.IGNORECASE,
)
# 31.01.2026, 31-1-2026, and with points 31.1.26.
_DAY_FIRST = re.compile(
    rf"(\d{{1,2}})(?:[-_.](\d{{1,2}})[-_.](\d{{4}})|\.(\d{{1,2}})\.(\d{{2}})){_WHEN}", re.IGNORECASE
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = re.compile(
    r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_NAMED_DAY = re.compile(r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|\d{4}[-_]?w[0-5]\d")


def is_camera(word: str) -> bool:
    """Whether a word is a camera's as such: cam1, camera_b, c3."""
    return _CAMERA_NAME.fullmatch(word) is not None


def is_date(word: str) -> bool:
    """Whether a word is a day from 1990 to 2099, as people write it, or a weekday or a week.

    2026-01-31, 2026-1-31, 20260131_evening, 2026-01-31T10, 31.01.2026, 31.1.26, jan-31-2026,
    Monday, 2026-W05.
    """
    if _NAMED_DAY.fullmatch(plain(word)):
        return True
    if found := _DATE.fullmatch(word):
        year, month, day = (int(number) for number in found.groups() if number)
    elif found := _DAY_FIRST.fullmatch(word):
        day, month, year = (int(number) for number in found.groups() if number)
        year += 2000 * bool(found[5])
        day, month = (month, day) if month > 12 else (day, month)  # 01-31-2026
    elif numbers := _with_a_months_name(word):
        year, month, day = numbers
    else:
        return False
    try:
        return 1990 <= year < 2100 and bool(date(year, month, day))
    except ValueError:
        return False


def _with_a_months_name(word: str) -> tuple[int, int, int] | None:
    """Year, month and day of jan-31-2026, 31 January 2026 or 2026_jan_31; None of another word."""
    parts = [part for part in re.split("[-_., ]", plain(word)) if part]
    named = [part for part in parts if _MONTH.fullmatch(part)]
    numbers = sorted((part for part in parts if part.isdecimal()), key=len)
    if len(named) != 1 or len(numbers) != 2 or len(parts) != 3 or len(numbers[1]) != 4:
        return None
    return int(numbers[1]), _MONTHS.index(named[0][:3]) + 1, int(numbers[0])


def days_in(names: Collection[str]) -> set[str]:
    """Which of several names are days; 20260131 among other numbers as long is a number, too."""
    days = {name for name in names if is_date(name)}
    numbers = {len(name) for name in set(names) - days if name.isdecimal()}
    return {day for day in days if not (day.isdecimal() and len(day) in numbers)}


def camera_key(word: str) -> str:
    """What is compared of a camera's name: Cam_01, cam1 and c1 are one, Door and door, 01 and 1."""
    found = _CAMERA_PARTS.fullmatch(plain(word))
    return f"{found[1] or ''} camera {found[2]}" if found else _number(plain(word))


def person_key(word: str) -> str:
    """What is compared of a person's name: Anna and anna are one, 0001 and 1 too."""
    return _number(plain(word))


def person_called(word: str) -> str:
    """What a person's name means: words for nobody are Market-1501's, -1 and 0000."""
    spoken = plain(word).translate(_MINUS)
    if _JUNK_NUMBER.fullmatch(spoken):
        return _JUNK
    return "0000" if _ZEROS.fullmatch(spoken) else _NOBODY.get(spoken, word)


def track_called(word: str) -> str:
    """What a track's name means: empty, none, for a word for nobody (-1, unknown, noise)."""
    return "" if person_called(word) == _JUNK else word


def counted_nobody(word: str) -> str:
    """What a word for nobody with a number behind it means (unknown_1); empty for another name."""
    found = _COUNTED.fullmatch(plain(word).translate(_MINUS))
    return _NOBODY.get(found[1], "") if found else ""


def told_name(cell: str) -> str:
    """A name as a table tells it: nan and None are none, 12.0 is 12, as programs write them."""
    cell = cell.strip()
    number = _NUMBER.fullmatch(cell)
    return number[1] if number else "" if plain(cell) in _NOTHING else cell


def is_moment(word: str) -> bool:
    """Whether a word is a day, or a moment as programs count them: no camera's."""
    found = _MOMENT.fullmatch(word)
    return is_date(word) or (found is not None and (found[1] is None or is_date(found[1])))


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
