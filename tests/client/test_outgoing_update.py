"""Claims about client.outgoing_update: what of a client's learning its update cuts off."""

import numpy as np
import pytest
import torch

from fedklpr_flwr.client.outgoing_update import owed_share
from fedklpr_flwr.protocol.training_report import ClientUpdate, TrainingReport

SCALARS = {"divergence": 0.0, "cosine_distance": 0.0, "pruned": 0.0, "loss": 0.0, "kl_loss": 0.0}


def learnt(masks=None, **tensors):
    counts = {"examples": 1, "clusters": 1, "outliers": 0}
    report = TrainingReport(**SCALARS, **counts, idle=False, crr="off")
    return ClientUpdate(client="a", round=1, tensors=tensors, masks=masks or {}, report=report)


def test_what_is_owed_is_told_in_units_of_what_was_learnt():
    update = learnt(weight=torch.tensor([3.0, 0.0, -4.0]), stays=torch.ones(2))
    received = {"weight": np.zeros(3, np.float32), "stays": np.zeros(2, np.float32)}
    owed = {"weight": torch.tensor([0.0, 2.0, 0.0])}
    assert owed_share(owed, update, received) == pytest.approx(2 / 5)


def test_what_was_pruned_is_no_learning():
    mask = torch.tensor([True, False, True])
    update = learnt({"weight": mask}, weight=torch.tensor([3.0, 0.0, -4.0]))
    received = {"weight": np.float32([0, 100, 0])}
    owed = {"weight": torch.tensor([0.0, 0.0, 2.0])}
    assert owed_share(owed, update, received) == pytest.approx(2 / 5)


def test_where_nothing_is_cut_off_or_learnt_nothing_is_told():
    still = {"weight": np.ones(2, np.float32)}
    update = learnt(weight=torch.ones(2))
    assert owed_share({}, update, still) is None
    assert owed_share({"weight": torch.ones(2)}, update, still) is None
