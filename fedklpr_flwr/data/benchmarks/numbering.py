"""Persons and cameras that a user calls by names become numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """

    path: Path
    person: str
    camera: str
    part: str
    track: str = ""
    frame: int = -1
    box: Box | None = None


def numbered_dataset(name: str, rows: Sequence[PictureRow], notes: tuple[str, ...]) -> ReidDataset:
    """Number persons (from 1) and cameras (from 0) in order of their names, over all parts.

    Args:
        name: The set's name.
        rows: The pictures.
        notes: What to say of how it was read.

    Returns:
        The set, each part in the order of `rows`; unknown persons are -1; single-shot where no
        person of the gallery has two pictures. It notes persons in both train and query.
    """
    persons = {
        word: number
        for number, word in enumerate(_in_order({row.person for row in rows} - {""}), 1)
    }
    cameras = {word: number for number, word in enumerate(_in_order({row.camera for row in rows}))}
    followed = sorted({(row.part, row.camera, row.track) for row in rows if row.track})
    tracks = {track: number for number, track in enumerate(followed)}
    train, query, gallery = (
        tuple(
            PersonImage(
                row.path,
                persons.get(row.person, -1),
                cameras[row.camera],
                tracks.get((row.part, row.camera, row.track), -1),
                row.frame,
                row.box,
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
    return ReidDataset(name, train, query, gallery, single_shot, notes)


def _in_order(words: set[str]) -> list[str]:
    """Sort names, numbers by value: 2 before 10."""
    numbers = sorted(
        (word for word in words if word.isdecimal()), key=lambda word: (int(word), word)
    )
    return [*numbers, *sorted(words - set(numbers))]
