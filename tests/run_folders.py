"""Run folders written by hand, for tests of what reads them."""

import json

from fedklpr_flwr.config.compose import compose_settings, write_settings
from fedklpr_flwr.runs.rows import Row, append_rows, round_row

MEGA = 1_000_000


def write_run(
    folder,
    *overrides,
    rank1=({"ash": 0.2, "birch": 0.4}, {"ash": 0.5, "birch": 0.7}),
    up=2 * MEGA,
    status="finished",
    experiment="smoke",
    names=("ash", "birch"),
    commits=None,
):
    """A run folder of as many rounds as `rank1` has after round 0; mAP is half of Rank-1.

    Every client is sent 1 MB in round 0; later rounds move `up` and 1 MB; dense is 4 MB a round.
    """
    clients = ",".join(f"{{name: {name}, reader: 'drawn:street', folder: null}}" for name in names)
    own = (
        f"data.clients=[{clients}]",
        f"federation.rounds={max(1, len(rank1) - 1)}",
        "federation.min_clients=1",
    )
    folder.mkdir(parents=True)
    settings = compose_settings(experiment, (*own, *overrides))
    write_settings(settings, folder / "config.yaml")
    for number, scores in enumerate(rank1):
        rows = [
            Row(
                number,
                client,
                rank1=score,
                map=None if score is None else score / 2,
                pruned=0.25 * number,
                bytes_up=up if number else 0,
                bytes_down=MEGA,
                bytes_dense=4 * MEGA,
                bytes_paper=3 * MEGA,
            )
            for client, score in scores.items()
        ]
        summary = round_row(rows, 1.0, {"train": 2.0, "evaluate": 1.0})
        append_rows(folder / "run.jsonl", [*rows, summary])
    if commits is not None:
        began = {"experiment": experiment, "overrides": "", "commits": commits}
        (folder / "run-config.json").write_text(json.dumps(began))
    if status is not None:
        (folder / "status.json").write_text(json.dumps({"status": status}))
    return folder


def scores(ash, birch):
    """Two rounds: the initial model, then these two clients' Rank-1."""
    return ({"ash": 0.2, "birch": 0.4}, {"ash": ash, "birch": birch})
