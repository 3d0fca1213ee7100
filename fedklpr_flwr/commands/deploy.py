"""`fedklpr deploy`: from a list of sites to keys, certificates, start scripts and services."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedklpr_flwr.deploy.check import (
    Finding,
    Kind,
    certificate_days,
    certificate_end,
    check_folder,
    check_pictures,
)
from fedklpr_flwr.deploy.clean_memories import old_memories, remove_memory
from fedklpr_flwr.deploy.containers.compose_file import (
    container_files,
    has_containers,
    kept_torch_lock,
    read_torch_lock,
    told_of,
)
from fedklpr_flwr.deploy.folder import (
    SITES_FILE,
    is_deployment,
    make_folder,
    read_secrets,
)
from fedklpr_flwr.deploy.local_sites import NAME, local_sites, next_steps
from fedklpr_flwr.deploy.registering import register_keys
from fedklpr_flwr.deploy.sites_file import Sites, read_sites, read_source, sites_from
from fedklpr_flwr.deploy.status import BoxStatus, box_statuses, is_run_of, superlink_nodes
from fedklpr_flwr.deploy.superlink_check import tls_fault
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.wording import counted, printable

cli = typer.Typer(help="Make what a federation of real boxes needs.", no_args_is_help=True)

Deployment = Annotated[Path, typer.Argument(help="a folder that deploy init wrote")]
Containers = Annotated[
    bool, typer.Option("--containers", help="a Containerfile and compose.yaml for each, too")
]
TorchLock = Annotated[
    Path | None, typer.Option(help="with --containers: CPU torch and its hashes, once made")
]


@cli.command("init")
def init(
    sites: Annotated[
        Path | None, typer.Argument(help="SITES.yaml: docs/deployment.md lists its keys")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the folder; default: the federation's name")] = (
        None
    ),
    force: Annotated[
        bool, typer.Option("--force", help="replace an earlier deployment, its keys included")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="three drawn sites on this machine, to try it")
    ] = False,
    containers: Containers = False,
    torch_lock: TorchLock = None,
) -> None:
    """Write keys, certificates, start scripts and services of a federation.

    Example: fedklpr deploy init SITES.yaml
    """
    if local == (sites is not None):
        raise SettingsError("expected a SITES.yaml, or --local without one")
    if local and containers:
        raise SettingsError("--local is for processes of this machine; containers need SITES.yaml")
    source = local_sites(out or Path(NAME)).encode() if sites is None else read_source(sites)
    found = sites_from(source, sites or Path(SITES_FILE))
    folder = out or Path(found.federation)
    replaced = _sites_of(folder) if is_deployment(folder) else None
    lock = _lock(containers, torch_lock)
    beside = container_files(found, lock) if containers else {}
    make_folder(found, source, folder, replace=force, beside=beside)
    if replaced is not None:
        print(
            f"replaced the deployment in {folder}: its authority, and the keys of "
            f"{', '.join(replaced)}, are void; carry all folders anew"
        )
    if local:
        print(next_steps(folder))
    else:
        _tell(found, folder)
    if containers:
        print(told_of(found, folder, lock))


def _lock(containers: bool, torch_lock: Path | None) -> bytes | None:
    if torch_lock is not None and not containers:
        raise SettingsError("--torch-lock is for --containers: add it")
    return read_torch_lock(torch_lock) if torch_lock else None


@cli.command("renew")
def renew(folder: Deployment, containers: Containers = False, torch_lock: TorchLock = None) -> None:
    """Make a deployment's folder anew from its SITES.yaml, keeping its authority and keys.

    For a certificate that expires, another host, one site more or less, or containers from now on;
    those that are there are made anew in any case. Boxes that were there before need nothing new,
    unless what they start with changed, which is said.

    Example: fedklpr deploy renew street-cameras
    """
    if not is_deployment(folder):
        raise SettingsError(f"{folder} is no folder that fedklpr deploy init wrote")
    found, secrets = read_sites(folder / SITES_FILE), read_secrets(folder)
    source = (folder / SITES_FILE).read_bytes()
    before, until = _site_files(folder), certificate_end(folder / "office" / "server.crt")
    lock = _lock(containers, torch_lock) or kept_torch_lock(folder)
    beside = container_files(found, lock) if containers or has_containers(folder) else {}
    make_folder(found, source, folder, kept=secrets, replace=True, beside=beside)
    names = {site.name for site in found.sites}
    print(f"renewed {folder}: carry office/ to the SuperLink's machine and start it anew")
    if until is not None:
        print(
            f"boxes go on believing the key before until {until:%Y-%m-%d}: if it was stolen, "
            "fedklpr deploy init --force makes all keys anew"
        )
    if new := sorted(names - secrets.nodes.keys()):
        print(f"new: {', '.join(new)}: carry their folders, below sites/, to their boxes")
    after = _site_files(folder)
    if changed := sorted(name for name in names & before.keys() if after[name] != before[name]):
        print(f"changed: {', '.join(changed)}: carry their folders, too, and start them anew")
    if gone := sorted(secrets.nodes.keys() - names):
        print(
            f"gone: {', '.join(gone)}: shut out once their keys are gone from office/keys/ on the "
            "SuperLink's machine (rsync --delete) and it is started anew"
        )
    if containers:
        print(told_of(found, folder, lock))


@cli.command("check")
def check(
    folder: Deployment,
    server: Annotated[
        str | None, typer.Option(help="HOST:PORT: this is the site's own box, try its SuperLink")
    ] = None,
) -> None:
    """Say what expires when, and what keeps a folder from being used; then exit status 1.

    Example: fedklpr deploy check street-cameras
    """
    findings = check_folder(folder)
    if server is not None:
        findings += check_pictures(folder) + _reached(server, folder / "ca.crt")
    for finding in findings:
        word = "" if finding.kind is Kind.GOOD else f"{finding.kind.value}: "
        print(f"{word}{finding.text}", flush=True)
    if any(finding.kind is Kind.FAULT for finding in findings):
        raise typer.Exit(1)


@cli.command("register")
def register(
    office: Annotated[Path, typer.Argument(help="the folder office/, on the SuperLink's machine")],
) -> None:
    """Tell the SuperLink on this machine which boxes it may trust: after every start of it.

    Example: fedklpr deploy register street-cameras/office
    """
    for site, node in register_keys(office).items():
        print(f"{site}: {'was registered before' if node == 'known' else f'node {node}'}")


@cli.command("status")
def status(
    office: Annotated[Path, typer.Argument(help="the folder office/, on the SuperLink's machine")],
    run: Annotated[
        Path | None,
        typer.Option(help="a run folder; default: runs/latest, if it is of these boxes"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="all of it, as JSON")] = False,
) -> None:
    """Show every box: registered, online, merged, failed; its version, disk and clock.

    Exit status 1 where the SuperLink does not answer: the rest is told all the same.

    Example: fedklpr deploy status street-cameras/office --run runs/latest
    """
    if run is not None and not run.is_dir():
        raise RunError(f"--run {run}: there is no such folder")
    latest = Path("runs/latest")
    shown = run or (latest if is_run_of(office, latest) else None)
    try:
        listed, away = superlink_nodes(office), ""
    except RunError as error:
        listed, away = None, str(error)
    boxes, findings = box_statuses(office, shown, listed), check_folder(office)
    if as_json:
        told = {
            "run": shown and str(shown.resolve()),
            "superlink": away or "answers",
            "boxes": [box.to_dict() for box in boxes],
            "certificates": [finding.text for finding in findings],
            "certificate_days": certificate_days(office),
        }
        print(json.dumps(told, indent=1))
    else:
        _print_status(shown, boxes, findings)
    if away:
        raise RunError(away)


def _print_status(
    shown: Path | None, boxes: Sequence[BoxStatus], findings: Sequence[Finding]
) -> None:
    """One screen: a line a box, why the failed ones failed, and the certificates."""
    print(printable(f"run: {shown.resolve()}") if shown else "no run of these boxes: --run FOLDER")
    heads = ("box", "node", "merged", "Rank-1", "failed", "version", "free", "clock")
    table = Table(*heads, box=SIMPLE_HEAD, padding=(0, 1))
    for box in boxes:
        table.add_row(*map(escape, map(printable, _cells(box))))
    Console().print(table)
    for box in boxes:
        if box.reason:
            print(printable(f"{box.site} failed last: {box.reason:.300}"))
    for finding in findings:
        print(finding.text)


def _cells(box: BoxStatus) -> list[str]:
    """A line of the table."""
    said = box.box
    since = f" since {box.since}" if box.since else ""
    return [
        box.site,
        f"{box.state}{since}",
        "-" if box.merged is None else str(box.merged),
        "-" if box.rank1 is None else f"{box.rank1:.3f}",
        f"{box.failed}x" if box.failed else "-",
        str(said.get("box_version", "-")),
        f"{said['box_free_mb'] / 1000:.0f} GB" if "box_free_mb" in said else "-",
        f"{said['clock_ahead']:+.0f} s" if "clock_ahead" in said else "-",
    ]


@cli.command("clean")
def clean(
    memories: Annotated[Path, typer.Argument(help="state-dir of this box's node.toml")],
    days: Annotated[
        float, typer.Option(min=0.0, help="memories in which nothing was written for so long")
    ] = 90.0,
    remove: Annotated[
        bool, typer.Option("--remove", "--yes", help="remove them, not only list them")
    ] = False,
    newest: Annotated[
        bool,
        typer.Option("--newest", help="also what the next run of a weekly job would start from"),
    ] = False,
) -> None:
    """List what runs that ended long ago left on this box, and remove it with --remove.

    Masks, personal parts and models tell of the people on a site's pictures. A run that is removed
    can be resumed or continued, but its client begins without what only it knew. The newest run,
    and of runs that continue each other the newest, is kept unless --newest is said.

    Example: fedklpr deploy clean /var/lib/fedklpr/street-cameras/gate-3/memory --days 30 --remove
    """
    found = old_memories(memories, days)
    kept = [memory for memory in found if memory.is_next and not newest]
    for memory in found:
        goes = remove and memory not in kept
        if goes:
            remove_memory(memory)
        word = "removed " if goes else ""
        age, size = f"{memory.days:.0f} days old", f"{memory.size / 1e6:.1f} MB"
        why = ", kept: the next run that continues it starts from it (--newest)"
        print(f"{word}{memory.folder}: {age}, {size}{why if memory in kept else ''}")
    if not found:
        print(f"nothing in {memories} is {days:g} days old")
    elif not remove and len(kept) < len(found):
        print("add --remove to remove them")


def _reached(server: str, authority: Path) -> list[Finding]:
    """A SuperLink that is away is no fault of this box, which goes on trying."""
    try:
        fault = tls_fault(server, authority)
    except ConnectionError as error:
        return [Finding(Kind.SOON, str(error))]
    return [Finding(Kind.FAULT, fault) if fault else Finding(Kind.GOOD, f"{server} answers")]


def _sites_of(folder: Path) -> list[str]:
    return sorted(site.name for site in (folder / "sites").iterdir() if site.is_dir())


def _site_files(folder: Path) -> dict[str, dict[str, bytes]]:
    """The files of each site's folder, by their places in it."""
    places = {name: folder / "sites" / name for name in _sites_of(folder)}
    return {
        name: {str(p.relative_to(own)): p.read_bytes() for p in own.rglob("*") if p.is_file()}
        for name, own in places.items()
    }


def _tell(sites: Sites, folder: Path) -> None:
    """What to do next, as docs/deployment.md has it."""
    server = sites.server
    print(
        f"wrote {folder}: certificate for {', '.join(server.hosts)}, {counted(server.days, 'day')}"
    )
    print(f"  keep {folder / 'authority'} to yourself")
    print(f"  {folder / 'office'} -> {sites.place_of(server)} on {server.hosts[0]}")
    for site in sites.sites:
        print(f"  {folder / 'sites' / site.name} -> {sites.place_of(site)} on {site.name}")
    print("next: office/start.sh, office/register.sh, and start.sh of each site, each in its place")
    print(
        f"then, beside the SuperLink: FLWR_HOME={sites.place_of(server)}/flower fedklpr run "
        f"--superlink {sites.federation} federation.start_clients={len(sites.sites)}"
    )
