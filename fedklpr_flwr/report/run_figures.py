"""What one run comes to, in figures that runs are compared by."""

from typing import NamedTuple

from fedklpr_flwr.runs.run_record import RunRecord


class RunFigures(NamedTuple):
    """What one run comes to; accuracies and shares are fractions, MB are 10^6 bytes.

    `seconds` are those of the whole job, its start and end included; of runs of before they were
    counted, those of the rounds.
    """

    rank1: float | None
    map: float | None
    rank1_final: float | None
    map_final: float | None
    pruned: float
    mb_up: float
    mb_down: float
    mb_dense: float
    saved: float
    saved_paper: float
    mb_paper: float
    seconds: float


def figures_of(run: RunRecord) -> RunFigures:
    """Accuracies of the last round, sums over all rounds."""
    rounds, last = run.summaries, run.final
    up, down = (sum(getattr(row, key) for row in rounds) for key in ("bytes_up", "bytes_down"))
    dense, paper = (
        sum(getattr(row, key) for row in rounds) for key in ("bytes_dense", "bytes_paper")
    )
    return RunFigures(
        last.rank1,
        last.map,
        last.rank1_final,
        last.map_final,
        last.pruned or 0.0,
        up / 1e6,
        down / 1e6,
        dense / 1e6,
        1 - (up + down) / dense if dense else 0.0,
        1 - paper / dense if dense else 0.0,
        paper / 1e6,
        sum(sum(row.seconds.values()) for row in rounds) if run.seconds is None else run.seconds,
    )
