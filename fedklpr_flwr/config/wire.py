"""How updates travel: the settings of conf/wire."""

from dataclasses import dataclass

from fedklpr_flwr.config.fields import between, one_of


@dataclass(frozen=True, kw_only=True)
class Step:
    """How coarse changes are told (wire.values=change), in a tensor's root mean square change.

    Attributes:
        up: of a client's update.
        down: of the model that goes down.
        vectors: both ways, of tensors of fewer than two axes: batch norm and biases.
        first: times `up` and `down` in the first share of the rounds.
        first_share: that share; 0 = there is no such phase.
        last: times `up` and `down` in the last round.
        feedback: what a step cuts off is told the next time.
    """

    up: float = between(1e-3, 16.0, default=1.0)
    down: float = between(1e-3, 16.0, default=1.0)
    vectors: float = between(1e-3, 1.0, default=0.125)
    first: float = between(1e-2, 1.0, default=1.0)
    first_share: float = between(0.0, 1.0, default=0.0)
    last: float = between(1e-2, 1.0, default=0.5)
    feedback: bool = True


@dataclass(frozen=True, kw_only=True)
class Wire:
    """How an update travels."""

    values: str = one_of("float32", "bfloat16", "float16", "int8", "change")
    level: str = one_of("fast", "tight")
    delta: bool
    step: Step = Step()

    @property
    def whole(self) -> str:
        """The form of a whole model that goes down: changes begin from one told to the bit."""
        return "float32" if self.values == "change" else self.values
