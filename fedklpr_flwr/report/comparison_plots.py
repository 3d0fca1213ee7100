"""Two pictures of a comparison: accuracy over bytes, and what each client gains by federating.

Okabe and Ito's colours, told apart by colour-blind readers, and a second sign beside each: a line
style and a marker. Names stand beside the picture, never in it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedklpr_flwr.report.comparison import Comparison, Group
from fedklpr_flwr.report.comparison_text import accuracy_text
from fedklpr_flwr.report.mean_std import Paired, Spread, paired_difference, spread_of
from fedklpr_flwr.report.plot_frame import new_figure, plain_axes

# Okabe and Ito without yellow, which is too pale on white.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
_LINES = ("-", "--", ":", "-.")
_MARKERS = "osD^vPX<>*hpd8"
_GREY = "#666666"
_ALONE = "local_only"


class Style(NamedTuple):
    """How one name is drawn; no two of the first 28 are alike."""

    colour: str
    line: str
    marker: str


def style_of(number: int) -> Style:
    """The style of the name with this number."""
    return Style(
        _COLOURS[number % len(_COLOURS)],
        _LINES[number // len(_COLOURS) % len(_LINES)],
        _MARKERS[number % len(_MARKERS)],
    )


class Curve(NamedTuple):
    """A method's rounds: cumulative MB up and down, and Rank-1, means over its seeds."""

    megabytes: tuple[float, ...]
    rank1: tuple[Spread, ...]


def curve_of(group: Group) -> Curve | None:
    """A method's curve over the rounds that all its runs have; None where nothing is scored."""
    megabytes: list[float] = []
    rank1: list[Spread] = []
    sums = [0.0] * len(group.runs)
    for rows in zip(*(run.summaries for run in group.runs), strict=False):
        sums = [old + row.bytes_up + row.bytes_down for old, row in zip(sums, rows, strict=True)]
        found = spread_of([row.rank1 for row in rows])
        if found is not None:
            megabytes.append(sum(sums) / len(sums) / 1e6)
            rank1.append(found)
    return Curve(tuple(megabytes), tuple(rank1)) if rank1 else None


def client_gains(group: Group, alone: Group) -> dict[str, Paired]:
    """Each client's last Rank-1 less its own where every client is alone, over common seeds."""
    gains = {}
    for client in group.clients:
        ours, theirs = (one.client_by_seed(client, "rank1") for one in (group, alone))
        found = paired_difference(ours, theirs)
        if found is not None:
            gains[client] = found
    return gains


def write_plots(comparison: Comparison, folder: Path) -> tuple[list[Path], list[str]]:
    """Write accuracy_over_bytes.png and gain_over_local_only.png into an existing folder.

    Returns:
        The files, and a sentence for each picture that could not be drawn.

    Raises:
        RunError: matplotlib is not installed.
    """
    files, sentences = [], []
    path = folder / "accuracy_over_bytes.png"
    if _draw_curves(comparison, path):
        files.append(path)
    else:
        sentences.append(f"{path.name} is not drawn: no run has a Rank-1")
    path = folder / "gain_over_local_only.png"
    alone = next((group for group in comparison.groups if group.method == _ALONE), None)
    if alone is None:
        sentences.append(f"{path.name} is not drawn: there is no run of method={_ALONE}")
    elif _draw_gains(comparison, alone, path):
        files.append(path)
    else:
        sentences.append(f"{path.name} is not drawn: no method shares clients and seeds with it")
    return files, sentences


