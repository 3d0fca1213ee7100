"""The eight drawn sites: how many people, cameras and pictures, what is worn, how it is filmed.

Each imitates one benchmark of FedReID (cameras, which sets are large, pictures a person) in
miniature. Nothing here is computed; the numbers are version 1 of the drawn data.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fedklpr_flwr.data.drawn.canvas import Colour

CLOTH: dict[str, Colour] = {
    "black": (0.07, 0.07, 0.08),
    "charcoal": (0.20, 0.20, 0.22),
    "grey": (0.48, 0.48, 0.48),
    "white": (0.93, 0.93, 0.91),
    "cream": (0.85, 0.78, 0.62),
    "khaki": (0.60, 0.52, 0.36),
    "brown": (0.38, 0.22, 0.12),
    "navy": (0.09, 0.12, 0.30),
    "denim": (0.22, 0.33, 0.52),
    "pale_denim": (0.52, 0.64, 0.78),
    "blue": (0.10, 0.28, 0.78),
    "sky": (0.40, 0.70, 0.92),
    "teal": (0.05, 0.48, 0.48),
    "green": (0.10, 0.52, 0.18),
    "lime": (0.58, 0.80, 0.20),
    "olive": (0.32, 0.34, 0.14),
    "yellow": (0.93, 0.82, 0.16),
    "orange": (0.92, 0.48, 0.10),
    "red": (0.80, 0.10, 0.10),
    "wine": (0.42, 0.06, 0.14),
    "pink": (0.93, 0.58, 0.68),
    "magenta": (0.76, 0.14, 0.52),
    "purple": (0.40, 0.18, 0.58),
}


@dataclass(frozen=True)
class Fashion:
    """What the people of a site wear: weights that need not sum to one."""

    upper: dict[str, float]
    lower: dict[str, float]
    legwear: dict[str, float] = field(
        default_factory=lambda: {"trousers": 6.0, "shorts": 2.0, "skirt": 2.0}
    )
    pattern: dict[str, float] = field(
        default_factory=lambda: {
            "plain": 4.0, "hoops": 2.0, "stripes": 1.0, "checks": 1.0, "two_blocks": 2.0,
            "open_jacket": 2.0, "print": 1.5, "sash": 0.7,
        }
    )  # fmt: skip
    bag: dict[str, float] = field(
        default_factory=lambda: {"none": 4.0, "backpack": 3.0, "shoulder": 2.0, "hand": 1.5}
    )
    hat: dict[str, float] = field(
        default_factory=lambda: {"none": 8.0, "cap": 1.2, "beanie": 0.8, "brim": 0.6}
    )
    long_sleeves: float = 0.6
    coats: float = 0.1


@dataclass(frozen=True)
class Filming:
    """How differently the cameras of a site see; each number is the width of a spread."""

    cast: float = 0.055  # channel gains 1 +- cast
    light: float = 0.08  # exposure 1 +- light
    contrast: float = 0.10
    fade: float = 0.1  # most grey mixed in
    haze: float = 0.02  # most light added everywhere
    strangeness: float = 0.25  # share of a camera's own tones in its background
    blur: int = 2  # most binomial passes a camera blurs by
    coarse: float = 0.3  # share of the cameras at half resolution
    elevation: float = 0.2  # how far from above
    turn: float = 0.6  # how differently people face the cameras, 1 = from any side
    noise: float = 0.02
    occlusion: float = 0.15  # share of the pictures with something in front
    crop: float = 0.06  # how far the crop is off, in picture heights


@dataclass(frozen=True)
class SiteStyle:
    """One drawn site.

    Attributes:
        number: a whole number that names the site in the seeds; never reused.
        imitates: the benchmark whose proportions it takes.
        cameras: how many.
        train_persons: persons 1 to this number.
        test_persons: the persons after those.
        cameras_per_person: fewest and most cameras that see one person.
        shots: fewest and most pictures of a person by a camera.
    """

    number: int
    imitates: str
    cameras: int
    train_persons: int
    test_persons: int
    cameras_per_person: tuple[int, int]
    shots: tuple[int, int]
    fashion: Fashion
    filming: Filming


_EVERYDAY_UPPER = {
    "black": 2.0, "charcoal": 1.0, "grey": 1.5, "white": 2.0, "cream": 0.7, "navy": 1.0,
    "denim": 0.6, "blue": 1.0, "sky": 0.8, "teal": 0.6, "green": 0.8, "olive": 0.5,
    "yellow": 0.6, "orange": 0.6, "red": 1.2, "wine": 0.6, "pink": 0.7, "purple": 0.6,
}  # fmt: skip
_EVERYDAY_LOWER = {
    "black": 2.0, "charcoal": 1.0, "grey": 0.8, "navy": 1.2, "denim": 2.0, "pale_denim": 1.0,
    "khaki": 1.0, "cream": 0.6, "white": 0.5, "olive": 0.5, "brown": 0.6, "wine": 0.3,
}  # fmt: skip
_SUMMER_UPPER = {
    "white": 2.0, "sky": 1.0, "yellow": 1.2, "lime": 1.0, "pink": 1.2, "orange": 1.0,
    "red": 1.0, "green": 0.8, "blue": 0.8, "magenta": 0.8, "teal": 0.7, "black": 0.8,
    "grey": 0.8, "purple": 0.6,
}  # fmt: skip
_WINTER_UPPER = {
    "black": 3.0, "charcoal": 2.0, "navy": 2.0, "brown": 1.2, "wine": 1.0, "olive": 1.0,
    "grey": 1.2, "red": 0.6, "cream": 0.6, "purple": 0.4, "teal": 0.4,
}  # fmt: skip
_SUMMER_LEGS = {"trousers": 3.0, "shorts": 4.0, "skirt": 3.0}
_WINTER_LEGS = {"trousers": 9.0, "skirt": 1.0}
_TRAVEL_BAGS = {"none": 1.5, "backpack": 3.0, "shoulder": 2.0, "hand": 3.0}
_SCHOOL_BAGS = {"none": 2.0, "backpack": 6.0, "shoulder": 2.0, "hand": 0.5}

SITES: dict[str, SiteStyle] = {
    "campus": SiteStyle(
        1, "DukeMTMC-reID", 8, 60, 36, (3, 5), (2, 4),
        Fashion(_EVERYDAY_UPPER, _EVERYDAY_LOWER, bag=_SCHOOL_BAGS, coats=0.2),
        Filming(),
    ),
    "market": SiteStyle(
        2, "Market-1501", 6, 50, 36, (3, 5), (2, 4),
        Fashion(_SUMMER_UPPER, _EVERYDAY_LOWER, legwear=_SUMMER_LEGS, long_sleeves=0.2),
        Filming(light=0.06),
    ),
    "hall": SiteStyle(
        3, "CUHK03", 2, 44, 36, (2, 2), (4, 5),
        Fashion(_EVERYDAY_UPPER, _EVERYDAY_LOWER),
        Filming(elevation=0.3),
    ),
    "street": SiteStyle(
        4, "PRID2011", 2, 20, 24, (2, 2), (5, 7),
        Fashion(_WINTER_UPPER, _EVERYDAY_LOWER, legwear=_WINTER_LEGS, long_sleeves=0.95, coats=0.4),
        Filming(elevation=0.35, contrast=0.14),
    ),
    "passage": SiteStyle(
        5, "CUHK01", 2, 60, 44, (2, 2), (2, 2),
        Fashion(_EVERYDAY_UPPER, _EVERYDAY_LOWER, bag=_SCHOOL_BAGS),
        Filming(turn=0.4),
    ),
    "lawn": SiteStyle(
        6, "VIPeR", 2, 90, 60, (2, 2), (1, 1),
        Fashion(_SUMMER_UPPER, _EVERYDAY_LOWER, legwear=_SUMMER_LEGS, long_sleeves=0.4),
        Filming(turn=0.8, light=0.10),
    ),
    "yard": SiteStyle(
        7, "3DPeS", 2, 26, 26, (2, 2), (2, 3),
        Fashion(_EVERYDAY_UPPER, _EVERYDAY_LOWER, coats=0.2),
        Filming(light=0.11, elevation=0.35),
    ),
    "airport": SiteStyle(
        8, "iLIDS-VID", 2, 24, 26, (2, 2), (2, 2),
        Fashion(_WINTER_UPPER, _EVERYDAY_LOWER, bag=_TRAVEL_BAGS, long_sleeves=0.8, coats=0.3),
        Filming(occlusion=0.4),
    ),
}  # fmt: skip

CROWD_TRAIN, CROWD_TEST = 4, 2
"""Persons a client of a crowd, to train on and to test with, on average."""


def crowd(clients: int) -> SiteStyle:
    """The style of a crowd: as many people as so many small clients need.

    A smaller crowd's people are the first of a larger one's.

    Args:
        clients: how many clients it is to be dealt to, >= 1.
    """
    return SiteStyle(
        9, "no benchmark: people for many small clients", 2,
        CROWD_TRAIN * clients, CROWD_TEST * clients, (2, 2), (2, 2),
        Fashion(_EVERYDAY_UPPER, _EVERYDAY_LOWER),
        Filming(),
    )  # fmt: skip
