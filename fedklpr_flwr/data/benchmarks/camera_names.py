"""Which camera took a picture: its name and its folder tell it, in the ways people write it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fedklpr_flwr.data.benchmarks.spoken_names import CAMERA, is_moment, plain, same_person

# 0013_c1s1_000451_03.jpg (Market-1501), 0013_c2_f0046302.jpg (DukeMTMC), anna_c3.jpg.
_BENCHMARK = re.compile(r"(-1|[^_]+)_(c\d+)(?:s\d+)?[_.].*", re.IGNORECASE)
# Outside of any folder: the person's number, or a word with one (anna0007); img0007 is a picture's.
_PERSON_FIRST = re.compile(
    r"(-1|\d{4,}|(?!img|image|frame|pic|photo|crop|det)[^\W\d_]{3,}\d{4,})_(c\d+)(?:s\d+)?_.+",
    re.IGNORECASE,
)
_PLACE_FIRST = re.compile(r"([^\W\d_][^_]*)_(c\d+)(?:s\d+)?_.+", re.IGNORECASE)
_MARKET = re.compile(r"(-1|\d{4,})_(c\d+)s\d+_.+", re.IGNORECASE)
# Of others the camera's number alone is there; they are told whatever their folder is called.
_NUMBERED = (
    # MSMT17: 0000_000_01_0303morning_0008_0.jpg
    re.compile(r"\d{4}_\d{3}_(\d\d)_\d{4}(?:morning|noon|afternoon)_.+", re.IGNORECASE),
    re.compile(r"\d{4}C(\d+)T\d{4}F\d+\..+"),  # MARS: 0001C1T0001F001.jpg
    re.compile(r"0\d{3}-(\d\d)-\d\d-\d\d\..+"),  # VC-Clothes: 0001-02-01-00.jpg
)
# cam_0_00012_00003.png, as the FedReID benchmark renames small sets.
_CAMERA_FIRST = re.compile(rf"({CAMERA})(?:s\d+)?_.+", re.IGNORECASE)
# A camera's word anywhere: 001_1_c3_015833.png (LTCC), lobby_cam1_x, cam1-0001, lobby_cam1.jpg.
_CAMERA_WITHIN = re.compile(
    r"(?<![^-_ ])(?:(c\d+|(?:cam|camera)[-_ ]?(?:\d+|[a-z]))(?:s\d+)?[-_ ]"
    r"|((?:cam|camera)\d\d?)\.[^.]+$)",
    re.IGNORECASE,
)
_WORD = re.compile(r"([^_]+)_.+")
_TWO_WORDS = re.compile(r"[^_]+_([^_]+)_.+")
_NUMBER = re.compile(r"\d+|[A-Za-z]{1,2}\d{3,}")
_SHORT = re.compile(r"[A-Za-z]|\d{1,2}")
_CLOCK = re.compile(r"[^_]+_[0-2]\d_[0-5]\d_[0-5]\d\D.*")
_MOST_NUMBERS = 8

Picture = tuple[str, str]
"""A folder's name and a file's."""


@dataclass(frozen=True)
class CamerasTold:
    """What pictures' names tell of their cameras.

    Attributes:
        cameras: The camera of each, as written; what tells none is left out.
        sure: Those told by a camera's own word (cam1, c3) or in a benchmark's way.
        doubts: Names that can be read in two ways, a sentence each.
        unsure: The same, where what is taken is the likelier way; empty where there is no such.
    """

    cameras: dict[Picture, str]
    sure: frozenset[Picture]
    doubts: tuple[str, ...]
    unsure: str = ""

    def of_persons(self) -> bool:
        """Whether the folders have several cameras that are the same from folder to folder."""
        seen: dict[str, set[str]] = defaultdict(set)
        for (folder, _), camera in self.cameras.items():
            seen[plain(camera)].add(folder)
        return len(seen) > 1 and 2 * sum(len(folders) > 1 for folders in seen.values()) > len(seen)

    def differ_in_folders(self) -> bool:
        """Whether at least half of the folders have pictures of several cameras, told for sure."""
        seen: dict[str, set[str]] = defaultdict(set)
        for folder, name in self.sure:
            seen[folder].add(plain(self.cameras[folder, name]))
        return bool(seen) and 2 * sum(len(of) > 1 for of in seen.values()) >= len(seen)


def market_name(name: str) -> tuple[str, str] | None:
    """Person and camera of a file that is called as in Market-1501; None for another."""
    found = _MARKET.fullmatch(name)
    return (found[1], found[2]) if found else None


def person_and_camera(name: str) -> tuple[str, str] | None:
    """What a picture outside of any folder tells of both (0007_c1_x, anna0007_c1_x), or None."""
    found = _PERSON_FIRST.fullmatch(name)
    return (found[1], found[2]) if found else None


def of_two_places(names: Iterable[str]) -> str:
    """What to say of pictures outside of any folder whose first words may be places or persons."""
    words: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if (found := _PLACE_FIRST.fullmatch(name)) and not _PERSON_FIRST.fullmatch(name):
            words[found[1]].add(plain(found[2]))
    crossing = sorted(word for word, cameras in words.items() if len(cameras) > 1)
    if len(crossing) < 2 or len(set.union(*words.values())) == sum(map(len, words.values())):
        return ""
    a, b = crossing[:2]
    camera = min(words[a])
    return (
        f"{a}_{camera}_... and {b}_{camera}_... are taken for two cameras, at {a} and at {b}: if "
        f"{a} and {b} are persons, put their pictures into folders called so"
    )


def cameras_in_names(files: Iterable[Picture]) -> CamerasTold:
    """Tell each picture's camera from its name and its person's folder.

    Tried in this order: a benchmark's name (PERSON_cCAMERA..., with the folder's person in front,
    and those of MSMT17, MARS and VC-Clothes); a word that is a camera's as such (cam_1_x, c3s1_x),
    with the words in front of it (lobby_cam1_x); a word and a short second one, where most
    pictures that begin with the word have one (north_1_x and north_2_x, gate_a_x); the first word.

    Args:
        files: Pictures whose folders are persons.

    Returns:
        The cameras. What has no word in front has none, and neither has what has a day or a moment
        there.
    """
    sure: dict[Picture, str] = {}
    words: dict[Picture, str] = {}
    open_names: dict[str, list[tuple[Picture, str]]] = defaultdict(list)
    for folder, name in files:
        if camera := _own_word(folder, name):
            sure[folder, name] = camera
            continue
        rest = _after_folder(folder, name, "_")
        # 0013/0013_door_1.jpg repeats its folder: what comes after it is the camera.
        rest = rest if _WORD.fullmatch(rest) else name
        if (word := _WORD.fullmatch(rest)) and not is_moment(word[1]):
            open_names[plain(word[1])].append(((folder, name), rest))
    doubts = []
    numbered = {}
    for first, alike in open_names.items():
        told, doubt = _by_first_words(alike)
        words |= told
        doubts += [doubt] * bool(doubt)
        numbered[first] = {camera.partition("_")[2] for camera in told.values()}
    return CamerasTold(sure | words, frozenset(sure), tuple(doubts), _all_alike(numbered))


def _all_alike(seconds: dict[str, set[str]]) -> str:
    """What to say of second words that are the same behind every first one: pictures' numbers."""
    if len(seconds) < 2 or len(set(map(frozenset, seconds.values()))) > 1:
        return ""
    (first, same), other = next(iter(seconds.items())), list(seconds)[1]
    if len(same) < 2:
        return ""
    a, b = sorted(same)[:2]
    count = len(seconds) * len(same)
    return (
        f"{first}_{a}, {first}_{b}, {other}_{a}, {other}_{b} ... are taken for {count} cameras: if "
        f"{a} and {b} are numbers of pictures by {len(seconds)} cameras, call the pictures "
        f"{first}_anything.jpg without another _"
    )


