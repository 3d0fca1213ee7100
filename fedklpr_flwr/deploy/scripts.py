"""The texts of a deployment's folders: start scripts, services, what Flower reads.

A start script looks at certificates and file modes before it starts anything, and runs from
wherever its folder lies; only the service's text names that place.
"""

from shlex import quote

from fedklpr_flwr.deploy.sites_file import ServerPlace, SitePlace, Sites
from fedklpr_flwr.launch.environment import LOOPBACK, OFF
from fedklpr_flwr.system.plain_text import toml_text

_PAST_PROXIES = """\
# What is on this machine is reached past every proxy.
export no_proxy="${{no_proxy:+$no_proxy,}}{loopback}"
export NO_PROXY="${{NO_PROXY:+$NO_PROXY,}}{loopback}"
[ -z "${{no_grpc_proxy:-}}" ] || export no_grpc_proxy="$no_grpc_proxy,{loopback}"
"""

_BEGIN = (
    """\
#!/bin/sh
# {what} of {federation}. Made by `fedklpr deploy init`.
set -eu
umask 077
cd "$(dirname "$0")"
here=$(pwd)
work={work}
export PATH={venv}/bin:"$PATH"
export FLWR_HOME="$work/flower"
# A service's user has no home: what libraries keep there (initial weights) lies with the rest.
[ -w "${{HOME:-}}" ] || export HOME="$work"
export {off}
"""
    + _PAST_PROXIES
)

_SUPERLINK = """\
fedklpr deploy check "$here"
mkdir -p "$FLWR_HOME"
cd "$work"  # `deploy renew` may put another folder in this one's place meanwhile
exec python -m fedklpr_flwr.deploy.guarded_superlink \\
    --host {listen} --port {port} --enable-supernode-auth \\
    --ssl-ca-certfile "$here/ca.crt" --ssl-certfile "$here/server.crt" \\
    --ssl-keyfile "$here/server.key" --disable-runtime-dependency-installation
"""

_REGISTER = (
    """\
#!/bin/sh
# Tells the SuperLink of {federation}, on this machine, which boxes it may trust: all of keys/.
# It forgets them when it ends: run this after every start (the service does).
set -eu
cd "$(dirname "$0")"
here=$(pwd)
export PATH={venv}/bin:"$PATH"
export FLWR_HOME="$here/flower"
export {off}
"""
    + _PAST_PROXIES
    + """\
exec fedklpr deploy register "$here"
"""
)

_SUPERNODE = """\
export FEDKLPR_CACHE={cache}
fedklpr deploy check "$here" --server {address}
mkdir -p "$FLWR_HOME"
cd "$work"  # `deploy renew` may put another folder in this one's place meanwhile
flower-supernode --superlink {address} --root-certificates "$here/ca.crt" \\
    --auth-supernode-private-key "$here/supernode.key" \\
    --host 127.0.0.1 --port {port} --node-config "$here/node.toml" &
node=$!
stopped=
trap 'stopped=yes; kill -TERM "$node" 2>/dev/null || true' TERM INT
wait "$node" || true
[ -z "$stopped" ] || {{ wait "$node" || true; exit 0; }}
cat >&2 <<'WHY'
{name}: the SuperNode ended. If it says above
  "Failed to activate SuperNode": the SuperLink does not know this box's key: run register.sh on the
      SuperLink's machine; or this box crashed, and is let in again a minute later.
  "SuperNode terminated gracefully": the SuperLink was started anew and knows nobody: register.sh.
Start it again, or let systemd do so: its service tries every 20 s until it is let in.
WHY
exit 1
"""

_SERVICE = """\
# As root, on its own machine, with this folder at {place}:
#   useradd --system --no-create-home {user}
#   chown -R root:{user} {place}; chmod -R u=rwX,g=rX,o= {place}
{made}#   install -o root -m 644 {place}/{unit} /etc/systemd/system/
#   systemctl daemon-reload; systemctl enable --now {unit}
# The copy and the folder are root's: the user {user} changes neither what is started nor as whom.
[Unit]
Description=FedKLPR {what} of {federation}
Wants=network-online.target
After=network-online.target
# Never give up: a SuperLink may be away for days.
StartLimitIntervalSec=0

[Service]
User={user}
ExecStart={start}
{more}Restart=always
# A SuperLink takes a box that crashed for online for up to 60 s more, and refuses it until then.
RestartSec=20
TimeoutStartSec=180
TimeoutStopSec=30
{state}
{hardening}
[Install]
WantedBy=multi-user.target
"""

_HARDENING = """\
# It runs code of the network's: it writes its own folder, reads its pictures, and no more.
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={work}
{pictures}ProtectHome={home}
PrivateTmp=yes
{devices}PrivateUsers=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# Looks for a processor's features and pins threads to cores; torch and its OpenMP do both.
SystemCallFilter=sched_setaffinity sched_setscheduler set_mempolicy mbind setpriority ioprio_set
SystemCallErrorNumber=EPERM
MemoryMax={memory}
TasksMax=4096
# A connection is an open file, a stranger's that never says a word, too.
LimitNOFILE=65536
"""
# MemoryDenyWriteExecute is left out: torch's and numba's compiled loops write code and run it.

