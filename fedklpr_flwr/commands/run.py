"""`fedklpr run`: a federation on Flower's own engine."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedklpr_flwr.commands.next_steps import lead_on
from fedklpr_flwr.commands.progress_bars import steps
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.deploy.superlink_check import check_connection
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.launch.command_line import resume_word
from fedklpr_flwr.launch.environment import check_environment, notes_of_environment
from fedklpr_flwr.launch.machine_note import busy_note, machine_note
from fedklpr_flwr.launch.own_superlink import launch
from fedklpr_flwr.launch.prepare import Prepared, prepare
from fedklpr_flwr.report.summary import HEADINGS, SHOWN, closing_lines, table
from fedklpr_flwr.report.week_by_week import read_week_by_week
from fedklpr_flwr.runs.progress_line import pictures_line, progress_line
from fedklpr_flwr.runs.rows import Row, read_rows
from fedklpr_flwr.runs.run_config_file import counted_seconds
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.plain_text import printable

Overrides = Annotated[
    list[str] | None, typer.Argument(help="experiment=NAME and Hydra overrides KEY=VALUE")
]

Continue = Annotated[
    Path | None,
    typer.Option(
        "--continue", help="a finished run: start from its model, its clients' masks and histories"
    ),
]

Trust = Annotated[
    bool, typer.Option("--trust", help="go on with somebody else's run, as its files say")
]


def run(
    overrides: Overrides = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="simulated SuperNodes; default: one a client")
    ] = None,
    superlink: Annotated[
        str | None, typer.Option(help="a connection of Flower's configuration to run on")
    ] = None,
    trust: Trust = False,
    continues: Continue = None,
) -> None:
    """Run a whole federation on Flower and follow it to its end.

    Example: fedklpr run experiment=drawn seed=1 pruning.rate=0.2
    """
    words = with_continued(overrides, continues)
    if superlink is not None:
        check_connection(superlink)
    if superlink is not None and not any(word.startswith("deployment=") for word in words):
        words.append("deployment=true")
    if superlink is None:
        check_environment(os.environ)
    prepared = prepare(words, simulated=superlink is None, trust=trust)
    _check_nodes(prepared.settings, nodes)
    rounds = prepared.settings.federation.rounds
    announce(prepared)
    try:
        with counted_seconds(prepared.folder), steps("rounds", rounds + 1) as done:

            def on_row(row: Row) -> None:
                print(progress_line(row, rounds), flush=True)
                done()

            ending = launch(
                prepared,
                nodes=nodes,
                superlink=superlink,
                on_row=on_row,
                on_wait=lambda said: print(said, flush=True),
                on_stop=lambda: print("stopping what was started ...", flush=True),
            )
    except KeyboardInterrupt:
        print(_how_to_go_on(prepared.folder, superlink), flush=True)
        raise
    if not ending.good:
        where = "" if superlink is None else f"--superlink {superlink} "
        raise RunError(
            f"the run did not finish (Flower: {ending.flower}, server: {ending.server}): "
            f"{ending.message}\n  log: {prepared.folder / 'flower.log'}\n"
            f"  go on with: fedklpr run {where}{resume_word(prepared.folder)}"
        )
    show_result(prepared.folder)


def with_continued(overrides: list[str] | None, continues: Path | None) -> list[str]:
    """The words of a command line, with that of `--continue`."""
    return [*(overrides or []), *([] if continues is None else [f"run.continues={continues}"])]


def announce(prepared: Prepared) -> None:
    """Say where a run writes, and what is to be known before it starts."""
    print(f"run folder {prepared.folder}")
    if not prepared.settings.deployment:
        print(machine_note(prepared.settings))
    for note in filter(None, (*prepared.notes, *notes_of_environment(os.environ), busy_note())):
        print(f"note: {printable(note)}")


def _check_nodes(settings: Settings, nodes: int | None) -> None:
    needed = settings.federation.start_clients or len(settings.data.clients)
    if nodes is not None and nodes < needed:
        raise SettingsError(
            f"--nodes {nodes}: expected at least {needed}, one a client that the run starts with "
            f"(or set federation.start_clients={nodes})"
        )


def _how_to_go_on(folder: Path, superlink: str | None) -> str:
    if superlink is None:
        return f"stopped; go on with: fedklpr run {resume_word(folder)}"
    return f"no longer followed; the run goes on at {superlink}: see flwr list {superlink}"


def show_result(folder: Path) -> None:
    """The final table of a run folder."""
    rows: list[Row] = read_rows(folder / run_files.ROWS)
    title = f"{folder.name}: round 0 -> last round"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place in SHOWN:
        words = HEADINGS[place] in ("client", "status")
        shown.add_column(HEADINGS[place], justify="left" if words else "right", overflow="fold")
    lines = [[line[place] for place in SHOWN] for line in table(rows)]
    for line in lines[:-1]:
        shown.add_row(*line)
    shown.add_section()
    shown.add_row(*lines[-1])
    console = Console()
    console.print(shown)
    for sentence in closing_lines(rows):
        console.print(sentence, highlight=False)
    if since := pictures_line(rows, set()):
        console.print(since, highlight=False)
    for sentence in read_week_by_week(folder).alarms():
        console.print(f"alarm: {sentence}", highlight=False)
    console.print(f"results in {folder}", highlight=False, soft_wrap=True)
    for step in lead_on(folder):
        console.print(step, highlight=False, soft_wrap=True, markup=False)
