"""Claims about fedklpr_flwr.client.local_round: one client's round, and what it leaves."""

import math
from dataclasses import replace

import pytest
import torch

from fedklpr_flwr.algorithm.divergence import cosine_distance, default_temperature, knowledge_gain
from fedklpr_flwr.algorithm.masks import apply_mask, full_mask, pruning_ratio
from fedklpr_flwr.algorithm.recovery import RecoveryState
from fedklpr_flwr.algorithm.smallest_weights import prune_smallest
from fedklpr_flwr.client import label_source
from fedklpr_flwr.client.divergence_probe import divergence_batch
from fedklpr_flwr.client.local_round import run_local_round
from fedklpr_flwr.client.state_store import ClientMemory, fresh_memory
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.shared_model import full_masks, initial_network
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.reid.network import float_state

BY_ACCURACY = "crr.test=threshold"


def run(settings, site, memory=None, number=1, network=None, **more):
    """A round from the initial network."""
    network = network or initial_network(settings, pretrained=False)
    memory = memory or fresh_memory(full_masks(network, settings))
    apply_mask(float_state(network), dict(memory.masks))
    return run_local_round(network, site, memory, settings, number, **more), network


def remembering(settings, history, *, pruned_at=None):
    """A memory whose accuracies by round are `history`; the last prune came at `pruned_at`."""
    accuracies = dict(history)
    recovery = RecoveryState(
        history=tuple(history),
        newest=history[-1][1],
        accuracy_before_last_prune=accuracies.get(pruned_at - 1) if pruned_at else None,
        last_prune_round=pruned_at,
        best=max(accuracies.values()),
    )
    masks = full_masks(initial_network(settings, pretrained=False), settings)
    return ClientMemory(round=history[-1][0], masks=masks, recovery=recovery)


# ---------------------------------------------------------------------------- training


def test_a_round_trains_and_reports_what_it_did(tiny_settings, tiny_site):
    settings = tiny_settings()
    result, _ = run(settings, tiny_site)
    report = result.update.report
    start = float_state(initial_network(settings, pretrained=False))
    assert any(not torch.equal(start[n], t) for n, t in result.update.tensors.items())
    assert (report.examples, report.clusters, report.outliers) == (20, 5, 0)
    assert (report.idle, report.pruned, report.crr) == (False, 0.0, "off")
    assert 0 <= report.accuracy <= 1
    assert report.loss > 0
    assert result.scores is not None
    assert {"label", "train", "measure", "prune", "evaluate"} <= report.seconds.keys()
    assert result.memory.recovery.history == ((1, report.accuracy),)


def test_two_rounds_with_one_seed_are_equal_bit_for_bit(tiny_settings, tiny_site):
    settings = tiny_settings()
    (one, _), (other, _) = run(settings, tiny_site), run(settings, tiny_site)
    for name, tensor in one.update.tensors.items():
        assert torch.equal(tensor, other.update.tensors[name]), name
    assert replace(one.update.report, seconds={}) == replace(other.update.report, seconds={})


def test_rounds_and_clients_draw_other_batches(tiny_settings, tiny_site):
    settings = tiny_settings()
    (first, _), (second, _) = run(settings, tiny_site), run(settings, tiny_site, number=2)
    neighbour = Site("other", tiny_site.train, tiny_site.query, tiny_site.gallery)
    (third, _) = run(settings, neighbour)
    name = "backbone.layer1.conv1.weight"
    tensors = [result.update.tensors[name] for result in (first, second, third)]
    assert not torch.equal(tensors[0], tensors[1])
    assert not torch.equal(tensors[0], tensors[2])


def test_a_cached_reference_costs_no_pass_of_its_own(tiny_settings, tiny_site, monkeypatch):
    passes = []

    def counted(network, pictures):
        passes.append(len(pictures))
        return features_of(network, pictures)

    monkeypatch.setattr(label_source, "features_of", counted)
    settings = tiny_settings("training.epochs=2", "kl.reference=cached", "kl.from_round=1")
    cached, _ = run(settings, tiny_site)
    assert passes == [20, 20], "one an epoch, for its clusters"
    assert cached.update.report.kl_loss > 0
    fresh, _ = run(tiny_settings("training.epochs=2", "kl.from_round=1"), tiny_site)
    assert passes == [20] * 4
    assert cached.update.report.kl_loss != fresh.update.report.kl_loss


