"""A data set's folder, listed the same way on every machine, with all that is wrong in it noted."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedklpr_flwr.errors import DataError

PICTURE_SUFFIXES = frozenset(
    {
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)
UNREAD_SUFFIXES = frozenset(
    (
        *(".avif", ".heic", ".heif", ".jp2", ".jxl", ".svg", ".ico", ".raw"),
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
    )
)
"""Pictures that are not read, and must not be missing in silence."""

_SYSTEMS_OWN = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found")
)
"""Folders that archives, network drives and systems leave beside people's own."""


@dataclass(frozen=True, slots=True)
class PictureProblem:
    """A file that cannot be used as it is.

    Attributes:
        path: The file.
        why: What was expected, and what came.
    """

    path: Path
    why: str


@dataclass(frozen=True)
class PictureTree:
    """The folder a user points at, and the files in it that a reader could not use.

    A reader lists pictures through it and goes on past what it cannot use; who called the reader
    decides whether a problem is an error.

    Attributes:
        root: The folder (for the csv reader, it may be the file).
        problems: What was left out so far, in the order in which it was met.
        passed: Folders and files that are not of the set's layout and were not looked into.
        nowhere: Links to nothing or to themselves, in folders; they are left out.
        doubts: What may have been meant otherwise than it is read, a sentence each.
    """

    root: Path
    problems: list[PictureProblem] = field(default_factory=list)
    passed: list[Path] = field(default_factory=list)
    nowhere: list[Path] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    _resolved: dict[Path, Path] = field(default_factory=dict, repr=False)
    _noted: set[PictureProblem] = field(default_factory=set, repr=False)

    def pictures(self, folder: Path) -> list[Path]:
        """List the picture files of a folder, sorted by name; other files are passed over.

        Args:
            folder: A folder under the root.

        Returns:
            The pictures, without those that are links out of the root or of a kind that is not
            read (noted as problems), and links to nothing (remembered in `nowhere`).
        """
        for path in self._entries(folder):
            if path.suffix.lower() in UNREAD_SUFFIXES and not path.name.startswith("."):
                self.note(path, f"expected a JPEG, PNG or the like, got {path.suffix}: convert it")
            elif path.suffix.lower() not in PICTURE_SUFFIXES and _begins_as_a_picture(path):
                self.note(path, "expected a name that ends in .jpg, .png or the like: rename it")
        # Names that begin with a dot are not pictures: macOS leaves ._NAME.jpg beside NAME.jpg.
        return [
            path
            for path in self._entries(folder)
            if path.suffix.lower() in PICTURE_SUFFIXES
            and not path.name.startswith(".")
            and not path.is_dir()
            and not self._left_out(path)
            and self._stays_inside(path)
        ]

    def folders(self, folder: Path) -> list[Path]:
        """List the folders of a folder, sorted by name.

        Args:
            folder: A folder under the root.

        Returns:
            The folders, without hidden ones, those that a system leaves anywhere (__MACOSX,
            @eaDir, ...), and links out of the root or to a folder that they lie in (noted as
            problems).
        """
        for path in self._entries(folder):
            if path.suffix.lower() not in PICTURE_SUFFIXES and not path.name.startswith("."):
                self._left_out(path)
        return [
            path
            for path in self._entries(folder)
            if path.is_dir()
            and not path.name.startswith(".")
            and path.name.casefold() not in _SYSTEMS_OWN
            and self._stays_inside(path)
            and not self._leads_back(path)
        ]

    def named_pictures(
        self, folder: Path, pattern: re.Pattern[str], example: str
    ) -> list[tuple[Path, re.Match[str]]]:
        """List the pictures of a folder with what their names say.

        Args:
            folder: A folder under the root.
            pattern: What a whole file name must match.
            example: A right name, for the message.

        Returns:
            Pictures, sorted by name, and the match of each; wrong names are noted as problems,
            folders in it as passed over.
        """
        for path in self.folders(folder):
            self.pass_over(path)
        return list(self.matches(self.pictures(folder), pattern, example))

    def matches(
        self, pictures: Iterable[Path], pattern: re.Pattern[str], example: str
    ) -> Iterator[tuple[Path, re.Match[str]]]:
        """Match the names of pictures; wrong names are noted as problems.

        Args:
            pictures: Picture files.
            pattern: What a whole file name must match.
            example: A right name, for the message.

        Yields:
            Each picture whose name matches, and the match.
        """
        for path in pictures:
            match = pattern.fullmatch(path.name)
            if match is None:
                self.note(path, f"expected a name such as {example}, got {path.name}")
            else:
                yield path, match

    def listed_picture(self, path: Path) -> bool:
        """Tell whether a picture that a list names is there, under the root; note it if not.

        Args:
            path: The root followed by what the list says.

        Returns:
            True if it can be used.
        """
        if not self._stays_inside(path):
            return False
        if _leads_nowhere(path):
            self.note(path, "expected a picture, got a link to nothing or to itself: mend it")
            return False
        if not path.is_file():
            alike = self._alike(path)
            there = (
                f"; there is {alike}: letters and their accents must be the same" if alike else ""
            )
            self.note(
                path, f"expected a picture, as the data set's list names it, got nothing{there}"
            )
            return False
        return True

    def _alike(self, path: Path) -> str:
        """The one file of a folder whose name differs in case or in how accents are stored."""
        wanted = unicodedata.normalize("NFKC", path.name).casefold()
        found = [
            other.name
            for other in (self._entries(path.parent) if path.parent.is_dir() else ())
            if unicodedata.normalize("NFKC", other.name).casefold() == wanted
        ]
        return found[0] if len(found) == 1 else ""

    def pass_over(self, path: Path) -> None:
        """Remember a folder or file that is not of the set's layout, and is not looked into.

        Args:
            path: The folder or file.
        """
        if path not in self.passed:
            self.passed.append(path)

    def pictures_passed(self) -> dict[Path, int]:
        """Count the pictures in and below what was passed over; links are not followed.

        Returns:
            The number of pictures of each folder or file that has any.
        """
        counts = {path: sum(map(_looks_a_picture, _files(path))) for path in self.passed}
        return {path: count for path, count in counts.items() if count}

    def note(self, path: Path, why: str) -> None:
        """Note a file that cannot be used.

        Args:
            path: The file.
            why: What was expected, and what came.
        """
        problem = PictureProblem(path, why)
        if problem not in self._noted:
            self._noted.add(problem)
            self.problems.append(problem)

    def below(self, folder: Path) -> "PictureTree":
        """The same set by another root, whose problems are this one's.

        Args:
            folder: The other root.
        """
        return replace(self, root=folder, _resolved={})

    def doubt(self, what: str) -> None:
        """Remember what may have been meant otherwise than it is read.

        Args:
            what: How it is read, how it may be meant, and what settles it.
        """
        if what not in self.doubts:
            self.doubts.append(what)

    def find(self, *wanted: str) -> Path | None:
        """Find the folder, the root or one right under it, that holds all the wanted folders.

        Args:
            wanted: Names of folders.

        Returns:
            The first such folder, the root before the others; None if there is none.
        """
        # A link to elsewhere is passed over in silence: it may have nothing to do with the set.
        below = [path for path in self._entries(self.root) if path.is_dir() and self._inside(path)]
        for candidate in [self.root, *below]:
            if all((candidate / name).is_dir() for name in wanted):
                return candidate
        return None

    def need(self, layout: str, *wanted: str) -> Path:
        """Find the folder that holds all the wanted folders, or say what was expected.

        Args:
            layout: The layout, in words, for the message.
            wanted: Names of folders.

        Returns:
            The root, or a folder right under it.

        Raises:
            DataError: If there is no such folder.
        """
        found = self.find(*wanted)
        if found is None:
            raise self.layout_error(layout)
        return found

    def layout_error(self, layout: str) -> DataError:
        """Make the error for a root that is laid out in another way.

        Args:
            layout: The layout that was expected, in words.

        Returns:
            The error, to be raised.
        """
        names = ", ".join(path.name for path in self._entries(self.root)[:8]) or "nothing"
        return DataError(
            f"{self.root}: expected {layout}, got a folder with {names}; point data.root at "
            "the folder that was unpacked"
        )

    def _entries(self, folder: Path) -> list[Path]:
        """List a folder, sorted by name: the order of a file system differs between machines."""
        if not self._stays_inside(folder):
            return []
        try:
            with os.scandir(folder) as entries:
                return [folder / name for name in sorted(entry.name for entry in entries)]
        except OSError as error:
            raise DataError(
                f"{folder}: expected a folder that can be listed, got: {error}"
            ) from error

    def _stays_inside(self, path: Path) -> bool:
        """Tell whether a path does not lead out of the root; note it if it does."""
        if self._inside(path):
            return True
        plain = Path(os.path.normpath(path))
        leads = plain.is_relative_to(os.path.normpath(self.root))
        came = "a link to elsewhere" if leads else "a path that leads out of it"
        self.note(path, f"expected a file under {self.root}, got {came}")
        return False

    def _left_out(self, path: Path) -> bool:
        """Tell whether a path is a link to nothing; remember it if so."""
        nowhere = _leads_nowhere(path)
        if nowhere and path not in self.nowhere:
            self.nowhere.append(path)
        return nowhere

    def _leads_back(self, path: Path) -> bool:
        """Tell whether a folder is a link to one that it lies in; note it if so."""
        if not path.is_symlink() or not self._resolve(path.parent).is_relative_to(_real(path)):
            return False
        self.note(
            path,
            "expected a folder, got a link to one that it lies in, whose pictures would be read "
            "twice; remove it",
        )
        return True

    def _inside(self, path: Path) -> bool:
        """Tell whether a path does not lead out of the root, by a link or by ..."""
        real = _real(path) if path.is_symlink() else self._resolve(path.parent) / path.name
        return path == self.root or real.is_relative_to(self._resolve(self.root))

    def _resolve(self, folder: Path) -> Path:
        """Resolve the links of a folder, once."""
        if folder not in self._resolved:
            self._resolved[folder] = _real(folder)
        return self._resolved[folder]


