"""Words that every room says alike."""

from collections.abc import Sequence


def printable(text: str) -> str:
    """Text of somebody else's as a terminal may show it: no control character, no line break."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def counted(number: int, thing: str, *, some: str | None = None) -> str:
    """A number of things: 1 round, 2 rounds, 12,000 pictures.

    Args:
        number: how many.
        thing: one of them.
        some: several of them; None = with an s at the end.
    """
    return f"{number:,} {thing if number == 1 else some or f'{thing}s'}"


def named(names: Sequence[str], most: int = 4) -> str:
    """Some names: yard, gate; of many the first and how many more there are.

    Args:
        names: in the order in which they are said.
        most: names said.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