def test_the_divergence_is_measured_between_the_received_and_the_trained_model(
    tiny_settings, tiny_site
):
    settings = tiny_settings()
    result, network = run(settings, tiny_site)
    batch = divergence_batch(tiny_site, settings)
    before = features_of(initial_network(settings, pretrained=False), batch)
    after = features_of(network, batch)
    report, tau = result.update.report, default_temperature(network.feature_dim)
    assert report.divergence == pytest.approx(knowledge_gain(after, before, tau), rel=1e-5)
    assert report.cosine_distance == pytest.approx(cosine_distance(after, before), rel=1e-5)
    assert report.divergence > 0


def test_the_divergence_batch_is_the_same_in_every_round(tiny_settings, tiny_site):
    seeded = divergence_batch(tiny_site, tiny_settings())
    assert torch.equal(seeded.pixels, divergence_batch(tiny_site, tiny_settings()).pixels)
    many = tiny_site.train.subset(torch.arange(60) % 20)
    large = Site("large", many, tiny_site.query, tiny_site.gallery)
    assert len(divergence_batch(large, tiny_settings())) == 32
    first = divergence_batch(large, tiny_settings("klaw.batch=first32"))
    assert torch.equal(first.pixels, many.pixels[:32])
    assert not torch.equal(divergence_batch(large, tiny_settings()).pixels, first.pixels)


def test_a_site_without_clusters_answers_validly_and_leaves_the_model_alone(
    tiny_settings, tiny_site
):
    settings = tiny_settings("method.pruning=recovery")
    unknown = replace(tiny_site.train, persons=torch.full_like(tiny_site.train.persons, -1))
    result, _ = run(settings, Site("blank", unknown, tiny_site.query, tiny_site.gallery))
    report = result.update.report
    assert (report.idle, report.clusters, report.outliers) == (True, 0, 20)
    assert (report.accuracy, report.divergence) == (None, pytest.approx(0, abs=1e-9))
    start = float_state(initial_network(settings, pretrained=False))
    assert all(torch.equal(start[n], t) for n, t in result.update.tensors.items())
    assert result.memory.recovery.history == ()


def test_a_site_without_any_picture_answers_validly(tiny_settings, tiny_site):
    nobody = tiny_site.train.subset(torch.tensor([], dtype=torch.int64))
    result, _ = run(tiny_settings(), Site("empty", nobody, tiny_site.query, tiny_site.gallery))
    assert (result.update.report.idle, result.update.report.examples) == (True, 0)


@pytest.mark.parametrize("penalty", ["kl", "cosine", "proximal"])
def test_a_penalty_of_weight_zero_is_no_penalty(penalty, tiny_settings, tiny_site):
    early = "kl.from_round=1"
    off = tiny_settings(f"method.drift_penalty={penalty}", "kl.weight=0", early)
    (bare, _) = run(tiny_settings("method.drift_penalty=none", early), tiny_site)
    (unpulled, _) = run(off, tiny_site)
    for name, tensor in bare.update.tensors.items():
        assert torch.equal(tensor, unpulled.update.tensors[name]), name


def test_the_pull_begins_with_its_first_round_and_holds_the_model_nearer(tiny_settings, tiny_site):
    strong = tiny_settings("kl.weight=50", "kl.from_round=2", "training.max_batches=4")
    (before, _), (from_then_on, _) = run(strong, tiny_site), run(strong, tiny_site, number=2)
    free = tiny_settings("kl.weight=0", "training.max_batches=4")
    (unpulled, _) = run(free, tiny_site, number=2)
    assert before.update.report.kl_loss == 0
    assert from_then_on.update.report.kl_loss > 0
    assert from_then_on.update.report.cosine_distance < unpulled.update.report.cosine_distance


def test_the_learning_rate_drops_when_it_is_told_to(tiny_settings, tiny_site):
    def moved(*overrides):
        settings = tiny_settings("training.lr_drop_round=2", *overrides)
        result, _ = run(settings, tiny_site, number=2)
        start = float_state(initial_network(settings, pretrained=False))
        name = "backbone.layer1.conv1.weight"
        return float((result.update.tensors[name] - start[name]).abs().max())

    dropped, kept = moved("training.lr_drop_factor=0.1"), moved("training.lr_drop_factor=1")
    assert dropped == pytest.approx(kept / 10, rel=0.2)


# ---------------------------------------------------------------------------- pruning