def _draw_curves(comparison: Comparison, path: Path) -> bool:
    """Mean Rank-1 over cumulative MB, the best method first in the legend."""
    order = {label: n for n, label in enumerate(sorted(g.label for g in comparison.groups))}
    curves = [(group, curve_of(group)) for group in comparison.groups]
    drawn = [(group, curve) for group, curve in curves if curve is not None]
    if not drawn:
        return False
    figure = new_figure(10.0, max(4.5, 1.2 + 0.3 * len(drawn)))
    axes = figure.subplots()
    for group, curve in drawn:
        # Many bands lie on one another; their sum must not hide the lines.
        _draw_curve(axes, group, curve, style_of(order[group.label]), min(0.18, 0.6 / len(drawn)))
    axes.set_xlabel("sent so far by all clients, up and down [MB]")
    axes.set_ylabel("Rank-1, mean over clients")
    axes.set_xlim(left=0)
    plain_axes(axes)
    figure.legend(loc="outside right upper", frameon=False, handlelength=3.5)
    figure.savefig(path)
    return True


def _draw_curve(axes: Any, group: Group, curve: Curve, style: Style, band: float) -> None:
    """One line with its band; what sends nothing has no bytes, and is a level line."""
    means = [one.mean for one in curve.rank1]
    name = f"{group.label}  {accuracy_text(curve.rank1[-1])}"
    if not group.sends:
        axes.axhline(means[-1], color=_GREY, linestyle=style.line, linewidth=1.2)
        why = "no federation" if group.pooled else "sends nothing"
        axes.plot([], [], color=_GREY, linestyle=style.line, label=f"{name} ({why})")
        return
    axes.plot(
        curve.megabytes,
        means,
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linewidth=1.6,
        label=name,
    )
    if any(one.deviation for one in curve.rank1):
        below = [one.mean - (one.deviation or 0.0) for one in curve.rank1]
        above = [one.mean + (one.deviation or 0.0) for one in curve.rank1]
        axes.fill_between(curve.megabytes, below, above, color=style.colour, alpha=band, lw=0)


def _draw_gains(comparison: Comparison, alone: Group, path: Path) -> bool:
    """A row a method, a dot a client, a bar for their mean; the best method on top."""
    gains = [(group, client_gains(group, alone)) for group in comparison.groups]
    rows = [(group, found) for group, found in gains if found and group is not alone]
    if not rows:
        return False
    rows.sort(key=lambda row: _mean_gain(row[1]))
    clients = sorted({client for _, found in rows for client in found})
    figure = new_figure(10.0, max(3.5, 1.2 + len(rows) * (0.2 + 0.07 * len(clients))))
    axes = figure.subplots()
    for height, (_, found) in enumerate(rows):
        if height % 2:
            axes.axhspan(height - 0.5, height + 0.5, color="#F2F2F2", zorder=0)
        mean = 100 * _mean_gain(found)
        axes.plot([mean, mean], [height - 0.42, height + 0.42], color="black", lw=2.5, zorder=2)
    for number, client in enumerate(clients):
        _draw_client(axes, client, number, len(clients), [found for _, found in rows])
    axes.plot([], [], color="black", lw=2.5, label="mean over clients")
    axes.axvline(0, color=_GREY, linewidth=1)
    labels = [
        f"{group.label}  {round(100 * _mean_gain(found), 1) + 0.0:+.1f}" for group, found in rows
    ]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_xlabel(f"Rank-1 above the client's own under {alone.label} [points]")
    plain_axes(axes)
    axes.grid(False, axis="y")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path)
    return True


def _draw_client(
    axes: Any, client: str, number: int, count: int, rows: Sequence[dict[str, Paired]]
) -> None:
    """One client's dot in every row, each client at its own height within the row."""
    style = style_of(number)
    shift = 0.35 - 0.7 * number / max(1, count - 1) if count > 1 else 0.0
    found = [(height, row[client]) for height, row in enumerate(rows) if client in row]
    axes.errorbar(
        [100 * gain.mean for _, gain in found],
        [height + shift for height, _ in found],
        xerr=[100 * (gain.error or 0.0) for _, gain in found],
        color=style.colour,
        marker=style.marker,
        linestyle="none",
        markersize=5.5,
        elinewidth=0.8,
        label=client,
        zorder=3,
    )


def _mean_gain(found: dict[str, Paired]) -> float:
    return sum(gain.mean for gain in found.values()) / len(found)
