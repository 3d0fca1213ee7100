"""What becomes of a merge: the model that goes down next, and what it owes."""

from collections.abc import Mapping

import numpy as np

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.protocol.change_steps import change_downlink, tells_changes, with_debt
from fedklpr_flwr.protocol.update_codec import quantise_downlink
from fedklpr_flwr.runs.run_folder import ServerState
from fedklpr_flwr.wire.layout import Layout


def merge_base(state: ServerState, settings: Settings) -> Mapping[str, np.ndarray]:
    """The model that a merge begins from: where changes travel, the one that went down."""
    return state.sent if tells_changes(settings) else state.tensors


def hand_down(
    state: ServerState, merged: dict[str, np.ndarray], layout: Layout, settings: Settings
) -> None:
    """Make a merge the state's model, and prepare what goes down; `state.round` is its round.

    Args:
        state: the federation; changed.
        merged: all tensors after the merge.
        layout: those that travel in this round.
        settings: the run's settings.
    """
    sent, state.sent = dict(state.sent), {}
    if not tells_changes(settings):
        del sent  # it has been used: with a lossy form it is a model of its own
        state.tensors = merged
        down = quantise_downlink(merged, state.residual, settings.wire.values)
        state.sent, state.residual = down
        return
    before, state.tensors = dict(state.tensors), {}
    state.tensors = with_debt(merged, before, sent)
    del before
    down = change_downlink(state.tensors, sent, layout, settings, state.round)
    state.change, state.sent = down
