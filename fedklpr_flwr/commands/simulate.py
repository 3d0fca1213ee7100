"""`fedklpr simulate`: the same federation in one process, without Ray; equal to the bit."""

import logging
from collections.abc import Callable, Iterable

from flwr.app import Context, Message, RecordDict

from fedklpr_flwr.commands.progress_bars import steps
from fedklpr_flwr.commands.run import (
    Continue,
    Overrides,
    Trust,
    announce,
    show_result,
    with_continued,
)
from fedklpr_flwr.launch.command_line import resume_word
from fedklpr_flwr.launch.prepare import Prepared, prepare
from fedklpr_flwr.runs.run_config_file import counted_seconds

Answering = Callable[[Message, Context], Message]


def simulate(
    overrides: Overrides = None,
    trust: Trust = False,
    continues: Continue = None,
) -> None:
    """Run a whole federation in this process.

    Example: fedklpr simulate experiment=smoke
    """
    prepared = prepare(with_continued(overrides, continues), trust=trust)
    announce(prepared)
    try:
        with counted_seconds(prepared.folder):
            simulate_prepared(prepared)
    except KeyboardInterrupt:
        print(f"stopped; go on with: fedklpr simulate {resume_word(prepared.folder)}", flush=True)
        raise
    show_result(prepared.folder)


def simulate_prepared(prepared: Prepared, app: Answering | None = None) -> None:
    """Run a prepared federation in this process.

    Args:
        prepared: the checked run.
        app: what answers messages in place of the ClientApp, for clients that misbehave.
    """
    from fedklpr_flwr import client_app, server_app
    from fedklpr_flwr.launch.in_process_grid import InProcessGrid

    logging.getLogger("flwr").handlers[:] = [_PlainHandler(prepared.notes)]
    nodes, answering = len(prepared.settings.data.clients), app or client_app.app
    context = Context(
        run_id=1,
        node_id=0,
        node_config={},
        state=RecordDict(),
        run_config=dict(prepared.run_config),
    )
    # Everybody says hello and is evaluated in round 0; then comes training and an evaluation.
    messages = 2 * nodes * (1 + prepared.settings.federation.rounds)
    with steps("messages", messages) as done:

        def answer(message: Message, context: Context) -> Message:
            try:
                return answering(message, context)
            finally:
                done()

        grid = InProcessGrid(
            answer,
            prepared.run_config,
            [{"partition-id": number, "num-partitions": nodes} for number in range(nodes)],
        )
        server_app.main(grid, context)


class _PlainHandler(logging.Handler):
    """Flower's log as plain lines, without the warnings that were given as notes before."""

    def __init__(self, notes: Iterable[str]) -> None:
        super().__init__()
        self._said = {note.partition(": ")[2] for note in notes} - {""}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.partition(": ")[2] not in self._said:
            print(text, flush=True)
