"""Claims about labels.source=bottom_up, and about the client's own share: what lives on."""

import pytest
import torch

from fedklpr_flwr.client.label_source import keeps_labels, label_site
from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder
from fedklpr_flwr.model.personal_model import mixed_with_own

BOTTOM_UP = ("labels.source=bottom_up", "federation.rounds=5")


def unit_rows(count):
    rows = torch.randn(count, 4, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.normalize(rows, dim=1)


def ask(settings, site, number, kept=None):
    return label_site(site, unit_rows(len(site.train)), 1, settings, round_number=number, kept=kept)


def test_round_one_has_a_label_for_every_picture(tiny_settings, tiny_site):
    found = ask(tiny_settings(*BOTTOM_UP), tiny_site, 1)
    assert (found.clusters, found.outliers) == (20, 0)
    assert found.labels.tolist() == list(range(20))


@pytest.mark.parametrize(
    ("overrides", "step"),
    [
        (("bottom_up.personalised=true",), 3),  # (20 pictures - 5 persons) / 5 rounds
        (("bottom_up.personalised=true", "ide.persons=10"), 2),
        (("bottom_up.personalised=false", "bottom_up.share=0.2"), 4),
    ],
)
def test_every_round_has_one_step_fewer_whether_step_by_step_or_at_once(
    overrides, step, tiny_settings, tiny_site
):
    settings, kept = tiny_settings(*BOTTOM_UP, *overrides), None
    for number in range(1, 5):
        found = ask(settings, tiny_site, number, kept)
        assert found.clusters == 20 - step * (number - 1)
        assert ask(settings, tiny_site, number).clusters == found.clusters
        again = ask(settings, tiny_site, number, found.labels)
        assert torch.equal(again.labels, found.labels), "a round merges once"
        kept = found.labels


def test_labels_of_another_set_of_pictures_do_not_count(tiny_settings, tiny_site):
    kept = torch.zeros(7, dtype=torch.int64)
    assert ask(tiny_settings(*BOTTOM_UP), tiny_site, 1, kept).clusters == 20


@pytest.mark.slow
def test_only_bottom_up_keeps_its_labels(tiny_settings):
    sources = ("clusters", "identities", "bottom_up")
    kept = [keeps_labels(tiny_settings(f"labels.source={source}")) for source in sources]
    assert kept == [False, False, True]


def test_labels_and_own_model_come_back_from_disk(tmp_path):
    folder = MemoryFolder(tmp_path, "run", "client")
    own, labels = {"conv": torch.tensor([1.5, -2.0])}, torch.tensor([0, 3, 3], dtype=torch.int64)
    folder.write(ClientMemory(round=2, masks={}, own=own, labels=labels), keep=1)
    back = folder.read(2)
    assert torch.equal(back.own["conv"], own["conv"])
    assert torch.equal(back.labels, labels)
    folder.write(ClientMemory(round=3, masks={}), keep=2)
    assert (folder.read(3).own, folder.read(3).labels) == ({}, None)


def test_the_own_share_is_the_weight_of_the_clients_own_model():
    received = {"a": torch.tensor([1.0, 3.0]), "new": torch.tensor([5.0])}
    own = {"a": torch.tensor([2.0, -1.0]), "gone": torch.tensor([9.0])}
    for share in (0.0, 0.25, 1.0):
        mixed = mixed_with_own(received, own, share)
        assert mixed.keys() == received.keys()
        expected = [
            share * o + (1 - share) * r for o, r in zip([2.0, -1.0], [1.0, 3.0], strict=True)
        ]
        assert mixed["a"].tolist() == pytest.approx(expected)
        assert mixed["new"].tolist() == [5.0]
    assert torch.equal(mixed_with_own(received, {}, 0.5)["a"], received["a"])
