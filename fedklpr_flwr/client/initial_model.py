"""Round 0 for nothing: the initial model by its name, where this machine can make it itself."""

import numpy as np

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.model.shared_model import initial_network, shared_layout
from fedklpr_flwr.protocol.change_reference import model_name
from fedklpr_flwr.reid.initial_weights import holds_imagenet_weights
from fedklpr_flwr.reid.network import float_state


def initial_model(name: str, settings: Settings) -> dict[str, np.ndarray] | None:
    """Make the initial model from the seed, or from the file of weights if that lies here.

    Args:
        name: what the server calls it, by its numbers.
        settings: the run's settings.

    Returns:
        float32 tensors by name; None where this machine lacks the file, or makes other numbers: the
        server must then send them.
    """
    weights, backbone = settings.model.weights, settings.model.backbone
    if weights == "imagenet" and not holds_imagenet_weights(backbone):
        return None  # fetching them would be more bytes than the server's
    try:
        state = float_state(initial_network(settings, pretrained=True))
    except WeightsError:
        return None
    layout = shared_layout(settings)
    tensors = {s.name: np.ascontiguousarray(state[s.name].numpy()) for s in layout}
    return tensors if model_name(tensors, layout) == name else None
