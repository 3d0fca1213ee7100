"""Whether a site's labels can teach anything: told by counts alone, without a person's name."""

from collections.abc import Iterable

from fedklpr_flwr.runs.rows import Row
from fedklpr_flwr.wording import counted

_NEARLY_ALL = 0.8
"""Share of a site's pictures without a label from which on it is worth a word."""

_NO_SPAN = 0.02
"""Share of clustered pictures in clusters of several cameras below which cameras are learnt."""


def label_fault(row: Row) -> str | None:
    """Say what is wrong with the labels that a client trained on in a round.

    Args:
        row: the client's line.

    Returns:
        In words: no cluster, one cluster, nearly all outliers, or clusters of one camera alone
        where it has several; None where nothing is, where nothing was trained, and where counts
        are withheld or, as in older runs, not told.
    """
    if not row.round or row.status != "merged" or row.clusters is None or row.outliers is None:
        return None
    if row.idle or not row.clusters:
        return "no cluster, nothing trained"
    if row.examples is None:
        return "all in one cluster" if row.clusters == 1 else None
    labelled = row.examples - row.outliers
    if row.outliers >= _NEARLY_ALL * row.examples:
        return f"{row.outliers} of {counted(row.examples, 'picture')} outliers"
    if row.clusters == 1:
        return f"{counted(labelled, 'picture')} all in one cluster"
    # A cluster a picture, as bottom-up merging begins with, is of one camera and yet no fault.
    together = labelled >= 2 * row.clusters
    if together and row.camera_span is not None and row.camera_span < _NO_SPAN:
        return f"{counted(row.clusters, 'cluster')} of one camera each"
    return None


def labels_line(rows: Iterable[Row]) -> str:
    """Name the clients whose labels taught nothing in their last merged round, and the cure.

    Args:
        rows: of a run or of a round; a round's own lines count for nothing.

    Returns:
        One sentence; empty where all are well.
    """
    last = {row.client: row for row in rows if row.client is not None and row.status == "merged"}
    faults = {client: fault for client, row in last.items() if (fault := label_fault(row))}
    if not faults:
        return ""
    named = "; ".join(f"{client}: {fault}" for client, fault in sorted(faults.items()))
    return f"labels that teach little: {named}. {cure(faults.values())}"


def cure(faults: Iterable[str]) -> str:
    """Say what helps against faults in words."""
    said = list(faults)
    cameras = [fault for fault in said if "of one camera" in fault]
    helps = []
    if len(cameras) < len(said):
        helps.append(
            "smaller labels.k1, labels.k2 and labels.min_samples (experiment=own has 10, 3 and 2)"
        )
    if cameras:
        helps.append("labels.camera=zscore, which takes each camera's own look out")
    return f"What helps: {'; '.join(helps)}; docs/own-pictures.md"
