"""Every benchmark of the field, and a user's own pictures, read by name."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fedklpr_flwr.data.benchmarks import (
    cuhk01,
    cuhk03,
    dukemtmc,
    folder,
    ilids_vid,
    market1501,
    mot,
    msmt17,
    picture_list,
    pku_reid,
    prid450s,
    prid2011,
    pytorch_folders,
    three_dpes,
    viper,
    ward,
)
from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.fedreid_layout import find_processed, read_processed
from fedklpr_flwr.data.benchmarks.own_names import note_own_names
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.data.unfinished_pictures import UNFINISHED, is_young
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.wording import counted

READERS: dict[str, Callable[[PictureTree, int], ReidDataset]] = {
    "market1501": market1501.read,
    "dukemtmc": dukemtmc.read,
    "cuhk03": cuhk03.read,
    "prid2011": prid2011.read,
    "cuhk01": cuhk01.read,
    "viper": viper.read,
    "3dpes": three_dpes.read,
    "ilids_vid": ilids_vid.read,
    "msmt17": msmt17.read,
    "ward": ward.read,
    "prid450s": prid450s.read,
    "pku_reid": pku_reid.read,
    "folder": folder.read,
    "pytorch": pytorch_folders.read,
    "csv": picture_list.read,
    "mot": mot.read,
}

CARDS: dict[str, DatasetCard] = {
    "market1501": market1501.CARD,
    "dukemtmc": dukemtmc.CARD,
    "cuhk03": cuhk03.CARD,
    "prid2011": prid2011.CARD,
    "cuhk01": cuhk01.CARD,
    "viper": viper.CARD,
    "3dpes": three_dpes.CARD,
    "ilids_vid": ilids_vid.CARD,
    "msmt17": msmt17.CARD,
    "ward": ward.CARD,
    "prid450s": prid450s.CARD,
    "pku_reid": pku_reid.CARD,
    "folder": folder.CARD,
    "pytorch": pytorch_folders.CARD,
    "csv": picture_list.CARD,
    "mot": mot.CARD,
}

LEFT_OUT = "left out:"
"""What a note says of files that `skip_unreadable` passed over."""

PASSED_OVER = "not of the set's layout and passed over"
"""What a note says of folders and files that the reader did not expect."""

IN_DOUBT = "in doubt:"
"""What a note says of what may have been meant otherwise than it is read."""

REPEATED = "rows that repeat a picture"
"""What a note says of a picture that a list has more than once."""

_DRAWN = "drawn:"
# How many of the files left out the notes name; `check_dataset` names all.
_LISTED = 20


def read_dataset(
    name: str,
    root: Path,
    *,
    seed: int = 0,
    skip_unreadable: bool = False,
    settle_seconds: float = 0.0,
) -> ReidDataset:
    """Read a data set by its name.

    Args:
        name: One of `READERS`, or "drawn:SITE" for drawn people (drawn into `root` once).
        root: The folder that holds the set as it was unpacked.
        seed: Decides splits that a set does not bring; persons of train and test are disjoint.
        skip_unreadable: Leave out files with an impossible name or place, and say so in the
            notes, rather than raise.
        settle_seconds: Of files changed within so many seconds the same is noted and nothing
            raised: who writes them may still give them another name.

    Returns:
        The data set, sorted by file name.

    Raises:
        DataError: If the name is unknown, or the root is missing, a file, empty or laid out in
            another way, or a file in it cannot be used and is not to be skipped.
    """
    if name.startswith(_DRAWN):
        # Lazily: drawing needs more than reading does.
        from fedklpr_flwr.data.synthetic import draw_site

        return draw_site(name.removeprefix(_DRAWN), root, seed=seed)
    tree = open_tree(name, root)
    dataset = read_tree(name, tree, seed)
    if young := [fault for fault in tree.problems if is_young(fault.path, settle_seconds)]:
        listed = ", ".join(fault.path.name for fault in young[:_LISTED])
        note = f"{UNFINISHED}: {counted(len(young), 'file')} left for the next round: {listed}"
        dataset = replace(dataset, notes=(*dataset.notes, note + _more(young)))
    problems = [fault for fault in tree.problems if fault not in young]
    if problems and not skip_unreadable:
        first, more = problems[0], len(problems) - 1
        raise DataError(
            f"{first.path}: {first.why}{f' (and {more} more)' if more else ''}; rename or remove "
            "it, or set data.skip_unreadable=true to go on without it"
        )
    if not (dataset.train or dataset.gallery):
        raise DataError(f"{root}: expected {CARDS[name].layout}, got no picture that can be used")
    if not problems:
        return dataset
    listed = "; ".join(f"{fault.path.name}: {fault.why}" for fault in problems[:_LISTED])
    note = f"{counted(len(problems), 'file')} {LEFT_OUT} {listed}{_more(problems)}"
    return replace(dataset, notes=(*dataset.notes, note))


def read_tree(name: str, tree: PictureTree, seed: int) -> ReidDataset:
    """Read a set from its own layout, or from that of the FedReID benchmark.

    Args:
        name: One of `READERS`.
        tree: The folder; what cannot be used is noted there.
        seed: Decides splits that a set does not bring.

    Returns:
        The data set without the files noted.

    Raises:
        DataError: If the folder is laid out in another way.
    """
    own = not CARDS[name].expected
    processed = None if own else find_processed(tree)
    if processed is not None:
        dataset = read_processed(tree, processed, name)
    else:
        dataset = READERS[name](tree, seed)
    if own:
        note_own_names(tree, dataset)
    found = (*_passed_notes(tree), *_repeats(dataset), *_link_notes(tree, dataset))
    doubts = [f"{IN_DOUBT} {doubt}" for doubt in tree.doubts]
    return replace(dataset, notes=(*dataset.notes, *found, *doubts))


def _passed_notes(tree: PictureTree) -> list[str]:
    """What the reader did not look at, in words; nothing where there is none."""
    names = ", ".join(str(path.relative_to(tree.root)) for path in tree.passed[:_LISTED])
    return [f"{PASSED_OVER}: {names}{_more(tree.passed)}"] if tree.passed else []


def _link_notes(tree: PictureTree, dataset: ReidDataset) -> list[str]:
    """Which links to nothing were left out, in words; a problem where hardly anything else is."""
    if not tree.nowhere:
        return []
    links, read = counted(len(tree.nowhere), "link"), sum(map(len, dataset.lists.values()))
    if len(tree.nowhere) > read:
        why = f"expected pictures, got {links} to nothing or to themselves beside {read} pictures"
        tree.note(tree.root, f"{why}: is what they lead to there (a disk that is not mounted)?")
    names = ", ".join(str(path.relative_to(tree.root)) for path in tree.nowhere[:_LISTED])
    return [f"{links} to nothing or to themselves {LEFT_OUT} {names}{_more(tree.nowhere)}"]


def _repeats(dataset: ReidDataset) -> list[str]:
    """How many rows of a part repeat a picture that it has, in words; nothing where none does."""
    counts = {part: Counter(one.picture for one in rows) for part, rows in dataset.lists.items()}
    return [
        f"{REPEATED} of {part}: {sum(found.values()) - len(found)}; it counts each time"
        for part, found in counts.items()
        if len(found) < sum(found.values())
    ]


def _more(things: Sequence[object]) -> str:
    return f" and {len(things) - _LISTED} more" * (len(things) > _LISTED)


def open_tree(name: str, root: Path) -> PictureTree:
    """Make sure that a set has a reader and a folder with something in it.

    Args:
        name: One of `READERS`.
        root: The folder that holds the set.

    Returns:
        The folder, ready for the reader.

    Raises:
        DataError: If the name is unknown, or the root is missing, a file, or empty.
    """
    if name not in READERS:
        known = ", ".join(READERS)
        raise DataError(f"expected a data set called {known} or drawn:SITE, got {name!r}")
    layout = CARDS[name].layout
    if not root.exists():
        raise DataError(
            f"{root}: expected {layout}, got nothing: there is no such path; set data.root"
        )
    if not root.is_dir() and name != "csv":
        raise DataError(f"{root}: expected {layout}, got a file; set data.root to the folder")
    if root.is_dir() and not any(root.iterdir()):
        raise DataError(f"{root}: expected {layout}, got an empty folder")
    return PictureTree(root)
