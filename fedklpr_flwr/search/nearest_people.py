"""The gallery pictures nearest to the person on a query picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedklpr_flwr.data.picture_file import decode_bytes, read_bytes
from fedklpr_flwr.reid.camera_features import UNKNOWN
from fedklpr_flwr.reid.nearest import closest_rows
from fedklpr_flwr.runs.opened_model import PictureModel
from fedklpr_flwr.search.gallery import Gallery


@dataclass(frozen=True)
class Found:
    """A gallery picture near to a query.

    Attributes:
        path: the picture.
        camera: who took it; empty = unknown.
        person: who is on it; empty = unknown.
        score: the cosine to the query, -1 to 1; 1 is the same picture.
    """

    path: Path
    camera: str
    person: str
    score: float


def query_feature(
    model: PictureModel, path: Path, data: bytes | None = None
) -> NDArray[np.float32]:
    """The feature of a query picture.

    Args:
        model: the one that the gallery's features are of.
        path: the picture.
        data: its bytes; None = read them from there.

    Returns:
        (D,) float32, of unit length.

    Raises:
        UnreadablePicture: it is none.
    """
    size = model.architecture
    content = read_bytes(path) if data is None else data
    pixels = decode_bytes(content, path, height=size.height, width=size.width)
    feature: NDArray[np.float32] = model.features(torch.from_numpy(pixels[None]))[0]
    return feature


def nearest_people(gallery: Gallery, feature: NDArray[np.float32], count: int) -> tuple[Found, ...]:
    """The pictures most similar to a query, the nearest first.

    Args:
        gallery: what is searched.
        feature: (D,) float32, of unit length, by the gallery's model.
        count: pictures wanted, at least 1.

    Raises:
        DataError: gallery and query are of different models.
    """
    if gallery.looks is not None:
        asked = gallery.looks.taken_out(torch.from_numpy(feature)[None], torch.tensor([UNKNOWN]))
        feature = asked[0].numpy()
    places, scores = closest_rows(gallery.features, feature, count)
    return tuple(
        Found(row.path, row.camera, row.person, float(score))
        for row, score in zip((gallery.pictures[place] for place in places), scores, strict=True)
    )
