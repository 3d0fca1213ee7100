"""Persons and cameras that a user calls by names become numbers."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedklpr_flwr.data.benchmarks.spoken_names import (
    camera_key,
    counted_nobody,
    person_called,
    person_key,
)
from fedklpr_flwr.data.person_image import Box, PersonImage, ReidDataset
from fedklpr_flwr.wording import counted


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A picture with names instead of numbers.

    Attributes:
        path: The picture file.
        person: The person's name; empty = unknown.
        camera: The camera's name.
        part: "train", "query" or "gallery".
        track: The track's name within its camera and part; empty = none.
        frame: When it was taken, by its camera's count of frames; -1 = unknown.
        box: Where in the file's picture the person is; None = all of it.
        span: The first and last frame in which its track was seen; None = not told.
    """

    path: Path
    person: str
    camera: str
    part: str
    track: str = ""
    frame: int = -1
    box: Box | None = None
    span: tuple[int, int] | None = None


def numbered_dataset(name: str, rows: Sequence[PictureRow], notes: tuple[str, ...]) -> ReidDataset:
    """Number persons (from 1) and cameras (from 0) in order of their names, over all parts.

    Junk (a person called -1, as in Market-1501, junk, unknown, nobody or the like) is dropped
    everywhere, and so is unknown_1 (see `meant_persons`). A person called 0000 (0, 00000), or
    distractors, of whom there is no query is nobody who is searched for: a distractor in the
    gallery (0), dropped elsewhere.

    Args:
        name: The set's name.
        rows: The pictures.
        notes: What to say of how it was read.

    Returns:
        The set, each part in the order of `rows`; unknown persons are -1; single-shot where no
        person of the gallery has two pictures. It notes persons in both train and query, what was
        dropped, and names that were written in several ways.
    """
    rows, dropped = _without_nobody(rows)
    nobody = ("", *_nobody(rows))
    people = (row.person for row in rows if row.person not in nobody)
    persons, same_persons = _numbers(people, person_key, 1)
    cameras, same_cameras = _numbers((row.camera for row in rows), camera_key, 0)
    notes = (*notes, *dropped, *same_persons, *same_cameras)
    if _DISTRACTOR in nobody:
        persons[_DISTRACTOR] = 0
    tracks, told_apart = _numbered_tracks(rows, cameras)
    notes += told_apart
    train, query, gallery = (
        tuple(
            PersonImage(
                row.path,
                persons.get(row.person, -1),
                cameras[row.camera],
                tracks.get((row.part, row.camera, row.track), -1),
                row.frame,
                row.box,
                row.span,
            )
            for row in rows
            if row.part == part
        )
        for part in ("train", "query", "gallery")
    )
    trained = {image.person_id for image in train} - {-1}
    both = trained & {image.person_id for image in query}
    if both:
        notes = (*notes, f"{counted(len(both), 'person')} both in train and query: ranks flatter")
    searched = [image.person_id for image in gallery if image.person_id > 0]
    single_shot = len(searched) == len(set(searched)) > 0
    named = {number: word for word, number in reversed(cameras.items())}
    return ReidDataset(
        name,
        train,
        query,
        gallery,
        single_shot,
        notes,
        camera_names=tuple(named[number] for number in sorted(named)),
    )


_JUNK, _DISTRACTOR = "-1", "0000"


def _nobody(rows: Sequence[PictureRow]) -> tuple[str, ...]:
    """The names that mean nobody: junk, and 0000 where nobody is searched for by it."""
    asked = any(row.part == "query" and row.person == _DISTRACTOR for row in rows)
    searched = any(row.part == "gallery" and row.person == _DISTRACTOR for row in rows)
    return (_JUNK, _DISTRACTOR) if searched and not asked else (_JUNK,)


