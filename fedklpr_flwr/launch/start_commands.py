"""The commands that start a run again, with all that it was started with."""

import json
import shlex
from pathlib import Path

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.launch.command_line import override
from fedklpr_flwr.launch.simulated_clients import federation_words


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


def _toml(text: str) -> str:
    """A TOML string that Flower's `-c` can read, which looks for the next quote first of all."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', "\\u0022")
    return f'"{escaped}"'
