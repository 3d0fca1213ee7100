"""Try another aggregation weight, before it is written into the package.

    python examples/new_weight.py [KEY=VALUE ...]

FedKLPR weighs by KLPWA. Here the same federation runs twice: with it, and with the square root of
how many pictures a site has. `simulate` runs the server in this process, so a function that is put
into AGGREGATION_WEIGHTS is what it uses. To keep an idea, write it into
fedklpr_flwr/algorithm/weighting.py under a name of its own: CONTRIBUTING.md walks
this one through.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from fedklpr_flwr import read_rows, simulate
from fedklpr_flwr.server.update_weights import AGGREGATION_WEIGHTS, Asked


def square_roots(asked: Asked) -> np.ndarray:
    """Weigh by the square root of the pictures: between all alike and in proportion."""
    # Nobody's number counts for more than the defence lets it (defence.norm_bound).
    counted = asked.held_back([report.examples for report in asked.reports])
    roots = np.sqrt(counted) * asked.active
    return roots / max(roots.sum(), np.finfo(np.float64).tiny)


def main() -> None:
    """Run both, and hold them against each other."""
    with tempfile.TemporaryDirectory() as place:
        for name, weight in (("klpwa", AGGREGATION_WEIGHTS["klpwa"]), ("roots", square_roots)):
            AGGREGATION_WEIGHTS["klpwa"] = weight
            run = simulate("smoke", [f"run.dir={Path(place) / name}", *sys.argv[1:]])
            rows = read_rows(run)
            shares = ", ".join(
                f"{row.client} {row.weight:.2f}"
                for row in rows
                if row.client and row.round == rows[-1].round
            )
            print(
                f"{name:6} Rank-1 {rows[-1].rank1:.3f}  mAP {rows[-1].map:.3f}  weights: {shares}"
            )


if __name__ == "__main__":
    main()
