"""FedKlprStrategy: Flower's hooks around one merge.

Per round and client the model travels once down and once up. `evaluate` of round t carries the
merged model, cut by the client's mask, and the client keeps it; `train` of round t+1 then only
names it by its hash. Replies are spooled to the run folder as they arrive and merged in client-name
order, so neither the server's memory nor the result depends on who answers when.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from logging import INFO, WARNING

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.launch.command_line import resume_word
from fedklpr_flwr.launch.start_commands import too_few_came
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.runs.checkpoint import ClientState, RunFolder, ServerState
from fedklpr_flwr.runs.progress_line import pictures_line, progress_line
from fedklpr_flwr.runs.rows import Row, append_rows
from fedklpr_flwr.server.client_sampling import Choice, who_evaluates, who_trains
from fedklpr_flwr.server.downlink import STILL_LACKS_IT, Downlink
from fedklpr_flwr.server.node_registry import NodeRegistry
from fedklpr_flwr.server.quarantine import Quarantine
from fedklpr_flwr.server.reply_deadline import exchange
from fedklpr_flwr.server.robust.norm_bound import pooled_pairs, unbounded_note
from fedklpr_flwr.server.round_collector import RoundCollector, Use
from fedklpr_flwr.server.secure_round import SecureRound, secure_round
from fedklpr_flwr.wording import counted


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
        self.registry = NodeRegistry.empty(
            state.run, folder.write_boxes, settings.federation.at_once
        )
        self.downlink = Downlink(state, folder, settings)
        self._quarantine = Quarantine(settings)
        self._rounds_written, self._on_rows, self._overrides = rounds_written, on_rows, overrides
        self._timeout: float | None = None
        self._is_waiting, self._told = False, set[str]()
        self._due: tuple[list[str], bool] | None = None
        layout = shared_layout(settings, state.round)
        self._tally = RoundCollector(state.round, settings, layout, folder, state.pending)
        self._secure: SecureRound | None = None

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
        """Give each client that is due its task; the model itself is at the client already.

        Due are the chosen ones, then who lacks the model, then, once, who has not answered where
        too few have. Each message is made when the one before it has left.

        Args:
            server_round: the round, from 1.
            arrays: empty; every client's message is cut from the run's state by its mask.
            config: empty; a task is made of the run's settings.
            grid: Flower's grid.
        """
        return self._messages("train", lambda: self._choose(server_round))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Give each client that evaluates its part of the merged model, cut by its mask."""
        return self._messages("evaluate", lambda: self._choose(server_round, who_evaluates))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take each update as it arrives; merge them (KLPWA, each weight by who kept it); commit.

        Args:
            server_round: the round, from 1.
            replies: one of each client asked, errors included; they may come while this runs.

        Returns:
            No arrays, since the merged model is in the run folder; how many updates were merged.

        Raises:
            RunError: fewer than `federation.min_clients` are valid, or the disk is full.
        """
        tally = self._tally
        taker = self._secure.taker if self._secure else tally.update_taker
        use = taker(self.downlink.update_masks_of, self.state)
        with tally.phase("train"):
            for reply in replies:
                self._take(reply, use)
        self._check_enough()
        self._say_held(self._quarantine.note_training(sorted(tally.asked["train"]), tally.arrivals))
        with tally.phase("merge"):
            tally.merge(self.state, self._secure.merge if self._secure else None)
        return None, MetricRecord({"merged": len(tally.arrivals)})

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Take each client's scores as they arrive, and write the round's rows.

        Returns:
            The clients' mean Rank-1 and mAP; None where nobody could be evaluated.

        Raises:
            RunError: nobody could evaluate the initial model, or the disk is full.
        """
        tally = self._tally
        with tally.phase("evaluate"):
            for reply in replies:
                self._take(reply, tally.take_scores)
        self._say_held(self._quarantine.note_evaluation(tally.asked["evaluate"], tally.scored))
        self._check_scored()
        self.state.pairs = pooled_pairs(tally.pairs)
        summary = self._write_rows()
        if summary.rank1 is None or summary.map is None:
            return None
        return MetricRecord({"rank1": summary.rank1, "map": summary.map})

    def _messages(self, phase: str, first: Callable[[], list[str]]) -> Iterable[Message]:
        """To whom `_replies` says is due; to all of `first` where it has not been asked."""
        clients, again = self._due or (first(), False)
        return self.downlink.messages(phase, self._tally, self.registry.nodes, clients, again=again)

    def _take(self, reply: Message, use: Use) -> None:
        client = self.registry.asked[reply.metadata.src_node_id]
        if self._tally.take(client, reply, use):
            self.downlink.note_held(client)

    # ------------------------------------------------------------------ the loop

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int | None = None,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run from the state's round to the last.

        Flower's own loop holds all replies at once and cannot resume; this one streams, through the
        same hooks. The model lives in `state`, since each client's payload is cut from it by that
        client's mask, and tasks are made of the settings.

        Args:
            grid: Flower's grid.
            initial_arrays: refused unless None, as are the two configs and `evaluate_fn`.
            num_rounds: the last round; None = `federation.rounds`.
            timeout: seconds for each phase's replies; None = `federation.round_seconds` and
                `federation.evaluate_seconds`.
            train_config: None.
            evaluate_config: None.
            evaluate_fn: None.

        Returns:
            What the hooks gave, by round; the merged model is in the run folder.

        Raises:
            RunError: too few clients, a round that failed twice, an initial model that nobody could
                evaluate, or a disk that is full.
            SettingsError: something was given that is not used here.
        """
        _refuse_given(
            initial_arrays=initial_arrays,
            train_config=train_config,
            evaluate_config=evaluate_config,
            evaluate_fn=evaluate_fn,
        )
        self._timeout = timeout
        rounds = num_rounds or self.settings.federation.rounds
        result = Result()
        self.summary()
        self._gather(grid)
        if self._rounds_written < self.state.round:
            self._evaluate(grid, result)
        for server_round in range(self.state.round + 1, rounds + 1):
            self.registry.refresh(grid, self.settings.federation.wait_seconds)
            layout = shared_layout(self.settings, server_round)
            before = self._tally.spoilt
            self._tally = RoundCollector(
                server_round, self.settings, layout, self.folder, spoilt=before
            )
            self._secure = secure_round(self._tally, layout, self.settings)
            _, merged = self.aggregate_train(server_round, self._training_replies(grid))
            if merged is not None:
                result.train_metrics_clientapp[server_round] = merged
            self._evaluate(grid, result)
        return result

    def _evaluate(self, grid: Grid, result: Result) -> None:
        number = self._tally.number
        replies = self._replies(grid, "evaluate", self._choose(number, who_evaluates))
        scores = self.aggregate_evaluate(number, replies)
        if scores is not None:
            result.evaluate_metrics_clientapp[number] = scores

    def _training_replies(self, grid: Grid) -> Iterator[Message]:
        """Every chosen client's reply, with a second try where the round is too thin."""
        tally, needed = self._tally, self.settings.federation.min_clients
        chosen = self._choose(tally.number)
        yield from self._replies(grid, "train", chosen)
        if len(tally.arrivals) < needed:
            missing = [client for client in chosen if client not in tally.arrivals]
            valid = counted(len(tally.arrivals), "valid reply", some="valid replies")
            told = "round %d: %s, %d needed: asking %s once more"
            log(WARNING, told, tally.number, valid, needed, ", ".join(missing))
            yield from self._replies(grid, "train", missing)
        if self._secure and len(tally.arrivals) >= needed:
            yield from self._sum_replies(grid, self._secure, chosen)

    def _sum_replies(self, grid: Grid, secure: SecureRound, chosen: list[str]) -> Iterator[Message]:
        """The replies of a secure sum's stages; where it was not opened all train once more."""
        yield from self._stage_replies(grid, secure)
        if not self._tally.arrivals:
            log(
                WARNING, "round %d: the sum was not opened: all train once more", self._tally.number
            )
            yield from self._replies(grid, "train", secure.begin_again(chosen))
            yield from self._stage_replies(grid, secure)

    def _stage_replies(self, grid: Grid, secure: SecureRound) -> Iterator[Message]:
        for messages in secure.stages(self.registry.nodes):
            yield from self._exchange(grid, messages, "take part in the sum")

    def _replies(self, grid: Grid, phase: str, clients: list[str]) -> Iterator[Message]:
        """Replies as they arrive; who lacks model or mask is sent them again, at last whole.

        Who then still asks for them cannot be helped, and has failed.
        """
        tally = self._tally
        configure = self.configure_train if phase == "train" else self.configure_evaluate
        again = False
        while clients:
            self._due = clients, again
            messages = configure(tally.number, ArrayRecord(), ConfigRecord(), grid)
            yield from self._exchange(grid, messages, phase)
            self._due, again, clients = None, True, []
            for client in tally.take_unsynced():
                if self.downlink.has_all(client):
                    tally.fail(client, STILL_LACKS_IT)
                else:
                    log(INFO, "round %d: the model goes to %s once more", tally.number, client)
                    clients.append(client)

    def _exchange(self, grid: Grid, messages: Iterable[Message], phase: str) -> Iterator[Message]:
        """Replies for as long as a phase is waited for, which a long wait is said of."""
        chosen = self.settings.federation
        seconds = self._timeout or chosen.round_seconds
        if phase != "train":
            seconds = min(seconds, chosen.evaluate_seconds)
        say = partial(self._say_waiting, phase)
        return exchange(grid, messages, seconds, still_waiting=say, at_once=chosen.at_once)

    def _check_enough(self) -> None:
        """Raise RunError where too few updates came."""
        tally, needed = self._tally, self.settings.federation.min_clients
        if len(tally.arrivals) < needed:
            failures = tally.failures(sorted(tally.asked["train"] - tally.arrivals.keys()))
            valid = counted(len(tally.arrivals), "valid reply", some="valid replies")
            raise RunError(
                f"round {tally.number} has {valid} after a second try, "
                f"federation.min_clients={needed} are needed ({failures}). "
                f"Round {self.state.round} is kept; go on from it with "
                f"{resume_word(self.folder.path)}"
            )

    def _check_scored(self) -> None:
        """Say where nobody could be evaluated; raise RunError where it is the initial model."""
        tally = self._tally
        if tally.scored:
            return
        failures = f"({tally.failures(sorted(tally.asked['evaluate'])) or 'nobody is there'})"
        if tally.number == 0:
            raise RunError(
                f"round 0: no client could evaluate the initial model {failures}. Mend the "
                f"clients, then go on with {resume_word(self.folder.path)}"
            )
        told = "round %d: no client could be evaluated %s; the merged model stands, the run goes on"
        log(WARNING, told, tally.number, failures)

    def _gather(self, grid: Grid) -> None:
        chosen = self.settings.federation
        count = chosen.start_clients or len(self.settings.data.clients)

        def explain(found: int, nodes: int) -> str:
            about = self.settings, self._overrides, self.folder.path
            return too_few_came(*about, count, sorted(self.registry.nodes), found, nodes)

        # A real run goes on by itself after a crash, also where a box has been away since.
        resumed = self.settings.deployment and self.state.round > 0
        fewest = chosen.min_clients if resumed else None

        def say(found: int) -> None:
            told = f"waiting for clients: {found} of {count} are here"
            self._say(told + self.registry.missing_of(self._known()))

        self.registry.wait_for(grid, count, chosen.wait_seconds, explain, fewest=fewest, say=say)
        if (note := unbounded_note(self.settings, len(self.registry.nodes))) is not None:
            log(WARNING, "%s", note)

    def _say_waiting(self, phase: str, nodes: list[int], seconds: float) -> None:
        who, number = self.registry.clients_of(nodes), self._tally.number
        self._say(f"round {number}: waiting for {who} to {phase}, {seconds:.0f} s")

    def _say(self, text: str) -> None:
        """Say in the log and in status.json what the run waits for; a round's rows end it."""
        log(INFO, "%s", text)
        self.folder.write_status("running", text)
        self._is_waiting = True

    def _say_held(self, clients: Iterable[str]) -> None:
        for client in clients:
            rounds = counted(self._quarantine.rounds or 0, "round")
            told = "round %d: %s has failed %s in a row and is asked no more; mend it, then %s"
            log(WARNING, told, self._tally.number, client, rounds, resume_word(self.folder.path))

    def _choose(self, server_round: int, who: Choice = who_trains) -> list[str]:
        """The clients that train in a round, or evaluate its model, of those that are here."""
        return who(self._admitted(), self.settings, server_round)

    def _admitted(self) -> list[str]:
        """The clients that are here and not in quarantine."""
        return sorted(c for c in self.registry.nodes if not self._quarantine.holds(c))

    def _known(self) -> dict[str, ClientState]:
        """Who has a line in every round: all that ever came, and all that a simulation expects."""
        expected = () if self.settings.deployment else self.settings.data.clients
        return {**{client.name: ClientState(0, "") for client in expected}, **self.state.clients}

    def _write_rows(self) -> Row:
        for client in filter(self._quarantine.holds, self.registry.nodes):
            if self._tally.row(client).status == "absent":
                self._tally.row(client).failed = "in quarantine: it failed too many rounds in a row"
        rows = self._tally.close(self._known(), self._admitted())
        append_rows(self.folder.rows_file, rows)
        self._on_rows(rows)
        self.folder.note(self.state)
        if self._is_waiting:
            self.folder.write_status("running")
            self._is_waiting = False
        for line in filter(None, [pictures_line(rows, self._told)]):
            log(INFO, line)
        log(INFO, progress_line(rows[-1], self.settings.federation.rounds))
        return rows[-1]


def _refuse_given(**given: object) -> None:
    """Refuse what Flower's `start` takes and this one has no use for, rather than ignore it."""
    for name, value in given.items():
        if value is not None:
            raise SettingsError(
                f"start({name}=...): expected None, got {type(value).__name__}; the model and what "
                "clients are told come from the run's settings and its folder"
            )