_STATE = "/var/lib/"
_STATE_LINES = "StateDirectory={}\nStateDirectoryMode=0700\n"


def start_superlink(sites: Sites) -> str:
    """The start script of the SuperLink."""
    server = sites.server
    rest = _SUPERLINK.format(listen=quote(server.listen), port=server.port)
    return _begin("the SuperLink", sites, server) + rest


def register(sites: Sites) -> str:
    """The script that registers all boxes' keys."""
    return _REGISTER.format(
        federation=sites.federation, venv=quote(sites.server.venv), **_everywhere()
    )


def connection(sites: Sites, authority: str) -> str:
    """Flower's configuration on the SuperLink's machine: how commands there reach it.

    Args:
        sites: the federation, whose name is the connection's.
        authority: the absolute path of ca.crt.
    """
    listen = sites.server.listen
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)
    address = f"[{host}]:{sites.server.port}" if ":" in host else f"{host}:{sites.server.port}"
    return (
        f"[superlink]\ndefault = {toml_text(sites.federation)}\n\n[superlink.{sites.federation}]\n"
        f"address = {toml_text(address)}\nroot-certificates = {toml_text(authority)}\n"
    )


def start_supernode(sites: Sites, site: SitePlace) -> str:
    """The start script of one box's SuperNode."""
    cache = site.cache or f"{sites.work_of(site)}/cache"
    rest = _SUPERNODE.format(
        cache=quote(cache), address=quote(sites.address), port=site.port, name=site.name
    )
    return _begin(f"the SuperNode {site.name}", sites, site) + rest


def node_config(sites: Sites, site: SitePlace) -> str:
    """What the client app of one box is told: who it is, and where its pictures lie."""
    said = {"client": site.name, "data": site.data, "root": site.root}
    said["state-dir"] = f"{sites.work_of(site)}/memory"
    lines = [f"{key} = {toml_text(value)}" for key, value in said.items() if value]
    if not site.policy.identities:
        lines.append("policy-identities = false")
    if not site.policy.scores:
        lines.append("policy-scores = false")
    if site.policy.digits is not None:
        lines.append(f"policy-digits = {site.policy.digits}")
    return "\n".join(lines) + "\n"


def unit_name(sites: Sites, part: ServerPlace | SitePlace) -> str:
    """The file name of a part's service; no two federations' are alike, as they have no dot."""
    name = f".{part.name}" if isinstance(part, SitePlace) else "-superlink"
    return f"fedklpr-{sites.federation}{name}.service"


def commands(sites: Sites, part: ServerPlace | SitePlace) -> tuple[str, ...]:
    """The script that runs a part, then those that follow every start of it."""
    place = sites.place_of(part)
    after = () if isinstance(part, SitePlace) else (f"{place}/register.sh",)
    return (f"{place}/start.sh", *after)


def service(sites: Sites, part: ServerPlace | SitePlace) -> str:
    """A systemd service that starts a part at boot and whenever it ended."""
    place, work = sites.place_of(part), sites.work_of(part)
    by_systemd = work.startswith(_STATE)
    start, *after = commands(sites, part)
    what = f"SuperNode {part.name}" if isinstance(part, SitePlace) else "SuperLink"
    return _SERVICE.format(
        what=what,
        federation=sites.federation,
        place=place,
        user=part.user,
        unit=unit_name(sites, part),
        start=start,
        more="".join(f"# It knows no box after a start.\nExecStartPost={it}\n" for it in after),
        state=_STATE_LINES.format(work.removeprefix(_STATE)) if by_systemd else "",
        made="" if by_systemd else f"#   install -d -m 700 -o {part.user} {work}\n",
        hardening=_hardening(part, work),
    )


def _hardening(part: ServerPlace | SitePlace, work: str) -> str:
    """What a service may not do; a folder of people's homes that it needs is left readable."""
    needed, pictures, devices = [work, part.venv], "", "PrivateDevices=yes\n"
    if isinstance(part, SitePlace):
        needed += [path for path in (part.root, part.cache) if path]
        if part.root:
            pictures = f'ReadOnlyPaths="-{_escaped(part.root)}"\n'
        if part.cache:
            pictures += f"ReadWritePaths={part.cache}\n"
        if part.gpu:
            devices = ""  # a GPU's files in /dev must be there
    at_home = any(path.startswith(("/home/", "/root/", "/run/user/")) for path in needed)
    return _HARDENING.format(
        work=work,
        pictures=pictures,
        devices=devices,
        home="read-only" if at_home else "yes",
        memory=part.memory,
    )


def _escaped(path: str) -> str:
    """A path within double quotes, as systemd reads it."""
    return path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _begin(what: str, sites: Sites, part: ServerPlace | SitePlace) -> str:
    return _BEGIN.format(
        what=what[0].upper() + what[1:],
        federation=sites.federation,
        work=quote(sites.work_of(part)),
        venv=quote(part.venv),
        **_everywhere(),
    )


def _everywhere() -> dict[str, str]:
    """What all scripts say of the environment."""
    off = " ".join(f"{key}={value}" for key, value in OFF.items() if key.startswith("FLWR_"))
    return {"off": off, "loopback": ",".join(LOOPBACK)}
