"""Many small clients, all in this process: seconds a round, and memory."""

from experiments.benchmarks.rows import Row, make_row
from fedklpr_flwr.commands.simulate import simulate_prepared
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.report.rows import read_rows
from fedklpr_flwr.runtime.prepare import prepare
from fedklpr_flwr.settings import experiment_names

EXPERIMENT = "many"


def scale_rows(experiment: str = EXPERIMENT) -> list[Row]:
    """Run a federation of many clients and read its last round.

    Args:
        experiment: of conf/experiment.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}; the anchor is the first round, in which
        nothing is pruned yet.

    Raises:
        RunError: there is no such experiment.
    """
    if experiment not in experiment_names():
        raise RunError(
            f"fedklpr bench scale runs experiment={experiment}, which is not in conf/experiment; "
            f"there are: {', '.join(experiment_names())}"
        )
    prepared = prepare([f"experiment={experiment}"])
    simulate_prepared(prepared)
    rows = read_rows(prepared.folder / "run.jsonl")
    rounds = [row for row in rows if row.client is None and row.round > 0]
    first, last = rounds[0], rounds[-1]
    seconds = (sum(last.seconds.values()), "s", sum(first.seconds.values()))
    return [
        make_row("scale_round_seconds", *seconds),
        make_row("scale_peak_mb", last.server_peak_mb or 0.0, "MB", first.server_peak_mb or 1.0),
    ]
