"""Whether a part of a deployment works, as a container's health check asks: exit status 0 or 1.

    python -m fedklpr_flwr.deploy.health superlink HOST:PORT CA.CRT
    python -m fedklpr_flwr.deploy.health supernode HOST:PORT OWN_PORT

The address is the SuperLink's both times; a SuperNode also has its own interface, on loopback.
"""

import http.client
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from fedklpr_flwr.deploy.superlink_check import split_address, tls_fault
from fedklpr_flwr.errors import FedKlprError

_SECONDS = 5.0
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"
# Closed a moment ago: the kernel forgets these after a minute, two heartbeats of a SuperNode.
_JUST_CLOSED = ("04", "05", "06")


def superlink_fault(address: str, authority: Path) -> str | None:
    """What is wrong with a SuperLink, asked over TLS for its health.

    Args:
        address: HOST:PORT.
        authority: the PEM file of who signed its certificate.

    Returns:
        A sentence, or None where it answers as it should.
    """
    try:
        fault = tls_fault(address, authority)
    except ConnectionError as error:
        fault = str(error)
    if fault is not None:
        return fault
    host, port = split_address(address)
    context = ssl.create_default_context(cafile=str(authority))
    return _asked(http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context))


def supernode_fault(superlink: str, own_port: int) -> str | None:
    """What is wrong with the SuperNode of this network namespace.

    Args:
        superlink: HOST:PORT that it is connected to.
        own_port: of its own interface on loopback.

    Returns:
        A sentence, or None where it answers and has a live connection to the SuperLink, or had one
        within the last minute.
    """
    fault = _asked(http.client.HTTPConnection("127.0.0.1", own_port, timeout=_SECONDS))
    if fault is not None:
        return fault
    port = _port_towards(superlink)
    if any(has_contact(table.read_text(), port) for table in _TABLES if table.exists()):
        return None
    return f"no connection to {superlink} for a minute: is the SuperLink started?"


def has_contact(table: str, port: int) -> bool:
    """Whether somebody is spoken to, or was a moment ago.

    Args:
        table: /proc/net/tcp or tcp6.
        port: of the other end.
    """
    for line in table.splitlines()[1:]:
        _, _, other, state, _, _, unanswered, *_ = line.split()
        if int(other.rpartition(":")[2], 16) != port:
            continue
        if state in _JUST_CLOSED or (state == _ESTABLISHED and int(unanswered, 16) == 0):
            return True
    return False


def _asked(connection: http.client.HTTPConnection) -> str | None:
    """What keeps a server of Flower's from saying that it is well."""
    where = f"{connection.host}:{connection.port}"
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{where} does not answer ({error})"
    finally:
        connection.close()
    return None if status == 200 else f"{where} answers with status {status}"


def _port_towards(address: str) -> int:
    """The port that connections to an address go to: a proxy's, where one lies between."""
    host, port = split_address(address)
    proxy = getproxies().get("https")
    if not proxy or proxy_bypass(host):
        return port
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}").port or 80


def main(words: Sequence[str]) -> int:
    """Look at one part; say what is wrong with it."""
    try:
        part, address, last = words
        if part == "superlink":
            fault = superlink_fault(address, Path(last))
        else:
            fault = supernode_fault(address, int(last))
    except (ValueError, FedKlprError) as error:
        fault = f"{error}: expected superlink HOST:PORT CA.CRT, or supernode HOST:PORT OWN_PORT"
    if fault is not None:
        print(fault)
    return 0 if fault is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
