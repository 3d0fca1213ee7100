"""Claims about methods with a past: FedUCC's stages and FedUReID's merges, as whole federations."""

import numpy as np
import pytest
import torch
from tiny_federation import PERSONS, interfering
from torch import nn
from wiretap import PAIR, TRIO, Wiretap, forget, memory_of

from fedklpr_flwr.model.personal_model import load_personal_model
from fedklpr_flwr.model.scoring import evaluate_personal_model
from fedklpr_flwr.model.shared_model import initial_network, shared_layout
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.wire.codec import decode_dense
from fedklpr_flwr.wire.payload import carries

pytestmark = pytest.mark.slow

THREE = "federation.rounds=3"
# Round 1 is generic, from round 2 on batch norm stays at home, in round 3 patches come in.
FEDUCC = ("method=feducc", THREE, "stages.personal_after=0.34", "stages.loss_after=0.67")
FEDUREID = ("method=fedureid", THREE, "labels.source=bottom_up")


# ---------------------------------------------------------------------------- FedUCC


def batchnorm_names(network):
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    norms = {name for name, module in network.named_modules() if isinstance(module, kinds)}
    return {name for name in float_state(network) if name.rpartition(".")[0] in norms}


@pytest.fixture(scope="module")
def settings(tiny_settings):
    return tiny_settings(*FEDUCC)


@pytest.fixture(scope="module")
def norms(settings):
    return batchnorm_names(initial_network(settings, pretrained=False))


@pytest.fixture(scope="module")
def tapped(federate_in, tmp_path_factory):
    """A whole run of FedUCC, and all that went over its wire."""
    tap = Wiretap()
    folder = tmp_path_factory.mktemp("feducc") / "run"
    return federate_in(folder, *FEDUCC, "wire.delta=false", app=tap.app, names=PAIR), tap


def test_batch_norm_never_leaves_a_client_once_it_is_specialised(tapped, settings, norms):
    _, tap = tapped
    whole = shared_layout(settings)
    rest = tuple(spec for spec in whole if spec.name not in norms)
    assert len(norms) > 20
    assert len(tap.updates()) == 6
    for (number, _), payload in tap.updates().items():
        expected, other = (whole, rest) if number == 1 else (rest, whole)
        assert carries(payload, expected)
        assert not carries(payload, other)
        arrays, _ = decode_dense(payload, layout=expected)
        assert bool(arrays.keys() & norms) == (number == 1)
    sizes = [len(tap.updates()[number, "ash"]) for number in (1, 2)]
    numbers = sum(spec.size for spec in whole if spec.name in norms)
    assert sizes[0] - sizes[1] > numbers, "the bytes of batch norm still go up"


def test_each_client_ends_with_batch_norm_of_its_own(tapped, norms):
    run, _ = tapped
    ash, birch = (memory_of(run, name, 3).personal for name in PAIR)
    assert ash.keys() == birch.keys() == norms
    assert not any(torch.equal(ash[name], birch[name]) for name in norms if "running" in name)


def test_the_server_keeps_the_last_batch_norm_that_everybody_shared(tapped, norms, federate):
    run, _ = tapped
    no_more = ("stages.personal_after=1", "stages.loss_after=1", "wire.delta=false")
    one = federate("method=feducc", *no_more, "federation.rounds=1", names=PAIR)
    shared, last = one.state().tensors, run.state().tensors
    assert all(np.array_equal(shared[name], last[name]) for name in norms)
    assert not any(np.array_equal(shared[name], last[name]) for name in last if "conv" in name)


def test_who_missed_the_first_specialised_round_is_sent_the_shared_batch_norm(federate, settings):
    def fails(message, context, app):
        raise RuntimeError("no power")

    tap = Wiretap(interfering(fails, client="cedar", round=2))
    run = federate(*FEDUCC, app=tap.app, names=TRIO)
    whole, rest = shared_layout(settings), shared_layout(settings, 2)
    assert carries(tap.down["evaluate", 2, "ash"], rest)
    assert carries(tap.down["evaluate", 2, "cedar"], whole)
    assert carries(tap.down["evaluate", 3, "cedar"], rest)
    assert (run.row(2, "cedar").status, run.row(3, "cedar").status) == ("failed", "merged")


def test_a_specialised_client_that_lost_its_memory_starts_from_the_shared_batch_norm(
    federate, norms
):
    app = interfering(forget, client="birch", round=3, times=1)
    run = federate(*FEDUCC, app=app, names=PAIR)
    assert run.row(3, "birch").status == "merged"
    assert memory_of(run, "birch", 3).personal.keys() == norms


# ---------------------------------------------------------------------------- FedUReID


@pytest.fixture(scope="module")
def fedureid(federate_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fedureid") / "run"
    return federate_in(folder, *FEDUREID, names=PAIR)


def test_fedureid_starts_from_single_pictures_and_merges_one_step_a_round(fedureid):
    for name in PAIR:
        persons = PERSONS[name]
        pictures = 4 * persons
        step = (pictures - persons) // 3
        found = [fedureid.row(number, name).clusters for number in (1, 2, 3)]
        assert found == [pictures, pictures - step, pictures - 2 * step]
        assert fedureid.row(3, name).outliers == 0


def test_fedureids_client_is_half_its_own_model_and_half_the_merged_one(
    fedureid, tiny_settings, tmp_path
):
    settings = tiny_settings(*FEDUREID)
    merged, identity = fedureid.state().tensors, settings.data.clients[0]
    own = memory_of(fedureid, identity.name, 3).own
    assert own.keys() == merged.keys()
    half = {name: (own[name] + torch.from_numpy(merged[name])) / 2 for name in own}
    network = initial_network(settings, pretrained=False)
    load_personal_model(network, half, {}, {})
    scores = evaluate_personal_model(network, open_site(identity, settings, tmp_path))
    assert fedureid.row(3, identity.name).map == pytest.approx(scores.map, abs=1e-6)
    load_personal_model(network, {n: torch.from_numpy(a) for n, a in merged.items()}, {}, {})
    plain = evaluate_personal_model(network, open_site(identity, settings, tmp_path))
    assert plain.map != pytest.approx(scores.map, abs=1e-6), "this test could not fail"


def test_a_client_that_lost_its_labels_makes_all_the_merges_that_are_due(federate, fedureid):
    app = interfering(forget, client="birch", round=3, times=1)
    run = federate(*FEDUREID, app=app, names=PAIR)
    assert run.row(3, "birch").clusters == fedureid.row(3, "birch").clusters


def test_training_ends_early_once_the_precision_is_reached(federate):
    """Nothing is more than right: with precision 0 one epoch is enough from round 2 on."""
    many = ("training.epochs=4", "early_stop.precision=0.0", "early_stop.from_round=2")
    easy = ("method=fedureid", "labels.source=identities", *many)
    early = federate(*easy, folder="early", names=PAIR)
    one = federate(*easy, "early_stop.precision=null", folder="full", names=PAIR)
    assert early.row(1, "ash").loss == one.row(1, "ash").loss
    assert early.row(2, "ash").loss != one.row(2, "ash").loss
