"""The one mask of all clients in a round, as either side finds it in what went down."""

from collections.abc import Mapping

import numpy as np
import torch

from fedklpr_flwr.algorithm.consensus import largest_kept
from fedklpr_flwr.algorithm.pruning_rate import density_after
from fedklpr_flwr.config.round_overrides import pruning_schedule
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.shared_model import shared_layout


def is_consensus(settings: Settings) -> bool:
    """Whether all clients share one mask (`pruning.masks`)."""
    return settings.pruning.masks == "consensus"


def consensus_masks(
    sent: Mapping[str, np.ndarray], settings: Settings, round_number: int
) -> dict[str, torch.Tensor]:
    """The masks of a round, by tensor: those the model that went down is cut and trained by.

    Args:
        sent: float32 arrays of the merged model as it went down, zero where it is pruned.
        settings: the run's settings.
        round_number: 0..R. Of the round before, it is what the model already lies behind.
    """
    names = [spec.name for spec in shared_layout(settings) if spec.prunable]
    density = density_after(round_number, *pruning_schedule(settings))
    tensors = {name: torch.from_numpy(np.ascontiguousarray(sent[name])) for name in names}
    return largest_kept(tensors, names, density, settings.pruning.scope)


def cut_by_consensus(arrays: dict[str, np.ndarray], masks: Mapping[str, torch.Tensor]) -> None:
    """Set what nobody holds any more to zero where it lies; names without a mask are left alone."""
    for name, mask in masks.items():
        if name in arrays:
            arrays[name][~mask.numpy()] = 0
