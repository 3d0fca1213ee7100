"""The model of a run folder, as a network that is ready to look at pictures."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.federation.mask_file import MaskFile
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.federation.personal_model import initial_network, load_personal_model
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.settings import read_settings


@dataclass(frozen=True)
class TrainedModel:
    """A run's settings and its network."""

    settings: Settings
    network: ReidNetwork


def load_trained_model(run: Path, client: str | None = None) -> TrainedModel:
    """Load a run folder's merged model, or one client's view of it.

    Args:
        run: the run folder.
        client: seen through this client's mask; None = the merged model itself.

    Raises:
        RunError: the folder holds no model, or the client has no mask there.
    """
    settings = read_settings(run / "config.yaml")
    path = run / "global.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}; is {run} a run folder?") from error
    masks: dict[str, torch.Tensor] = {}
    if client is not None:
        file = run / "clients" / client / "mask.safetensors"
        if not file.exists():
            there = sorted(folder.name for folder in (run / "clients").glob("*"))
            raise RunError(f"client {client!r} has no mask in {run}; there are: {', '.join(there)}")
        masks = dict(MaskFile(file))
    network = initial_network(settings, pretrained=False)
    load_personal_model(network, tensors, masks, {})
    return TrainedModel(settings, network.eval())
