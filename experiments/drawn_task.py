"""Is the drawn task a real one? A colour histogram, an untrained network, a labelled one.

    python experiments/drawn_task.py --seeds 0 1 2

prints mean Rank-1 over the eight drawn sites, a line a seed: nearest neighbour by colour histogram
(no learning), the untrained network, and `centralised`: one network trained for ten epochs on all
sites' pictures together, with labels. About two minutes a seed on one core.
"""

import argparse
from dataclasses import replace

import torch

from fedklpr_flwr.client.local_round import run_local_round
from fedklpr_flwr.client.state_store import fresh_memory
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.scoring import evaluate_personal_model
from fedklpr_flwr.model.shared_model import full_masks, initial_network
from fedklpr_flwr.model.site import Pictures, Site, open_site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.ranking import score_ranking
from fedklpr_flwr.system.paths import user_cache

_BINS = 8


def colour_histogram(pictures: Pictures) -> torch.Tensor:
    """Unit rows (N, 512): the square root of each picture's joint RGB histogram, 8 bins a channel.

    The dot product of two rows is the Bhattacharyya coefficient of the histograms.
    """
    bins = (pictures.pixels.long() * _BINS) // 256
    codes = (bins[:, 0] * _BINS + bins[:, 1]) * _BINS + bins[:, 2]
    rows = [torch.bincount(code.ravel(), minlength=_BINS**3) for code in codes]
    counts = torch.stack(rows).float()
    return (counts / counts.sum(1, keepdim=True)).sqrt()


def histogram_rank1(site: Site) -> float:
    """Rank-1 of the colour histogram at one site."""
    scores = score_ranking(
        colour_histogram(site.query),
        site.query.persons,
        site.query.cameras,
        colour_histogram(site.gallery),
        site.gallery.persons,
        site.gallery.cameras,
    )
    return scores.rank1 if scores else float("nan")


def joined(sites: list[Site]) -> Site:
    """All sites' training pictures as one site; persons and cameras are kept apart by offsets."""
    trains = [site.train for site in sites]
    empty = Pictures(trains[0].pixels[:0], trains[0].persons[:0], trains[0].cameras[:0])
    train = Pictures(
        torch.cat([train.pixels for train in trains]),
        torch.cat([train.persons + 10_000 * number for number, train in enumerate(trains)]),
        torch.cat([train.cameras + 100 * number for number, train in enumerate(trains)]),
    )
    return Site("centralised", train, empty, empty)


def mean_rank1(network: ReidNetwork, sites: list[Site]) -> float:
    """Mean Rank-1 over the sites."""
    found = [evaluate_personal_model(network, site) for site in sites]
    return sum(scores.rank1 for scores in found if scores) / len(sites)


def centralised(settings: Settings, sites: list[Site]) -> ReidNetwork:
    """The network after ten labelled epochs on everything."""
    network = initial_network(settings, pretrained=False)
    memory = fresh_memory(full_masks(network, settings))
    run_local_round(network, joined(sites), memory, settings, 1)
    return network


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| seed | histogram | untrained | centralised |\n|---|---|---|---|")
    for seed in arguments.seeds:
        overrides = (f"seed={seed}", "labels.source=identities", "training.epochs=10")
        settings = compose_settings(
            "drawn", (*overrides, "training.max_batches=null", "ide.target=0")
        )
        settings = replace(settings, method=replace(settings.method, pruning="none"))
        sites = [open_site(client, settings, user_cache()) for client in settings.data.clients]
        histogram = sum(map(histogram_rank1, sites)) / len(sites)
        untrained = mean_rank1(initial_network(settings, pretrained=False), sites)
        trained = mean_rank1(centralised(settings, sites), sites)
        print(f"| {seed} | {histogram:.3f} | {untrained:.3f} | {trained:.3f} |", flush=True)


if __name__ == "__main__":
    main()
