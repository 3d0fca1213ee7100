"""Clients that fail again and again are asked no more, until the run is resumed."""

from collections.abc import Collection, Iterable

from fedklpr_flwr.config.settings import Settings


class Quarantine:
    """Counts each client's failed rounds in a row.

    A round has failed where its training or its evaluation has: a box that trains and never answers
    an evaluation would cost every round a deadline, too. A client that is not there, or was not
    chosen to train, has not failed. Nothing is kept on disk: who resumes a run has looked at its
    clients, and all are asked again.

    Args:
        settings: `defence.quarantine` rounds are let through; null = any number.
    """

    def __init__(self, settings: Settings) -> None:
        self.rounds = settings.defence.quarantine
        self._failed: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def note_training(self, asked: Iterable[str], merged: Collection[str]) -> list[str]:
        """Count the trainings of a round; gives who is asked no more from now on."""
        self._before = dict(self._failed)
        for client in asked:
            self._failed[client] = 0 if client in merged else self._failed.get(client, 0) + 1
        return [client for client in sorted(self._failed) if self._is_new(client)]

    def note_evaluation(self, asked: Iterable[str], scored: Collection[str]) -> list[str]:
        """Count the evaluations of the same round; gives who is asked no more from now on."""
        silent = {client for client in set(asked) - set(scored) if not self.holds(client)}
        for client in silent:
            self._failed[client] = self._before.get(client, 0) + 1
        return [client for client in sorted(silent) if self._is_new(client)]

    def _is_new(self, client: str) -> bool:
        """Whether this round's count is the one that holds a client."""
        return self.holds(client) and self._before.get(client, 0) < (self.rounds or 0)

    def holds(self, client: str) -> bool:
        """Whether this client is asked no more."""
        return self.rounds is not None and self._failed.get(client, 0) >= self.rounds
