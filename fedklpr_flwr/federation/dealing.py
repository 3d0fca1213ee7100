"""The choices of `data.scenario=many`."""

from dataclasses import dataclass

from fedklpr_flwr.federation.allowed import between


@dataclass(frozen=True, kw_only=True)
class Many:
    """How each set's persons are dealt to clients.

    Attributes:
        clients: how many clients a set is dealt to.
        alpha: Dirichlet concentration of their shares.
    """

    clients: int = between(1, default=64)
    alpha: float = between(1e-3, 1e6, default=1.0)


DEFAULT = Many()
"""Of run folders that were written before there were scenarios."""
