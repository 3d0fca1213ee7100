"""A run's curves on Weights & Biases: means, every client's, bytes, CRR decisions, configuration.

`report.wandb` is off, offline or online; online without a login becomes offline, so nothing ever
waits for a key. Whatever W&B does, the federation goes on: a fault is logged once and W&B is left
alone from then on. Pictures are never sent.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedklpr_flwr.protocol.figures import CRR_WORDS, CURVES
from fedklpr_flwr.runs.rows import Row


class WandbLog:
    """One W&B run beside one federation.

    Args:
        mode: off, offline or online.
        folder: the run folder; W&B's own files go into its folder wandb.
        config: the run's settings as plain values.
        run: the run's key: resumed, a federation goes on as the same W&B run.
    """

    def __init__(self, mode: str, folder: Path, config: Mapping[str, Any], run: str) -> None:
        self._run: Any = None
        if mode == "off":
            return
        try:
            import wandb

            (folder / "wandb").mkdir(exist_ok=True)
            self._run = wandb.init(
                project="fedklpr",
                name=folder.name,
                id=run,
                resume="allow",
                dir=str(folder),
                mode="online" if mode == "online" and wandb.login(prompt=False) else "offline",
                config=without_places(config),
                settings=wandb.Settings(
                    console="off",
                    silent=True,
                    # Who runs it, where, by which command and from which checkout is not W&B's.
                    host="withheld",
                    disable_git=True,
                    disable_code=True,
                    x_disable_meta=True,
                    x_disable_machine_info=True,
                    x_disable_stats=True,
                ),
            )
        except Exception as error:
            self._give_up(error)

    def log(self, rows: Sequence[Row]) -> None:
        """Log a round's rows; keys are `mean/KEY` and `CLIENT/KEY`, the step is the round."""
        if self._run is None:
            return
        try:
            self._run.log(curves(rows), step=rows[0].round)
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        """Finish W&B's files."""
        if self._run is None:
            return
        try:
            self._run.finish()
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        logging.getLogger("flwr").warning("W&B is left alone from now on: %s", error)


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the folders of this machine out of a run's settings."""
    kept = {key: value for key, value in config.items() if key not in ("run", "resume")}
    data = {key: of for key, of in kept.get("data", {}).items() if key not in ("root", "cache")}
    return {**kept, "data": data}


def curves(rows: Sequence[Row]) -> dict[str, float]:
    """A round's numbers by curve; what is None is left out."""
    values: dict[str, float] = {}
    for row in rows:
        name = row.client or "mean"
        for key in CURVES:
            value = getattr(row, key)
            if value is not None:
                values[f"{name}/{key}"] = float(value)
        for phase, seconds in row.seconds.items():
            values[f"{name}/seconds/{phase}"] = float(seconds)
        if row.client is not None:
            values |= {f"{name}/crr/{word}": float(row.crr == word) for word in CRR_WORDS}
    return values
