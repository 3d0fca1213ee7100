"""The boxes' keys go to a SuperLink, which forgets them whenever it ends."""

import json
import os
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedklpr_flwr.deploy.superlink_check import split_address, tls_fault
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.system.plain_text import parse_json, toml_text

NODES = "nodes.json"
"""In the office's Flower home: the number of each site's node, as the SuperLink gave it."""

_UP_SECONDS = 90.0
_KNOWN = "already in use"


def register_keys(office: Path) -> dict[str, str]:
    """Register every key in an office folder with the SuperLink on this machine.

    The connection in office/flower/config.toml is set to where the folder lies now.

    Args:
        office: the folder, on the SuperLink's machine.

    Returns:
        For each site the number of its SuperNode, or "known" where it was registered before.

    Raises:
        SettingsError: it is no office folder.
        RunError: the SuperLink is not up in 90 s, cannot be spoken to, or refuses a key.
    """
    home, authority = office.absolute() / "flower", office.absolute() / "ca.crt"
    name, address = connection_of(office)
    _wait_until_up(address)
    _check_tls(address, authority)
    keys = sorted((office / "keys").glob("*.pub"))
    found = {key.stem: _register(key, name, home) for key in keys}
    if fresh := {site: node for site, node in found.items() if node != "known"}:
        # A service's folder is to be read alone: a run's boxes.json tells the numbers then.
        with suppress(OSError, RunError):
            write_atomically(home / NODES, json.dumps(json_file(home / NODES) | fresh).encode())
    return found


def connection_of(office: Path) -> tuple[str, str]:
    """The name and address of an office's connection, its certificate's path put right.

    Raises:
        SettingsError: it is no office folder.
    """
    return _settle(office.absolute() / "flower" / "config.toml", office.absolute() / "ca.crt")


def ask_superlink(home: Path, *words: str) -> tuple[dict[str, Any], str]:
    """Run `flwr supernode` with these words.

    Args:
        home: the office's Flower home.
        words: its arguments.

    Returns:
        What it answers as JSON, empty where that is none, and the answer in words.
    """
    env = {**os.environ, "FLWR_HOME": str(home)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    command = ["flwr", "supernode", *words, "--format", "json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    found = json_names(done.stdout)
    said = str(found.get("error-message") or done.stdout + done.stderr)
    return found, " ".join(said.split())


def json_names(text: str) -> dict[str, Any]:
    """What a text of JSON says by name; empty where it is none."""
    try:
        found = parse_json(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def json_file(path: Path) -> dict[str, Any]:
    """The same of a file; empty where it cannot be read."""
    try:
        return json_names(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _settle(path: Path, authority: Path) -> tuple[str, str]:
    """The connection's name and address; its certificate's path is made this folder's."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))["superlink"]
        name = str(found["default"])
        address, written = str(found[name]["address"]), str(found[name]["root-certificates"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"{path} holds no connection ({why}): expected the folder office/ that fedklpr "
            "deploy init wrote"
        ) from error
    if written != str(authority):
        text = path.read_text(encoding="utf-8").replace(
            toml_text(written), toml_text(str(authority))
        )
        write_atomically(path, text.encode())
    return name, address


def _wait_until_up(address: str) -> None:
    end = time.monotonic() + _UP_SECONDS
    while True:
        try:
            socket.create_connection(split_address(address), 5.0).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise RunError(
                    f"no SuperLink answers at {address} after {_UP_SECONDS:.0f} s "
                    f"({error.strerror or error}): start it with office/start.sh"
                ) from error
        time.sleep(0.5)


def _check_tls(address: str, authority: Path) -> None:
    """Flower would only say that the SuperLink is unavailable."""
    try:
        fault = tls_fault(address, authority)
    except ConnectionError as error:  # it has ended since
        fault = str(error)
    if fault is not None:
        raise RunError(f"no key was registered: {fault}")


def _register(key: Path, connection: str, home: Path) -> str:
    found, said = ask_superlink(home, "register", str(key), connection, "--name", key.stem)
    if "node-id" in found:
        return str(found["node-id"])
    if _KNOWN in said:
        return "known"
    raise RunError(f"{key.name} was not registered: {said}")
