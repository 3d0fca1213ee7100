"""Claims about allowed values: a setting takes what the code has, no more and no less.

The settings name their choices, since whoever reads a configuration must not load torch for it.
"""

import pytest

from fedklpr_flwr.algorithm.merge.accumulate import MERGES
from fedklpr_flwr.algorithm.pruning_rules import RULES
from fedklpr_flwr.algorithm.pruning_step import WHEN
from fedklpr_flwr.algorithm.recovery import REFERENCES
from fedklpr_flwr.client.drift_penalty import DRIFT_PENALTIES
from fedklpr_flwr.client.label_source import LABEL_SOURCES
from fedklpr_flwr.client.local_loss import OBJECTIVES
from fedklpr_flwr.config.settings import Crr, Labels, Method, Model, Pruning, Wire
from fedklpr_flwr.model.shared_model import PERSONAL_PARTS
from fedklpr_flwr.reid.network import FEATURE_DIMS
from fedklpr_flwr.server.update_weights import AGGREGATION_WEIGHTS
from fedklpr_flwr.wire.dtypes import FORMS
from fedklpr_flwr.wire.section_coding import LEVELS

IMPLEMENTED = {
    (Method, "local_loss"): OBJECTIVES,
    (Method, "drift_penalty"): DRIFT_PENALTIES,
    (Method, "aggregation_weights"): AGGREGATION_WEIGHTS,
    (Method, "merge"): MERGES,
    (Method, "pruning"): RULES,
    (Method, "personal_parts"): PERSONAL_PARTS,
    (Labels, "source"): LABEL_SOURCES,
    (Pruning, "when"): WHEN,
    (Crr, "reference"): REFERENCES,
    (Model, "backbone"): FEATURE_DIMS,
    (Wire, "values"): {*FORMS, "change"},
    (Wire, "level"): LEVELS,
}


@pytest.mark.parametrize(("group", "key"), IMPLEMENTED)
def test_a_setting_takes_what_is_implemented(group, key):
    allowed = group.__dataclass_fields__[key].metadata["choices"]
    assert set(allowed) == set(IMPLEMENTED[group, key])
