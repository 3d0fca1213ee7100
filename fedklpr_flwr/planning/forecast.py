"""What a run will cost: counts of pictures times what a probe measured.

    label     = epochs x (N picture + N^2 clustering)
    train     = epochs x batches x step
    evaluate  = 2 ((Q + G) picture + Q G ranking)     after local training, and after the merge
    other     = messages + a prune + batch norms re-estimated

Every training picture is taken to be in a cluster, and the schedule to prune without a pause: real
runs train on fewer batches and send more bytes.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedklpr_flwr.client.label_source import copies_of
from fedklpr_flwr.config.round_overrides import pruning_schedule
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.planning.ideal_schedule import ideal_densities
from fedklpr_flwr.planning.probe import Probed
from fedklpr_flwr.protocol.change_reference import catches_up, tells_changes
from fedklpr_flwr.protocol.secure.stages import is_secure

_WHOLE = 0.8
"""What a coded model takes of its float32 numbers."""

_SLACK = 0.02
"""How far a payload's length after many steps may lie from that after a few, beside the difference
itself: measured 0.7 % with experiment=drawn."""

REESTIMATED = 12 * 32
"""Most pictures of a batch-norm re-estimation."""


@dataclass(frozen=True)
class Load:
    """How much a client has to do.

    Attributes:
        name: the client's.
        train: training pictures.
        persons: how many persons they are labelled with; 0 = unlabelled.
        tests: (queries, gallery pictures) of each test set; one, but where a client joins sites.
    """

    name: str
    train: int
    persons: int
    tests: tuple[tuple[int, int], ...]

    @property
    def query(self) -> int:
        """Queries in all."""
        return sum(query for query, _ in self.tests)

    @property
    def gallery(self) -> int:
        """Gallery pictures in all."""
        return sum(gallery for _, gallery in self.tests)


@dataclass(frozen=True)
class ClientForecast:
    """One client's share.

    Attributes:
        load: its pictures.
        batches: training batches a round.
        seconds: of a round by phase: label, train, evaluate, other.
        ram_mb: peak resident memory, without the pictures.
        pictures_mb: its pictures as they are memory-mapped: the system may take that memory back.
    """

    load: Load
    batches: int
    seconds: dict[str, float]
    ram_mb: float
    pictures_mb: float


class Forecast:
    """A run's time, bytes and memory.

    Args:
        settings: the run's settings.
        probed: what was measured.
        loads: of every client, in the run's order.
        at_once: clients that run side by side.
    """

    def __init__(
        self, settings: Settings, probed: Probed, loads: Sequence[Load], at_once: int
    ) -> None:
        self._settings, self.probed, self._at_once = settings, probed, at_once
        self.clients = tuple(self._client(load) for load in loads)

    # ------------------------------------------------------------------ time

    @cached_property
    def round_seconds(self) -> float:
        """Wall seconds of a round with training; of any but the last."""
        return self._training_wall + self._evaluation_seconds(0) + self._decoding

    @property
    def seconds(self) -> float:
        """Wall seconds of all rounds, round 0 and the final training, without the start."""
        rounds = self._settings.federation.rounds
        evaluations = sum(self._evaluation_seconds(number) for number in range(rounds + 1))
        return evaluations + rounds * (self._training_wall + self._decoding) + self.final_seconds

    @property
    def final_seconds(self) -> float:
        """Wall seconds of the fine-tuning after the last merge; 0 where there is none."""
        epochs = self._settings.training.final_epochs or 0
        share = epochs / self._settings.training.epochs
        work = [share * (c.seconds["label"] + c.seconds["train"]) for c in self.clients]
        looked = [self._look(c.load) for c in self.clients] if epochs else []
        return wall_seconds(work, self._at_once) + wall_seconds(looked, self._at_once)

    @property
    def _trained(self) -> int:
        """Clients that train in a round."""
        chosen, count = self._settings.federation, len(self.clients)
        if chosen.fraction >= 1.0:
            return count
        return min(count, max(chosen.min_clients, round(chosen.fraction * count)))

    def _evaluated(self, number: int) -> int:
        """Clients that evaluate a round's model."""
        everybody = self._settings.federation.evaluate == "all"
        last = number >= self._settings.federation.rounds
        return len(self.clients) if everybody or last else self._trained

    @cached_property
    def _training_wall(self) -> float:
        whole = wall_seconds([self._training(one) for one in self.clients], self._at_once)
        return self._trained / len(self.clients) * whole

    @cached_property
    def _everybodys_evaluation(self) -> float:
        return wall_seconds([self._evaluation(c.load) for c in self.clients], self._at_once)

    def _evaluation_seconds(self, number: int) -> float:
        """The model is encoded for each of them."""
        share = self._evaluated(number) / len(self.clients)
        return share * self._everybodys_evaluation + self._evaluated(number) * self.probed.encode

    @property
    def _decoding(self) -> float:
        """Each update is decoded twice: checked, then merged."""
        return 2 * self._trained * self.probed.decode

    # ------------------------------------------------------------------ bytes

    def bytes_in_round(self, number: int, *, pruned: bool = True) -> tuple[int, int]:
        """One client's payload bytes (up, down) in a round in which it trains.

        Args:
            number: the round, 0..R.
            pruned: by the ideal schedule, and told as the difference after few steps: the least it
                may be; else as if nobody ever prunes, and told whole: the most.
        """
        densities = settings_densities(self._settings)
        density = densities[number] if pruned else 1.0
        known, *sizes = np.array(sorted(self.probed.sizes)).T
        down, changed, kept = (float(np.interp(density, known, size)) for size in sizes)
        if number == 0 and tells_changes(self._settings):
            return 0, 0  # the initial model goes by its name
        if number and is_secure(self._settings):
            layout = shared_layout(self._settings, number)
            numbers = sum(spec.size * (density if spec.prunable else 1) for spec in layout)
            return 2 * round(numbers), int(down)
        slack = 1 - _SLACK if pruned else 1 + _SLACK
        up = changed if pruned and number > 0 and density < densities[number - 1] else kept
        if not pruned and not tells_changes(self._settings):
            up = down
        return (int(slack * up) if number else 0), int(slack * down)

    def bytes_in_all(self, *, pruned: bool = True) -> tuple[int, int]:
        """Payload bytes (up, down) of all clients in all rounds, round 0 included."""
        rounds = range(self._settings.federation.rounds + 1)
        each = [self.bytes_in_round(number, pruned=pruned) for number in rounds]
        return (
            self._trained * sum(up for up, _ in each),
            sum(
                self._evaluated(number) * round(self._to_newest(number, down))
                for number, (_, down) in zip(rounds, each, strict=True)
            ),
        )

    def _to_newest(self, number: int, change: int) -> float:
        """Mean bytes that bring a client the model of a round: the changes of all it missed."""
        chosen, share = self._settings.federation, self._trained / len(self.clients)
        if number < 2 or chosen.evaluate == "all" or not catches_up(self._settings):
            return change
        missed = np.arange(1, number + 1)
        often = share * (1 - share) ** (missed - 1)  # each round chooses anew
        often[-1] = (1 - share) ** (number - 1)
        whole = _WHOLE * self.probed.dense_bytes
        return float(often @ np.minimum(missed * change, max(whole, change)))

    @property
    def dense_bytes(self) -> int:
        """What dense float32 would be, up and down."""
        rounds = self._settings.federation.rounds
        down = sum(self._evaluated(number) for number in range(rounds + 1))
        return self.probed.dense_bytes * (rounds * self._trained + down)

    # ------------------------------------------------------------------ one client

    def _client(self, load: Load) -> ClientForecast:
        probed, model = self.probed, self._settings.model
        epochs, batches = self._settings.training.epochs, batches_an_epoch(load, self._settings)
        label = load.train * probed.picture + load.train**2 * probed.clustering
        seconds = {
            "label": epochs * label,
            "train": epochs * batches * probed.step,
            "evaluate": 2 * self._look(load),
            "other": self._other(load),
        }
        pictures = load.train + load.query + load.gallery
        features = max(load.train, load.query + load.gallery) * probed.feature_dim * 4 / 1e6
        return ClientForecast(
            load,
            epochs * batches,
            seconds,
            probed.peak_mb + features + probed.clustering_mb * load.train / 1000,
            pictures * 3 * model.height * model.width / 1e6,
        )

    def _other(self, load: Load) -> float:
        settings, probed = self._settings, self.probed
        seconds = probed.train_message + probed.evaluate_message + self._personal(load)
        if settings.method.pruning != "none":
            seconds += probed.prune
            if settings.pruning.batchnorm == "reestimate":
                seconds += min(load.train, REESTIMATED) * probed.reestimate
        return seconds

    def _personal(self, load: Load) -> float:
        """Batch norms re-estimated on the merged model, where they are the client's own."""
        if self._settings.personal.batchnorm != "reestimate":
            return 0.0
        return min(load.train, REESTIMATED) * self.probed.reestimate

    def _look(self, load: Load) -> float:
        """Seconds to search the queries in the gallery once."""
        pairs = sum(query * gallery for query, gallery in load.tests)
        return (load.query + load.gallery) * self.probed.picture + pairs * self.probed.ranking

    def _evaluation(self, load: Load) -> float:
        return self.probed.evaluate_message + self._personal(load) + self._look(load)

    def _training(self, client: ClientForecast) -> float:
        return sum(client.seconds.values()) - self._evaluation(client.load)


