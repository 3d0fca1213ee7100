"""ClientUpdate: what a client says in a round, and nothing of what it keeps at home."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import Tensor

from fedklpr_flwr.errors import MergeError

CRR_WORDS = ("pruned", "held_level", "held_drop", "at_target", "off")
"""What a client may say it did about pruning in a round (run.jsonl's field `crr`)."""

CLUSTER_FIGURES = ("cluster_precision", "cluster_recall", "camera_split")
"""How clusters stand against the true persons, where a simulation knows them."""

PAIR_COUNTS = ("pairs_worse", "pairs_better", "pairs_compared")
"""What recovery compared, where it decides on pairs."""

_MAY_LACK = ("seconds", "steps", *PAIR_COUNTS, "crr_statistic", *CLUSTER_FIGURES)

_LARGEST = 1e12
"""No figure of a report is larger: sums and means over clients stay finite."""


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
        cluster_precision: of the pairs of pictures in one cluster, the share of one person; None
            where persons are unknown, as in a deployment.
        cluster_recall: of the pairs of one person, the share in one cluster; None likewise.
        camera_split: of the pairs of one person from two cameras, the share in two clusters: 1 is
            a cluster for every camera; None likewise.
        steps: optimiser steps of the round, >= 0; 0 where nothing was trained.
        pairs_worse: training pictures that the model before the last prune placed right and the one
            now does not (`crr.test` paired or sequential); 0 where nothing was compared.
        pairs_better: the reverse.
        pairs_compared: all that both placed.
        crr_statistic: what `crr.test` made of them; None where nothing was compared.
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
    cluster_precision: float | None = None
    cluster_recall: float | None = None
    camera_split: float | None = None
    steps: int = 0
    pairs_worse: int = 0
    pairs_better: int = 0
    pairs_compared: int = 0
    crr_statistic: float | None = None

    @property
    def trained(self) -> int:
        """How many different pictures the client really trained on: those that have a label."""
        return max(self.examples - self.outliers, 0)

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
            MergeError: a field is missing, of another kind, not finite, or out of its range.
        """
        needed = [f.name for f in fields(cls) if f.name not in _MAY_LACK]
        missing = [name for name in needed if name not in values]
        if missing:
            raise MergeError(
                f"a client's report must have the field {missing[0]!r}, it has "
                f"{sorted(values)}: run the same version of fedklpr on the client and the server"
            )
        seconds = values.get("seconds", {})
        if not isinstance(seconds, Mapping):
            raise MergeError(
                f"a report's field 'seconds' must be a mapping, it is {seconds!r:.100}"
            )
        statistic = values.get("crr_statistic")
        may_lack: dict[str, Any] = {
            **read_scores(values, CLUSTER_FIGURES),
            **{name: read_count(values, name) for name in ("steps", *PAIR_COUNTS)},
            "crr_statistic": None if statistic is None else _number(values, "crr_statistic"),
        }
        return cls(
            examples=_count(values, "examples"),
            divergence=_number(values, "divergence", 0),
            cosine_distance=_number(values, "cosine_distance", 0, 2 + 1e-6),
            pruned=_number(values, "pruned", 0, 1),
            accuracy=None if values["accuracy"] is None else _number(values, "accuracy", 0, 1),
            clusters=_count(values, "clusters"),
            outliers=_count(values, "outliers"),
            idle=_truth(values, "idle"),
            crr=_crr_word(values["crr"]),
            loss=_number(values, "loss"),
            kl_loss=_number(values, "kl_loss"),
            seconds={str(phase): _number(seconds, phase, 0) for phase in seconds},
            **may_lack,
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


def read_scores(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, float | None]:
    """Reads accuracies that came over the network, and trusts none of them.

    Args:
        values: what a client says; other keys are ignored.
        names: the accuracies looked for.

    Returns:
        By name a fraction in [0, 1], or None where nothing is said: a site without a test set.

    Raises:
        MergeError: one of them is not a number, not finite, or out of range; use none of them.
    """
    return {
        name: None if values.get(name) is None else float(_number(values, name, 0, 1))
        for name in names
    }


def read_count(values: Mapping[str, Any], name: str) -> int:
    """Reads a whole number that came over the network; 0 where it is not said.

    Raises:
        MergeError: it is not a whole number >= 0.
    """
    return _count({name: 0, **values}, name)


def read_pairs(values: Mapping[str, Any]) -> tuple[int, int, int]:
    """Reads a client's pairs: how many became wrong, right, and were compared.

    Raises:
        MergeError: one is not a whole number >= 0, or more differ than were compared.
    """
    worse, better, compared = (read_count(values, name) for name in PAIR_COUNTS)
    if worse + better > compared:
        raise MergeError(
            f"of {compared} pictures compared {worse + better} were judged otherwise: the client's "
            "count of pairs is left out, look at its log"
        )
    return worse, better, compared


def _number(
    values: Mapping[str, Any], name: str, low: float = -_LARGEST, high: float = _LARGEST
) -> float:
    value = values[name]
    # A bool is an int to Python; NaN is in no range.
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise MergeError(
            f"a client's report must have a finite number from {low:g} to {high:g} in {name!r}, it "
            f"has {value!r:.100}: it is left out, look at the client's log"
        )
    return value


def _count(values: Mapping[str, Any], name: str) -> int:
    value = _number(values, name, 0)
    if not isinstance(value, int):
        raise MergeError(
            f"a client's report must have a whole number in {name!r}, it has {value!r}: it is left "
            "out, look at the client's log"
        )
    return value


def _truth(values: Mapping[str, Any], name: str) -> bool:
    value = values[name]
    if not isinstance(value, bool):
        raise MergeError(
            f"a client's report must have true or false in {name!r}, it has {value!r:.100}: it is "
            "left out, look at the client's log"
        )
    return value


def _crr_word(value: Any) -> str:
    if value not in CRR_WORDS:
        raise MergeError(f"a report's field 'crr' must be one of {CRR_WORDS}, it is {value!r:.100}")
    return str(value)
