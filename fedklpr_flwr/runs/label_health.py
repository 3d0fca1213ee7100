"""Whose labels can teach little, and what helps: told by counts, without a person's name."""

from collections import defaultdict
from collections.abc import Iterable

from fedklpr_flwr.runs.rows import Row
from fedklpr_flwr.wording import counted


def labels_line(rows: Iterable[Row]) -> str:
    """Name clients whose labels taught little at the end or in half of the rounds, and the cure.

    Args:
        rows: of a run or of a round; a round's own lines count for nothing.

    Returns:
        One sentence; empty where all are well.
    """
    merged: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.client is not None and row.status == "merged" and row.round:
            merged[row.client].append(row)
    faults = {}
    for client, own in sorted(merged.items()):
        found = [row.degenerate for row in own if row.degenerate]
        if own[-1].degenerate:
            faults[client] = own[-1].degenerate
        elif found and 2 * len(found) >= len(own):
            faults[client] = f"{found[-1]} (in {len(found)} of {counted(len(own), 'round')})"
    if not faults:
        return ""
    named = "; ".join(f"{client}: {fault}" for client, fault in faults.items())
    return f"labels that teach little: {named}. {cure(faults.values())}"


def cure(faults: Iterable[str]) -> str:
    """Say what helps against faults in words."""
    said = list(faults)
    helps = []
    if any("hardly two" not in fault and "of one camera" not in fault for fault in said):
        helps.append(
            "smaller labels.k1, labels.k2 and labels.min_samples (experiment=own has 10, 3 and 2)"
        )
    if any("hardly two" in fault for fault in said):
        helps.append("a larger labels.eps")
    if any("of one camera" in fault for fault in said):
        helps.append(
            "labels.camera=zscore, which takes each camera's own look out, and "
            "labels.neighbours=by_camera"
        )
    return f"What helps: {'; '.join(helps)}; docs/own-pictures.md"
