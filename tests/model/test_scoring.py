"""Claims about fedklpr_flwr.model.scoring: how well a site's queries are found."""

import torch

from fedklpr_flwr.model.scoring import evaluate_personal_model
from fedklpr_flwr.model.shared_model import (
    initial_network,
)
from fedklpr_flwr.model.site import Site


def test_a_site_without_queries_or_gallery_has_no_scores(tiny_settings, tiny_site):
    network = initial_network(tiny_settings(), pretrained=False)
    nothing = tiny_site.query.subset(torch.tensor([], dtype=torch.int64))
    for site in (
        Site("x", tiny_site.train, nothing, tiny_site.gallery),
        Site("x", tiny_site.train, tiny_site.query, nothing),
    ):
        assert evaluate_personal_model(network, site) is None
    assert 0 <= evaluate_personal_model(network, tiny_site).rank1 <= 1
