"""Claims about a federation that asks who goes another way: it tells, remembers, and goes on."""

import pytest
import torch
from tiny_federation import Finished, client_name, interfering

from fedklpr_flwr.client import outgoing_update as site_update
from fedklpr_flwr.server.robust.direction_trust import Agreement, trust

pytestmark = pytest.mark.slow

ASKED = ("defence.alignment=0.3", "method.pruning=none")
WAYS = {"ash": 1, "birch": 1, "cedar": 2}
honest_encoding = site_update.encode_update


@pytest.fixture
def going_ways(monkeypatch):
    """Ash and birch go one way beside their own, as if they learnt one thing; cedar another."""
    seed = [0]

    def encode(tensors, *rest):
        random = torch.Generator().manual_seed(seed[0])
        moved = {
            name: value + 0.03 * torch.randn(value.shape, generator=random)
            for name, value in tensors.items()
            if value.dim() >= 2
        }
        return honest_encoding({**tensors, **moved}, *rest)

    def what(message, context, app):
        seed[0] = WAYS[client_name(context)]
        return app(message, context)

    monkeypatch.setattr(site_update, "encode_update", encode)
    return interfering(what)


@pytest.fixture
def defended(federate, going_ways) -> Finished:
    return federate(*ASKED, "federation.rounds=2", app=going_ways)


def test_who_goes_another_way_weighs_little_and_the_file_says_why(defended):
    for number in (1, 2):
        rows = {name: defended.row(number, name) for name in WAYS}
        assert rows["ash"].trust == rows["birch"].trust == 1
        assert rows["cedar"].trust < 0.2
        assert rows["cedar"].weight < 0.15
        assert rows["cedar"].alignment < 0.1 < rows["ash"].alignment
        said = {name: Agreement(row.alignment, number, 10**6) for name, row in rows.items()}
        assert {name: row.trust for name, row in rows.items()} == pytest.approx(trust(said, 0.3))
    known = defended.state().clients
    for name, row in rows.items():
        before = defended.row(1, name).alignment
        assert row.alignment != before
        assert known[name].agreement == Agreement(row.alignment, 2)


def test_a_resumed_federation_remembers_how_its_clients_agreed(defended, federate, going_ways):
    federate(*ASKED, "federation.rounds=1", folder="stopped", app=going_ways)
    resumed = federate(*ASKED, "federation.rounds=2", folder="stopped", app=going_ways)
    assert resumed.model == defended.model
    for name in WAYS:
        assert resumed.row(2, name).alignment == defended.row(2, name).alignment
