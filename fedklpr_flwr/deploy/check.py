"""What is wrong with a deployment's folder, or soon will be: expiry, file modes, mixed-up files."""

import getpass
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.wording import counted

SOON_DAYS = 30
"""A certificate that holds for fewer days is worth a word."""

_HOW = {
    "server.crt": "renew it where the deployment was made (fedklpr deploy renew), carry office/ to "
    "the SuperLink's machine, and start it anew",
    "ca.crt": "make the deployment anew (fedklpr deploy init --force), carry all folders, and "
    "register all keys",
}


class Kind(Enum):
    """How bad a finding is."""

    GOOD = "good"
    SOON = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, in a sentence."""

    kind: Kind
    text: str


def check_folder(folder: Path, now: datetime | None = None) -> list[Finding]:
    """Look at every certificate and key below a folder.

    Args:
        folder: a deployment's whole folder, its office/, or one of its sites/.
        now: the moment to judge expiry by; None = this machine's clock.

    Returns:
        A finding a certificate, and one for whatever is wrong.

    Raises:
        SettingsError: there is no certificate in it, or it is another user's.
    """
    if _is_closed(folder):
        raise SettingsError(f"{folder} is not the user {_user()}'s to read: ask as its owner")
    certificates = sorted(folder.rglob("*.crt"))
    if not certificates:
        raise SettingsError(
            f"{folder} has no certificate: expected a folder that fedklpr deploy init wrote, its "
            "office/, or one of its sites/"
        )
    moment = now or datetime.now(UTC)
    findings: list[Finding] = []
    for path in certificates:
        findings += _certificate(path, str(path.relative_to(folder)), moment)
    for path in sorted(folder.rglob("*.key")):
        findings += _modes(path, folder)
    return findings


def certificate_end(path: Path) -> datetime | None:
    """Tell until when a certificate holds; None where there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def certificate_days(folder: Path, now: datetime | None = None) -> dict[str, float | None]:
    """Tell how many days each certificate below a folder holds, by path; None = cannot be read."""
    moment = now or datetime.now(UTC)
    ends = {path: certificate_end(path) for path in sorted(folder.rglob("*.crt"))}
    return {
        str(path.relative_to(folder)): round((end - moment) / timedelta(days=1), 1) if end else None
        for path, end in ends.items()
    }


def check_pictures(folder: Path) -> list[Finding]:
    """Look whether the pictures of a site's folder are on this machine.

    Args:
        folder: one of a deployment's sites/, on its own box.
    """
    path = folder / "node.toml"
    try:
        node = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [Finding(Kind.FAULT, f"{path} cannot be read: {error}")]
    if (root := node.get("root")) is None:
        return []
    place = Path(str(root))
    try:
        next(place.iterdir(), None)
    except PermissionError:
        told = f"root={root} cannot be read by the user {_user()}: let it read there"
    except OSError:
        if node.get("data") == "csv" and place.is_file():
            return []
        told = f"root={root} is no folder on this machine: mend root in node.toml and in SITES.yaml"
    else:
        return []
    return [Finding(Kind.FAULT, told)]


def _is_closed(folder: Path) -> bool:
    """Whether a folder is there, or may be, and not for this user to look into."""
    try:
        return folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)
    except PermissionError:
        return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        return str(os.getuid())


def _certificate(path: Path, name: str, now: datetime) -> Iterator[Finding]:
    how = _HOW.get(path.name, _HOW["server.crt"])
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        yield Finding(Kind.FAULT, f"{name} cannot be read ({error}): carry its folder here again")
        return
    end, begin = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    days = (end - now).days
    if now > end:
        yield Finding(Kind.FAULT, f"{name} expired on {end:%Y-%m-%d}: {how}")
    elif now < begin:
        yield Finding(
            Kind.FAULT,
            f"{name} is valid from {begin:%Y-%m-%d} on and this machine says it is "
            f"{now:%Y-%m-%d}: set its clock",
        )
    elif days < SOON_DAYS:
        yield Finding(
            Kind.SOON, f"{name} expires in {counted(days, 'day')}, on {end:%Y-%m-%d}: {how}"
        )
    else:
        yield Finding(Kind.GOOD, f"{name} holds for {counted(days, 'day')}, until {end:%Y-%m-%d}")
    yield from _belongs(path, certificate, name)


def _belongs(path: Path, certificate: x509.Certificate, name: str) -> Iterator[Finding]:
    """Whether a certificate is of the authority and of the key that lie beside it."""
    authority, key = path.with_name("ca.crt"), path.with_suffix(".key")
    again = "carry the whole folder here again"
    if authority.is_file() and authority != path:
        try:
            certificate.verify_directly_issued_by(
                x509.load_pem_x509_certificate(authority.read_bytes())
            )
        except Exception as error:  # the library's faults have no common root
            yield Finding(
                Kind.FAULT,
                f"{name} is not signed by the ca.crt beside it ({type(error).__name__}): {again}",
            )
    if not key.is_file():
        return
    try:
        own = serialization.load_pem_private_key(key.read_bytes(), None).public_key()
    except (OSError, ValueError, TypeError) as error:
        yield Finding(Kind.FAULT, f"{key.name} beside {name} cannot be read ({error}): {again}")
        return
    if own != certificate.public_key():
        yield Finding(Kind.FAULT, f"{name} is not of the {key.name} beside it: {again}")


def _modes(path: Path, folder: Path) -> Iterator[Finding]:
    """A key is its owner's alone, and so is the folder it lies in; root's may be its group's."""
    for place, wanted in ((path, 0o600), (path.parent, 0o700)):
        found = place.stat()
        mode = found.st_mode & 0o777
        # A service reads what is root's through its own group, and cannot change it.
        by_group = 0o050 if found.st_uid == 0 and found.st_gid != 0 else 0
        if mode & 0o077 & ~by_group:
            yield Finding(
                Kind.FAULT,
                f"{place} can be opened by others (mode {mode:04o}): chmod {wanted:o} {place}",
            )
