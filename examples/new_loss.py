"""Try another pull towards the received model, before it is written into the package.

    python examples/new_loss.py [KEY=VALUE ...]

FedKLPR's pull is KL(after || before). Here the same federation runs twice: with it, and with the
KL divergence the other way round in its place. `simulate` runs every client in this process, so a
function that is put into DRIFT_PENALTIES is what they all use. To keep an idea, write it into
fedklpr_flwr/client/drift_penalty.py under a name of its own (CONTRIBUTING.md says how).
"""

import sys
import tempfile
from pathlib import Path

import torch

from fedklpr_flwr import read_rows, simulate
from fedklpr_flwr.algorithm.divergence import kl_regularization_loss
from fedklpr_flwr.client.drift_penalty import DRIFT_PENALTIES, Step


def reverse_kl(step: Step) -> torch.Tensor:
    """KL(before || after): punishes what the new model no longer sees, rather than what it adds."""
    before = step.received.features(step.images, step.indices)
    return kl_regularization_loss(before, step.features, step.temperature)


def main() -> None:
    """Run both, and hold them against each other."""
    with tempfile.TemporaryDirectory() as place:
        for name, penalty in (("kl", DRIFT_PENALTIES["kl"]), ("reverse", reverse_kl)):
            DRIFT_PENALTIES["kl"] = penalty
            run = simulate("smoke", [f"run.dir={Path(place) / name}", *sys.argv[1:]])
            last = read_rows(run)[-1]
            print(f"{name:8} Rank-1 {last.rank1:.3f}  mAP {last.map:.3f}  pull {last.kl_loss:.2e}")


if __name__ == "__main__":
    main()
