"""ClientUpdate: what a client says in a round, and nothing of what it keeps at home."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import Tensor

from fedklpr_flwr.errors import MergeError

CRR_WORDS = ("pruned", "held_level", "held_drop", "at_target", "off")
"""What a client may say it did about pruning in a round (run.jsonl's field `crr`)."""


@dataclass(frozen=True)
class TrainingReport:
    """The scalars a client says in a round; the server turns some of them into its weight.

    Attributes:
        examples: pictures the client trains from, copies not counted, >= 0.
        divergence: mean KL(after || before) of local training, in nats, >= 0 (KLAW's quantity).
        cosine_distance: mean 1 - cos(after, before) of local training, in [0, 2] (CDW's quantity).
        pruned: share of the prunable weights that are pruned, in [0, 1).
        accuracy: the training accuracy that the next round's recovery looks at, in [0, 1]; None
            where nothing was trained.
        clusters: people the client told apart, >= 0.
        outliers: pictures left without a label, >= 0.
        idle: True where no cluster formed, nothing was trained, and the weight must be 0.
        crr: one of CRR_WORDS.
        loss: mean training loss of the last epoch.
        kl_loss: mean KL term of the last epoch, before its factor lambda.
        seconds: wall seconds by phase (label, train, measure, prune, evaluate, ...).
    """

    examples: int
    divergence: float
    cosine_distance: float
    pruned: float
    accuracy: float | None
    clusters: int
    outliers: int
    idle: bool
    crr: str
    loss: float
    kl_loss: float
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Gives the report as plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingReport":
        """Reads a report that came over the network, and trusts none of it.

        Args:
            values: what `to_dict` gave; unknown keys are ignored, so an older server reads a
                newer client.

        Returns:
            The report.

        Raises:
            MergeError: a field is missing, not a finite number, or out of its range.
        """
        missing = [f.name for f in fields(cls) if f.name not in values and f.name != "seconds"]
        if missing:
            raise MergeError(
                f"a client's report must have the field {missing[0]!r}, it has "
                f"{sorted(values)}: run the same version of fedklpr on the client and the server"
            )
        seconds = values.get("seconds", {})
        if not isinstance(seconds, Mapping):
            raise MergeError(f"a report's field 'seconds' must be a mapping, it is {seconds!r}")
        return cls(
            examples=int(_number(values, "examples", 0)),
            divergence=_number(values, "divergence", 0),
            cosine_distance=_number(values, "cosine_distance", 0, 2 + 1e-6),
            pruned=_number(values, "pruned", 0, 1),
            accuracy=None if values["accuracy"] is None else _number(values, "accuracy", 0, 1),
            clusters=int(_number(values, "clusters", 0)),
            outliers=int(_number(values, "outliers", 0)),
            idle=bool(values["idle"]),
            crr=_crr_word(values["crr"]),
            loss=_number(values, "loss"),
            kl_loss=_number(values, "kl_loss"),
            seconds={str(phase): _number(seconds, phase, 0) for phase in seconds},
        )


@dataclass(frozen=True)
class ClientUpdate:
    """One client's answer to one round.

    Attributes:
        client: the client's own name.
        round: the round it answers, 1..R.
        tensors: name -> float32 tensor: the parameters and float buffers after local training,
            zero where the mask is False.
        masks: name -> bool tensor of the tensor's shape (True = kept), prunable tensors only.
        report: the scalars.
    """

    client: str
    round: int
    tensors: dict[str, Tensor]
    masks: dict[str, Tensor]
    report: TrainingReport


def _number(
    values: Mapping[str, Any], name: str, low: float = -math.inf, high: float = math.inf
) -> float:
    value = values[name]
    if not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        raise MergeError(
            f"a client's report must have a finite number from {low} to {high} in {name!r}, it "
            f"has {value!r}: the update is left out, look at the client's log"
        )
    return value


def _crr_word(value: Any) -> str:
    if value not in CRR_WORDS:
        raise MergeError(f"a report's field 'crr' must be one of {CRR_WORDS}, it is {value!r}")
    return str(value)
