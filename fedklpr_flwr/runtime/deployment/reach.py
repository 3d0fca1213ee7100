"""Whether a SuperLink can be spoken to, and if not, what to do: Flower only says "unavailable"."""

import os
import socket
import ssl
import tomllib
from pathlib import Path

from fedklpr_flwr.errors import RunError, SettingsError

_SECONDS = 5.0
_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64
_RENEW = "where the deployment was made: fedklpr deploy renew; carry office/ to the SuperLink's machine"


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
    host, port = split_address(address)
    try:
        context = ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        return f"{authority} cannot be read ({error}): carry this machine's folder here again"
    try:
        with (
            socket.create_connection((host, port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of the SuperLink at {address} {_why(error, host)}"
    except (ssl.SSLError, ConnectionResetError, TimeoutError) as error:
        if isinstance(error, TimeoutError):
            raise ConnectionError(_nobody(address, error)) from error
        return (
            f"the SuperLink at {address} does not speak TLS ({error}): start it with office/start.sh"
        )
    except OSError as error:
        raise ConnectionError(_nobody(address, error)) from error


def _nobody(address: str, error: OSError) -> str:
    return (
        f"nobody answers at {address} ({error.strerror or error}): is the SuperLink started, and is "
        "the port open in its machine's firewall?"
    )


def _why(error: ssl.SSLCertVerificationError, host: str) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return f"has expired: {_RENEW}"
    if code == _NOT_YET:
        return "is not valid yet: is this machine's clock right (date)?"
    if code in (_WRONG_NAME, _WRONG_ADDRESS):
        return f"is not for {host}: add it to server.hosts in SITES.yaml, then {_RENEW}"
    return (
        f"is not signed by this federation's authority ({error.verify_message}): another server is "
        "there, or this machine's folder is of an earlier deployment; carry it here again"
    )


def check_connection(name: str) -> None:
    """Refuse a connection of Flower's configuration that cannot work, before anything is sent.

    Connections that Flower manages itself, or that are not in the file, are left to Flower.

    Args:
        name: what `--superlink` names.

    Raises:
        RunError: TLS on one side alone, a certificate that does not hold, or nobody there.
    """
    home = Path(os.environ.get("FLWR_HOME") or "~/.flwr").expanduser()
    try:
        found = tomllib.loads((home / "config.toml").read_text(encoding="utf-8"))
        chosen = found["superlink"][name]
        address, authority = str(chosen["address"]), chosen.get("root-certificates")
        host, port = split_address(address)
    except (OSError, ValueError, KeyError, TypeError, SettingsError):
        return
    try:
        if authority is not None:
            fault = tls_fault(address, Path(authority))
        elif chosen.get("insecure") is True and _speaks_tls(host, port):
            fault = (
                f"the SuperLink at {address} speaks TLS, and this connection says insecure=true: use "
                "the connection that fedklpr deploy init wrote (FLWR_HOME=.../office/flower)"
            )
        else:
            fault = None
    except ConnectionError as error:
        fault = str(error)
    if fault is not None:
        raise RunError(f"--superlink {name}: {fault}")


def _speaks_tls(host: str, port: int) -> bool:
    """Whether a server greets a TLS client, whoever signed its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except (ssl.SSLError, ConnectionResetError):
        return False
    except OSError as error:
        raise ConnectionError(_nobody(f"{host}:{port}", error)) from error