@pytest.mark.parametrize("when", ["before_training", "after_training", "before_last_epoch"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_what_is_pruned_is_zero_in_the_update_whenever_it_is_pruned(
    when, epochs, tiny_settings, tiny_site
):
    settings = tiny_settings(
        "method.pruning=always",
        "pruning.first_round=1",
        f"pruning.when={when}",
        f"training.epochs={epochs}",
        "training.max_batches=1",
    )
    result, _ = run(settings, tiny_site)
    update = result.update
    assert update.report.crr == "pruned"
    assert update.report.pruned == pytest.approx(0.2, abs=1e-3)
    assert pruning_ratio(update.masks) == update.report.pruned
    for name, mask in update.masks.items():
        assert (update.tensors[name][~mask] == 0).all(), name
    assert result.memory.masks == update.masks or all(
        torch.equal(result.memory.masks[n], m) for n, m in update.masks.items()
    )


def test_a_mask_that_is_there_stays_through_training(tiny_settings, tiny_site):
    settings = tiny_settings("pruning.first_round=99", "training.weight_decay=0.1")
    start = float_state(initial_network(settings, pretrained=False))
    full = full_mask(start, list(fresh(settings).masks))
    half = prune_smallest(start, full, 0.5, floor_density=0.1)
    result, _ = run(settings, tiny_site, ClientMemory(round=3, masks=half), number=4)
    for name, mask in half.items():
        assert torch.equal(result.update.masks[name], mask)
        assert (result.update.tensors[name][~mask] == 0).all()
        assert (result.update.tensors[name][mask] != 0).float().mean() > 0.99


def fresh(settings):
    return fresh_memory(full_masks(initial_network(settings, pretrained=False), settings))


@pytest.mark.parametrize(
    ("history", "pruned_at", "action"),
    [
        ([(1, 0.70), (2, 0.80)], None, "pruned"),
        ([(1, 0.80), (2, 0.80)], None, "pruned"),
        ([(1, 0.90), (2, 0.80)], None, "held_drop"),
        ([(1, 0.90), (2, 0.895)], None, "pruned"),
        ([(1, 0.30), (2, 0.40)], None, "held_level"),
        ([(2, 0.90), (3, 0.80)], 3, "held_drop"),
        ([(2, 0.90), (3, 0.60), (4, 0.80)], 3, "held_drop"),
        ([(2, 0.90), (3, 0.60), (4, 0.91)], 3, "pruned"),
    ],
)
def test_recovery_holds_the_mask_after_a_drop_until_the_accuracy_is_back(
    history, pruned_at, action, tiny_settings, tiny_site
):
    """level .5, drop .01, measured from the accuracy before the last prune."""
    settings = tiny_settings("training.max_batches=1", "crr.level=0.5", BY_ACCURACY)
    memory = remembering(settings, history, pruned_at=pruned_at)
    number = memory.round + 1
    result, _ = run(settings, tiny_site, memory, number=max(number, settings.pruning.first_round))
    assert result.update.report.crr == action
    assert (result.update.report.pruned > 0) == (action == "pruned")


@pytest.mark.slow
def test_a_prune_that_does_damage_makes_recovery_hold(tiny_settings, tiny_site):
    """Nothing is fed in: accuracy rises by training, a huge prune ruins it, and recovery waits.

    Measured: .75, .80, 1.0, then .80 after the prune.
    """
    settings = tiny_settings(
        "pruning.first_round=4",
        "pruning.rate=0.95",
        "pruning.target=0.99",
        "crr.level=0",
        "crr.accuracy=cross_camera",
        *(BY_ACCURACY, "pruning.scope=layer"),
        "training.max_batches=12",
        "training.padding=0",
        "training.erasing=0",
        "training.learning_rate=0.0005",
    )
    network = initial_network(settings, pretrained=False)
    memory, told = fresh(settings), []
    for number in range(1, 6):
        result, network = run(settings, tiny_site, memory, number, network)
        memory = result.memory
        told.append((result.update.report.crr, result.update.report.pruned))
    accuracies = dict(memory.recovery.history)
    assert [word for word, _ in told] == [*["off"] * 3, "pruned", "held_drop"], accuracies
    assert accuracies[4] < accuracies[3] - settings.crr.drop
    assert told[4][1] == told[3][1] > 0.9, "the mask shrank although the accuracy had fallen"


# Labels that no network agrees with: two pictures of one person never share one.
AT_ODDS = torch.arange(20) % 4


@pytest.mark.parametrize("test", ["paired", "sequential"])
@pytest.mark.parametrize(("was_right", "action"), [(True, "held_drop"), (False, "pruned")])
def test_recovery_on_pairs_holds_where_the_same_pictures_became_wrong(
    test, was_right, action, tiny_settings, tiny_site
):
    chosen = ("training.max_batches=1", "crr.level=0", "crr.drop=0.3", f"crr.test={test}")
    settings = tiny_settings(*chosen)
    memory = remembering(settings, [(1, 0.9), (2, 0.9)], pruned_at=2)
    # Right: every picture at its label's own corner. Wrong: no two of a label share one.
    seen = torch.eye(64)[AT_ODDS if was_right else torch.arange(20) // 4].half()
    memory = replace(memory, reference_features=seen, judged_labels=AT_ODDS)
    result, _ = run(settings, tiny_site, memory, number=3)
    report = result.update.report
    assert report.crr == action
    assert report.pairs_compared == 20
    assert (report.pairs_worse > report.pairs_better) == was_right
    assert (report.crr_statistic > 0) == was_right
    assert result.memory.recovery.evidence.holding == was_right


def test_the_first_prune_has_nothing_to_compare_with_and_leaves_what_the_next_compares_with(
    tiny_settings, tiny_site
):
    settings = tiny_settings("training.max_batches=1", "crr.level=0", "crr.test=paired")
    memory = remembering(settings, [(1, 0.9)])
    network = initial_network(settings, pretrained=False)
    before = features_of(network, tiny_site.train).half()
    first, network = run(settings, tiny_site, memory, number=2, network=network)
    assert (first.update.report.crr, first.update.report.pairs_compared) == ("pruned", 0)
    assert torch.equal(first.memory.reference_features, before)
    assert len(first.memory.judged_labels) == 20
    assert first.memory.reference_labels is None, "nobody had labels before"
    second, _ = run(settings, tiny_site, first.memory, number=3, network=network)
    assert second.update.report.pairs_compared > 0
    assert (second.update.report.crr, second.memory.recovery.evidence.held) == ("pruned", 0)
    assert torch.equal(second.memory.reference_labels, first.memory.judged_labels)


def test_other_pictures_than_those_remembered_are_not_compared(tiny_settings, tiny_site):
    settings = tiny_settings("training.max_batches=1", "crr.level=0", "crr.test=paired")
    memory = remembering(settings, [(1, 0.9), (2, 0.9)], pruned_at=2)
    memory = replace(memory, reference_features=torch.eye(19).half(), judged_labels=AT_ODDS[:19])
    result, _ = run(settings, tiny_site, memory, number=3)
    assert (result.update.report.crr, result.update.report.pairs_compared) == ("pruned", 0)


def test_with_the_threshold_nothing_is_remembered_to_compare_with(tiny_settings, tiny_site):
    settings = tiny_settings("training.max_batches=1", "crr.level=0", BY_ACCURACY)
    result, _ = run(settings, tiny_site, remembering(settings, [(1, 0.9)]), number=2)
    assert result.update.report.crr == "pruned"
    assert result.memory.reference_features is None
    assert result.memory.judged_labels is None


def test_a_round_that_is_repeated_from_the_same_memory_prunes_once(tiny_settings, tiny_site):
    settings = tiny_settings("method.pruning=always", "pruning.first_round=1")
    memory = fresh(settings)
    (first, _), (again, _) = run(settings, tiny_site, memory), run(settings, tiny_site, memory)
    assert first.update.report.pruned == again.update.report.pruned
    assert first.memory.recovery == again.memory.recovery


def test_a_rollback_gives_revived_weights_the_values_they_had(tiny_settings, tiny_site):
    settings = tiny_settings(
        *("crr.rollback=true", "crr.level=0", BY_ACCURACY),
        *("pruning.first_round=2", "training.max_batches=1"),
    )
    memory = remembering(settings, [(1, 0.90)])
    start = {
        n: t.clone() for n, t in float_state(initial_network(settings, pretrained=False)).items()
    }
    (pruned, _) = run(settings, tiny_site, memory, number=2)
    assert pruned.update.report.crr == "pruned"
    fallen = replace(
        pruned.memory,
        recovery=replace(pruned.memory.recovery, history=((1, 0.9), (2, 0.1)), newest=0.1),
    )
    result, _ = run(settings, tiny_site, fallen, number=3)
    assert result.update.report.crr == "held_drop"
    assert result.update.report.pruned == 0.0, "the last prune was not undone"
    name = "backbone.layer1.conv1.weight"
    revived = ~pruned.update.masks[name]
    learnt = (result.update.tensors[name] - start[name])[revived].abs().max()
    assert learnt < 2e-3, "revived weights did not start from their earlier values"


def test_rewinding_prunes_and_starts_again_from_the_initial_weights(tiny_settings, tiny_site):
    settings = tiny_settings(
        "method.pruning=lottery",
        "pruning.rewind=true",
        "pruning.first_round=1",
        "training.max_batches=1",
        "training.learning_rate=0",
        "training.weight_decay=0",
    )
    memory = remembering(settings, [(1, 0.9)])
    start = float_state(initial_network(settings, pretrained=False))
    network = initial_network(tiny_settings("seed=5"), pretrained=False)
    result, _ = run(settings, tiny_site, memory, 2, network, initial=start)
    assert result.update.report.crr == "pruned"
    for name, mask in result.update.masks.items():
        assert torch.equal(result.update.tensors[name], torch.where(mask, start[name], 0.0)), name


def test_personal_parts_stay_at_home(tiny_settings, tiny_site):
    settings = tiny_settings("method.personal_parts=batchnorm")
    result, network = run(settings, tiny_site)
    assert not any("bn" in name or "neck" in name for name in result.update.tensors)
    assert (
        result.memory.personal.keys() | result.update.tensors.keys() == float_state(network).keys()
    )
    assert "neck.running_mean" in result.memory.personal


def test_the_received_models_batch_norm_is_what_the_key_says(tiny_settings, tiny_site):
    def kl_loss(how):
        settings = tiny_settings(f"kl.teacher_batchnorm={how}", "kl.from_round=1")
        return run(settings, tiny_site)[0].update.report.kl_loss

    assert kl_loss("eval") != pytest.approx(kl_loss("train"), rel=0.01)


# ---------------------------------------------------------------- pruning that costs less


def test_a_cubic_schedule_takes_more_in_its_first_prune(tiny_settings, tiny_site):
    shares = {}
    for schedule in ("geometric", "cubic"):
        settings = tiny_settings(
            "method.pruning=always", "pruning.first_round=1", f"pruning.schedule={schedule}"
        )
        result, _ = run(settings, tiny_site)
        shares[schedule] = result.update.report.pruned
    prunes = math.ceil(math.log(1 - settings.pruning.target) / math.log(1 - settings.pruning.rate))
    expected = settings.pruning.target * (1 - (1 - 1 / prunes) ** 3)
    assert shares["geometric"] == pytest.approx(settings.pruning.rate, abs=1e-3)
    assert shares["cubic"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_regrowth_changes_which_weights_are_kept_and_not_how_many(tiny_settings, tiny_site):
    masks = {}
    for regrow in (0.0, 0.2):
        settings = tiny_settings(
            "method.pruning=always", "pruning.first_round=1", f"pruning.regrow={regrow}"
        )
        result, _ = run(settings, tiny_site)
        masks[regrow] = result.update.masks
        for name, mask in result.update.masks.items():
            assert not result.update.tensors[name][~mask].any(), "a pruned weight is not zero"
    for name, mask in masks[0.0].items():
        assert mask.sum() == masks[0.2][name].sum()
    assert any(not torch.equal(mask, masks[0.2][name]) for name, mask in masks[0.0].items())


def test_a_round_that_holds_regrows_nothing(tiny_settings, tiny_site):
    words = ("training.max_batches=1", "crr.level=0.5", BY_ACCURACY)
    settings = tiny_settings(*words, "pruning.regrow=0.2")
    memory = remembering(settings, [(1, 0.9), (2, 0.8)])
    masks = prune_smallest(
        float_state(initial_network(settings, pretrained=False)), memory.masks, 0.2
    )
    result, _ = run(settings, tiny_site, replace(memory, masks=masks), number=3)
    assert result.update.report.crr == "held_drop"
    assert all(torch.equal(mask, masks[name]) for name, mask in result.update.masks.items())


def test_extrusion_shrinks_the_weights_that_go_next_and_not_the_others(tiny_settings, tiny_site):
    """Recovery holds at the end of the round, so that what was marked can still be seen."""
    sizes = {}
    for extrude in (0.0, 100.0):
        settings = tiny_settings(
            "crr.level=1",
            "pruning.when=after_training",
            "training.max_batches=4",
            f"pruning.extrude={extrude}",
            "training.learning_rate=0.001",
        )
        network = initial_network(settings, pretrained=False)
        full = full_masks(network, settings)
        left = prune_smallest(float_state(network), full, settings.pruning.rate)
        result, _ = run(settings, tiny_site, number=settings.pruning.first_round)
        assert result.update.report.crr == "held_level"
        name = "backbone.layer1.conv1.weight"
        weights, going = result.update.tensors[name].abs(), ~left[name]
        sizes[extrude] = float(weights[going].mean()), float(weights[~going].mean())
    assert sizes[100.0][0] < 0.9 * sizes[0.0][0]
    assert sizes[100.0][1] > 0.9 * sizes[0.0][1]
