"""FedKlprStrategy: Flower's hooks around one merge.

Per round and client the model travels once down and once up. `evaluate` of round t carries the
merged model, cut by the client's mask, and the client keeps it; `train` of round t+1 then only
names it by its hash. Replies are spooled to the run folder as they arrive and merged in client-name
order, so neither the server's memory nor the result depends on who answers when.
"""

from collections.abc import Callable, Iterable
from logging import INFO, WARNING
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.launch.command_line import resume_word
from fedklpr_flwr.launch.start_commands import start_commands
from fedklpr_flwr.model.personal_model import shared_layout
from fedklpr_flwr.runs.rows import Row, append_rows, progress_line
from fedklpr_flwr.runs.run_folder import ClientState, RunFolder, ServerState
from fedklpr_flwr.server.broadcast import Downlink
from fedklpr_flwr.server.node_registry import Answer, Roster, exchange
from fedklpr_flwr.server.quarantine import Quarantine
from fedklpr_flwr.server.robust.norm_bound import unbounded_note
from fedklpr_flwr.server.round_collector import OpenRound
from fedklpr_flwr.system.randomness import named_generator
from fedklpr_flwr.wording import counted

Use = Callable[[str, Message, dict[str, Any]], None]


class FedKlprStrategy(Strategy):
    """Carries a federation's rounds over Flower.

    Args:
        settings: the run's settings.
        folder: the open run folder.
        state: the federation so far: a fresh one, or one loaded to go on with.
        rounds_written: the last round whose rows are in run.jsonl; -1 = none.
        on_rows: called with a round's rows once they are written.
        overrides: the run config's `overrides`, for the command to type where clients are missing.
    """

    def __init__(
        self,
        settings: Settings,
        folder: RunFolder,
        state: ServerState,
        rounds_written: int,
        on_rows: Callable[[list[Row]], None] = lambda rows: None,
        overrides: str = "",
    ) -> None:
        self.settings, self.folder, self.state = settings, folder, state
        self.roster = Roster.empty(state.run)
        self.downlink = Downlink(state, folder, settings)
        self._quarantine = Quarantine(settings)
        self._rounds_written, self._on_rows = rounds_written, on_rows
        self._overrides = overrides
        layout = shared_layout(settings, state.round)
        self._book = OpenRound(state.round, settings, layout, folder, state.pending)

    # ------------------------------------------------------------------ Flower's hooks

    def summary(self) -> None:
        """Log what is about to run."""
        layout = shared_layout(self.settings)
        count = sum(spec.size for spec in layout)
        log(INFO, "%s, method %s", self.settings.experiment, self.settings.method.name)
        log(
            INFO,
            "%d tensors, %d numbers travel; run folder %s",
            len(layout),
            count,
            self.folder.path,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One task a chosen client; the model itself is at the client already."""
        chosen = self._choose(server_round)
        tasks = self.downlink.messages("train", self._book, self.roster.nodes, chosen)
        return (message for _, message in tasks)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One part of the merged model a client, cut by that client's mask."""
        here = self._admitted()
        tasks = self.downlink.messages("evaluate", self._book, self.roster.nodes, here)
        return (message for _, message in tasks)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take the last replies in, merge the round, commit it."""
        use = self._book.update_taker(self.downlink.update_masks_of, self.state)
        for reply in replies:
            self._book.take(self._answer(reply), use)
        with self._book.phase("merge"):
            self._book.merge(self.state)
        return None, MetricRecord({"merged": len(self._book.arrivals)})

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Take the last scores in, and write the round's rows."""
        for reply in replies:
            self._book.take(self._answer(reply), self._book.take_scores)
        counts = zip((0, 0, 0), *self._book.pairs, strict=True)
        worse, better, compared = (sum(of_clients) for of_clients in counts)
        self.state.pairs = (worse, better, compared)
        summary = self._write_rows()
        if summary.rank1 is None or summary.map is None:
            return None
        return MetricRecord({"rank1": summary.rank1, "map": summary.map})

    def _answer(self, reply: Message) -> Answer:
        return Answer(self.roster.asked[reply.metadata.src_node_id], reply)

    # ------------------------------------------------------------------ the loop

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int | None = None,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: object = None,
    ) -> Result:
        """Run from the state's round to the last.

        Flower's own loop holds all replies at once and cannot resume; this one streams. The model
        lives in `state`, not in `initial_arrays`, because each client's payload is cut from it by
        that client's mask.

        Raises:
            RunError: too few clients, a round that failed twice, an initial model that nobody could
                evaluate, or a disk that is full.
        """
        rounds = num_rounds or self.settings.federation.rounds
        self.summary()
        self._gather(grid)
        if self._rounds_written < self.state.round:
            self._evaluate(grid)
        for server_round in range(self.state.round + 1, rounds + 1):
            self.roster.refresh(grid, self.settings.federation.wait_seconds)
            layout = shared_layout(self.settings, server_round)
            before = self._book.spoilt
            self._book = OpenRound(server_round, self.settings, layout, self.folder, spoilt=before)
            with self._book.phase("train"):
                self._train(grid)
            self.aggregate_train(server_round, ())
            self._evaluate(grid)
        return Result()

    def _gather(self, grid: Grid) -> None:
        chosen = self.settings.federation
        count = chosen.start_clients or len(self.settings.data.clients)
        by_hand, by_launcher = start_commands(
            self.settings, self._overrides, self.folder.path, count
        )

        def explain(found: int, nodes: int) -> str:
            came = (
                f"{found} of {count} clients came within federation.wait_seconds="
                f"{chosen.wait_seconds:g}, {counted(nodes, 'SuperNode')} there. "
            )
            if self.settings.deployment:
                here = ", ".join(sorted(self.roster.nodes)) or "nobody"
                return (
                    f"{came}Here: {here}. Start the SuperNodes of the others, or wait for fewer by "
                    "federation.start_clients, then go on with fedklpr run --superlink NAME "
                    f"{resume_word(self.folder.path)}"
                )
            commands = f"\n  {by_hand}\nor let the launcher do it:\n  {by_launcher}"
            if nodes < count:
                return f"{came}Start as many SuperNodes as there are sites:{commands}"
            return f"{came}Give them longer: a larger federation.wait_seconds, with{commands}"

        # A real run goes on by itself after a crash, also where a box has been away since.
        resumed = self.settings.deployment and self.state.round > 0
        fewest = chosen.min_clients if resumed else None
        self.roster.wait_for(grid, count, chosen.wait_seconds, explain, fewest=fewest)
        if (note := unbounded_note(self.settings, len(self.roster.nodes))) is not None:
            log(WARNING, "%s", note)

    def _train(self, grid: Grid) -> None:
        """Every chosen client's update, with a second try where the round is too thin."""
        book, needed = self._book, self.settings.federation.min_clients
        chosen = self._choose(book.number)
        use = book.update_taker(self.downlink.update_masks_of, self.state)
        self._ask(grid, "train", chosen, use)
        if len(book.arrivals) < needed:
            missing = [client for client in chosen if client not in book.arrivals]
            log(
                WARNING,
                "round %d: %s, %d needed: asking %s once more",
                book.number,
                counted(len(book.arrivals), "valid reply", some="valid replies"),
                needed,
                ", ".join(missing),
            )
            self._ask(grid, "train", missing, use)
        if len(book.arrivals) < needed:
            failures = book.failures(c for c in chosen if c not in book.arrivals)
            valid = counted(len(book.arrivals), "valid reply", some="valid replies")
            raise RunError(
                f"round {book.number} has {valid} after a second try, "
                f"federation.min_clients={needed} are needed ({failures}). "
                f"Round {self.state.round} is kept; go on from it with "
                f"{resume_word(self.folder.path)}"
            )
        self._say_held(self._quarantine.note_training(chosen, book.arrivals))

    def _say_held(self, clients: Iterable[str]) -> None:
        for client in clients:
            rounds = counted(self._quarantine.rounds or 0, "round")
            told = "round %d: %s has failed %s in a row and is asked no more; mend it, then %s"
            log(WARNING, told, self._book.number, client, rounds, resume_word(self.folder.path))

    def _evaluate(self, grid: Grid) -> None:
        book, here = self._book, self._admitted()
        with book.phase("evaluate"):
            self._ask(grid, "evaluate", here, book.take_scores)
        self._say_held(self._quarantine.note_evaluation(here, book.scored))
        if not book.scored:
            failures = f"({book.failures(here) or 'nobody is there'})"
            if book.number == 0:
                raise RunError(
                    f"round 0: no client could evaluate the initial model {failures}. Mend the "
                    f"clients, then go on with {resume_word(self.folder.path)}"
                )
            log(
                WARNING,
                "round %d: no client could be evaluated %s; the merged model stands, and the run "
                "goes on",
                book.number,
                failures,
            )
        self.aggregate_evaluate(book.number, ())

    def _ask(self, grid: Grid, phase: str, clients: Iterable[str], use: Use) -> None:
        """Send, and use replies as they arrive; who lacks model or mask is sent both, once.

        Who then still asks for them cannot be helped, and has failed.
        """
        book, nodes, chosen = self._book, self.roster.nodes, self.settings.federation
        seconds = chosen.round_seconds
        if phase == "evaluate":
            seconds = min(seconds, chosen.evaluate_seconds)
        here = [client for client in clients if client in nodes]
        for full in (False, True):
            messages = self.downlink.messages(phase, book, nodes, here, full=full)
            answers = exchange(grid, messages, seconds)
            here = [answer.client for answer in answers if book.take(answer, use)]
            if not here:
                return
            if not full:
                log(INFO, "round %d: the whole model goes to %s", book.number, ", ".join(here))
        for client in here:
            book.fail(
                client,
                "it asks for model and mask (needs_sync) though both were just sent whole: is its "
                "memory's folder writable?",
            )

    def _choose(self, server_round: int) -> list[str]:
        """The clients that train in a round: a seeded share of those that are here."""
        here = self._admitted()
        fraction = self.settings.federation.fraction
        if fraction >= 1.0:
            return here
        generator = named_generator(self.settings.seed, "choice", server_round)
        wanted = max(self.settings.federation.min_clients, round(fraction * len(here)))
        order = torch.randperm(len(here), generator=generator).tolist()
        return sorted(here[index] for index in order[:wanted])

    def _admitted(self) -> list[str]:
        """The clients that are here and not in quarantine."""
        return sorted(c for c in self.roster.nodes if not self._quarantine.holds(c))

    def _known(self) -> dict[str, ClientState]:
        """Who has a line in every round: all that ever came, and all that a simulation expects."""
        expected = () if self.settings.deployment else self.settings.data.clients
        return {**{client.name: ClientState(0, "") for client in expected}, **self.state.clients}

    def _write_rows(self) -> Row:
        for client in filter(self._quarantine.holds, self.roster.nodes):
            if self._book.row(client).status == "absent":
                self._book.row(client).failed = "in quarantine: it failed too many rounds in a row"
        rows = self._book.close(self._known())
        append_rows(self.folder.rows_file, rows)
        self._on_rows(rows)
        self.folder.note(self.state)
        log(INFO, progress_line(rows[-1], self.settings.federation.rounds))
        return rows[-1]
