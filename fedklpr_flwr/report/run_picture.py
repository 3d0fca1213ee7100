"""A run in one picture: Rank-1 over the megabytes sent, and over those of dense float32."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.report.plot_frame import new_figure, plain_axes
from fedklpr_flwr.report.summary import totals
from fedklpr_flwr.runs.rows import Row

_SENT, _DENSE = "#0072B2", "#666666"


def draw_run(rows: Sequence[Row], title: str, path: Path) -> bool:
    """Draw a point for each round: bytes of all clients, up and down, so far, and mean Rank-1.

    Args:
        rows: of a run.
        title: its name.
        path: the PNG.

    Returns:
        Whether there was anything to draw: two rounds with a Rank-1, and bytes.

    Raises:
        RunError: matplotlib is not installed, or the file cannot be written.
    """
    rounds = sorted((row for row in rows if row.client is None), key=lambda row: row.round)
    scored = [n for n, row in enumerate(rounds) if row.rank1 is not None]
    sums = totals(rows)
    if len(scored) < 2 or not sums.payload:
        return False
    sent = list(accumulate((row.bytes_up + row.bytes_down) / 1e6 for row in rounds))
    dense = list(accumulate(row.bytes_dense / 1e6 for row in rounds))
    rank1 = [row.rank1 for row in rounds if row.rank1 is not None]
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    axes.plot(
        [dense[n] for n in scored],
        rank1,
        color=_DENSE,
        linestyle="--",
        marker="o",
        markersize=3.5,
        label=f"the same rounds as dense float32: {dense[-1]:.0f} MB",
    )
    axes.plot(
        [sent[n] for n in scored],
        rank1,
        color=_SENT,
        marker="o",
        markersize=5,
        label=f"as sent: {sent[-1]:.0f} MB, {sums.saved:.0%} less",
    )
    axes.annotate(
        f"{rank1[-1]:.3f}",
        (sent[scored[-1]], rank1[-1]),
        xytext=(-6, 6),
        ha="right",
        textcoords="offset points",
        color=_SENT,
    )
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("sent so far by all clients, up and down [MB]")
    axes.set_ylabel("Rank-1, mean over clients")
    axes.set_xlim(left=0)
    axes.legend(loc="lower right", frameon=False)
    plain_axes(axes)
    try:
        figure.savefig(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error
    return True
