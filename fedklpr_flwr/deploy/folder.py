"""A deployment's folder: all its files at once, or none.

SITES.yaml            what it was made of
authority/            signs certificates; stays with whoever made it
office/               carried to the SuperLink's machine
sites/NAME/           carried to the box of that name
.../containers/       in both, if asked for: Containerfile, compose.yaml and what they need
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedklpr_flwr.deploy import scripts
from fedklpr_flwr.deploy.certificates import (
    NodeKey,
    Signed,
    make_authority,
    make_node_key,
    sign_server,
)
from fedklpr_flwr.deploy.registering import NODES
from fedklpr_flwr.deploy.sites_file import SitePlace, Sites
from fedklpr_flwr.errors import RunError, SettingsError

SITES_FILE = "SITES.yaml"
_PARTS = (SITES_FILE, "authority", "office", "sites")
_NODES = f"office/flower/{NODES}"
_OWN = (
    *("authority/ca.key", "office/*.crt", "office/*.key", "office/*.sh", "office/*.service"),
    *("office/keys/*.pub", "office/flower/config.toml", "office/flower/credentials.yaml"),
    _NODES,
    *("sites/*/ca.crt", "sites/*/supernode.key", "sites/*/supernode.pub", "sites/*/node.toml"),
    *("sites/*/start.sh", "sites/*/*.service", "office/containers/*", "sites/*/containers/*"),
)
"""What is written below the parts, and may be replaced."""
PRIVATE, PUBLIC, PROGRAM, FOLDER = 0o600, 0o644, 0o755, 0o700


@dataclass(frozen=True)
class Secrets:
    """What a deployment is known by, and what must stay as it is when it is made anew.

    Attributes:
        authority: who signs.
        nodes: each site's key pair.
    """

    authority: Signed
    nodes: Mapping[str, NodeKey] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    content: bytes
    mode: int


def make_folder(
    sites: Sites,
    source: bytes,
    out: Path,
    *,
    kept: Secrets | None = None,
    replace: bool = False,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write a deployment's folder: keys, certificates, scripts and services.

    Args:
        sites: who takes part.
        source: the SITES.yaml they were read from.
        out: the folder.
        kept: an authority and keys to go on with; sites without a key there get a new one.
            None = all new.
        replace: put it in the place of an earlier deployment's folder. What somebody else put
            beside its parts stays.
        beside: further files, by their names in the folder.

    Raises:
        SettingsError: there is something already that may not be replaced, or somebody else's file
            in one of the parts.
        RunError: it cannot be written; what was there is there still.
    """
    if out.exists() or out.is_symlink():
        _check_replaceable(out, replace)
    files = _files(sites, source, kept or Secrets(make_authority(sites.federation)))
    files |= {name: _File(content, PUBLIC) for name, content in (beside or {}).items()}
    try:
        if kept and (out / _NODES).is_file():  # the numbers of boxes that stay registered
            files[_NODES] = _File((out / _NODES).read_bytes(), PUBLIC)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as name:
            made = Path(name) / "new"
            _write(files, made)
            _exchange(made, out, Path(name) / "old")
    except OSError as error:
        raise RunError(
            f"{out} cannot be written: {error.strerror or error}; make room there, or choose "
            "another place with --out"
        ) from error


def is_deployment(folder: Path) -> bool:
    """Whether `fedklpr deploy init` made a folder."""
    return all((folder / name).exists() for name in (SITES_FILE, "office/ca.crt", "sites"))


def read_secrets(folder: Path) -> Secrets:
    """What an earlier deployment's folder is known by.

    Raises:
        RunError: its authority or a key is not there, or cannot be read.
    """
    try:
        authority = Signed(
            (folder / "office/ca.crt").read_bytes(), (folder / "authority/ca.key").read_bytes()
        )
        nodes = {
            site.name: NodeKey(
                (site / "supernode.key").read_bytes(), (site / "supernode.pub").read_bytes()
            )
            for site in sorted((folder / "sites").iterdir())
            if site.is_dir()
        }
    except OSError as error:
        raise RunError(
            f"{error.filename} cannot be read: {error.strerror}; renewing needs the whole folder "
            "that fedklpr deploy init wrote, with authority/ and sites/"
        ) from error
    return Secrets(authority, nodes)


