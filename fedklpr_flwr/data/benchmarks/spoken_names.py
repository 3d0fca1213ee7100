"""Names that people write in different ways: which camera, which person, or no name but a date."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from datetime import date

_CAMERA = r"(?:c|cam|camera)[-_ ]?(?:\d+|[a-z])"
_CAMERA_NAME = re.compile(_CAMERA, re.IGNORECASE)
_CAMERA_PARTS = re.compile(r"(?:c|cam|camera)[-_ ]?0*(\d+|[a-z])", re.IGNORECASE)
# 0013_c1s1_000451_03.jpg (Market-1501), 0013_c2_f0046302.jpg (DukeMTMC), anna_c3.jpg.
_BENCHMARK = re.compile(r"(-1|[^_]+)_(c\d+)(?:s\d+)?[_.].*", re.IGNORECASE)
_MARKET = re.compile(r"(-1|\d{4,})_(c\d+)s\d+_.+", re.IGNORECASE)
# cam_0_00012_00003.png, as the FedReID benchmark renames small sets.
_CAMERA_FIRST = re.compile(rf"({_CAMERA})(?:s\d+)?_.+", re.IGNORECASE)
_WORD = re.compile(r"([^_]+)_.+")
_TWO_WORDS = re.compile(r"([^_]+)_([A-Za-z]|\d{1,2})_.+")
# A file's moment (seconds or milliseconds since 1970) is no camera, and neither is its day.
_MOMENT = re.compile(r"1\d{9}|1\d{12}")
_NUMBER = re.compile(r"(-?\d+)\.0+")
_NOBODY = {
    **dict.fromkeys(("junk", "unknown", "unidentified"), "-1"),
    **dict.fromkeys(("distractor", "distractors"), "0000"),
}
_NOTHING = frozenset(("nan", "none", "null", "na", "n/a", "<na>", "nat", "-"))
_DATE = re.compile(r"(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})")


def is_camera(word: str) -> bool:
    """Whether a word is a camera's as such: cam1, camera_b, c3."""
    return _CAMERA_NAME.fullmatch(word) is not None


def is_date(word: str) -> bool:
    """Whether a word is a day from 1990 to 2099: 2026-01-31, 20260131."""
    found = _DATE.fullmatch(word)
    if found is None:
        return False
    year, month, day = map(int, found.groups())
    try:
        return 1990 <= year < 2100 and bool(date(year, month, day))
    except ValueError:
        return False


def camera_key(word: str) -> str:
    """What is compared of a camera's name: Cam_01, cam1 and c1 are one, Door and door too."""
    found = _CAMERA_PARTS.fullmatch(_plain(word))
    return f"camera {found[1].casefold()}" if found else _plain(word)


def person_key(word: str) -> str:
    """What is compared of a person's name: letters of either case, written in either form."""
    return _plain(word)


def person_called(word: str) -> str:
    """What a person's name means: words for nobody are Market-1501's, -1 and 0000."""
    return _NOBODY.get(_plain(word), word)


def told_name(cell: str) -> str:
    """A name as a table tells it: nan and None are none, 12.0 is 12, as programs write them."""
    cell = cell.strip()
    number = _NUMBER.fullmatch(cell)
    return number[1] if number else "" if _plain(cell) in _NOTHING else cell


def _is_camera_word(word: str) -> bool:
    """Whether a first word may be a camera's: a moment or a day is none."""
    return not is_date(word) and _MOMENT.fullmatch(word) is None


def _plain(word: str) -> str:
    return unicodedata.normalize("NFKC", word).strip().casefold()


def market_name(name: str) -> tuple[str, str] | None:
    """Person and camera of a file that is called as in Market-1501; None for another."""
    found = _MARKET.fullmatch(name)
    return (found[1], found[2]) if found else None


def cameras_in_names(files: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Tell each picture's camera from its name and its person's folder.

    Tried in this order: a benchmark's name (PERSON_cCAMERA...), with the folder's person in front;
    a word that is a camera's as such (cam_1_x, c3s1_x); a word and a short second one, where all
    pictures that begin with the word have one (north_1_x and north_2_x, gate_a_x); the first word.

    Args:
        files: (folder, file name) of pictures whose folders are persons.

    Returns:
        The camera of each, as written; what has no word in front is left out, and so is what has
        a day or a moment there.
    """
    found: dict[tuple[str, str], str] = {}
    open_names: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for folder, name in files:
        benchmark = _BENCHMARK.fullmatch(name)
        if benchmark and _same_person(benchmark[1], folder):
            found[folder, name] = benchmark[2]
            continue
        rest = name
        # 0013/0013_door_1.jpg repeats its folder: what comes after it is the camera.
        if name.casefold().startswith(f"{folder}_".casefold()) and _WORD.fullmatch(
            name[len(folder) + 1 :]
        ):
            rest = name[len(folder) + 1 :]
        if camera := _CAMERA_FIRST.fullmatch(rest):
            found[folder, name] = camera[1]
        elif (word := _WORD.fullmatch(rest)) and _is_camera_word(word[1]):
            open_names[_plain(word[1])].append((folder, name, rest))
    for alike in open_names.values():
        matches = [_TWO_WORDS.fullmatch(rest) for _, _, rest in alike]
        for (folder, name, rest), two in zip(alike, matches, strict=True):
            first = rest.partition("_")[0]
            short = two is not None and all(matches) and not first.isdecimal()
            found[folder, name] = f"{first}_{two[2]}" if short and two is not None else first
    return found


def _same_person(word: str, folder: str) -> bool:
    """Whether a name's first word is its folder's person: the same, or the same number."""
    if word.isdecimal() and folder.isdecimal():
        return int(word) == int(folder)
    return _plain(word) == _plain(folder)
