"""What a Python program calls: compose settings, simulate, read rows, load a model, search.

`from fedklpr_flwr import simulate` finds these functions; each stands for a command.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedklpr_flwr.commands.simulate import simulate_prepared
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.data.picture_file import decode_bytes, read_bytes
from fedklpr_flwr.launch.command_line import split_arguments
from fedklpr_flwr.launch.prepare import prepare
from fedklpr_flwr.runs import rows as run_rows
from fedklpr_flwr.runs.opened_model import PictureModel, open_model
from fedklpr_flwr.search.gallery import open_gallery
from fedklpr_flwr.search.nearest_people import Found, nearest_people, query_feature
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.paths import user_cache

_AT_ONCE = 256


def compose(experiment: str = "drawn", overrides: Sequence[str] = ()) -> Settings:
    """Compose and check the settings of a run.

    Args:
        experiment: a file of conf/experiment, without its suffix.
        overrides: as on the command line, such as "method=fedavg" or "federation.rounds=3".

    Returns:
        Frozen dataclasses; `settings.pruning.rate` is a number.

    Raises:
        SettingsError: a key or a value that cannot be run, in one sentence.
    """
    return compose_settings(*split_arguments([f"experiment={experiment}", *overrides]))


def simulate(experiment: str = "drawn", overrides: Sequence[str] = ()) -> Path:
    """Run a whole federation in this process, without Ray; equal to the bit to one on Flower.

    Args:
        experiment: a file of conf/experiment, without its suffix.
        overrides: as on the command line; `run.dir=FOLDER` says where the run folder is made.

    Returns:
        The absolute run folder.

    Raises:
        SettingsError: a key or a value that cannot be run, or a file that is not there.
        RunError: the run folder cannot be written, or holds a run.
    """
    prepared = prepare([f"experiment={experiment}", *overrides])
    try:
        simulate_prepared(prepared)
    finally:
        prepared.release()
    return prepared.folder


def read_rows(run: Path | str) -> list[run_rows.Row]:
    """Read what a run reported.

    Args:
        run: its folder.

    Returns:
        For every round one row per client, then one whose `client` is None: the round's own.

    Raises:
        RunError: there is no run, or its run.jsonl is damaged.
    """
    return run_rows.read_rows(Path(run) / run_files.ROWS)


def load_model(path: Path | str, client: str | None = None) -> PictureModel:
    """Load a trained model to look at pictures with.

    Args:
        path: a run folder, or a file of weights (.safetensors, .pth).
        client: of a run folder, whose own model; None is the merged one.

    Raises:
        RunError: there is nothing, or no run in the folder.
        WeightsError: the file is of none of this package's networks.
    """
    return open_model(Path(path), client)


def extract_features(model: PictureModel, pictures: Sequence[Path | str]) -> NDArray[np.float32]:
    """Extract one feature per picture.

    Args:
        model: as `load_model` gives it.
        pictures: picture files, each of one person.

    Returns:
        (N, D) float32, every row of length 1: a product of two rows is their cosine. No pictures
        give (0, D).

    Raises:
        UnreadablePicture: a file that is no picture.
    """
    size, paths = model.architecture, [Path(picture) for picture in pictures]
    found = [np.zeros((0, model.network.feature_dim), np.float32)]
    for start in range(0, len(paths), _AT_ONCE):
        pixels = [
            decode_bytes(read_bytes(path), path, height=size.height, width=size.width)
            for path in paths[start : start + _AT_ONCE]
        ]
        found.append(model.features(torch.from_numpy(np.stack(pixels))))
    return np.concatenate(found)


def search_gallery(
    model: PictureModel,
    gallery: Path | str,
    query: Path | str,
    count: int = 10,
    *,
    keep: bool = True,
) -> tuple[Found, ...]:
    """Find the people of a folder who look most like the one on a picture.

    Args:
        model: as `load_model` gives it.
        gallery: a folder: CAMERA/anything.jpg, plain pictures, or what the reader `folder` takes.
        query: a picture of one person.
        count: how many are wanted, at least 1.
        keep: keep the gallery's features in the user's cache folder for the next time.

    Returns:
        The nearest first: path, camera, person and score (a cosine, -1 to 1).

    Raises:
        DataError: there is no such folder, or no picture in it that can be read.
        UnreadablePicture: the query is no picture.
    """
    opened = open_gallery(model, Path(gallery), user_cache() if keep else None)
    return nearest_people(opened, query_feature(model, Path(query)), count)
