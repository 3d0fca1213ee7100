"""What a client remembers of its pictures: the split it works with, and whether they have changed.

    <memory>/pictures.json  a stamp of names, sizes and change times, a hash of what they show, and
                            a mark of each picture that is trained on
    <memory>/split.json     who trains, who is searched for and where, if the set brings no split
                            (split-SITE.json for each site of a client that joins several)

Both lie in the client's own memory, never in the server's run folder: file names and person numbers
do not leave a site.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedklpr_flwr.data.person_image import PersonImage
from fedklpr_flwr.data.picture_cache import pictures_fingerprint
from fedklpr_flwr.model.site import Site, Source
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.system.plain_text import parse_json

_FORMAT = 1


def note_pictures(folder: Path, site: Site, round_number: int) -> bool:
    """Remember a site's pictures, and tell whether they are others than before.

    What they show is hashed the first time and when a name, a size or a change time differs; a
    folder that was only copied has not changed. Splits are written down at the same times.

    Args:
        folder: the client's memory.
        site: its pictures as they were opened; one made in memory has none to remember.
        round_number: the round that is asked for.

    Returns:
        True where the change was noticed in this round, however often the round is tried.
    """
    opened = {part.name: part.source for part in site.parts or (site,)}
    sources = {name: source for name, source in opened.items() if source is not None}
    if not sources:
        return False
    path, before = folder / "pictures.json", _read(folder / "pictures.json")
    stamps = {name: source.stamp for name, source in sources.items()}
    if before.get("stamps") != stamps:
        shown = {name: _fingerprint(source) for name, source in sources.items()}
        changed = before.get("shown", shown) != shown
        for name, source in sources.items():
            _write_split(folder / (f"split-{name}.json" if site.parts else "split.json"), source)
        before = {
            "format": _FORMAT,
            "stamps": stamps,
            "shown": shown,
            "trained": sorted(_marks(site)),
            "changed_in": round_number if changed else before.get("changed_in"),
        }
        write_atomically(path, json.dumps(before, indent=1).encode())
    return before.get("changed_in") == round_number


def pictures_since(earlier: Path, site: Site) -> tuple[int, int] | None:
    """Count a site's training pictures against those of a run before, by file name and size.

    Args:
        earlier: the client's memory of that run.
        site: its pictures now.

    Returns:
        How many are new, and how many of that run's are gone; None where that memory does not tell.
    """
    before = _read(earlier / "pictures.json").get("trained")
    if not isinstance(before, list):
        return None
    now, known = set(_marks(site)), {mark for mark in before if isinstance(mark, str)}
    return len(now - known), len(known - now)


def _marks(site: Site) -> Iterator[str]:
    """A short hash of each training picture's name and size."""
    for part in site.parts or (site,):
        if part.source is None:
            continue
        for image in part.source.dataset.train:
            name = _name(image, part.source.root)
            told = f"{part.name}/{name}:{_size(image.path)}:{image.box}"
            yield hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _size(path: Path) -> int:
    """A file's bytes; -1 where it is gone since it was opened."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _read(path: Path) -> dict[str, Any]:
    """The record, or nothing where there is none that can be read: it is then begun anew."""
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(record, dict) and record.get("format") == _FORMAT
    return record if known else {}


def _fingerprint(source: Source) -> dict[str, str]:
    """What each part of the set shows."""
    return {part: pictures_fingerprint(images) for part, images in source.dataset.lists.items()}


def _write_split(path: Path, source: Source) -> None:
    """Write down a split that was made from a seed."""
    dataset = source.dataset
    if dataset.split_seed is None:
        return
    lists = {
        part: [[_name(image, source.root), image.person_id, image.camera_id] for image in images]
        for part, images in dataset.lists.items()
    }
    content = {"format": _FORMAT, "set": dataset.name, "seed": dataset.split_seed, **lists}
    write_atomically(path, json.dumps(content).encode("utf-8", "surrogatepass"))


def _name(image: PersonImage, root: Path) -> str:
    """A picture's path below the set's folder."""
    inside = image.path.is_relative_to(root)
    return str(image.path.relative_to(root) if inside else image.path)
