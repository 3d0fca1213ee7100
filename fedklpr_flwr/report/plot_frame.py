"""What the pictures of runs have in common: a figure without a screen, and plain axes."""

from typing import Any

from fedklpr_flwr.errors import RunError


def new_figure(width: float, height: float) -> Any:
    """Begin a figure that needs no screen.

    Args:
        width: in inches of 150 dots.
        height: likewise.

    Raises:
        RunError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RunError("plots need matplotlib: pip install 'fedklpr-flwr[report]'") from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def plain_axes(axes: Any) -> None:
    """Draw a pale grid below all else, and no frame above and on the right."""
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
