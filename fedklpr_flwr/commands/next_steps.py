"""What a run ends with: its picture, and the commands that lead on from it."""

import re
import shlex
from pathlib import Path

from fedklpr_flwr.config.compose import read_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import FedKlprError, RunError
from fedklpr_flwr.launch.own_sites import OWN, own_sites
from fedklpr_flwr.model.site import list_pictures
from fedklpr_flwr.report.run_picture import draw_run
from fedklpr_flwr.runs.rows import read_rows
from fedklpr_flwr.runs.run_config_file import read_begun_with
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.paths import user_cache

_ITS_OWN = (
    *("method=", "method.", "run.dir=", "run.memory=", "run.continues="),
    *("resume=", "deployment="),
)
_QUOTED = re.compile(r"^([\w.]+=)'([\w./+@-]+)'$")
"""An override whose value needs no quotes of Hydra's."""

_USUAL, _BASELINE = "fedklpr", "fedavg"


def lead_on(folder: Path) -> list[str]:
    """Draw the run's picture, and say what to do next.

    Args:
        folder: of a run that has ended.

    Returns:
        A line each: where the picture lies, then the commands.
    """
    try:  # the run is whole without all of this
        settings = read_settings(folder / run_files.CONFIG)
        return [*_picture(folder, settings), "next:", *_commands(folder, settings)]
    except FedKlprError as error:
        return [f"what may be done next is not known: {error}"]


def _picture(folder: Path, settings: Settings) -> list[str]:
    title = f"{settings.experiment}, method {settings.method.name}, seed {settings.seed}"
    path = folder / run_files.PICTURE
    try:
        drawn = draw_run(read_rows(folder / run_files.ROWS), title, path)
    except RunError as error:
        return [f"no picture of it: {error}"]
    return [f"Rank-1 over megabytes, beside dense: {path}"] if drawn else []


def _commands(folder: Path, settings: Settings) -> list[str]:
    run = _shown(folder)
    lines = [f"  fedklpr report {run}   # a page: curves, clusters, who is found for whom"]
    if settings.deployment:
        return [
            *lines,
            f"  fedklpr export {run} --format onnx   # the model for others, with a card",
        ]
    other = _BASELINE if settings.method.name != _BASELINE else _USUAL
    return [
        *lines,
        *_search(run, settings),
        f"  fedklpr run {_words(folder, settings)}method={other}   # another method, and then:",
        f"  fedklpr compare {run} runs/latest",
    ]


def _words(folder: Path, settings: Settings) -> str:
    """What the run was begun with, but for its method and its own folder."""
    try:
        begun = read_begun_with(folder)
    except RunError:  # begun by flwr run
        return ""
    told = shlex.split(begun.overrides)
    words = [_QUOTED.sub(r"\1\2", word) for word in told if not word.startswith(_ITS_OWN)]
    if begun.experiment == OWN and settings.data.root:  # found by itself, it need not be typed
        words = [word for word in words if word != own_sites(Path(settings.data.root))]
    if begun.experiment != "drawn":
        words.insert(0, f"experiment={begun.experiment}")
    return "".join(f"{shlex.quote(word)} " for word in words)


def _search(run: str, settings: Settings) -> list[str]:
    """A search that works: a person of the first site that has one, in that site's gallery."""
    for client in settings.data.sites:
        dataset, root = list_pictures(client, settings, user_cache())
        people, searched = dataset.query or dataset.train, dataset.gallery or dataset.train
        if people and searched:
            # Its own batch-norm statistics, where the merged model's are a mean of all sites'.
            own = settings.personal.batchnorm == "reestimate" and client in settings.data.clients
            whose = f" --client {client.name}" if own else ""
            gallery = root if client.reader == "folder" else searched[0].path.parent
            return [
                f"  fedklpr search --model {run}{whose} --gallery {_shown(gallery)} "
                f"--query {_shown(people[0].path)} --sheet found.png"
            ]
    return []


def _shown(path: Path) -> str:
    """A path for a shell: from here where it lies below, else from the root."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
