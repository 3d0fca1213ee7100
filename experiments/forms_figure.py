"""Accuracy over megabytes of every form of the wire and of pruning, from a study's raw rows.

    python experiments/forms_figure.py experiments/results/drawn20 docs/accuracy_over_megabytes.svg

A line a row of FORMS, a dot a round: the mean over seeds of Rank-1 and of all bytes sent so far.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from fedklpr_flwr.errors import FedKlprError, RunError
from fedklpr_flwr.report.plot_frame import new_figure, plain_axes
from fedklpr_flwr.runs.rows import Row, row_from


class Form(NamedTuple):
    """A line of the figure.

    Args:
        methods: the study's names whose runs make it, all draws of one setting.
        label: what it is called.
        color: of the line; what belongs together has one.
        style: of the line: solid, dashed or dotted.
    """

    methods: tuple[str, ...]
    label: str
    color: str
    style: str = "-"


FORMS = (
    Form(("fedcapr", "fedcapr_again"), "FedCAPR, float32", "#666666"),
    Form(("fedcapr_bfloat16",), "FedCAPR, bfloat16 (one seed)", "#666666", "--"),
    Form(("fedcapr_change", "fedcapr_measured"), "FedCAPR, changes", "#666666", ":"),
    Form(("lotteryfl_late",), "LotteryFL, 65 % pruned, float32", "#E69F00"),
    Form(("fedklpr",), "FedKLPR, 65 % pruned, float32", "#0072B2"),
    Form(("fedklprplus",), "FedKLPR+, changes", "#D55E00", ":"),
    Form(("fedklprplus_coarse",), "FedKLPR+, coarser changes (two seeds)", "#D55E00", "--"),
    Form(("fedklprplus_consensus_network",), "FedKLPR+, half pruned, changes", "#009E73", ":"),
)

_MEGABYTES = (2, 5, 10, 20, 50, 100, 200, 500)


def rounds_of(study: Path, methods: Sequence[str]) -> list[list[Row]]:
    """The rounds' own rows of all runs of some methods.

    Args:
        study: the folder of METHOD-seedS.jsonl.gz.
        methods: their names.

    Raises:
        RunError: there is none, or they have not equally many rounds.
    """
    files = [file for method in methods for file in sorted(study.glob(f"{method}-seed*.jsonl.gz"))]
    if not files:
        raise RunError(f"{study} has no run of {', '.join(methods)}")
    runs = []
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            rows = [row_from(json.loads(line)) for line in lines]
        runs.append([row for row in rows if row.client is None])
    if len({len(rounds) for rounds in runs}) != 1:
        raise RunError(f"{study}: the runs of {', '.join(methods)} have not equally many rounds")
    return runs


def mean_line(runs: Sequence[Sequence[Row]]) -> tuple[list[float], list[float]]:
    """Megabytes sent after each round, and Rank-1, each the mean over runs of equal length."""
    sent = [accumulate((row.bytes_up + row.bytes_down) / 1e6 for row in rounds) for rounds in runs]
    return (
        [fmean(point) for point in zip(*sent, strict=True)],
        [fmean(row.rank1 or 0.0 for row in point) for point in zip(*runs, strict=True)],
    )


def draw_forms(study: Path, path: Path) -> None:
    """Draw FORMS.

    Args:
        study: as for `rounds_of`.
        path: a picture by its ending, SVG for one.

    Raises:
        RunError: a form has no run, matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(10.5, 4.4)
    axes = figure.subplots()
    for form in FORMS:
        megabytes, rank1 = mean_line(rounds_of(study, form.methods))
        # Round 0 of changes costs nothing, and a logarithm has no place for it.
        first = next(n for n, count in enumerate(megabytes) if count > 0)
        axes.plot(
            megabytes[first:],
            rank1[first:],
            color=form.color,
            linestyle=form.style,
            marker="o",
            markersize=3,
            label=f"{form.label}: {megabytes[-1]:.0f} MB, {rank1[-1]:.3f}",
        )
    axes.set_xscale("log")
    axes.set_xticks(_MEGABYTES, labels=[str(count) for count in _MEGABYTES])
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.set_xlabel("sent so far by all eight clients, up and down [MB, logarithmic]")
    axes.set_ylabel("Rank-1, mean over clients and seeds")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    plain_axes(axes)
    from matplotlib import rc_context

    try:
        with rc_context({"svg.hashsalt": "forms"}):  # the same rows give the same bytes
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("picture", type=Path)
    asked = parser.parse_args(argv)
    try:
        draw_forms(asked.study, asked.picture)
    except FedKlprError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
