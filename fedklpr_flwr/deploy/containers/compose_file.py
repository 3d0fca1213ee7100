"""The compose file of one part: the service's commands, shut in at least as closely."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fedklpr_flwr.deploy.containers.image import (
    APP,
    BASE,
    TORCH_LOCK,
    USER,
    containerfile,
    context_files,
)
from fedklpr_flwr.deploy.scripts import commands
from fedklpr_flwr.deploy.sites_file import ServerPlace, SitePlace, Sites
from fedklpr_flwr.errors import SettingsError

FOLDER = "containers"
"""Beside a part's scripts."""

COMPOSE_FILE = "compose.yaml"
_WILDCARDS = ("0.0.0.0", "::")
_SIZE = re.compile(r"[0-9]+[KMGT]?")

_LOCK_COMMAND = (
    "uv pip compile {folder}/torch.in --no-deps --torch-backend cpu --generate-hashes "
    f"-o {TORCH_LOCK}"
)

_HEAD = """\
# {what} of {federation} in a container. Made by `fedklpr deploy init --containers`.
# As root, on its own machine, with the folder above this one at {place}:
#   chown -R root:{user} {place}; chmod -R u=rwX,g=rX,o= {place}
#   docker compose -f {place}/{folder}/{file} up --build --detach --wait
# It runs the scripts that the service runs, from the same places; only what it says is writable is.
"""
_NO_BOUND = """\
# memory={memory}: compose has no word for a share of the machine's. Name a size (6G) in SITES.yaml.
"""


def container_files(sites: Sites, torch_lock: bytes | None) -> dict[str, bytes]:
    """All files of all containers, by their names in the deployment's folder.

    Args:
        sites: the federation. A site with a GPU has none: the image holds CPU torch.
        torch_lock: see `context_files`.

    Raises:
        SettingsError: a part cannot be a container.
        RunError: this is no checkout, which the image is built from.
    """
    if sites.server.listen not in _WILDCARDS:
        raise SettingsError(
            f"server.listen={sites.server.listen}: a container listens on all of its addresses; "
            "leave it out, and write the machine's before the port in compose.yaml"
        )
    context = context_files(torch_lock)
    parts: dict[str, ServerPlace | SitePlace] = {"office": sites.server}
    parts |= {f"sites/{site.name}": site for site in sites.sites if not site.gpu}
    found: dict[str, bytes] = {}
    for place, part in parts.items():
        own = {
            "Containerfile": containerfile(sites, part).encode(),
            COMPOSE_FILE: compose_text(sites, part).encode(),
        }
        found |= {f"{place}/{FOLDER}/{name}": text for name, text in {**own, **context}.items()}
    return found


def has_containers(folder: Path) -> bool:
    """Whether a deployment has containers."""
    return (folder / "office" / FOLDER).is_dir()


def kept_torch_lock(folder: Path) -> bytes | None:
    """The torch.lock of a deployment that has containers, to be kept when they are made anew.

    Raises:
        SettingsError: see `read_torch_lock`.
    """
    lock = folder / "office" / FOLDER / TORCH_LOCK
    return read_torch_lock(lock) if lock.exists() else None


