"""The line that a run prints, and a log has, when a round is over."""

from fedklpr_flwr.runs.rows import Row, is_withheld


def progress_line(row: Row, rounds: int) -> str:
    """One line of live progress from a round's own row."""
    moved, dense = row.bytes_up + row.bytes_down, row.bytes_dense
    saved = f", {1 - moved / dense:.0%} less than dense" if dense else ""
    decided = f" ({row.crr})" if row.crr else ""
    seconds = row.seconds.get("train", 0.0) + row.seconds.get("evaluate", 0.0)
    status = row.status if row.round else row.status.replace("merged", "evaluated")
    return (
        f"round {row.round:>2}/{rounds}  {_health(row)}  pruned {row.pruned:.0%}{decided}  "
        f"{moved / 1e6:.1f} MB{saved}  {status}  {seconds:.1f} s"
        + ("" if row.epsilon is None else f"  epsilon {row.epsilon:.3g}")
        + (f"  failed: {row.failed}" if row.failed else "")
        + (f"  labels: {row.degenerate}" if row.degenerate else "")
    )


def _health(row: Row) -> str:
    """The accuracy; where nobody can be searched for, what can be told without labels."""
    if row.rank1 is not None and row.map is not None:
        return f"Rank-1 {row.rank1:.3f}  mAP {row.map:.3f}"
    if is_withheld(row):
        return "Rank-1 withheld"
    if row.cosine_distance is None:
        return "Rank-1 -  mAP -"
    drift = f"feature drift {row.cosine_distance:.3f}"
    return f"Rank-1 -  clusters {row.clusters}, outliers {row.outliers}, {drift}"
