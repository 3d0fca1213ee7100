"""Whose labels can teach little, and what helps: told by counts, without a person's name."""

from collections.abc import Iterable

from fedklpr_flwr.runs.rows import Row, label_fault


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