def _leads_nowhere(path: Path) -> bool:
    """Whether a path is a link to nothing, or to itself."""
    return path.is_symlink() and not path.exists()


def _real(path: Path) -> Path:
    """Where a path leads; itself where its links go in circles."""
    try:
        return path.resolve()
    except (RuntimeError, OSError):  # RuntimeError: a circle, before Python 3.13
        return Path(os.path.abspath(path.parent)) / path.name


# JPEG, PNG, GIF, TIFF, WebP, BMP, PNM; RIFF and BM alone are other programs' files as well.
_PICTURE_START = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|II\*\0|MM\0\*|RIFF.{4}WEBP|BM.{4}\0{4}|P[1-6]\s[\d\s#]",
    re.DOTALL,
)


def _begins_as_a_picture(path: Path) -> bool:
    """Whether a plain file begins as a picture does, whatever its name says."""
    try:
        if path.name.startswith(".") or not path.is_file() or path.is_symlink():
            return False
        with path.open("rb") as file:
            return _PICTURE_START.match(file.read(16)) is not None
    except OSError:
        return False


def _files(path: Path) -> list[Path]:
    """A file itself, or all files below a folder."""
    if not path.is_dir():
        return [path]
    return [Path(folder) / name for folder, _, names in os.walk(path) for name in names]


def _looks_a_picture(path: Path) -> bool:
    named = path.suffix.lower() in PICTURE_SUFFIXES | UNREAD_SUFFIXES
    return (named and not path.name.startswith(".")) or _begins_as_a_picture(path)
