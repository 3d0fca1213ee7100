"""Stored pictures become batches, in order for evaluation and by people for training."""

from collections.abc import Iterable, Iterator

import torch

from fedklpr_flwr.data.transforms import evaluation_transform, training_transform
from fedklpr_flwr.errors import DataError


def image_loader(
    pictures: torch.Tensor,
    batch_size: int,
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[torch.Tensor]:
    """Yield every picture once, in order, as evaluation sees it.

    Args:
        pictures: uint8 (N, 3, H, W); may be memory-mapped.
        batch_size: Pictures a batch, >= 1; the last batch holds the rest.
        memory_format: Layout of the batches.

    Yields:
        float32 (B, 3, H, W), normalised. N = 0 yields nothing.
    """
    for start in range(0, len(pictures), batch_size):
        yield evaluation_transform(
            pictures[start : start + batch_size], memory_format=memory_format
        )


def sample_batches(
    labels: torch.Tensor,
    *,
    labels_per_batch: int,
    images_per_label: int,
    batches: int | None,
    generator: torch.Generator,
    copies: int = 1,
    cameras: torch.Tensor | None = None,
) -> Iterator[torch.Tensor]:
    """Yield batches of P labels x K pictures, every label about equally often.

    A pass visits the labels in random order, P at a time; what is left over when fewer than P
    remain is dropped and a new pass begins. Of a label, K different pictures are drawn; all of
    them, then some again, where it has fewer than K.

    Args:
        labels: int64 (N,), a label (a camera proxy, for FedCAPR) per picture; -1 = not used.
        labels_per_batch: P, >= 1.
        images_per_label: K, >= 1.
        batches: How many batches; None = floor(copies * N_used / (P * K)), at least 1.
        generator: Where the random numbers come from.
        copies: How often each picture counts, >= 1 (FedCAPR's IDE): a batch may then hold a
            picture as often as that, each time with its own random view.
        cameras: int64 (N,), to draw across cameras: after the first picture of a label the others
            are by other cameras, where there are any (cluster-contrast's sampler). None = any.

    Yields:
        int64 (P * K,), indices into `labels`, the K of a label side by side. With fewer than P
        labels in all, a batch holds all of them and is smaller. No label at all yields nothing.

    Raises:
        DataError: If a count is less than 1.

    Source: FedCAPR (its identity sampler over camera proxies, 8 x 4, drop_last, restarted).
    """
    smallest = min(labels_per_batch, images_per_label, copies, 1 if batches is None else batches)
    if smallest < 1:
        raise DataError(
            "labels_per_batch, images_per_label, batches and copies must each be at least 1, got "
            f"{labels_per_batch}, {images_per_label}, {batches}, {copies}"
        )
    pools = _pictures_of_labels(labels)
    if not pools:
        return
    if batches is None:
        used = copies * sum(len(pool) for pool in pools)
        batches = max(1, used // (labels_per_batch * images_per_label))
    for chosen in _label_groups(len(pools), labels_per_batch, batches, generator):
        entries = (pools[label].repeat(copies) for label in chosen)
        if cameras is None:
            yield torch.cat([_draw(pool, images_per_label, generator) for pool in entries])
        else:
            drawn = [_draw_across(pool, images_per_label, cameras, generator) for pool in entries]
            yield torch.cat(drawn)


def labelled_loader(
    pictures: torch.Tensor,
    batches: Iterable[torch.Tensor],
    generator: torch.Generator,
    *,
    flip: float = 0.5,
    padding: int = 10,
    erasing: float = 0.5,
    erased: str = "torchvision",
    jitter: float = 0.0,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the pictures of each batch of indices as training sees them.

    Args:
        pictures: uint8 (N, 3, H, W); may be memory-mapped.
        batches: int64 (B,) each, indices into `pictures`; `sample_batches` makes them.
        generator: Where the views' random numbers come from. It may be the sampler's own: batches
            are drawn and viewed in turn.
        flip: See `training_transform`, as the rest.
        padding: Black pixels on each side before the crop.
        erasing: Probability that a rectangle is erased.
        erased: Its share and colour.
        jitter: Largest relative change of colour.
        memory_format: Layout of the pictures.

    Yields:
        float32 (B, 3, H, W) and the int64 (B,) indices it was made from.
    """
    stored = pictures.numpy()
    for indices in batches:
        yield (
            training_transform(
                # numpy's take, for the reason that transforms.py gives
                torch.from_numpy(stored.take(indices.numpy(), axis=0)),
                generator,
                flip=flip,
                padding=padding,
                erasing=erasing,
                erased=erased,
                jitter=jitter,
                memory_format=memory_format,
            ),
            indices,
        )


def _pictures_of_labels(labels: torch.Tensor) -> list[torch.Tensor]:
    """Group picture indices by label, in ascending order of label; -1 is left out."""
    order = torch.argsort(labels, stable=True)
    order = order[labels[order] >= 0]
    counts = torch.unique_consecutive(labels[order], return_counts=True)[1]
    return list(torch.tensor_split(order, counts.cumsum(0)[:-1])) if len(order) else []


def _label_groups(
    labels: int, labels_per_batch: int, batches: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Yield `batches` groups of labels from passes in random order."""
    waiting: list[int] = []
    size = min(labels, labels_per_batch)
    for _ in range(batches):
        if len(waiting) < size:
            waiting = torch.randperm(labels, generator=generator).tolist()
        yield waiting[:size]
        waiting = waiting[size:]


def _draw(pool: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw `count` entries of a pool, repeating none before all have been drawn."""
    rounds = -(-count // len(pool))
    shuffles = [torch.randperm(len(pool), generator=generator) for _ in range(rounds)]
    return pool[torch.cat(shuffles)[:count]]


def _draw_across(
    pool: torch.Tensor, count: int, cameras: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Draw one entry of a pool, and the others from other cameras, where there are any."""
    ordered = _draw(pool, len(pool), generator)
    elsewhere = ordered[cameras[ordered] != cameras[ordered[0]]]
    if not len(elsewhere):
        return _draw(pool, count, generator)
    return torch.cat([ordered[:1], _draw(elsewhere, count, generator)[: count - 1]])
