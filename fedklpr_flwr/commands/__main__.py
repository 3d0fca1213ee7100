"""`fedklpr`: joins the commands and turns known faults into one sentence."""

import signal
import sys

import typer

from fedklpr_flwr.commands import bench, compare, data, evaluate, plan, report, run, simulate
from fedklpr_flwr.errors import FedKlprError

cli = typer.Typer(
    name="fedklpr",
    help="Federated person re-identification: KL-guided training, pruning, mask-aware merging.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cli.command("run")(run.run)
cli.command("simulate")(simulate.simulate)
cli.command("plan")(plan.plan)
cli.command("evaluate")(evaluate.evaluate)
cli.command("bench")(bench.bench)
cli.command("compare")(compare.compare)
cli.command("report")(report.report)
cli.add_typer(data.cli, name="data")


@cli.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Options of every command."""
    _DEBUG.append(debug)


_DEBUG: list[bool] = []


def main() -> None:
    """Run the command line; a known fault is one sentence on stderr and exit status 1."""
    # A supervisor's stop is like Ctrl-C: what was started is ended, and the checkpoint stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli()
    except FedKlprError as error:
        if any(_DEBUG):
            raise
        print(f"fedklpr: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("fedklpr: stopped by hand", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
