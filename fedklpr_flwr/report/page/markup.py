"""HTML and SVG by one function: whatever is not markup already is escaped."""

import html
from collections.abc import Iterable

_VOID = frozenset({"meta", "img", "br"})


class Markup(str):
    """Text that is HTML or SVG already."""


Child = str | int | float | None
Value = str | int | float | None


def element(tag: str, /, *children: Child, **attributes: Value) -> Markup:
    """An element; text is escaped, `Markup` is taken as it is.

    Args:
        tag: its name.
        children: what is in it; None is nothing.
        attributes: `class_` is class, `stroke_width` is stroke-width; None is left out, and
            numbers are written with two decimals at most.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{told}>")
    return Markup(f"<{tag}{told}>{joined(children)}</{tag}>")


def joined(children: Iterable[Child]) -> Markup:
    """Children side by side, text escaped."""
    return Markup("".join(_escaped(child) for child in children if child is not None))


def _escaped(child: Child) -> str:
    return child if isinstance(child, Markup) else html.escape(_text(child))


def _text(value: Child) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
