"""Whether a SuperLink can be spoken to, and if not, what to do: Flower only says "unavailable"."""

import os
import socket
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedklpr_flwr.errors import RunError, SettingsError

_SECONDS = 5.0
_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64
_RENEW = (
    "where the deployment was made, fedklpr deploy renew; then carry office/ to the SuperLink's "
    "machine and start it anew"
)
_MANAGED = ("local", "local-in-memory", "supergrid")


def split_address(address: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT or [IPv6]:PORT.

    Raises:
        SettingsError: it is neither.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        raise SettingsError(f"{address!r:.200}: expected HOST:PORT of a SuperLink")
    return host.strip("[]"), int(port)


def tls_fault(address: str, authority: Path) -> str | None:
    """What keeps this machine from speaking to a SuperLink over TLS.

    Args:
        address: HOST:PORT.
        authority: the PEM file of who signed its certificate.

    Returns:
        A sentence that says what to do, or None where all is well.

    Raises:
        ConnectionError: nobody answers at the address; whether the rest is well is not known.
    """
    try:
        context = ssl.create_default_context(cafile=str(authority))
    except OSError as error:  # of the disk, or TLS's own: not a certificate
        return f"{authority} cannot be read ({error}): carry its folder here again"
    try:
        _greet(address, context)
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of the SuperLink at {address} {_why(error, address)}"
    except ssl.SSLError as error:
        return (
            f"the SuperLink at {address} does not speak TLS ({error.reason}): start it with "
            "office/start.sh"
        )
    return None


def check_connection(name: str) -> None:
    """Refuse a connection of Flower's configuration that cannot work, before anything is sent.

    Args:
        name: what `--superlink` names. What Flower manages itself is left to Flower.

    Raises:
        RunError: it does not exist, nobody is there, only one side speaks TLS, or a certificate
            does not hold.
    """
    home = Path(os.environ.get("FLWR_HOME") or "~/.flwr").expanduser()
    known = _connections(home / "config.toml")
    chosen = known.get(name)
    if chosen is None:
        if name in _MANAGED:
            return
        raise RunError(
            f"--superlink {name}: {home / 'config.toml'} has no such connection, it has "
            f"{', '.join(known) or 'none'}; set FLWR_HOME to the folder office/flower that fedklpr "
            "deploy init wrote"
        )
    address = str(chosen.get("address", ""))
    if address.startswith(":") or name == "supergrid":
        return
    try:
        fault = _connection_fault(address, chosen)
    except ConnectionError as error:
        fault = str(error)
    if fault is not None:
        raise RunError(f"--superlink {name}: {fault}")


def _connections(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("superlink", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    return {key: value for key, value in found.items() if isinstance(value, dict)}


def _connection_fault(address: str, chosen: Mapping[str, Any]) -> str | None:
    authority = chosen.get("root-certificates")
    if authority is not None:
        return tls_fault(address, Path(str(authority)))
    if chosen.get("insecure") is not True:
        return None  # a public certificate, which this machine's own authorities vouch for
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        _greet(address, anybody)
    except ssl.SSLError:
        return None
    return (
        f"the SuperLink at {address} speaks TLS and this connection has insecure=true: use the one "
        "that fedklpr deploy init wrote, by FLWR_HOME=.../office/flower"
    )


def _greet(address: str, context: ssl.SSLContext) -> None:
    """Open and close a TLS connection.

    Raises:
        ssl.SSLError: who answers does not speak TLS, or is not who it should be.
        ConnectionError: nobody answers.
    """
    host, port = split_address(address)
    try:
        with (
            socket.create_connection((host, port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            pass
    except ssl.SSLError:
        raise
    except OSError as error:
        raise ConnectionError(
            f"nobody answers at {address} ({error.strerror or error}): is the SuperLink started, "
            "and is the port open in its machine's firewall?"
        ) from error


def _why(error: ssl.SSLCertVerificationError, address: str) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return f"has expired: {_RENEW}"
    if code == _NOT_YET:
        return "is not valid yet: is this machine's clock right (date)?"
    if code in (_WRONG_NAME, _WRONG_ADDRESS):
        host = split_address(address)[0]
        return f"is not for {host}: add it to server.hosts in SITES.yaml, then {_RENEW}"
    return (
        f"is not signed by this federation's authority ({error.verify_message}): another server is "
        "there, or this machine's folder is of an earlier deployment and must be carried here again"
    )
