"""SITES.yaml: who takes part in a federation of real boxes, and where everybody is found."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from fedklpr_flwr.config.client_name import CLIENT_NAME_RULE, is_client_name
from fedklpr_flwr.config.compose import build
from fedklpr_flwr.config.fields import between
from fedklpr_flwr.data.benchmarks import READERS
from fedklpr_flwr.data.synthetic import DRAWN, SITES, site_style
from fedklpr_flwr.deploy.certificates import SERVER_DAYS, is_address
from fedklpr_flwr.errors import DataError, SettingsError
from fedklpr_flwr.system.plain_text import check_plain_yaml

_FEDERATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_PLACE = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9.@+_-]+)+")
_MEMORY = re.compile(r"[1-9][0-9]{0,12}[KMGT%]?|infinity")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_TAKEN = ("default",)
_NUMBERS = {"port", "days", "digits"}
_TRUTHS = {"gpu", "scores", "identities"}
_KEPT_TAGS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


@dataclass(frozen=True, kw_only=True)
class ServerPlace:
    """The SuperLink's machine.

    Attributes:
        hosts: the names and IP addresses that it is reached by; boxes use the first.
        port: its one TCP port.
        listen: the address it listens on.
        place: where the folder `office` lies there.
        work: what it writes.
        venv: the Python environment that fedklpr is installed in.
        user: whom its service runs as.
        memory: the most its service may use, as systemd reads it.
        days: how long its certificate holds.
    """

    hosts: tuple[str, ...]
    port: int = between(1, 65535, default=8443)
    listen: str = "0.0.0.0"
    place: str | None = None
    work: str | None = None
    venv: str = "/opt/fedklpr/.venv"
    user: str = "fedklpr"
    memory: str = "75%"
    days: int = between(1, 3650, default=SERVER_DAYS)


@dataclass(frozen=True, kw_only=True)
class PolicyPlace:
    """What a box's owner holds back, see client/site_policy.py.

    Attributes:
        identities: whether it trains with its folders' names of persons.
        scores: whether it tells accuracies.
        digits: significant digits of its figures; None = all.
    """

    identities: bool = True
    scores: bool = True
    digits: int | None = between(1, 15, default=None)


@dataclass(frozen=True, kw_only=True)
class SitePlace:
    """One box.

    Attributes:
        name: the client's name.
        data: how its pictures are read: a reader, or drawn:SITE.
        root: the folder of its pictures there.
        port: of its SuperNode's own interface, on loopback; every SuperNode of a machine needs one.
        place: where this site's folder lies there.
        work: its masks, history, decoded pictures.
        cache: its decoded pictures alone.
        venv: the Python environment that fedklpr is installed in.
        user: whom its service runs as.
        memory: the most its service may use, as systemd reads it.
        gpu: whether its service sees the machine's devices.
        policy: what it holds back.
    """

    name: str
    data: str = "folder"
    root: str | None = None
    port: int = between(1, 65535, default=9094)
    place: str | None = None
    work: str | None = None
    cache: str | None = None
    venv: str = "/opt/fedklpr/.venv"
    user: str = "fedklpr"
    memory: str = "75%"
    gpu: bool = False
    policy: PolicyPlace = PolicyPlace()


@dataclass(frozen=True, kw_only=True)
class Sites:
    """A federation of real boxes.

    Attributes:
        federation: its name: of folders, services, and of the connection that runs name.
        server: the SuperLink's machine.
        sites: the boxes.
    """

    federation: str
    server: ServerPlace
    sites: tuple[SitePlace, ...]

    @property
    def address(self) -> str:
        """HOST:PORT as the boxes reach the SuperLink."""
        host = self.server.hosts[0]
        return f"[{host}]:{self.server.port}" if ":" in host else f"{host}:{self.server.port}"

    def place_of(self, part: ServerPlace | SitePlace) -> str:
        """The folder that a part is carried to on its machine."""
        return part.place or f"/etc/fedklpr/{self.federation}/{_folder(part)}"

    def work_of(self, part: ServerPlace | SitePlace) -> str:
        """The folder that a part writes to on its machine."""
        return part.work or f"/var/lib/fedklpr/{self.federation}/{_folder(part)}"


def _folder(part: ServerPlace | SitePlace) -> str:
    return part.name if isinstance(part, SitePlace) else "office"


def read_sites(path: Path) -> Sites:
    """The federation that a SITES.yaml describes; docs/deployment.md lists its keys.

    Args:
        path: the file.

    Raises:
        SettingsError: it cannot be read, or a key or value cannot be used.
    """
    return sites_from(read_source(path), path)


def read_source(path: Path) -> bytes:
    """The bytes of a SITES.yaml.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from error


def sites_from(source: bytes, path: Path) -> Sites:
    """The federation that the bytes of a SITES.yaml describe.

    Args:
        source: UTF-8.
        path: what errors call it.

    Raises:
        SettingsError: it is no YAML, or a key or value cannot be used.
    """
    try:
        text = source.decode()
        check_plain_yaml(text, aliases=True)
        values = yaml.load(text, _Loader)
    except (ValueError, yaml.YAMLError) as error:  # a number of 5,000 digits, for one
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    try:
        sites = build(Sites, values, "")
        _check_server(sites)
        _check_sites(sites.sites)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    return sites


