"""Claims about the probe: it does a client's real work, and says what that took and sent."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.planning.probe import peak_mb, probe_client
from fedklpr_flwr.reid.network import float_state

PRUNES = ("method.pruning=always", "pruning.rate=0.2", "pruning.target=0.5")


@pytest.fixture(scope="module")
def probe(tiny_site, tiny_settings):
    """`probe("kl.weight=0", ...)`: what a probe of the tiny site says."""

    @cache
    def measure(*overrides, settings=None):
        chosen = settings or tiny_settings(*overrides)
        train = tiny_site.train
        return probe_client(chosen, train.pixels, train.cameras, clustered=50, batches=2)

    return measure


@pytest.mark.slow
def test_everything_that_is_done_takes_time(probe):
    found = probe(*PRUNES)
    timed = ("step", "picture", "train_message", "evaluate_message", "ranking", "encode", "decode")
    assert all(getattr(found, name) > 0 for name in timed), found
    assert found.clustering == 0.0  # labels.source=identities clusters nothing
    assert 100 < found.peak_mb < 100_000


def test_its_bytes_are_those_that_the_first_round_sends(probe, undisturbed, tiny_settings):
    found = probe(*PRUNES)
    (density, down, changed, kept), *_ = found.sizes
    assert density == 1.0
    assert down == undisturbed.row(0, "ash").bytes_down
    assert kept == changed, "a full mask costs nothing"
    assert kept < down, "trained weights travel as a difference"
    network = initial_network(tiny_settings(), pretrained=False)
    assert found.dense_bytes == 4 * sum(value.numel() for value in float_state(network).values())


def test_a_smaller_density_is_fewer_bytes_and_a_changed_mask_is_more(probe):
    (_, dense, *_), (first, less, changed, kept), (target, least, *_) = probe(*PRUNES).sizes
    assert (first, target) == (0.8, 0.5)
    assert dense > less > least
    assert changed > kept


@pytest.mark.slow
def test_a_method_that_prunes_nothing_has_one_size_and_no_prune(probe):
    found = probe("method=fedavg")
    assert [density for density, *_ in found.sizes] == [1.0]
    assert found.prune < 0.05


def test_a_method_that_prunes_late_is_told_of_its_pruned_updates_as_well(probe):
    late = probe(*PRUNES, "pruning.after=0.5", "federation.rounds=10")
    assert late.sizes == probe(*PRUNES).sizes


@pytest.mark.slow
def test_unlabelled_sites_are_clustered_and_the_weights_file_is_not_needed(probe, tiny_settings):
    settings = tiny_settings("labels.source=clusters")
    elsewhere = replace(settings, model=replace(settings.model, weights="/nowhere.pth"))
    assert probe(settings=elsewhere).clustering > 0


def test_the_peak_is_of_memory_really_held():
    before = peak_mb()
    held = torch.ones(50_000_000)
    assert peak_mb() >= max(before, 200.0)
    del held
    assert peak_mb() >= 200.0


def test_changes_are_forecast_with_the_steps_of_every_phase(probe):
    """Of four rounds one is fine at first and one is the last; vectors are as ever."""
    pytest.importorskip("numba")
    words = ("method.pruning=none", "wire.values=change", "federation.rounds=4")

    def up(*steps):
        (_, _, size, _), *_ = probe(*words, *steps).sizes
        return size

    coarse = ("wire.step.last=1", "wire.step.first=1")
    phased = ("wire.step.last=0.25", "wire.step.first=0.5", "wire.step.first_share=0.25")
    fine = ("wire.step.last=0.25", "wire.step.first=1", "wire.step.up=0.25", "wire.step.down=0.25")
    assert up(*coarse) < up("wire.step.last=0.25") < up(*phased) < up(*fine)
