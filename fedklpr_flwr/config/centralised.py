"""One client with the pictures of all sites: the upper end of the scale, in simulation only."""

from dataclasses import replace

from fedklpr_flwr.config.settings import Client, Settings

JOINED = "joined"
"""The reader's name, and the client's, of all sites' pictures together."""


def join_clients(settings: Settings) -> Settings:
    """The settings of a run in which one client holds the pictures of all (`data.join`).

    It trains as many batches an epoch as all sites together would. Settings that were joined
    before come back as they are.
    """
    data, training, federation = settings.data, settings.training, settings.federation
    if not data.join or data.joined or not data.clients:
        return settings
    one = (Client(name=JOINED, reader=JOINED, folder=None),)
    batches = training.max_batches
    return replace(
        settings,
        data=replace(data, clients=one, joined=data.clients),
        training=replace(training, max_batches=batches and batches * len(data.clients)),
        federation=replace(federation, min_clients=1, start_clients=None),
    )
