"""Clients that fail again and again are asked no more, until the run is resumed."""

from collections.abc import Collection, Iterable

from fedklpr_flwr.config.settings import Settings


class Quarantine:
    """Counts each client's failed trainings in a row.

    A client that is not there, or was not chosen, has not failed. Nothing is kept on disk: who
    resumes a run has looked at its clients, and all are asked again.

    Args:
        settings: `defence.quarantine` rounds are let through; null = any number.
    """

    def __init__(self, settings: Settings) -> None:
        self.rounds = settings.defence.quarantine
        self._failed: dict[str, int] = {}

    def note(self, asked: Iterable[str], merged: Collection[str]) -> list[str]:
        """Count a round; gives who is asked no more from now on."""
        full = []
        for client in asked:
            self._failed[client] = 0 if client in merged else self._failed.get(client, 0) + 1
            if self._failed[client] == self.rounds:
                full.append(client)
        return full

    def holds(self, client: str) -> bool:
        """Whether this client is asked no more."""
        return self.rounds is not None and self._failed.get(client, 0) >= self.rounds
