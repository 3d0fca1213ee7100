"""Claims about named choices: what a setting takes is what somebody implements, all of it."""

import dataclasses

import pytest

from fedklpr_flwr.algorithm.merging import MERGES
from fedklpr_flwr.algorithm.schedules import RULES
from fedklpr_flwr.client.drift import DRIFT_PENALTIES
from fedklpr_flwr.client.labels import LABEL_SOURCES
from fedklpr_flwr.client.objectives import OBJECTIVES
from fedklpr_flwr.config.settings import Labels, Method
from fedklpr_flwr.model.personal_model import PERSONAL_PARTS
from fedklpr_flwr.server.weights import AGGREGATION_WEIGHTS

IMPLEMENTED = [
    (Method, "local_loss", OBJECTIVES),
    (Method, "drift_penalty", DRIFT_PENALTIES),
    (Method, "aggregation_weights", AGGREGATION_WEIGHTS),
    (Method, "merge", MERGES),
    (Method, "pruning", {*RULES, "none"}),
    (Method, "personal_parts", PERSONAL_PARTS),
    (Labels, "source", LABEL_SOURCES),
]


@pytest.mark.parametrize(("group", "key", "implemented"), IMPLEMENTED)
def test_every_choice_has_a_function_and_every_function_a_choice(group, key, implemented):
    (field,) = [field for field in dataclasses.fields(group) if field.name == key]
    assert sorted(field.metadata["choices"]) == sorted(implemented)
