"""Claims about the forecast: counts times what was measured, on figures that fit a hand."""

from dataclasses import replace

import pytest

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.planning.forecast import (
    Forecast,
    Load,
    batches_an_epoch,
    settings_densities,
    wall_seconds,
)
from fedklpr_flwr.planning.probe import Probed

NOTHING = Probed(
    **dict.fromkeys(
        ("step", "picture", "prune", "train_message", "evaluate_message", "reestimate"), 0.0
    ),
    **dict.fromkeys(("clustering", "ranking", "encode", "decode", "clustering_mb"), 0.0),
    sizes=((1.0, 10000, 8500, 8000), (0.9, 9000, 7600, 7200), (0.5, 5000, 5000, 4000)),
    dense_bytes=120,
    feature_dim=4,
    peak_mb=700.0,
    gpu_mb=None,
)
GATE = Load("gate", train=320, persons=0, tests=((10, 40),))


def settings_of(*overrides):
    return compose_settings("drawn", ("federation.rounds=4", *overrides))


def forecast_of(probed, *overrides, loads=(GATE,), at_once=1):
    return Forecast(settings_of(*overrides), probed, loads, at_once)


def test_pieces_are_taken_up_in_order_by_whoever_is_free_first():
    assert wall_seconds([3, 1, 1, 1], 2) == 3
    assert wall_seconds([1, 1, 1, 3], 2) == 4  # the long one comes last
    assert wall_seconds([2, 2], 1) == 4
    assert wall_seconds([], 3) == 0


def test_an_epoch_has_as_many_batches_as_its_pictures_make():
    free = ("training.max_batches=null", "training.persons=8", "training.pictures=4")
    assert batches_an_epoch(GATE, settings_of(*free)) == 10
    assert batches_an_epoch(GATE, settings_of(*free, "training.max_batches=7")) == 7
    assert batches_an_epoch(replace(GATE, train=3), settings_of(*free)) == 1


def test_copies_of_pictures_make_more_batches():
    """IDE: 320 pictures of 160 persons, two each, count ten times to come to twenty a person."""
    free = ("training.max_batches=null", "training.persons=8", "training.pictures=4")
    assert batches_an_epoch(replace(GATE, persons=160), settings_of(*free)) == 100
    assert batches_an_epoch(GATE, settings_of(*free, "ide.persons=160")) == 100


def test_the_ideal_schedule_shrinks_by_the_rate_down_to_the_target():
    words = ("pruning.rate=0.1", "pruning.target=0.15", "pruning.after=null")
    assert settings_densities(settings_of(*words)) == pytest.approx([1.0, 1.0, 0.9, 0.85, 0.85])
    assert settings_densities(settings_of("method=fedavg")) == [1.0] * 5


def test_the_papers_schedule_saves_what_was_published():
    """Twenty rounds, 10 % a round to 50 %: 41.4 % less up by the paper's count (algorithm, 7).

    And as much by what `method=fedklpr` chose: a quarter a round to 65 %, a third of the run later.
    """
    paper = ("pruning.rate=0.1", "pruning.target=0.5", "pruning.after=null")
    for words in (paper, ()):
        densities = settings_densities(compose_settings("drawn", ("federation.rounds=20", *words)))
        assert 1 - sum(densities[1:]) / 20 == pytest.approx(0.414, abs=0.02)


def test_each_phase_of_a_client_is_its_count_times_what_was_measured():
    probed = replace(NOTHING, step=0.5, picture=0.01, clustering=1e-5, ranking=1e-3)
    (client,) = forecast_of(probed, "training.epochs=3", "training.max_batches=4").clients
    assert client.batches == 12
    assert client.seconds == pytest.approx(
        {
            "label": 3 * (320 * 0.01 + 320**2 * 1e-5),
            "train": 12 * 0.5,
            "evaluate": 2 * (50 * 0.01 + 400 * 1e-3),  # after training, and after the merge
            "other": 0.0,
        }
    )


def test_a_prune_costs_the_batch_norms_it_makes_anew():
    probed = replace(NOTHING, prune=1.0, reestimate=0.1)

    def other(*overrides):
        return forecast_of(probed, *overrides).clients[0].seconds["other"]

    assert other("pruning.batchnorm=reestimate") == pytest.approx(1.0 + 32.0)
    assert other("pruning.batchnorm=keep") == pytest.approx(1.0)
    assert other("method=fedavg") == 0.0
    assert other("pruning.batchnorm=keep", "personal.batchnorm=reestimate") == pytest.approx(33.0)


def test_a_runs_time_is_its_rounds_round_0_and_the_final_training():
    probed = replace(NOTHING, step=1.0, evaluate_message=2.0)
    short = ("training.epochs=2", "training.max_batches=5")
    forecast = forecast_of(probed, *short)
    assert forecast.round_seconds == pytest.approx(10 + 2)
    assert forecast.seconds == pytest.approx(2 + 4 * 12)
    final = forecast_of(probed, *short, "training.final_epochs=20")
    assert final.final_seconds == pytest.approx(20 * 5)
    assert final.seconds == pytest.approx(2 + 4 * 12 + 100)


