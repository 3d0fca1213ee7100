"""`fedklpr`: joins the commands and turns known faults into one sentence."""

import signal
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import get_type_hints

import click
import typer

from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.system.plain_text import printable_lines

DEBUG = "FEDKLPR_DEBUG"
"""The environment variable that stands for --debug."""

COMMANDS = (
    "run",
    "simulate",
    "plan",
    "list",
    "evaluate",
    "bench",
    "compare",
    "report",
    "search",
    "export",
    "data",
    "deploy",
)
"""In the order of the help; each is a file beside this one."""


def app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """These commands joined; no other's file is imported, since most load torch, for seconds."""
    joined = typer.Typer(
        name="fedklpr",
        help="Federated person re-identification: KL-guided training, pruning, mask-aware merging.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    joined.callback()(options)
    for name in names:
        module = import_module(f"fedklpr_flwr.commands.{name}")
        if hasattr(module, "cli"):
            joined.add_typer(module.cli, name=name)
        else:
            joined.command(name)(getattr(module, "list_names" if name == "list" else name))
    return joined


def options(
    debug: bool = typer.Option(
        False, "--debug", envvar=DEBUG, help="Show the traceback of an error."
    ),
) -> None:
    """Options of every command."""
    _DEBUG[:] = [debug]


_DEBUG: list[bool] = []


def command_line(names: Iterable[str] = COMMANDS) -> click.Group:
    """These commands as click runs them, every argument with its help."""
    joined = app(names)
    group = typer.main.get_group(joined)
    _tell_arguments(group, joined)
    return group


def _tell_arguments(group: click.Group, app: typer.Typer) -> None:
    """Give arguments the help of their annotations: typer below 0.21 loses it to click 8.5."""
    for one in app.registered_commands:
        told = get_type_hints(one.callback, include_extras=True)
        for parameter in group.commands[str(one.name)].params:
            if isinstance(parameter, click.Argument):
                (said,) = told[str(parameter.name)].__metadata__
                vars(parameter)["help"] = said.help
    for inner in app.registered_groups:
        found = group.commands[str(inner.name)]
        if isinstance(found, click.Group) and inner.typer_instance is not None:
            _tell_arguments(found, inner.typer_instance)


def main() -> None:
    """Run the command line; any fault is one sentence on stderr and exit status 1."""
    # A supervisor's stop is like Ctrl-C: what was started is ended, and the checkpoint stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # As an option of every command: fedklpr run --debug is fedklpr --debug run.
    words = sys.argv[1:]
    options_end = words.index("--") if "--" in words else len(words)
    if "--debug" in words[1:options_end]:
        words.remove("--debug")
        words.insert(0, "--debug")
    named = next((word for word in words if not word.startswith("-")), "")
    try:
        command_line([named] if named in COMMANDS else COMMANDS)(words)
    except KeyboardInterrupt:
        print("fedklpr: stopped by hand", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if any(_DEBUG):
            raise
        said = printable_lines(sentence(error))
        print(f"fedklpr: {said}", file=sys.stderr)
        sys.exit(1)


def sentence(error: Exception) -> str:
    """What is wrong and what to do, in one sentence.

    Args:
        error: one of this project's own says it itself; of the system's it names the file; any
            other is our fault, and is said to be.
    """
    if isinstance(error, FedKlprError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror or error}; make room there, or change its rights "
            "or the path, and try again"
        )
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a fault of ours ({said:.300}); --debug or {DEBUG}=1 shows where"


if __name__ == "__main__":
    main()