def _check_replaceable(out: Path, replace: bool) -> None:
    if not is_deployment(out) and not (out.is_dir() and not any(out.iterdir())):
        raise SettingsError(
            f"{out} is there and no folder of fedklpr deploy init: choose another with --out"
        )
    if is_deployment(out) and not replace:
        raise SettingsError(
            f"{out} holds a deployment: --force makes all its keys and certificates anew, fedklpr "
            "deploy renew keeps the keys; or choose another folder with --out"
        )
    for path in out.rglob("*"):
        inside = path.relative_to(out)
        if path.is_dir() or inside.parts[0] not in _PARTS[1:]:
            continue
        if not any(inside.match(own) for own in _OWN):
            raise SettingsError(
                f"{path} is not of fedklpr deploy and would be lost: move it away, and try again"
            )


def _files(sites: Sites, source: bytes, secrets: Secrets) -> dict[str, _File]:
    nodes = {
        site.name: secrets.nodes.get(site.name) or make_node_key(f"{sites.federation}/{site.name}")
        for site in sites.sites
    }
    authority = _File(secrets.authority.certificate, PUBLIC)
    files = {
        SITES_FILE: _File(source, PUBLIC),
        "authority/ca.key": _File(secrets.authority.key, PRIVATE),
        "office/ca.crt": authority,
        **_office(sites, secrets.authority),
    }
    for site in sites.sites:
        key, own = nodes[site.name], f"sites/{site.name}"
        files[f"office/keys/{site.name}.pub"] = _File(key.public, PUBLIC)
        files[f"{own}/ca.crt"] = authority
        files[f"{own}/supernode.key"] = _File(key.private, PRIVATE)
        files[f"{own}/supernode.pub"] = _File(key.public, PUBLIC)
        files |= {f"{own}/{name}": file for name, file in _site(sites, site).items()}
    return files


def _office(sites: Sites, authority: Signed) -> dict[str, _File]:
    server = sites.server
    own = () if server.listen in ("0.0.0.0", "::") else (server.listen,)
    signed = sign_server(authority, sites.federation, (*server.hosts, *own), server.days)
    # As it will lie: there it is root's, and nobody else could mend the path.
    connection = scripts.connection(sites, f"{sites.place_of(server)}/ca.crt")
    return {
        "office/server.crt": _File(signed.certificate, PUBLIC),
        "office/server.key": _File(signed.key, PRIVATE),
        "office/flower/config.toml": _File(connection.encode(), PUBLIC),
        # Without this file Flower's commands remove it, which a read-only folder refuses.
        "office/flower/credentials.yaml": _File(b"{}\n", PUBLIC),
        "office/start.sh": _File(scripts.start_superlink(sites).encode(), PROGRAM),
        "office/register.sh": _File(scripts.register(sites).encode(), PROGRAM),
        f"office/{scripts.unit_name(sites, server)}": _File(
            scripts.service(sites, server).encode(), PUBLIC
        ),
    }


def _site(sites: Sites, site: SitePlace) -> dict[str, _File]:
    return {
        "node.toml": _File(scripts.node_config(sites, site).encode(), PUBLIC),
        "start.sh": _File(scripts.start_supernode(sites, site).encode(), PROGRAM),
        scripts.unit_name(sites, site): _File(scripts.service(sites, site).encode(), PUBLIC),
    }


def _write(files: Mapping[str, _File], folder: Path) -> None:
    """Every file with its mode from its first byte on; every folder is its owner's alone."""
    for name, file in files.items():
        path = folder / name
        for parent in (*reversed(path.relative_to(folder.parent).parents[:-1]),):
            (folder.parent / parent).mkdir(mode=FOLDER, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(file.content)
            os.fchmod(opened.fileno(), file.mode)  # whatever the umask
            opened.flush()
            os.fsync(opened.fileno())


def _exchange(made: Path, out: Path, old: Path) -> None:
    """Put the new folder in its place; the old one stands until the new one does."""
    there, moved = out.exists(), []
    if there:
        os.rename(out, old)
    try:
        for path in [path for path in old.glob("*") if path.name not in _PARTS]:
            os.rename(path, made / path.name)
            moved.append(path)
        os.rename(made, out)
    except BaseException:
        for path in moved:
            os.rename(made / path.name, path)
        if there:
            os.rename(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