def too_few_pictures(loads: Sequence[Load], settings: Settings) -> list[Load]:
    """The clients whose pictures are likely to fall into one cluster, before anything is trained.

    Where somebody's neighbours are a third of all there are, everybody is everybody's neighbour:
    sixty pictures of ten persons gave one to three clusters at k1=20 (docs/own-pictures.md).
    """
    chosen = settings.labels
    if chosen.source != "clusters":
        return []
    neighbours = chosen.k1
    if chosen.neighbours == "by_camera":
        neighbours = chosen.k1_within + chosen.k1_across
    return [load for load in loads if 0 < load.train < 3 * neighbours]


def batches_an_epoch(load: Load, settings: Settings) -> int:
    """Training batches of an epoch, with every picture in a cluster."""
    chosen = settings.training
    used = load.train * copies_of(load.train, load.persons, settings)
    count = max(1, used // (chosen.persons * chosen.pictures))
    return count if chosen.max_batches is None else min(count, chosen.max_batches)


def settings_densities(settings: Settings) -> list[float]:
    """The ideal schedule of a run: the density of its prunable weights in rounds 0..R."""
    rounds, (rate, target, first, form) = settings.federation.rounds, pruning_schedule(settings)
    if settings.method.pruning == "none":
        first = rounds + 1
    return ideal_densities(rounds, rate, target, first, form)


def wall_seconds(work: Sequence[float], at_once: int) -> float:
    """Seconds until all is done, each taken up in order by whoever is free first.

    Args:
        work: seconds of each piece.
        at_once: how many work at the same time, at least 1.

    Returns:
        0 where there is nothing to do.
    """
    free = [0.0] * at_once
    for seconds in work:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)
