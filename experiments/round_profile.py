"""Where a round's time goes: the network's own arithmetic, pruning and its kin, and all the rest.

    python experiments/round_profile.py experiment=smoke
    python experiments/round_profile.py experiment=real_small data.root=/sets model.weights=FILE

makes the run in this process, as `fedklpr simulate` does, and prints a line for each part with its
seconds and its share of all rounds but round 0. `network` is the wall time inside the network's
forward (the frozen reference's too, and every evaluation) and in backward. `pruning` is the phases
`prune` and `measure` of run.jsonl, whole, and the masks' part of every training step: pruning,
masks, divergence and CRR. `loading` is what a training step waits for its batch.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from flwr.app import Context, Message

from fedklpr_flwr import client_app
from fedklpr_flwr.algorithm.masked_step import MaskedSteps
from fedklpr_flwr.client import epoch as local_epoch
from fedklpr_flwr.commands.simulate import simulate_prepared
from fedklpr_flwr.launch.prepare import Prepared, prepare
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.runs.rows import read_rows

NETWORK = ("forward", "backward")
PRUNING = ("prune", "measure", "masks")


class Meter:
    """Wall seconds by part, of whoever is asked first; it counts from the first training on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counting = False
        self._inside: set[str] = set()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside, unless a part of the same name is being counted."""
        if not self.counting or name in self._inside:
            yield
            return
        self._inside.add(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._inside.remove(name)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted."""

        def call(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return call

    def waited(self, name: str, batches: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
        """The same iterator, each next item counted."""

        def iterate(*arguments: Any) -> Iterator[Any]:
            items = batches(*arguments)
            while True:
                with self.part(name):
                    item = next(items, None)
                if item is None:
                    return
                yield item

        return iterate


def profile(prepared: Prepared) -> dict[str, float]:
    """Make a prepared run; seconds of all rounds but the first evaluation, by part, and `round`."""
    meter = Meter()

    def app(message: Message, context: Context) -> Message:
        meter.counting = meter.counting or message.metadata.message_type == "train"
        return client_app.app(message, context)

    masks = ("mask_gradients", "mask_weights")
    with (
        patch.object(ReidNetwork, "__call__", meter.timed("forward", torch.nn.Module.__call__)),
        patch.object(torch.autograd, "backward", meter.timed("backward", torch.autograd.backward)),
        patch.object(MaskedSteps, masks[0], meter.timed("masks", MaskedSteps.mask_gradients)),
        patch.object(MaskedSteps, masks[1], meter.timed("masks", MaskedSteps.mask_weights)),
        patch.object(local_epoch, "_batches", meter.waited("loading", local_epoch._batches)),
    ):
        simulate_prepared(prepared, app)
    rows = [row for row in read_rows(prepared.folder / "run.jsonl") if row.round > 0]
    seconds = dict.fromkeys((*NETWORK, *PRUNING, "loading", "round"), 0.0) | meter.seconds
    for row in rows:
        phases = row.seconds or {}
        if row.client is None:
            seconds["round"] += sum(phases.values())
        else:
            seconds["prune"] += phases.get("prune", 0.0)
            seconds["measure"] += phases.get("measure", 0.0)
    return seconds


def table(seconds: dict[str, float]) -> str:
    """Seconds and shares of the whole, a line each."""
    whole = seconds["round"]
    network, pruning = (sum(seconds[part] for part in parts) for parts in (NETWORK, PRUNING))
    lines = {
        **{part: seconds[part] for part in (*NETWORK, "loading", *PRUNING)},
        "network = forward + backward": network,
        "pruning = prune + measure + masks": pruning,
        "outside the network": whole - network,
        "all rounds": whole,
    }
    return "\n".join(f"{n:34} {s:9.2f} s {100 * s / whole:6.1f} %" for n, s in lines.items())


def main() -> None:
    """Make the run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="+", help="as for fedklpr simulate")
    print(table(profile(prepare(parser.parse_args().overrides))))


if __name__ == "__main__":
    main()
