"""A round in miniature: what a client's work costs on this machine, by doing a little of it.

The client's own code trains, prunes, encodes and looks, on a few pictures; everything is done once
to warm up and then timed. What grows faster than the pictures (clustering, ranking) is timed by
itself on made-up features.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.client.client import SiteClient
from fedklpr_flwr.config.settings import Privacy, Settings
from fedklpr_flwr.model.device import bring_to_device, device_of
from fedklpr_flwr.model.personal_model import reestimate_on
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.shared_model import full_masks, initial_network, shared_layout
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.planning.probe_bytes import PayloadSizes
from fedklpr_flwr.planning.probe_features import (
    MOST_CLUSTERED,
    clustering_seconds,
    made_up_features,
    ranking_seconds,
    seconds_of,
)
from fedklpr_flwr.protocol.change_reference import tells_changes
from fedklpr_flwr.protocol.task import Task, payload_name
from fedklpr_flwr.protocol.update_codec import uses_delta
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.wire.codec import decode_dense, encode

FORWARD_BATCH = 128
"""Pictures of a probe: a whole batch of the passes that label and evaluate."""

_TIMED_SECONDS = 2.0
_PHASES = ("label", "train", "prune")


@dataclass(frozen=True)
class Probed:
    """What was measured; seconds of one process beside others of its kind.

    Attributes:
        step: a training step.
        picture: a picture's forward pass, as labelling and evaluation see it.
        prune: one prune without re-estimated batch norms; 0 where nothing is pruned.
        train_message: the rest of a round's training: unpack, open, measure, encode, store.
        evaluate_message: the rest of an evaluation.
        reestimate: a picture of a batch-norm re-estimation.
        clustering: clustering, by the square of the pictures.
        ranking: ranking, by pairs of query and gallery picture.
        encode: the model into a payload.
        decode: a payload into the model.
        sizes: payload bytes by density, dense first: (density, down, up with a changed mask, up
            with the mask it had). Up is told as the difference to what came down, after as few
            steps as were timed: more steps make it longer, never longer than the model itself.
        dense_bytes: all parameters and buffers in float32.
        feature_dim: D.
        peak_mb: peak resident memory of the process after a round.
        clustering_mb: what clustering added to that, by a thousand pictures.
        gpu_mb: peak memory on the CUDA device; None without one.
        core: the share of a core that each of its threads had; 1 on a quiet machine.
        start: seconds until a new process had imported what a client needs.
    """

    step: float
    picture: float
    prune: float
    train_message: float
    evaluate_message: float
    reestimate: float
    clustering: float
    ranking: float
    encode: float
    decode: float
    sizes: tuple[tuple[float, int, int, int], ...]
    dense_bytes: int
    feature_dim: int
    peak_mb: float
    clustering_mb: float
    gpu_mb: float | None
    core: float = 1.0
    start: float = 0.0


def probe_client(
    settings: Settings,
    pixels: torch.Tensor,
    cameras: torch.Tensor,
    *,
    clustered: int,
    batches: int,
    together: Callable[[], object] = lambda: None,
) -> Probed:
    """Measure one client's work.

    Args:
        settings: the run's; its network has random weights, which take as long as trained ones.
        pixels: uint8 (N, 3, H, W), a few of a client's training pictures, N >= 2.
        cameras: int64 (N,), their cameras.
        clustered: training pictures of the largest client; so many are clustered, at most 3,000.
        batches: fewest that a client trains on in a round; never more are timed, since an update
            grows with them and shall be no longer than the shortest that will be sent.
        together: called before anything is timed; probes side by side wait there for each other.

    Returns:
        The figures. Wall seconds; the smallest of a few tries where a try is short.
    """
    with tempfile.TemporaryDirectory(prefix="fedklpr-plan-") as folder:
        chosen = _in_miniature(settings)
        round_ = _Round(chosen, _pretended_site(chosen, pixels, cameras), Path(folder))
        steps = min(batches, round_.warm_up())
        together()
        used = time.process_time()
        phases, wall = round_.train(batches=steps)
        used = time.process_time() - used
        evaluated = min(round_.evaluate() for _ in range(2))
        decoded, (sizes, encoded) = round_.decoding(), round_.sizes()
        peak = peak_mb()
    network, site = round_.network, round_.site
    bring_to_device(network, chosen.training)
    # To the host: a device answers before it has done its work.
    picture = seconds_of(lambda: features_of(network, site.train).cpu()) / len(site.train)
    reestimate = seconds_of(lambda: reestimate_on(network, site)) / len(site.train)
    features = made_up_features(min(clustered, MOST_CLUSTERED), network.feature_dim)
    clustering = clustering_seconds(features.to(device_of(network)), settings)
    return Probed(
        step=phases["train"] / steps,
        picture=picture,
        prune=max(0.0, phases["prune"] - _anew(settings) * reestimate * len(site.train)),
        train_message=wall - sum(phases.values()),
        evaluate_message=evaluated,
        reestimate=reestimate,
        clustering=clustering / max(1, len(features)) ** 2,
        ranking=ranking_seconds(network.feature_dim),
        encode=encoded,
        decode=decoded,
        sizes=sizes,
        dense_bytes=4 * sum(value.numel() for value in float_state(network).values()),
        feature_dim=network.feature_dim,
        peak_mb=peak,
        clustering_mb=(peak_mb() - peak) / max(1, len(features)) * 1000,
        gpu_mb=torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None,
        core=min(1.0, used / wall / settings.training.threads),
    )


def _anew(settings: Settings) -> bool:
    """Whether a prune re-estimates batch norms."""
    return settings.pruning.batchnorm == "reestimate" and settings.method.pruning != "none"


def peak_mb() -> float:
    """This process's peak resident memory in MB; on Linux without what its parent once held."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class _Round:
    """A client with a model just received, ready to do the same round again and again."""

    def __init__(self, settings: Settings, site: Site, folder: Path) -> None:
        self.site, self._settings, self._folder = site, settings, folder
        self.network = initial_network(settings, pretrained=False)
        self._layout = shared_layout(settings)
        self._arrays = {
            name: value.numpy()
            for name, value in float_state(self.network).items()
            if name in {spec.name for spec in self._layout}
        }
        self._trained = self._arrays
        self._masks = full_masks(self.network, settings)
        self._payload = encode(self._arrays, {}, layout=self._layout, known_masks={})
        first = max(settings.kl.from_round, settings.pruning.first_round)
        self._task = Task(
            run="probe",
            round=first,
            base_round=0,
            mask_hash=mask_hash(self._masks),
            model=payload_name(self._payload),
            full=False,
        )

    def warm_up(self) -> int:
        """Do everything once; how many batches take long enough to be timed."""
        phases, _ = self.train(batches=1)
        self.evaluate()
        chosen = self._settings.training
        # An epoch has no more batches than its pictures make.
        most = len(self.site.train) // (chosen.persons * chosen.pictures)
        return int(min(most, max(1, _TIMED_SECONDS // phases["train"])))

    def train(self, batches: int) -> tuple[dict[str, float], float]:
        """Seconds by phase, and in all, of a round of so many batches."""
        training = replace(self._settings.training, max_batches=batches)
        client = SiteClient(self.site, replace(self._settings, training=training), self._folder)
        started = time.perf_counter()
        update, said = client.train(self._task, self._payload)
        seconds = time.perf_counter() - started
        self._trained = self._after(update)
        return {name: said["seconds"].get(name, 0.0) for name in _PHASES}, seconds

    def evaluate(self) -> float:
        """Seconds of an evaluation without pictures to look at."""
        client = SiteClient(self.site, self._settings, self._folder)
        return seconds_of(lambda: client.evaluate(self._task, self._payload))

    def decoding(self) -> float:
        """Seconds to decode the model."""
        bits = {name: mask.numpy() for name, mask in self._masks.items()}
        return seconds_of(
            lambda: decode_dense(self._payload, layout=self._layout, known_masks=bits)
        )

    def sizes(self) -> tuple[tuple[tuple[float, int, int, int], ...], float]:
        """Payload bytes by density, and seconds to encode."""
        measured = PayloadSizes(
            self._settings, self._layout, self._masks, self._arrays, self._trained
        )
        return measured.by_density(float_state(self.network))

    def _after(self, update: bytes) -> dict[str, np.ndarray]:
        """The tensors of an update; what it pruned is as it was before."""
        if tells_changes(self._settings):
            return self._arrays
        delta = uses_delta(self._settings)
        arrays, masks = decode_dense(
            update,
            layout=self._layout,
            known_masks={name: mask.numpy() for name, mask in self._masks.items()},
            reference=self._arrays if delta else None,
        )
        return {
            name: np.where(masks[name], value, self._arrays[name]) if name in masks else value
            for name, value in arrays.items()
        }


def _in_miniature(settings: Settings) -> Settings:
    """One epoch with labels that are given, and a prune if the method prunes at all."""
    method = settings.method
    if method.pruning != "none":
        method = replace(method, pruning="always")
    return replace(
        settings,
        method=method,
        labels=replace(settings.labels, source="identities"),
        training=replace(settings.training, epochs=1, final_epochs=None),
        model=replace(settings.model, weights=None),
        personal=replace(settings.personal, batchnorm="received"),
        crr=replace(settings.crr, accuracy="training"),
        ide=replace(settings.ide, target=0),
        pruning=replace(settings.pruning, after=None),  # an early round shall prune
        privacy=Privacy(),  # it withholds the seconds asked for, and costs next to nothing
    )


def _pretended_site(settings: Settings, pixels: torch.Tensor, cameras: torch.Tensor) -> Site:
    """A site of these pictures, repeated to a whole batch, with a batch's pictures a person."""
    chosen = settings.training
    count = max(FORWARD_BATCH, chosen.persons * chosen.pictures)
    places = torch.arange(count) % len(pixels)
    persons = torch.arange(count) // chosen.pictures
    train = Pictures(pixels[places], persons, cameras[places])
    nothing = train.subset(torch.tensor([], dtype=torch.int64))
    return Site("probe", train, nothing, nothing)
