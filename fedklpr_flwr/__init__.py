"""FedKLPR: federated person re-identification that prunes, measures and merges, on Flower.

In Python, beside the command line (examples/ shows each in use):

    compose(experiment, overrides)          the checked settings of a run
    simulate(experiment, overrides)         a whole federation in this process
    read_rows(run)                          what a run reported, a row per client and round
    load_model(path, client)                a trained model, to look at pictures with
    extract_features(model, pictures)       one feature per picture file
    search_gallery(model, gallery, query)   the people of a folder nearest to one on a picture
"""

from typing import TYPE_CHECKING, Any

from fedklpr_flwr.version import VERSION as __version__

if TYPE_CHECKING:
    from fedklpr_flwr.api import (
        compose,
        extract_features,
        load_model,
        read_rows,
        search_gallery,
        simulate,
    )

__all__ = [
    "__version__",
    "compose",
    "extract_features",
    "load_model",
    "read_rows",
    "search_gallery",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Load the functions above at their first use: they need torch, and most importers do not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("fedklpr_flwr.api"), name)
