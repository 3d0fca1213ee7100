"""How a federation of real boxes stands: who is registered and online, and how its run goes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedklpr_flwr.deploy.registering import NODES, ask_superlink, connection_of, json_file
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.runs.rows import Row, read_rows
from fedklpr_flwr.system import run_files


@dataclass(frozen=True)
class BoxStatus:
    """One box of the federation.

    Attributes:
        site: its name.
        node: Flower's number of its SuperNode; empty where this SuperLink does not know its key.
        state: online, offline, registered (it never came), not registered, or not known, where
            the SuperLink does not answer.
        since: of that state, as Flower says it; empty where it does not.
        merged: the last round of the run in which its update was merged; None = none.
        rank1: its own Rank-1 in the last round in which it was scored; None = not known.
        failed: in how many rounds of the run it failed or was late.
        reason: why, the last time.
        box: what it said of itself when the run began (`BoxState.noted`); empty where it did not.
    """

    site: str
    node: str
    state: str
    since: str
    merged: int | None
    rank1: float | None
    failed: int
    reason: str
    box: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def box_statuses(
    office: Path, run: Path | None, listed: Sequence[Mapping[str, Any]] | None
) -> list[BoxStatus]:
    """Put together what the SuperLink, a run folder and the boxes themselves said.

    Args:
        office: the folder office/, on the SuperLink's machine.
        run: a run folder of the federation; None = there was none yet.
        listed: of `superlink_nodes`; None where it does not answer.

    Returns:
        One for each site whose key lies in office/keys, by name.

    Raises:
        RunError: the run folder cannot be read.
    """
    sites = _sites(office)
    seen = None if listed is None else {str(node["node-id"]): node for node in listed}
    rows = read_rows(run / run_files.ROWS) if run and (run / run_files.ROWS).exists() else []
    boxes = json_file(run / run_files.BOXES) if run else {}
    nodes = json_file(office / "flower" / NODES)
    return [_status(site, seen, rows, boxes.get(site) or {}, nodes) for site in sites]


def is_run_of(office: Path, run: Path) -> bool:
    """Whether a run folder is of a deployment with boxes of this office.

    Args:
        office: the folder office/, on the SuperLink's machine.
        run: a folder, which need not be there.
    """
    return not json_file(run / run_files.BOXES).keys().isdisjoint(_sites(office))


def _sites(office: Path) -> list[str]:
    return sorted(path.stem for path in (office / "keys").glob("*.pub"))


def _status(
    site: str,
    seen: Mapping[str, Mapping[str, Any]] | None,
    rows: Sequence[Row],
    box: Mapping[str, Any],
    nodes: Mapping[str, Any],
) -> BoxStatus:
    # Each start of the SuperLink gives other numbers: of the two places the newer one is known.
    told = (str(nodes.get(site, "")), str(box.get("node", "")))
    node = next((number for number in told if number in (seen or {})), "")
    now = seen[node] if seen and node else {}
    state = str(now.get("status", "not known" if seen is None else "not registered"))
    own = [row for row in rows if row.client == site]
    failed = [row for row in own if row.failed or row.status == "late"]
    scored = [row.rank1 for row in own if row.rank1 is not None]
    merged = [row.round for row in own if row.status == "merged" and row.round]
    return BoxStatus(
        site,
        node,
        state,
        str(now.get(f"{state}-at", "")) if state in ("online", "offline") else "",
        max(merged, default=None),
        scored[-1] if scored else None,
        len(failed),
        str(failed[-1].failed or failed[-1].status) if failed else "",
        box,
    )


def superlink_nodes(office: Path) -> list[dict[str, Any]]:
    """Ask the SuperLink on this machine for the nodes that it knows.

    Args:
        office: the folder office/, on the SuperLink's machine.

    Raises:
        SettingsError: it is no office folder.
        RunError: the SuperLink does not answer.
    """
    name, _ = connection_of(office)
    found, said = ask_superlink(office.absolute() / "flower", "list", name)
    if not isinstance(nodes := found.get("nodes"), list):
        raise RunError(
            f"the SuperLink of {office} does not tell its nodes ({said:.300}): is it up? "
            "office/start.sh starts it"
        )
    return nodes
