"""Many small clients in one process: seconds a round, and the server's memory, by their number."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks.rows import Row, make_row
from fedklpr_flwr.runs.rows import read_rows

CLIENTS = (8, 64, 256, 1000)
ROUNDS = 2
"""In the second every client prunes, and from then on has a mask and a payload of its own."""

LINEAR, FLAT = 1.5, 1.1


def scale_rows(clients: Sequence[int] = CLIENTS, overrides: Sequence[str] = ()) -> list[Row]:
    """Run experiment=many with each number of clients, each in a process of its own.

    Args:
        clients: numbers of clients, ascending; the first is the anchor of the others.
        overrides: more of Hydra's.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}: a number's last round in milliseconds a
        client (a round linear in clients keeps that), and the process's peak memory, clients and
        server together.
    """
    found = {count: _last_round(count, overrides) for count in clients}
    (first_ms, first_mb), rows = found[clients[0]], []
    for count, (client_ms, peak_mb) in found.items():
        rows.append(make_row(f"scale_client_ms_{count}", client_ms, "ms", first_ms, LINEAR))
        rows.append(make_row(f"scale_peak_mb_{count}", peak_mb, "MB", first_mb, FLAT))
    return rows


def _last_round(clients: int, overrides: Sequence[str]) -> tuple[float, float]:
    """Milliseconds a client of the last round, and the peak in MB."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "run")
        words = [
            "experiment=many",
            f"data.many.clients={clients}",
            f"federation.rounds={ROUNDS}",
            *overrides,
            f"run.dir={folder}",
        ]
        subprocess.run(
            [sys.executable, "-m", "fedklpr_flwr.commands", "simulate", *words],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        last = read_rows(folder / "run.jsonl")[-1]
    return 1000 * sum(last.seconds.values()) / clients, last.server_peak_mb or 0.0
