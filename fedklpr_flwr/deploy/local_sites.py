"""A federation of drawn sites on this one machine: SITES.yaml for `fedklpr deploy init --local`."""

import socket
import sys
from pathlib import Path

from fedklpr_flwr.errors import SettingsError

NAME = "local"
SITES = ("street", "yard", "airport")
"""Those of experiment=smoke."""

_SERVER_PORT, _NODE_PORT = 8443, 9094
_TRIED = 200


def local_sites(out: Path) -> str:
    """Describe a federation whose every part lies in one folder of this machine.

    Args:
        out: the deployment's folder; what the parts write lies in OUT/work.

    Returns:
        SITES.yaml: three sites of drawn people, the ports nobody has now, this Python.

    Raises:
        SettingsError: so many ports are taken.
    """
    place = out.absolute()
    server, *nodes = _free_ports(1 + len(SITES))
    lines = [
        "# Three drawn sites on one machine, by fedklpr deploy init --local; docs/one-machine.md.",
        f"federation: {NAME}",
        "server:",
        "  hosts: [localhost, 127.0.0.1]",
        "  listen: 127.0.0.1                # no other machine reaches it",
        f"  port: {server}",
        *_places(place / "office", place / "work" / "office"),
        "sites:",
    ]
    for name, port in zip(SITES, nodes, strict=True):
        lines += [
            f"  - name: {name}",
            f'    data: "drawn:{name}"',
            f"    port: {port}                       # SuperNodes of one machine need one each",
            *("  " + line for line in _places(place / "sites" / name, place / "work" / name)),
        ]
    return "\n".join(lines) + "\n"


def _places(place: Path, work: Path) -> list[str]:
    return [f"  place: {place}", f"  work: {work}", f"  venv: {sys.prefix}"]


def _free_ports(count: int) -> list[int]:
    """The usual port of a SuperLink and those of its SuperNodes, or the next that are free."""
    found = [next((p for p in range(_SERVER_PORT, _SERVER_PORT + _TRIED) if _is_free(p)), 0)]
    found += [p for p in range(_NODE_PORT, _NODE_PORT + _TRIED) if _is_free(p)][: count - 1]
    if len(found) < count or not found[0]:
        raise SettingsError(
            f"ports {_SERVER_PORT} to {_SERVER_PORT + _TRIED} or {_NODE_PORT} to "
            f"{_NODE_PORT + _TRIED} are all taken on this machine: end what listens there"
        )
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As a server that starts does: a port that one left a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def next_steps(out: Path) -> str:
    """Say what starts all of it, in one terminal, and what ends it."""
    return f"""\
wrote {out}: three drawn sites, a SuperLink and Flower's connection, for this machine alone
start it, in one terminal, with fedklpr and flwr on its PATH:
  export PATH={Path(sys.executable).parent}:$PATH
  {out}/office/start.sh > {out}/office.log 2>&1 & echo $! > {out}/office.pid
  sleep 15; {out}/office/register.sh
  for site in {" ".join(SITES)}; do
    {out}/sites/$site/start.sh > {out}/$site.log 2>&1 & echo $! > {out}/$site.pid
  done
  FLWR_HOME={out.absolute()}/office/flower \
    fedklpr run --superlink {NAME} experiment=smoke federation.rounds=5 run.dir={out}/runs/first
look on: fedklpr deploy status {out}/office --run {out}/runs/first
end it: kill $(cat {out}/*.pid)
docs/one-machine.md goes on: watch it, kill a box, begin again"""