def read_torch_lock(path: Path) -> bytes:
    """The bytes of a torch.lock.

    Raises:
        SettingsError: it cannot be read, or holds nothing to its hash.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from error
    if b"torch==" not in content or b"--hash=sha256:" not in content:
        raise SettingsError(
            f"{path} has no torch with hashes: {_LOCK_COMMAND.format(folder='...')} makes it"
        )
    return content


def told_of(sites: Sites, folder: Path, torch_lock: bytes | None) -> str:
    """What is to be done with the containers, in lines for a person."""
    lines = [f"containers: docker compose -f .../{FOLDER}/{COMPOSE_FILE} up, in each place"]
    if torch_lock is None:
        command = _LOCK_COMMAND.format(folder=folder / "office" / FOLDER)
        lines.append(f"  first torch.lock, once, into each {FOLDER}/ (or --torch-lock): {command}")
    if at_gpu := [site.name for site in sites.sites if site.gpu]:
        lines.append(f"  none for {', '.join(at_gpu)}: gpu is set, and the image holds CPU torch")
    return "\n".join(lines)


def compose_text(sites: Sites, part: ServerPlace | SitePlace) -> str:
    """The compose file of a part."""
    place = sites.place_of(part)
    what = "The SuperLink" if isinstance(part, ServerPlace) else f"The SuperNode {part.name}"
    head = _HEAD.format(
        what=what,
        federation=sites.federation,
        place=place,
        user=USER,
        folder=FOLDER,
        file=COMPOSE_FILE,
    )
    bound = _memory(part.memory)
    if bound is None:
        head += _NO_BOUND.format(memory=part.memory)
    key = "superlink" if isinstance(part, ServerPlace) else "supernode"
    build = {"context": ".", "dockerfile": "Containerfile"}
    service = {
        "build": {**build, "args": {"BASE": f"${{BASE:-{BASE}}}"}},
        **_plain(_service(sites, part)),
        **({"mem_limit": bound} if bound else {}),
    }
    volumes = [mount["source"] for mount in _volumes(sites, part) if mount["type"] == "volume"]
    text = {
        "name": _project(sites, part),
        "services": {key: service},
        "volumes": {name: {} for name in volumes},
    }
    return head + str(yaml.safe_dump(text, sort_keys=False, width=100))


def _service(sites: Sites, part: ServerPlace | SitePlace) -> dict[str, Any]:
    work = sites.work_of(part)
    ports: dict[str, Any] = {}
    environment = {"HOME": work}
    if isinstance(part, ServerPlace):
        ports = {"ports": [f"{part.port}:{part.port}"]}
        # For commands in this container: `fedklpr run` sends the boxes the app from a checkout.
        environment |= {"FLWR_HOME": f"{sites.place_of(part)}/flower", "PYTHONPATH": APP}
    return {
        "command": _command(sites, part),
        "user": f"{USER}:{USER}",
        "working_dir": work,
        "environment": environment,
        **ports,
        "volumes": _volumes(sites, part),
        "read_only": True,
        "tmpfs": ["/tmp:size=1g,mode=1777,nosuid,nodev,noexec"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "pids_limit": 4096,
        "ulimits": {"nofile": 65536},
        "restart": "unless-stopped",
        "stop_grace_period": "30s",
        "healthcheck": {
            "test": ["CMD", *health_command(sites, part)],
            "interval": "30s",
            "timeout": "15s",
            "retries": 3,
            "start_period": "120s",
        },
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}},
    }


def _command(sites: Sites, part: ServerPlace | SitePlace) -> list[str]:
    """What the service starts; what follows its every start goes on beside it."""
    start, *after = commands(sites, part)
    if not after:
        return [start]
    return ["sh", "-c", " ".join([*(f"{script} &" for script in after), f"exec {start}"])]


def health_command(sites: Sites, part: ServerPlace | SitePlace) -> list[str]:
    """What tells whether a part works, run where it runs."""
    asked = [f"{part.venv}/bin/python", "-m", "fedklpr_flwr.deploy.health"]
    if isinstance(part, SitePlace):
        return [*asked, "supernode", sites.address, str(part.port)]
    return [*asked, "superlink", f"127.0.0.1:{part.port}", f"{sites.place_of(part)}/ca.crt"]


def _volumes(sites: Sites, part: ServerPlace | SitePlace) -> list[dict[str, Any]]:
    """Keys and pictures to read, memory and cache to write, each where the service has it."""
    read = {"..": sites.place_of(part)}
    kept = {"work": sites.work_of(part)}
    if isinstance(part, SitePlace):
        read |= {part.root: part.root} if part.root else {}
        kept |= {"cache": part.cache} if part.cache else {}
    bind = {"create_host_path": False}
    return [
        *(
            {"type": "bind", "source": path, "target": to, "read_only": True, "bind": bind.copy()}
            for path, to in read.items()
        ),
        *({"type": "volume", "source": name, "target": to} for name, to in kept.items()),
    ]


def _memory(told: str) -> str | None:
    """A bound as compose reads it; None where systemd's word has no counterpart."""
    return told.lower() if _SIZE.fullmatch(told) else None


def _project(sites: Sites, part: ServerPlace | SitePlace) -> str:
    """Compose's own name of a part; no two are alike, though it has no capitals and no dots."""
    own = f".{part.name}" if isinstance(part, SitePlace) else "-superlink"
    name = f"fedklpr-{sites.federation}{own}"
    plain = re.sub(r"[^a-z0-9_-]", "-", name.lower())
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _plain(value: Any) -> Any:
    """The same with every `$` doubled: compose would look a name up."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