class _Loader(yaml.SafeLoader):
    """YAML in which no key comes twice: the last would win, and nobody would know.

    Text stays as it was written: 010 is no 8, 1e3 no 1000.0, no is no false; only what is a number
    or a truth among the keys becomes one.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, rule) for tag, rule in rules if tag in _KEPT_TAGS]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(str(key.value) for key, _ in node.value)
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            raise yaml.YAMLError(f"the key {twice[0]} comes twice{node.start_mark}")
        values = dict(super().construct_mapping(node, deep))
        for key in _NUMBERS & values.keys():
            if isinstance(values[key], str) and values[key].isascii() and values[key].isdecimal():
                values[key] = int(values[key])
        for key in _TRUTHS & values.keys():
            if values[key] in ("true", "false"):
                values[key] = values[key] == "true"
        return values


def _check_server(sites: Sites) -> None:
    if not _FEDERATION.fullmatch(sites.federation) or sites.federation in _TAKEN:
        raise SettingsError(
            f"federation={sites.federation!r:.100}: expected letters, digits, '_' and '-', not "
            "beginning with either, at most 40 in all, and not 'default'"
        )
    server = sites.server
    if not server.hosts:
        raise SettingsError("server.hosts=[]: expected the SuperLink's host names and IP addresses")
    for host in server.hosts:
        _check_host(host)
    if not is_address(server.listen):
        raise SettingsError(
            f"server.listen={server.listen!r:.100}: expected an IP address of the SuperLink's "
            "machine; 0.0.0.0 = all of IPv4, '::' = all"
        )
    _check_places("server", server)


def _check_host(host: str) -> None:
    labels = host.split(".")
    named = all(_LABEL.fullmatch(label) for label in labels) and len(host) <= 253
    if is_address(host) or (named and not labels[-1].isdigit()):
        return
    raise SettingsError(
        f"server.hosts has {host!r:.100}: expected a host name or an IP address alone, without "
        "https:// and without a port"
    )


def _check_sites(sites: Sequence[SitePlace]) -> None:
    if not sites:
        raise SettingsError("sites=[]: expected at least one site with a name")
    for site in sites:
        if not is_client_name(site.name) or site.name.startswith("-"):
            raise SettingsError(
                f"sites has the name {site.name!r:.100}: expected {CLIENT_NAME_RULE}, and not "
                "beginning with '-'"
            )
        if site.name.casefold() == "office":
            raise SettingsError(f"sites has the name {site.name}: that is the server's own place")
        _check_data(site)
        _check_places(f"site {site.name}", site)
    # Some disks take Gate-1 and gate-1 for one folder.
    twice = [name for name, n in Counter(s.name.casefold() for s in sites).items() if n > 1]
    if twice:
        raise SettingsError(f"sites has the name {twice[0]} twice: every site needs its own")


def _check_data(site: SitePlace) -> None:
    drawn = site.data.startswith(DRAWN)
    if drawn:
        try:
            site_style(site.data.removeprefix(DRAWN))
        except DataError as error:
            names = ", ".join(f"{DRAWN}{name}" for name in SITES)
            raise SettingsError(
                f"site {site.name}: data={site.data} does not exist; there are: {names}"
            ) from error
    elif site.data not in READERS:
        raise SettingsError(
            f"site {site.name}: data={site.data} does not exist; there are: "
            f"{', '.join(READERS)}, {DRAWN}SITE"
        )
    elif site.root is None:
        raise SettingsError(f"site {site.name}: root is missing, the folder of its pictures there")
    if drawn and site.root is not None:
        raise SettingsError(f"site {site.name}: data={site.data} is drawn there: leave root out")


def _check_places(owner: str, part: ServerPlace | SitePlace) -> None:
    """Folders are absolute; those that systemd's and the shell's files name are also plain."""
    for key in ("place", "work", "venv", "cache", "root"):
        value = getattr(part, key, None)
        if value is None:
            continue
        if key == "root":
            if not value.startswith("/") or not value.isprintable():
                raise SettingsError(f"{owner}: {key}={value!r:.200}: expected an absolute path")
        elif not _PLACE.fullmatch(value):
            raise SettingsError(
                f"{owner}: {key}={value!r:.200}: expected an absolute path of letters, digits, "
                "'.', '_', '-', '@' and '+', without '..' and without '/' at its end"
            )
    if not _MEMORY.fullmatch(part.memory):
        raise SettingsError(
            f"{owner}: memory={part.memory!r:.100}: expected a share of the machine's or a size as "
            "systemd has it: 75%, 6G, infinity"
        )
    if not _USER.fullmatch(part.user):
        raise SettingsError(f"{owner}: user={part.user!r:.100}: expected a name of a Linux user")
