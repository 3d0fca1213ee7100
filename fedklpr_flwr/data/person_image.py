"""The two nouns of the room: one picture of a person, and a data set made of such pictures."""

from dataclasses import dataclass
from pathlib import Path

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a person in a frame, in pixels, right and bottom excluded."""


@dataclass(frozen=True, slots=True)
class PersonImage:
    """One picture on disk: who is on it and which camera took it.

    Attributes:
        path: The picture file.
        person_id: The person, >= 1 as a rule; 0 = a distractor (in a gallery alone, nobody who is
            searched for), -1 = unknown.
        camera_id: The camera, 0-based.
        track: Whom a tracker followed, numbered over the whole set, 0-based; -1 = nobody says. All
            pictures of a track are by one camera and show one person.
        frame: When it was taken, by its camera's count of frames; -1 = unknown.
        box: Where in the file's picture the person is; None = it shows nobody else.
        span: The first and last frame in which the tracker saw its track, pictures that are not
            used included; None = no more is known than its pictures' frames.
    """

    path: Path
    person_id: int
    camera_id: int
    track: int = -1
    frame: int = -1
    box: Box | None = None
    span: tuple[int, int] | None = None

    @property
    def picture(self) -> str:
        """The file, and the box where it is one of several people in it."""
        return str(self.path) if self.box is None else f"{self.path} {self.box}"


@dataclass(frozen=True)
class ReidDataset:
    """A re-identification data set: pictures to train on, to search with, and to search in.

    Attributes:
        name: The name it was read by, "market1501" for one.
        train: Training pictures; their persons occur in neither query nor gallery.
        query: Pictures of the persons who are searched for.
        gallery: Pictures that are searched.
        single_shot: True where the gallery holds one picture of each person.
        notes: What a user should know of how it was read (a split made from a seed, for one).
        split_seed: The seed that made its split; None where the set brings its own.
        camera_names: What its cameras are called, by number; empty where they have numbers alone.
    """

    name: str
    train: tuple[PersonImage, ...]
    query: tuple[PersonImage, ...]
    gallery: tuple[PersonImage, ...]
    single_shot: bool = False
    notes: tuple[str, ...] = ()
    split_seed: int | None = None
    camera_names: tuple[str, ...] = ()

    @property
    def search_notes(self) -> tuple[str, ...]:
        """What of the test set cannot be searched, in words; empty where all of it can."""
        if not self.query or not self.gallery:
            missing = "query" if not self.query else "gallery"
            return (f"no {missing} pictures: accuracies stay empty",)
        seen = {(image.person_id, image.camera_id) for image in self.gallery}
        cameras = {camera for _, camera in seen}
        lost = sum(
            not any((image.person_id, camera) in seen for camera in cameras - {image.camera_id})
            for image in self.query
        )
        if not lost:
            return ()
        return (
            f"{lost} of {len(self.query)} queries have no picture of their person by another "
            "camera in the gallery, and are left out",
        )

    @property
    def lists(self) -> dict[str, tuple[PersonImage, ...]]:
        """The three lists of pictures by name."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}