def test_clients_side_by_side_take_the_time_of_the_longest():
    probed = replace(NOTHING, picture=1.0)
    loads = [replace(GATE, name=str(n), train=n, tests=((0, 0),)) for n in (10, 30, 20)]
    quick = ("training.epochs=1",)
    alone = forecast_of(probed, *quick, loads=loads, at_once=1).round_seconds
    together = forecast_of(probed, *quick, loads=loads, at_once=3).round_seconds
    assert (alone, together) == (60.0, 30.0)


def test_the_server_codes_for_everybody_and_decodes_an_update_twice():
    probed = replace(NOTHING, encode=1.0, decode=10.0)
    loads = [replace(GATE, name=str(n)) for n in range(4)]
    forecast = forecast_of(probed, "federation.fraction=0.5", loads=loads)
    assert forecast.round_seconds == pytest.approx(4 * 1 + 2 * 2 * 10)


def test_the_fewest_bytes_follow_the_density_and_a_changed_mask_costs_more():
    forecast = forecast_of(NOTHING, "pruning.rate=0.1", "pruning.target=0.1")
    assert forecast.bytes_in_round(0) == (0, 9800)  # nothing is trained in round 0
    assert forecast.bytes_in_round(1) == (7840, 9800)
    assert forecast.bytes_in_round(2) == (7448, 8820)
    assert forecast.bytes_in_round(3) == (7056, 8820)  # the mask is known by now


def test_the_most_are_a_model_that_nobody_prunes_told_whole():
    forecast = forecast_of(NOTHING, "pruning.rate=0.1", "pruning.target=0.1")
    assert forecast.bytes_in_round(3, pruned=False) == (10200, 10200)


def test_blinded_numbers_take_two_bytes_each_whatever_they_are():
    words = ("privacy=secure_aggregation", "method.pruning=always", "pruning.masks=consensus")
    forecast = forecast_of(NOTHING, *words, "pruning.rate=0.2", "pruning.target=0.2")
    layout = shared_layout(forecast._settings)
    whole = sum(spec.size for spec in layout)
    pruned = sum(round(0.2 * spec.size) for spec in layout if spec.prunable)
    assert [forecast.bytes_in_round(n)[0] for n in (0, 1)] == [0, 2 * whole]
    assert forecast.bytes_in_round(3)[0] == pytest.approx(2 * (whole - pruned), rel=1e-3)


def test_bytes_in_all_count_who_trains_up_and_everybody_down():
    loads = [replace(GATE, name=str(n)) for n in range(4)]
    forecast = forecast_of(
        NOTHING, "method=fedavg", "federation.fraction=0.5", "federation.rounds=3", loads=loads
    )
    assert forecast.bytes_in_all() == (3 * 2 * 7840, 4 * 4 * 9800)
    assert forecast.dense_bytes == 120 * (3 * 2 + 4 * 4)


def test_where_only_the_next_to_train_evaluate_the_model_goes_to_them_and_at_last_to_all():
    loads = [replace(GATE, name=str(n), tests=((0, 0),)) for n in range(4)]
    words = ("method=fedavg", "federation.fraction=0.5", "federation.rounds=3")
    probed = replace(NOTHING, encode=1.0)
    forecast = forecast_of(probed, *words, "federation.evaluate=next", loads=loads)
    assert forecast.bytes_in_all() == (3 * 2 * 7840, (3 * 2 + 4) * 9800)
    assert forecast.dense_bytes == 120 * (3 * 2 + 3 * 2 + 4)
    assert forecast.round_seconds == pytest.approx(2)
    assert forecast.seconds == pytest.approx(3 * 2 + 4)


def test_who_is_not_asked_in_every_round_is_sent_the_changes_that_it_missed():
    loads = [replace(GATE, name=str(n), tests=((0, 0),)) for n in range(4)]
    words = ("method=fedklprplus", "federation.fraction=0.5", "federation.rounds=2")
    large = replace(NOTHING, dense_bytes=10**6)
    forecast = forecast_of(large, *words, "federation.evaluate=next", loads=loads)
    (up, one), (_, last) = forecast.bytes_in_round(1), forecast.bytes_in_round(2)
    assert forecast.bytes_in_all() == (2 * 2 * up, 2 * one + 4 * round(1.5 * last))
    assert forecast._to_newest(400, 1) == pytest.approx(2)
    assert forecast._to_newest(400, 600_000) == pytest.approx(700_000)  # then the whole, at .8
    everybody = forecast_of(NOTHING, *words, loads=loads)
    assert everybody.bytes_in_all() == (2 * 2 * up, 4 * one + 4 * last)


def test_memory_is_the_probes_and_what_grows_with_the_pictures():
    probed = replace(NOTHING, clustering_mb=50.0)
    (client,) = forecast_of(probed).clients
    features = 320 * 4 * 4 / 1e6
    assert client.ram_mb == pytest.approx(700 + features + 0.32 * 50)
    assert client.pictures_mb == pytest.approx(370 * 3 * 64 * 32 / 1e6)
