"""How long a SuperNode's process takes from nothing to its first training batch."""

import subprocess
import sys
from functools import partial

from experiments.benchmarks.rows import Row, make_row, median_seconds, value_at_most

SECONDS = 2.0
LIBRARY = "import torch"

TO_FIRST_BATCH = """
import sys
import torch
from fedklpr_flwr import client_app
from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.system.paths import user_cache

settings = client_app.load_settings({"experiment": "drawn", "overrides": sys.argv[1]})
torch.set_num_threads(settings.training.threads)
site = open_site(settings.data.clients[-1], settings, user_cache())
network = initial_network(settings, pretrained=False)
images = next(image_loader(site.train.pixels, 32))
assert images.ndim == 4
"""
"""What a client does before its network sees a picture: import Flower and the client, compose the
settings, open its pictures, build the network, make the batch. A round's first batch is one that
features are drawn from, whether the client is to train or to evaluate."""

OPTIMIZER = "torch.optim.Adam(network.parameters())"
"""What training needs next; torch imports its compiler for that."""

LARGE = "model=resnet50 model.weights=null model.height=128 model.width=64"


def startup_rows(*, repeats: int = 5) -> list[Row]:
    """Measure the rows `startup` of the benchmarks, each timing a process of its own.

    `startup_seconds` is what the default experiment's client takes above the anchor, which is a
    process that only imports torch; pictures are drawn and decoded beforehand. The other rows tell
    what an optimiser adds, and torchvision's models for a ResNet-50.

    Args:
        repeats: timings taken, the median counts.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    bare, first, training, large = median_seconds(
        repeats,
        partial(_run, LIBRARY),
        partial(_run, TO_FIRST_BATCH),
        partial(_run, TO_FIRST_BATCH + OPTIMIZER),
        partial(_run, TO_FIRST_BATCH, LARGE),
    )
    return [
        make_row("startup_seconds", first - bare, "s", bare, SECONDS, value_at_most),
        make_row("startup_seconds_optimizer", training - bare, "s", bare),
        make_row("startup_seconds_resnet50", large - bare, "s", bare),
    ]


def _run(code: str, overrides: str = "") -> None:
    subprocess.run([sys.executable, "-c", code, overrides], check=True)
