"""Who a drawn person is: build, hair, clothes, bag, hat, shoes; all of it from a stream of dice."""

from __future__ import annotations

from dataclasses import dataclass

from fedklpr_flwr.data.drawn.canvas import Colour, Dice, mix, shade
from fedklpr_flwr.data.drawn.site import CLOTH, Fashion

_SKIN: tuple[Colour, ...] = (
    (0.94, 0.78, 0.66), (0.87, 0.67, 0.52), (0.74, 0.54, 0.40), (0.55, 0.37, 0.26),
    (0.38, 0.25, 0.18),
)  # fmt: skip
_HAIR: tuple[Colour, ...] = (
    (0.06, 0.05, 0.05), (0.16, 0.10, 0.07), (0.33, 0.20, 0.11), (0.62, 0.45, 0.22),
    (0.78, 0.68, 0.45), (0.50, 0.20, 0.08), (0.66, 0.66, 0.66),
)  # fmt: skip
_HAIR_CUT = {"short": 5.0, "long": 3.5, "bun": 1.0, "bald": 0.5}


@dataclass(frozen=True, slots=True)
class Cloth:
    """A piece of cloth: two colours, a pattern, how many repeats."""

    colour: Colour
    second: Colour
    pattern: str
    repeats: float


@dataclass(frozen=True, slots=True)
class PersonLook:
    """Everything that stays the same from camera to camera.

    Lengths are shares of the person's own height, half widths for shoulder and hip.
    """

    shoulder: float
    hip: float
    leg: float
    skin: Colour
    hair: Colour
    haircut: str
    upper: Cloth
    long_sleeves: bool
    coat: bool
    lower: Cloth
    legwear: str
    legwear_length: float
    stockings: Colour
    shoes: Colour
    bag: str
    bag_colour: Colour
    bag_size: float
    hat: str
    hat_colour: Colour


def draw_look(dice: Dice, fashion: Fashion) -> PersonLook:
    """A person dressed by a site's fashion.

    Args:
        dice: the person's own stream.
        fashion: what the site wears.

    Returns:
        The look; equal dice and fashion give an equal look.
    """
    female = dice.chance(0.5)
    heavy = dice.uniform()
    legwear = dice.pick(fashion.legwear)
    skin = _SKIN[dice.whole(0, len(_SKIN) - 1)]
    return PersonLook(
        shoulder=dice.between(0.098, 0.110) + 0.030 * heavy - (0.008 if female else 0.0),
        hip=dice.between(0.080, 0.090) + 0.034 * heavy,
        leg=dice.between(0.47, 0.53),
        skin=skin,
        hair=_HAIR[dice.whole(0, len(_HAIR) - 1)],
        haircut=dice.pick(_HAIR_CUT | {"long": 6.0, "bald": 0.0} if female else _HAIR_CUT),
        upper=_cloth(dice, fashion.upper, dice.pick(fashion.pattern)),
        long_sleeves=dice.chance(fashion.long_sleeves),
        coat=dice.chance(fashion.coats),
        lower=_cloth(dice, fashion.lower, _lower_pattern(dice, legwear)),
        legwear=legwear,
        legwear_length=dice.between(0.42, 0.62),
        stockings=skin if dice.chance(0.7) else CLOTH["black"],
        shoes=_dye(dice, CLOTH[dice.pick(_SHOES)]),
        bag=dice.pick(fashion.bag),
        bag_colour=_dye(dice, CLOTH[dice.pick(_BAG_COLOURS)]),
        bag_size=dice.between(0.8, 1.2),
        hat=dice.pick(fashion.hat),
        hat_colour=_dye(dice, CLOTH[dice.pick(_BAG_COLOURS)]),
    )


_SHOES = {"black": 4.0, "brown": 2.0, "white": 3.0, "grey": 1.0, "red": 0.7, "blue": 0.5}
_BAG_COLOURS = {
    "black": 2.5, "brown": 1.0, "grey": 1.0, "navy": 1.0, "red": 1.2, "green": 0.7, "yellow": 0.7,
    "orange": 0.7, "pink": 0.7, "blue": 1.0, "cream": 0.7, "purple": 0.5,
}  # fmt: skip


def _lower_pattern(dice: Dice, legwear: str) -> str:
    """Mostly plain; trousers may have a side stripe, skirts and shorts hoops or checks."""
    if legwear == "trousers":
        return dice.pick({"plain": 8.0, "two_blocks": 0.8})
    return dice.pick({"plain": 5.0, "hoops": 1.5, "checks": 1.5, "stripes": 1.0})


def _cloth(dice: Dice, colours: dict[str, float], pattern: str) -> Cloth:
    """A piece of cloth; its second colour stands off its first."""
    name = dice.pick(colours)
    others = {other: weight for other, weight in colours.items() if other != name}
    first, second = _dye(dice, CLOTH[name]), _dye(dice, CLOTH[dice.pick(others)])
    if _contrast(first, second) < 0.5:
        light = first[0] + first[1] + first[2] > 1.2
        second = mix(second, CLOTH["black" if light else "white"], 0.7)
    return Cloth(first, second, pattern, dice.between(3.0, 5.5))


def _dye(dice: Dice, colour: Colour) -> Colour:
    """No two cloths of one name are quite alike."""
    tinted = (
        min(max(colour[0] + dice.around(0.05), 0.03), 0.97),
        min(max(colour[1] + dice.around(0.05), 0.03), 0.97),
        min(max(colour[2] + dice.around(0.05), 0.03), 0.97),
    )
    return shade(tinted, 1.0 + dice.around(0.15))


def _contrast(first: Colour, second: Colour) -> float:
    """The sum over the channels of the distance of two colours, 0 to 3."""
    return abs(first[0] - second[0]) + abs(first[1] - second[1]) + abs(first[2] - second[2])
