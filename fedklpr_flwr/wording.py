"""Words that every room says alike."""


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
