"""Claims about client.pruning: what the configuration hands the pruning rules."""

from fedklpr_flwr.algorithm.pruning_step import PruningSettings
from fedklpr_flwr.client.pruning import pruning_settings
from fedklpr_flwr.config.compose import compose_settings


def test_who_leaves_the_pruning_rules_settings_out_gets_those_of_conf():
    chosen = ("crr.level=0.5", "crr.test=threshold", "pruning.scope=layer", "pruning.rate=0.1")
    later = ("pruning.target=0.5", "pruning.after=null")
    settings = compose_settings("drawn", (*chosen, *later))  # drawn and fedklpr have their own
    assert PruningSettings() == pruning_settings(settings)


def test_a_client_prunes_from_the_share_of_the_rounds_on():
    words = ("federation.rounds=10", "pruning.after=0.5")
    assert pruning_settings(compose_settings("drawn", words)).first_round == 6
