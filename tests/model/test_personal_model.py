"""Claims about fedklpr_flwr.model.personal_model: a client's own model of what it received."""

import torch

from fedklpr_flwr.model.personal_model import load_personal_model, make_personal
from fedklpr_flwr.model.scoring import evaluate_personal_model, features_of
from fedklpr_flwr.model.shared_model import (
    full_masks,
    initial_network,
)
from fedklpr_flwr.reid.network import float_state


def test_a_personal_model_is_the_received_one_behind_the_mask_with_its_own_parts(tiny_settings):
    network = initial_network(tiny_settings(), pretrained=False)
    masks = full_masks(network, tiny_settings())
    name = next(iter(masks))
    masks[name] = torch.zeros_like(masks[name])
    received = {n: torch.full_like(t, 2.0) for n, t in float_state(network).items()}
    own = {"neck.weight": torch.full((network.feature_dim,), 7.0)}
    load_personal_model(network, received, masks, own)
    state = float_state(network)
    assert (state[name] == 0).all()
    assert (state["neck.weight"] == 7).all()
    rest = [n for n in state if n not in (name, "neck.weight")]
    assert all((state[n] == 2).all() for n in rest)


def test_only_batch_norm_is_re_estimated_where_asked_and_nothing_else_changes(
    tiny_settings, tiny_site
):
    network = initial_network(tiny_settings(), pretrained=False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evaluate_personal_model(network, tiny_site)
    features_of(network, tiny_site.train)
    make_personal(network, tiny_site, tiny_settings("personal.batchnorm=received").personal, 1)
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    reestimate = tiny_settings("personal.batchnorm=reestimate").personal
    make_personal(network, tiny_site, reestimate, 0)
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    make_personal(network, tiny_site, reestimate, 1)
    moved = {n for n, value in float_state(network).items() if not torch.equal(value, before[n])}
    assert moved
    assert all("running" in name for name in moved)
