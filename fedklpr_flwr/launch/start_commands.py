"""The commands that start a run again, with all that it was started with."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.launch.command_line import override, resume_word
from fedklpr_flwr.launch.simulated_clients import federation_words
from fedklpr_flwr.wording import counted


def start_commands(settings: Settings, overrides: str, folder: Path, count: int) -> tuple[str, str]:
    """What to type, by Flower's own command and by the launcher.

    Args:
        settings: the run's settings.
        overrides: the run config's `overrides`, as the run was started with.
        folder: its run folder. Where the overrides name it, the run goes on in it: a folder that
            holds a run is not run over.
        count: SuperNodes, one a client.

    Returns:
        Two lines for a shell; both give the same run.
    """
    given = shlex.split(overrides)
    words = [word for word in given if not word.startswith(("run.dir=", "resume="))]
    if len(words) < len(given):
        words.append(override("resume", folder.resolve()))
    config = f'experiment="{settings.experiment}"'
    if words:
        config += f" overrides={_toml(shlex.join(words))}"
    nodes = federation_words(settings, count)
    by_hand = ["flwr", "run", ".", "--stream", "--federation-config", nodes, "-c", config]
    by_launcher = ["fedklpr", "run", f"experiment={settings.experiment}", *words]
    return shlex.join(by_hand), shlex.join(by_launcher)


def too_few_came(
    settings: Settings,
    overrides: str,
    folder: Path,
    count: int,
    here: Sequence[str],
    found: int,
    nodes: int,
) -> str:
    """Say that a run cannot start for want of clients, and what to type.

    Args:
        settings: the run's settings.
        overrides: see `start_commands`; folder likewise.
        folder: its run folder.
        count: clients that were waited for.
        here: the names of those that came.
        found: how many those are.
        nodes: SuperNodes that are there, with or without a client.
    """
    waited = settings.federation.wait_seconds
    came = (
        f"{found} of {count} clients came within federation.wait_seconds="
        f"{waited:g}, {counted(nodes, 'SuperNode')} there. "
    )
    if settings.deployment:
        return (
            f"{came}Here: {', '.join(here) or 'nobody'}. Start the SuperNodes of the others, or "
            "wait for fewer by federation.start_clients, then go on with fedklpr run --superlink "
            f"NAME {resume_word(folder)}"
        )
    by_hand, by_launcher = start_commands(settings, overrides, folder, count)
    commands = f"\n  {by_hand}\nor let the launcher do it:\n  {by_launcher}"
    if nodes < count:
        return f"{came}Start as many SuperNodes as there are sites:{commands}"
    return f"{came}Give them longer: a larger federation.wait_seconds, with{commands}"


def _toml(text: str) -> str:
    """A TOML string that Flower's `-c` can read, which looks for the next quote first of all."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', "\\u0022")
    return f'"{escaped}"'
