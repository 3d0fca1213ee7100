"""Read what a run left: accuracies, decisions, weights and bytes, as plain Python values.

    python examples/read_a_run.py [RUN]

Without a run a small one is made first.
"""

import sys
import tempfile
from pathlib import Path

from fedklpr_flwr import compose, read_rows, simulate


def main(run: Path) -> None:
    """Print how each client fared, and what travelled."""
    rows = read_rows(run)
    for last in [row for row in rows if row.client and row.round == rows[-1].round]:
        # A failed client, or a site without known persons, has rows without accuracies.
        history = [row for row in rows if row.client == last.client and row.rank1 is not None]
        if not history:
            print(f"{last.client:10} {last.status}, no accuracies")
            continue
        best = max(row.rank1 for row in history)
        decisions = ", ".join(row.crr for row in history if row.round)
        print(
            f"{last.client:10} Rank-1 {history[-1].rank1:.3f} (best {best:.3f}), "
            f"weight {last.weight:.2f}, {decisions}"
        )
    sent = sum(row.bytes_up + row.bytes_down for row in rows if row.client is None)
    dense = sum(row.bytes_dense for row in rows if row.client is None)
    print(f"{sent / 1e6:.2f} MB sent; dense float32 would have been {dense / 1e6:.2f} MB")


if __name__ == "__main__":
    if len(sys.argv) == 2 and "=" not in sys.argv[1]:
        main(Path(sys.argv[1]))
    else:
        settings = compose("smoke", sys.argv[1:])
        print(f"{settings.method.name}: {settings.federation.rounds} rounds")
        with tempfile.TemporaryDirectory() as place:
            main(simulate("smoke", [f"run.dir={Path(place) / 'run'}", *sys.argv[1:]]))
