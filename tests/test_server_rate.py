"""Claims about federation.server_rate over a federation's round, floats and changes on the wire."""

import numpy as np
import pytest
from tiny_federation import ONE_ROUND, PAIR

from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.reid.network import float_state


@pytest.mark.parametrize("values", ["float32", "change"])
def test_at_a_rate_of_two_the_model_goes_twice_as_far(values, federate, tiny_settings):
    words = (ONE_ROUND, f"wire.values={values}", "method.pruning=none")
    once = federate(*words, folder="once", names=PAIR).state().tensors
    twice = federate(*words, "federation.server_rate=2", folder="twice", names=PAIR).state().tensors
    start = float_state(initial_network(tiny_settings(), pretrained=False))
    for name in ("backbone.layer1.conv1.weight", "neck.weight"):
        moved = once[name] - start[name].numpy()
        assert np.abs(moved).max() > 0
        np.testing.assert_allclose(twice[name] - once[name], moved, atol=1e-6)
    measured = "backbone.bn1.running_mean"
    np.testing.assert_array_equal(twice[measured], once[measured])
