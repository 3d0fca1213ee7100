"""What a benchmark should hold, to compare a folder with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a part of a data set holds; None = it depends on the split.

    Attributes:
        images: Pictures.
        persons: Different persons; distractors and unknown persons do not count.
        cameras: Different cameras.
    """

    images: int | None
    persons: int | None
    cameras: int | None


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """How much each part of a data set holds.

    Attributes:
        total: All usable pictures.
        train: Training pictures.
        query: Pictures of the persons who are searched for.
        gallery: Pictures that are searched.
    """

    total: Counts
    train: Counts
    query: Counts
    gallery: Counts


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """A benchmark: its card in words, and in figures.

    Attributes:
        title: The set's own name.
        layout: What its folder looks like.
        words: The card in words: the docstring of the reader's module.
        expected: The official counts, one entry for each official form of the set; empty for a
            user's own pictures.
        splits: How many seeded splits its protocol takes the mean over, seeds 0, 1, ...
    """

    title: str
    layout: str
    words: str = ""
    expected: tuple[SplitCounts, ...] = ()
    splits: int = 1
