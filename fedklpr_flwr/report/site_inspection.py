"""What only the pictures tell of a run: true persons, and ranked lists; where the pictures lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.errors import FedKlprError, SettingsError
from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.report.ranked_lists import RankedQuery, ranked_queries
from fedklpr_flwr.runs.rows import read_rows
from fedklpr_flwr.runs.trained_models import TrainedRun, open_run
from fedklpr_flwr.runs.trusted_runs import read_run_settings
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.paths import user_cache


@dataclass(frozen=True)
class Look:
    """What is looked at.

    Attributes:
        pictures: whether people are shown; None = as the run's `report.pictures` says.
        site: this site alone; None = all of a simulation.
        reader: the reader of that site's pictures; None = as in the run's settings.
        root: the folder of that site's pictures.
        queries: ranked lists a site, at least 1.
        seed: draws the queries.
        trust: whether folders that the settings of somebody else's run name are believed.
    """

    pictures: bool | None = None
    site: str | None = None
    reader: str | None = None
    root: Path | None = None
    queries: int = 2
    seed: int = 0
    trust: bool = False


@dataclass(frozen=True)
class SiteSeen:
    """What was seen at a site.

    Attributes:
        name: the site's.
        client: whose model searched.
        persons: true persons among its training pictures; None = not known.
        queries: its ranked lists.
        round: the last merge that its model has in it; 0 = the initial model.
        why: why there are none; empty where there are.
    """

    name: str
    client: str
    persons: int | None = None
    queries: tuple[RankedQuery, ...] = ()
    round: int = 0
    why: str = ""


@dataclass(frozen=True)
class Seen:
    """All that was seen.

    Attributes:
        sites: in the order of the run's settings.
        why: why nothing was looked at; empty where something was.
        unproven: what is to be known of whose pictures they are; empty where the run says it.
    """

    sites: tuple[SiteSeen, ...] = ()
    why: str = ""
    unproven: str = ""

    @property
    def shows_people(self) -> bool:
        """Whether there are pictures of people in it."""
        return any(site.queries for site in self.sites)

    def persons(self, client: str) -> int | None:
        """True persons among a client's training pictures, where they are known."""
        known = [one.persons for one in self.sites if one.client == client]
        return sum(n or 0 for n in known) if known and None not in known else None


NOT_HERE = (
    "The pictures lie at the sites. On a site's own machine, with a copy of this run folder: "
    "fedklpr report RUN --site NAME --data folder --root FOLDER"
)
LEFT_OUT = "Left out: report.pictures=false."


def clients_in_sight(folder: Path, look: Look) -> tuple[Settings | None, list[Client], str]:
    """Whose pictures can be looked at from here.

    Returns:
        The run's settings, the clients, and why there are none.

    Raises:
        SettingsError: the run has no site of that name.
    """
    try:
        settings = read_run_settings(folder, trust=look.trust)
    except SettingsError as error:
        return None, [], f"The run's settings cannot be used: {error}"
    known = list(settings.data.clients)
    if look.site is None:
        return (settings, [], NOT_HERE) if settings.deployment else (settings, known, "")
    if look.reader is not None:
        _check_took_part(folder, look.site, [one.name for one in known])
        root = str(look.root.expanduser().resolve()) if look.root else None
        return settings, [Client(name=look.site, reader=look.reader, folder=root)], ""
    chosen = [one for one in known if one.name == look.site]
    if not chosen:
        raise SettingsError(
            f"--site {look.site}: {folder} has {', '.join(one.name for one in known)}; a site that "
            "joined from elsewhere needs --data and --root"
        )
    return settings, chosen, ""


def _check_took_part(folder: Path, site: str, known: list[str]) -> None:
    """Refuse a site that neither the settings nor any row of the run names."""
    path = folder / run_files.ROWS
    rows = read_rows(path) if path.is_file() else []
    names = sorted({*known, *(row.client for row in rows if row.client)})
    if site not in names:
        raise SettingsError(
            f"--site {site}: nobody of that name took part, {folder} has {', '.join(names)}"
        )


def unproven(look: Look) -> str:
    """What is to be known of pictures whose place the command line says; else empty."""
    if look.reader is None:
        return ""
    return (
        f"The pictures are those that --data and --root name: the run cannot tell whether they are "
        f"those that {look.site} trained on."
    )


def look_at_sites(
    folder: Path, settings: Settings, clients: list[Client], look: Look
) -> Iterator[SiteSeen]:
    """One site after the other, each with its lists or with the reason why it has none."""
    shown = settings.report.pictures if look.pictures is None else look.pictures
    run: TrainedRun | None = None
    before: ReidNetwork | None = None
    why = LEFT_OUT
    if shown:
        try:
            run, why = open_run(folder, trust=look.trust), ""
            before = _initial(run)
        except FedKlprError as error:
            why = str(error)
    for client in clients:
        yield from _seen(client, settings, run, before, look, why)


def _initial(run: TrainedRun) -> ReidNetwork | None:
    """The model of round 0; None where its weights are not here, or nothing was trained since."""
    if not run.state.round:
        return None
    try:
        return initial_network(run.settings, pretrained=True).eval()
    except FedKlprError:
        return None


def _seen(
    client: Client,
    settings: Settings,
    run: TrainedRun | None,
    before: ReidNetwork | None,
    look: Look,
    why: str,
) -> Iterator[SiteSeen]:
    try:
        site = open_site(client, settings, user_cache())
    except FedKlprError as error:
        yield SiteSeen(client.name, client.name, why=why or str(error))
        return
    after: ReidNetwork | None = None
    try:
        after = run.personal(client.name, site) if run else None
    except FedKlprError as error:
        why = str(error)
    for part in site.parts or (site,):
        persons = part.known_persons or None
        if run is None or after is None:
            yield SiteSeen(part.name, client.name, persons, why=why)
            continue
        lists = ranked_queries(before, after, part, count=look.queries, seed=look.seed)
        nothing = "" if lists else "it has no query that can be found in its gallery"
        yield SiteSeen(part.name, client.name, persons, lists, run.state.round, nothing)
