"""The line that a run prints, and a log has, when a round is over."""

from collections.abc import Sequence

from fedklpr_flwr.runs.rows import Row, is_withheld
from fedklpr_flwr.wording import counted, named


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


def pictures_line(rows: Sequence[Row], told: set[str]) -> str:
    """Say which clients' pictures are others than in the run before; empty where none is heard of.

    Args:
        rows: of a round, or of all; of each client the first that tells of them counts.
        told: clients of which it was said; those that are said now are added.
    """
    since: dict[str, Row] = {}
    for row in rows:
        if row.client is not None and row.client not in told and row.pictures_new is not None:
            since.setdefault(row.client, row)
    told.update(since)
    if not since:
        return ""
    changed = [row for row in since.values() if row.pictures_new or row.pictures_gone]
    each = [f"{row.client} {row.pictures_new} new, {row.pictures_gone} gone" for row in changed]
    said = named(each) if each else "all as they were"
    return f"training pictures since the run before, of {counted(len(since), 'client')}: {said}"


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