def _without_nobody(rows: Sequence[PictureRow]) -> tuple[list[PictureRow], list[str]]:
    """Drop junk, and distractors outside of the gallery; say how many, and what they are called."""
    asked = {row.person for row in rows if row.part == "query"}
    names = meant_persons({row.person for row in rows}, asked)
    persons = sorted(word for word in names if names[word] == word and counted_nobody(word))
    rows = [replace(row, person=names[row.person]) for row in rows]
    nobody = _nobody(rows)
    spoken = ", ".join(w for w in sorted(names) if names[w] != w and names[w] in nobody)
    called = f", called {spoken}" * bool(spoken)
    kept = [
        row
        for row in rows
        if row.person not in nobody or (row.person == _DISTRACTOR and row.part == "gallery")
    ]
    notes = []
    if persons:
        some = ", ".join(persons[:3]) + ", ..." * (len(persons) > 3)
        notes.append(f"{some} taken for {counted(len(persons), 'person')}; call nobody -1")
    if len(kept) < len(rows):
        count = counted(len(rows) - len(kept), "picture")
        notes.append(f"{count} of nobody ({' or '.join(nobody)}{called}) dropped")
    distractors = sum(row.person == _DISTRACTOR for row in kept) * (_DISTRACTOR in nobody)
    if distractors:
        notes.append(f"{counted(distractors, 'distractor')} (0000{called}) in the gallery")
    elif any(row.person == _DISTRACTOR and row.part == "train" for row in kept):
        zeros = " and ".join(word for word in sorted(names) if names[word] == _DISTRACTOR)
        notes.append(f"{zeros} in train is taken for a person; if that is nobody, call it -1")
    return kept, notes


def meant_persons(names: Collection[str], asked: Collection[str]) -> dict[str, str]:
    """What each person's name means: "-1" or "0000" where it is one for nobody.

    A word for nobody with a number behind it (unknown_1) is nobody's, too, but where queries ask
    for it, or most names are of the kind: those are persons whose names are not known.

    Args:
        names: All persons' names.
        asked: Those of the queries.
    """
    meant = {name: person_called(name) for name in names}
    numbered = [name for name in meant if meant[name] == name and counted_nobody(name)]
    if 2 * len(numbered) <= len(meant):
        meant |= {name: counted_nobody(name) for name in numbered if name not in asked}
    return meant


def spelled_alike(words: Iterable[str], key_of: Callable[[str], str]) -> dict[str, str]:
    """The one spelling for all spellings of a name: the first in order.

    Args:
        words: Names as they are written.
        key_of: What is compared of a name.
    """
    spellings: dict[str, set[str]] = {}
    for word in words:
        spellings.setdefault(key_of(word), set()).add(word)
    return {word: _in_order(alike)[0] for alike in spellings.values() for word in alike}


def _numbered_tracks(
    rows: Sequence[PictureRow], cameras: dict[str, int]
) -> tuple[dict[tuple[str, str, str], int], tuple[str, ...]]:
    """Number tracks by part, camera as it is written, and name; and say where that matters.

    cam1 and Cam_01 are one camera, but two folders or files: a track 7 in each is two people.
    """
    followed = sorted(
        {(row.part, cameras[row.camera], row.camera, row.track) for row in rows if row.track}
    )
    written = {camera for _, _, camera, _ in followed}
    several = len(written) > len({cameras[camera] for camera in written})
    notes = ("tracks are told apart by how their camera is written",) if several else ()
    numbers = {
        (part, camera, track): number for number, (part, _, camera, track) in enumerate(followed)
    }
    return numbers, notes


def _numbers(
    words: Iterable[str], key_of: Callable[[str], str], first: int
) -> tuple[dict[str, int], list[str]]:
    """Number names in order, spellings of one name alike; and say which those are."""
    leader = spelled_alike(words, key_of)
    alike: dict[str, set[str]] = {}
    for word, leading in leader.items():
        alike.setdefault(leading, set()).add(word)
    numbers = {
        word: number
        for number, leading in enumerate(_in_order(set(alike)), first)
        for word in _in_order(alike[leading])
    }
    notes = [f"taken as one: {', '.join(_in_order(a))}" for a in alike.values() if len(a) > 1]
    return numbers, notes


def _in_order(words: set[str]) -> list[str]:
    """Sort names, numbers by value: 2 before 10."""
    numbers = sorted(
        (word for word in words if word.isdecimal()), key=lambda word: (int(word), word)
    )
    return [*numbers, *sorted(words - set(numbers))]
