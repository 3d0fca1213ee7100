"""ClientUpdate: what a client says in a round, and nothing of what it keeps at home."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from torch import Tensor

from fedklpr_flwr.errors import MergeError
from fedklpr_flwr.protocol.figures import CRR_WORDS, FIGURES, LARGEST, WANTED, Figure

_LONGEST_PHASE = 1e7
"""Seconds: a phase of four months."""

_MOST_PHASES = 32
_PHASE = re.compile(r"[a-z][a-z0-9_]{0,31}")

PAIR_COUNTS = ("pairs_worse", "pairs_better", "pairs_compared")
"""What recovery compared, where it decides on pairs."""


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """The scalars a client says in a round; the server turns some of them into its weight.

    What each may be stands in protocol/figures.py; one with a default may be left unsaid.

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
        steps: optimiser steps of the round, >= 0; 0 where nothing was trained.
        cluster_precision: of the pairs of pictures in one cluster, the share of one person; None
            where persons are unknown, as in a deployment.
        cluster_recall: of the pairs of one person, the share in one cluster; None likewise.
        camera_split: of the pairs of one person from two cameras, the share in two clusters: 1 is
            a cluster for every camera; None likewise.
        pairs_worse: training pictures that the model before the last prune placed right and the one
            now does not (`crr.test` paired or sequential); 0 where nothing was compared.
        pairs_better: the reverse.
        pairs_compared: all that both placed.
        crr_statistic: what `crr.test` made of them; None where nothing was compared.
        camera_span: of the pictures in clusters, the share in clusters of two cameras or more; None
            where there is no cluster, or one camera.
        owed: root mean square of what the update cut off over that of what was learnt; None where
            it cuts nothing off.
    """

    examples: int
    divergence: float
    cosine_distance: float
    pruned: float
    accuracy: float | None = None
    clusters: int
    outliers: int
    idle: bool
    crr: str
    loss: float
    kl_loss: float
    seconds: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    cluster_precision: float | None = None
    cluster_recall: float | None = None
    camera_split: float | None = None
    camera_span: float | None = None
    pairs_worse: int = 0
    pairs_better: int = 0
    pairs_compared: int = 0
    crr_statistic: float | None = None
    owed: float | None = None

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
        said = [item.name for item in fields(cls) if values.get(item.name) is not None]
        for item in fields(cls):
            if item.name not in said and not FIGURES[item.name].only:
                raise MergeError(
                    f"a client's report must have the field {item.name!r}, it has "
                    f"{sorted(values)}: run the same version of fedklpr on the client and the "
                    "server"
                )
        return cls(**{name: _checked(FIGURES[name], values[name]) for name in said})


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


def read_scores(
    values: Mapping[str, Any], reply: Literal["train", "evaluate"]
) -> dict[str, float | None]:
    """Reads accuracies that came over the network, and trusts none of them.

    Args:
        values: what a client says; other keys are ignored.
        reply: what it answers: `train`, or `evaluate`, the last one included.

    Returns:
        By name a fraction in [0, 1], or None where nothing is said: a site without a test set.

    Raises:
        MergeError: one of them is not a number, not finite, or out of range; use none of them.
    """
    replies = ("train",) if reply == "train" else ("evaluate", "last evaluate")
    return {
        name: None if values.get(name) is None else _checked(figure, values[name])
        for name, figure in FIGURES.items()
        if figure.withheld == "scores" and figure.reply in replies
    }


def read_count(values: Mapping[str, Any], name: str, most: float = LARGEST) -> int:
    """Reads a whole number that came over the network; 0 where it is not said.

    Raises:
        MergeError: it is not a whole number from 0 to `most`.
    """
    value = int(_checked(FIGURES[name], values.get(name, 0)))
    return int(_number(name, value, 0, most))


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


def _phases(seconds: Mapping[str, Any]) -> dict[str, float]:
    """Wall seconds by phase, few and with names that any terminal and page may show."""
    unfit = [name for name in seconds if not _PHASE.fullmatch(str(name))]
    if unfit or len(seconds) > _MOST_PHASES:
        found = repr(unfit[0])[:100] if unfit else f"{len(seconds)} of them"
        raise MergeError(
            f"a report's field 'seconds' must name at most {_MOST_PHASES} phases, each by 1 to 32 "
            f"small letters, digits and '_', it has {found}: it is left out"
        )
    return {str(name): _number(str(name), of, 0, _LONGEST_PHASE) for name, of in seconds.items()}


def _checked(figure: Figure, value: Any) -> Any:
    """A figure's value as a client said it, or a MergeError that names it."""
    match figure.kind:
        case "number":
            return float(_number(figure.name, value, figure.low, figure.high))
        case "count":
            if isinstance(_number(figure.name, value, 0, figure.high), int):
                return value
        case "truth" if isinstance(value, bool):
            return value
        case "word" if value in CRR_WORDS:
            return value
        case "seconds" if isinstance(value, Mapping):
            return _phases(value)
    wanted = f"one of {CRR_WORDS}" if figure.kind == "word" else WANTED[figure.kind]
    raise MergeError(
        f"a client's report must have {wanted} in {figure.name!r}, it has "
        f"{value!r:.100}: it is left out, look at the client's log"
    )


def _number(name: str, value: Any, low: float, high: float = LARGEST) -> float:
    # A bool is an int to Python; NaN is in no range.
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise MergeError(
            f"a client's report must have a finite number from {low:g} to {high:g} in {name!r}, it "
            f"has {value!r:.100}: it is left out, look at the client's log"
        )
    return value
