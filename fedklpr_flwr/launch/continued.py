"""`fedklpr run --continue RUN`: the words of a new run that starts where a finished one ended."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.launch.command_line import absolute, override, split_arguments
from fedklpr_flwr.launch.own_sites import OWN
from fedklpr_flwr.model.consensus import is_consensus
from fedklpr_flwr.runs.continued_run import check_continued
from fedklpr_flwr.runs.resume_checks import differences, is_among, settings_of_run
from fedklpr_flwr.runs.run_config_file import read_begun_with
from fedklpr_flwr.runs.trusted_runs import check_may_go_on, refuse_links
from fedklpr_flwr.wording import counted, printable

CONTINUES = "run.continues"
_OF_THE_RUN = ("run", "resume")
"""What says where a run lies, and nothing of how it is made."""

_LONGEST = 80


def continues(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for a run that continues another."""
    asked = [word.partition("=")[2] for word in arguments if word.startswith(f"{CONTINUES}=")]
    return bool(asked) and asked[-1] not in ("", "null")


def continued_words(
    arguments: Sequence[str], *, simulated: bool, trust: bool
) -> tuple[str, tuple[str, ...]]:
    """The experiment and overrides that the run before began with, then those given now.

    Args:
        arguments: the command line, `run.continues=FOLDER` among it.
        simulated: whether the new run's clients run on this machine.
        trust: continue a run that somebody else made.

    Raises:
        SettingsError: another experiment is named, the run is to be resumed as well, or one of the
            two runs is of real boxes and the other is not.
        RunError: the folder is none of a run, or its run is somebody else's.
    """
    if resumed := [word for word in arguments if word.startswith("resume=")]:
        raise SettingsError(
            f"{resumed[-1]} goes on with a run that was stopped, and --continue begins a new one "
            "where a finished run ended: leave out one of the two"
        )
    words = [word for word in arguments if word.startswith(f"{CONTINUES}=")]
    before = absolute(CONTINUES, words[-1].partition("=")[2])
    asked = f"--continue {before}"
    refuse_links(before)
    began = read_begun_with(before, asked)
    check_may_go_on(before, began, trust=trust, asked=asked)
    if simulated is began.real_sites:
        whose = "real boxes" if began.real_sites else "simulated clients"
        raise SettingsError(
            f"{asked} is a run of {whose}, and what its clients keep is there alone: continue it "
            f"with them, or start a new run from its model with model.weights={before}"
        )
    named = [argument for argument in arguments if argument.startswith("experiment=")]
    if named and named[-1] != f"experiment={began.experiment}":
        raise SettingsError(f"{named[-1]}: {asked} is experiment={began.experiment}; leave it out")
    given = [item for item in arguments if not item.startswith(("experiment=", f"{CONTINUES}="))]
    now = split_arguments([f"experiment={began.experiment}", *given])[1]
    replaced = {"resume", "run.dir", CONTINUES, *map(_key, now)}
    earlier = [item for item in shlex.split(began.overrides) if _key(item) not in replaced]
    return began.experiment, (*earlier, *now, override(CONTINUES, before))


def continued_notes(settings: Settings) -> list[str]:
    """Check a run that continues another, and say in what its settings differ from that one's.

    Raises:
        RunError, SettingsError: see `check_continued`.
    """
    if settings.run.continues is None:
        return []
    before = Path(settings.run.continues)
    check_continued(settings, before)
    earlier = settings_of_run(before)
    changed = [
        f"{key}={_short(now)} ({_short(was)} there)"
        for key, was, now in differences(earlier, settings)
        if not is_among(key, _OF_THE_RUN)
    ]
    told = f"its {counted(earlier.federation.rounds, 'round')}, settings "
    differing = f"other than there: {', '.join(changed)}" if changed else "as there"
    notes = [f"continues {before}, {told}{differing}"]
    if is_consensus(settings):
        notes.append("pruning.masks=consensus: the schedule of all clients' masks begins anew")
    return notes + _left_out_folders(settings)


def _left_out_folders(settings: Settings) -> list[str]:
    """Say which folders are no sites: those that came after every folder was made one, too."""
    root, known = settings.data.root, {client.folder for client in settings.data.clients}
    if settings.experiment != OWN or settings.deployment or root is None:
        return []
    others = sorted({path.name for path in Path(root).glob("[!.]*") if path.is_dir()} - known)
    told = "in data.root, but no site of the run that is continued; data.clients=[...] with all"
    return [f"{printable(', '.join(others))}: {told} takes it in"] if others else []


def _key(item: str) -> str:
    return item.lstrip("+~").partition("=")[0]


def _short(value: object) -> str:
    told = str(value)
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."
