"""Claims about the methods of the comparison, each as a whole federation of real clients."""

import pytest
import torch
from tiny_federation import PERSONS, PLAIN_GAIN, interfering
from wiretap import PAIR, Wiretap, memory_folder, memory_of

from fedklpr_flwr.client.divergence_probe import divergence_batch
from fedklpr_flwr.config.compose import configuration_folder
from fedklpr_flwr.data.transforms import evaluation_transform
from fedklpr_flwr.model.personal_model import load_personal_model
from fedklpr_flwr.model.scoring import evaluate_personal_model
from fedklpr_flwr.model.shared_model import initial_network, shared_layout
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.wire.codec import decode_dense
from fedklpr_flwr.wire.payload import carries

pytestmark = pytest.mark.slow

METHODS = {
    "fedklpr", "fedavg", "fedprox", "fedpav", "fedcapr", "fedureid", "feducc", "feduccplus",
    "fedklprplus", "lotteryfl", "subfedavg", "local_only", "centralised",
}  # fmt: skip
# The tiny federation trains on names; FedUReID finds its own labels there as everywhere.
OWN_LABELS = {"fedureid": ("labels.source=bottom_up",)}


# ---------------------------------------------------------------------------- all of them


def test_the_methods_are_those_of_the_contract():
    files = (configuration_folder() / "method").glob("*.yaml")
    assert {path.stem for path in files} == METHODS


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_runs_stops_and_goes_on_to_the_same_end(method, federate):
    """All that a method needs lies on disk: stopped in round 2, it ends where it would have."""

    def stop(message, context, app):
        raise KeyboardInterrupt

    how = (f"method={method}", *OWN_LABELS.get(method, ()))
    whole = federate(*how, folder="whole", names=PAIR)
    with pytest.raises(KeyboardInterrupt):
        federate(*how, app=interfering(stop, round=2), names=PAIR)
    continued = federate(*how, names=PAIR)
    assert continued.model == whole.model
    assert continued.results == whole.results
    last = [row for row in whole.rows if row.round == 2 and row.client]
    assert {row.status for row in last} == {"merged"}
    assert all(row.rank1 is not None and not row.idle for row in last)


def test_fedklpr_without_pruning_and_pull_and_with_data_size_weights_is_fedavg(federate):
    # Rows tell KLAW's share also where it weighs nothing.
    bare = ("method.pruning=none", "method.drift_penalty=none", *PLAIN_GAIN)
    weights = "method.aggregation_weights=data_size"
    fedklpr = federate("method=fedklpr", *bare, weights, folder="fedklpr", names=PAIR)
    fedavg = federate("method=fedavg", folder="fedavg", names=PAIR)
    assert fedklpr.model == fedavg.model
    assert fedklpr.results == fedavg.results
    assert fedklpr.model != federate("method=fedklpr", names=PAIR).model


# ---------------------------------------------------------------------------- FedCAPR


def test_fedcapr_weighs_by_the_cosine_distance_of_training(federate, tiny_settings, tmp_path):
    tap, settings = Wiretap(), tiny_settings("method=fedcapr")
    run = federate(
        "method=fedcapr", "wire.delta=false", "federation.rounds=1", app=tap.app, names=PAIR
    )
    layout, distances = shared_layout(settings), {}
    for identity in settings.data.clients[:2]:
        site = open_site(identity, settings, tmp_path / "cache")
        images = evaluation_transform(divergence_batch(site, settings).pixels)
        before = initial_network(settings, pretrained=False).eval()
        after = initial_network(settings, pretrained=False).eval()
        sent, _ = decode_dense(tap.updates()[1, site.name], layout=layout)
        load_personal_model(after, {n: torch.from_numpy(a) for n, a in sent.items()}, {}, {})
        total = 0.0
        for image in images:
            with torch.no_grad():
                f, g = before(image[None])[0].double(), after(image[None])[0].double()
            total += 1 - float((f * g).sum() / (f.norm() * g.norm()))
        distances[site.name] = total / len(images)
    for name in PAIR:
        expected = distances[name] / sum(distances.values())
        assert run.row(1, name).weight == pytest.approx(expected, rel=1e-3), name
    assert len({run.row(1, name).weight for name in PAIR}) == 2


# ---------------------------------------------------------------------------- FedPav


def test_fedpavs_classifier_stays_at_home_and_lives_on(federate, tiny_settings):
    tap = Wiretap()
    run = federate("method=fedpav", "training.learning_rate=0.003", app=tap.app, names=PAIR)
    whole = shared_layout(tiny_settings("method=fedpav"))
    assert not any("classifier" in spec.name for spec in whole)
    assert all(carries(payload, whole) for payload in tap.updates().values())
    assert len(tap.updates()) == 4
    for name in PAIR:
        kept = memory_of(run, name, 2).personal
        assert {n: tuple(t.shape) for n, t in kept.items()} == {
            "classifier.weight": (PERSONS[name], 128),
            "classifier.bias": (PERSONS[name],),
        }
        earlier = memory_of(run, name, 1).personal
        assert not torch.equal(kept["classifier.weight"], earlier["classifier.weight"])


# ---------------------------------------------------------------------------- centralised


def test_one_client_holds_all_pictures_and_is_scored_site_by_site(
    federate, tiny_settings, tmp_path
):
    run = federate("method=centralised", names=PAIR)
    assert {row.client for row in run.rows} == {"joined", None}
    row = run.row(2, "joined")
    assert (row.clusters, row.weight) == (sum(PERSONS[name] for name in PAIR), 1.0)
    settings = tiny_settings()
    network = initial_network(settings, pretrained=False)
    tensors = {name: torch.from_numpy(a) for name, a in run.state().tensors.items()}
    load_personal_model(network, tensors, {}, {})
    sites = [open_site(one, settings, tmp_path) for one in settings.data.clients[:2]]
    scores = [evaluate_personal_model(network, site) for site in sites]
    assert row.map == pytest.approx(sum(one.map for one in scores) / 2)
    assert row.rank1 == pytest.approx(sum(one.rank1 for one in scores) / 2)


# ---------------------------------------------------------------------------- the final round


def test_the_final_fine_tuning_changes_two_figures_of_the_last_round_and_nothing_else(federate):
    final = ("training.final_epochs=2", "training.final_warmup=0", "training.final_factor=1")
    plain = federate(folder="plain", names=PAIR)
    tuned = federate(*final, folder="tuned", names=PAIR)
    assert tuned.model == plain.model
    scores = {"rank1_final", "map_final", "bytes_message_down", "bytes_message_up"}
    for one, other in zip(tuned.figures, plain.figures, strict=True):
        assert {k: v for k, v in one.items() if k not in scores} == {
            k: v for k, v in other.items() if k not in scores
        }
        last = one["round"] == 2
        assert (one["rank1_final"] is not None, one["map_final"] is not None) == (last, last)
        assert other["rank1_final"] is None
    assert "final local fine-tuning" in (tuned.folder / "report.md").read_text()
    assert (memory_folder(tuned.folder / "memory", "ash") / "final.safetensors").exists()
    assert [row.map_final for row in tuned.rows if row.client and row.round == 2] != [
        row.map for row in tuned.rows if row.client and row.round == 2
    ]


def test_a_run_with_final_fine_tuning_can_be_continued(federate):
    final = ("training.final_epochs=1", "training.final_warmup=0")
    federate(*final, "federation.rounds=1", names=PAIR)
    continued = federate(*final, names=PAIR)
    assert continued.model == federate(*final, folder="whole", names=PAIR).model