def _own_word(folder: str, name: str) -> str:
    """The camera that a benchmark's name or a camera's own word tells; empty where none is."""
    benchmark = _BENCHMARK.fullmatch(name)
    if benchmark and same_person(benchmark[1], folder):
        return benchmark[2]
    for pattern in _NUMBERED:
        if found := pattern.fullmatch(name):
            return f"c{int(found[1])}"
    rest = _after_folder(folder, name, "-_ ")
    if found := _CAMERA_FIRST.fullmatch(rest):
        return found[1]
    if (found := _CAMERA_WITHIN.search(rest)) is None:
        return ""
    # A number in front (12, p0061) is a person's, clothes' or a picture's; a word is a place's.
    before = [word for word in re.split("[-_ ]", rest[: found.start()]) if word]
    place = [word for word in before if not _NUMBER.fullmatch(word)]
    return "_".join([*place, found[1] or found[2]])


def _after_folder(folder: str, name: str, between: str) -> str:
    """What comes after a folder's name in a picture's; all of it where that is not in front."""
    after = name[len(folder) :]
    repeats = folder and name.casefold().startswith(folder.casefold())
    return after[1:] if repeats and after[:1] and after[0] in between else name


def _by_first_words(alike: list[tuple[Picture, str]]) -> tuple[dict[Picture, str], str]:
    """Cameras of pictures that begin with the same word, and what is doubtful about them."""
    first = alike[0][1].partition("_")[0]
    seconds = [found[1] if (found := _TWO_WORDS.fullmatch(rest)) else "" for _, rest in alike]
    short = [_SHORT.fullmatch(second) is not None for second in seconds]
    kept = not first.isdecimal() and 2 * sum(short) > len(alike)
    told = {}
    folders: dict[str, set[str]] = defaultdict(set)
    for (picture, rest), second, is_short in zip(alike, seconds, short, strict=True):
        word = rest.partition("_")[0]
        told[picture] = f"{word}_{second}" if kept and is_short else word
        if second and not is_moment(second):
            folders[second].add(picture[0])
    several = list(folders)
    if kept:
        doubtful = not all(short) or not _tidy(several, [rest for _, rest in alike])
    else:
        again = sum(len(of) > 1 for of in folders.values())
        doubtful = 2 * again > len(several) > 1 and 2 * len(several) <= len(alike)
    if not doubtful or first.isdecimal():
        return told, ""
    two = sorted(several)[:2] if len(several) > 1 else [several[0], ""]
    a, b = (f"{first}_{second}" if second else first for second in two)
    return told, (
        f"expected names that begin with their camera in one word, got {a}_... beside {b}_...: is "
        f"{first} one camera, or are {a} and {b} two? Call the pictures {first}_anything.jpg "
        f"without another _ (lobby_07-10-00.jpg), or {a.replace('_', '-')}_anything.jpg"
    )


def _tidy(seconds: list[str], names: list[str]) -> bool:
    """Whether second words may count cameras: a few letters, or 1, 2, 3, and no times of day."""
    numbers = sorted({int(second) for second in seconds if second.isdecimal()})
    if len(seconds) < 2 or not numbers:
        return True
    counted = numbers == list(range(numbers[0], numbers[-1] + 1)) and numbers[0] in (0, 1)
    times = 2 * sum(_CLOCK.fullmatch(name) is not None for name in names) > len(names)
    return counted and len(numbers) <= _MOST_NUMBERS and not times
