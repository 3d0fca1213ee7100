"""Claims about pruning.masks=consensus over a whole federation: one mask, and none of it sent."""

import pytest
import torch
from tiny_federation import (
    ALONE,
    NAMES,
    PAIR,
    PRUNES,
    fails,
    forget,
    interfering,
    pruned_share,
)

from fedklpr_flwr.algorithm.pruning_rate import density_after
from fedklpr_flwr.model.mask_file import MaskFile
from fedklpr_flwr.runs.trained_models import open_run

pytestmark = pytest.mark.slow

SHARED = (*PRUNES, "pruning.masks=consensus")
DENSITIES = [density_after(number, 0.2, 0.5, 1) for number in range(5)]


def masks_on_disk(run, client):
    return dict(MaskFile(run.folder / "clients" / client / "mask.safetensors"))


def assert_cut(run, masks):
    """The merged model is zero wherever the mask says so, and hardly anywhere else."""
    tensors = run.state().tensors
    for name, mask in masks.items():
        outside = tensors[name][~mask.numpy()]
        assert not outside.any(), name


def test_all_clients_hold_one_mask_of_the_schedules_density(federate):
    run = federate(*SHARED)
    first = masks_on_disk(run, "ash")
    for client in NAMES:
        assert all(torch.equal(m, first[n]) for n, m in masks_on_disk(run, client).items())
        assert pruned_share(run, client) == pytest.approx(1 - DENSITIES[2], abs=0.01)
    assert_cut(run, first)
    rows = [run.row(2, client) for client in NAMES]
    assert [row.crr for row in rows] == ["pruned"] * 3
    assert [row.praw for row in rows] == pytest.approx([1 / 3] * 3)


def test_no_mask_travels(federate):
    shared = federate(*SHARED, names=PAIR, folder="shared")
    own = federate(*PRUNES, names=PAIR, folder="own")
    bits = sum(mask.numel() for mask in masks_on_disk(shared, "ash").values()) / 8
    for client in PAIR:
        spared = own.row(1, client).bytes_up - shared.row(1, client).bytes_up
        assert spared > 0.3 * bits


def test_a_client_that_failed_a_round_follows_the_others_and_keeps_its_history(federate):
    app = interfering(fails, client="birch", round=1, phase="train")
    run = federate(*SHARED, ALONE, "federation.rounds=3", names=PAIR, app=app)
    assert [run.row(n, "birch").status for n in (1, 2, 3)] == ["failed", "merged", "merged"]
    assert run.row(1, "birch").rank1 is not None, "it was not evaluated while it lagged behind"
    ash, birch = masks_on_disk(run, "ash"), masks_on_disk(run, "birch")
    assert all(torch.equal(mask, birch[name]) for name, mask in ash.items())


def test_a_fraction_of_the_clients_is_enough(federate):
    half = ("federation.fraction=0.34", ALONE, "federation.rounds=4")
    run = federate(*SHARED, *half)
    trained = [sum(run.row(n, c).status == "merged" for c in NAMES) for n in (1, 2, 3, 4)]
    assert trained == [1, 1, 1, 1]
    assert run.row(4, None).pruned <= 1 - DENSITIES[4] + 1e-3
    for number in range(1, 5):
        assert not run.row(number, None).failed


@pytest.mark.parametrize(("number", "phase"), [(1, "evaluate"), (2, "train")])
def test_a_client_that_lost_its_memory_is_sent_the_mask(federate, number, phase):
    app = interfering(forget, client="birch", round=number, phase=phase, times=1)
    run = federate(*SHARED, names=PAIR, app=app)
    undisturbed = federate(*SHARED, names=PAIR, folder="undisturbed")
    assert run.row(2, "birch").status == "merged"
    assert pruned_share(run, "birch") == pruned_share(undisturbed, "birch")


def test_a_resumed_federation_is_equal_to_the_bit(federate):
    whole = federate(*SHARED, names=PAIR, folder="whole")
    federate(*SHARED, "federation.rounds=1", names=PAIR, folder="stopped")
    resumed = federate(*SHARED, names=PAIR, folder="stopped")
    assert resumed.model == whole.model
    assert resumed.figures == whole.figures


@pytest.mark.parametrize("scope", ["layer", "network"])
@pytest.mark.parametrize("form", ["bfloat16", "float16", "change"])
def test_a_lossy_wire_leads_both_sides_to_the_same_mask(federate, form, scope):
    words = (*SHARED, f"wire.values={form}", f"pruning.scope={scope}", "federation.rounds=3")
    run = federate(*words, names=PAIR)
    assert [run.row(n, "birch").status for n in (1, 2, 3)] == ["merged"] * 3


def test_changes_are_told_of_what_is_kept_alone(federate):
    run = federate(*SHARED, "wire.values=change", "federation.rounds=3", names=PAIR)
    masks = masks_on_disk(run, "ash")
    assert_cut(run, masks)
    state = run.state()
    for name, mask in masks.items():
        outside = ~mask.numpy()
        assert not state.sent[name][outside].any(), "what went down holds what nobody keeps"
    whole = federate(
        "wire.values=change",
        *(word for word in PRUNES if "pruning=" not in word),
        "method.pruning=none",
        "federation.rounds=3",
        names=PAIR,
        folder="whole",
    )
    for number in (2, 3):
        share = run.row(number, None).bytes_up / whole.row(number, None).bytes_up
        assert share < 0.5 * (1 + DENSITIES[number])
        assert not run.row(number, None).failed


def test_changes_through_one_mask_go_on_to_the_bit_and_reach_who_lost_its_memory(federate):
    # Steps alike in the last round: the run that is stopped early has another last one.
    words = (*SHARED, "wire.values=change", "wire.step.last=1", "federation.rounds=3")
    whole = federate(*words, names=PAIR, folder="whole")
    federate(*words[:-1], "federation.rounds=1", names=PAIR, folder="stopped")
    resumed = federate(*words, names=PAIR, folder="stopped")
    assert resumed.model == whole.model
    app = interfering(forget, client="birch", round=2, phase="train", times=1)
    lost = federate(*words, names=PAIR, app=app, folder="lost")
    assert [lost.row(n, "birch").status for n in (1, 2, 3)] == ["merged"] * 3
    assert pruned_share(lost, "birch") == pruned_share(whole, "birch")


def test_the_finished_run_opens_with_that_mask_also_for_a_client_that_lagged(federate):
    app = interfering(fails, client="birch", round=2, phase="train")
    run = federate(*SHARED, ALONE, names=PAIR, app=app)
    trained = open_run(run.folder)
    assert_cut(run, trained.held_masks())
    held = trained.held_masks()
    assert all(torch.equal(mask, held[name]) for name, mask in masks_on_disk(run, "ash").items())
    assert trained.masks("birch").keys() == held.keys()
