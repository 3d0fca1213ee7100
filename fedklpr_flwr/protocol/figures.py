"""Every figure that a client reports or the server counts, once: a line here, and a field in Row.

From this table come the checks of what comes over the network (protocol/training_report.py), what
privacy=local_dp withholds (protocol/local_privacy.py), the sums and means of run.jsonl
(runs/rows.py), the checks of a foreign run.jsonl (report/run_report.py), the curves on W&B
(report/wandb_log.py) and the list of docs/privacy.md. tests/protocol/test_figures.py holds the
fields of TrainingReport and Row against it; what a figure means stands there.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "count", "truth", "word", "seconds", "status", "reason"]
Reply = Literal["train", "evaluate", "last evaluate", "both", "none"]
OverClients = Literal["sum", "mean", "max", "all", "any", "none"]

CRR_WORDS = ("pruned", "held_level", "held_drop", "at_target", "off")
"""What a client may say it did about pruning in a round (run.jsonl's field `crr`)."""

LARGEST = 1e12
"""No figure is larger: sums and means over clients stay finite."""

_MOST_PICTURES = 10**9
_ACROSS = 2 + 1e-6  # 1 - cos, with the last bits of float32
_TEST = "with a test set"
_LAST = "after the last merge, with `training.final_epochs`"
_PAIRS = "always; in evaluate with `crr.pooled=true`"
_SINCE = "in a run that continues another, until it is merged in this one"
_KNOWN = "in a simulation that knows its people"


WANTED: dict[Kind, str] = {
    "number": "a number",
    "count": "a whole number",
    "truth": "true or false",
    "word": "a text",
    "seconds": "seconds by phase",
    "status": "a text",
    "reason": "a reason or false",
}
"""What is expected of each kind, in words."""


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: the key in a report and in run.jsonl.
        reply: the reply of a client that it comes with; none = the server counts it.
        kind: of value; `count` is a whole number >= 0, `seconds` a mapping from phase to number.
        over_clients: how the clients' figures become the round's; none = not, or in a way of its
            own (runs/rows.py).
        withheld: what privacy=local_dp does: `always` = it is made of the pictures and never said,
            `scores` = said with privacy.scores=true alone, `no` = said.
        low: the smallest number a client may say.
        high: the largest.
        only: when a client says it; empty = always, so that a report without it is refused.
        in_rows: whether run.jsonl has it.
    """

    name: str
    reply: Reply
    kind: Kind = "number"
    over_clients: OverClients = "none"
    withheld: Literal["no", "always", "scores"] = "no"
    low: float = -LARGEST
    high: float = LARGEST
    only: str = ""
    in_rows: bool = True


def _score(name: str, reply: Reply, only: str = _TEST) -> Figure:
    return Figure(name, reply, "number", "mean", "scores", 0, 1, only)


_TABLE = (
    _score("rank1", "evaluate"),
    _score("rank5", "evaluate"),
    _score("rank10", "evaluate"),
    _score("map", "evaluate"),
    _score("minp", "evaluate"),
    _score("rank1_local", "train"),
    _score("map_local", "train"),
    _score("rank1_final", "last evaluate", _LAST),
    _score("map_final", "last evaluate", _LAST),
    Figure("examples", "train", "count", "sum", "always", high=_MOST_PICTURES),
    Figure("pruned", "train", "number", "mean", low=0, high=1),
    Figure("crr", "train", "word"),
    Figure("accuracy", "train", "number", "mean", "always", 0, 1, "where it was measured"),
    Figure("divergence", "train", "number", "mean", "always", 0),
    Figure("cosine_distance", "train", "number", "mean", "always", 0, _ACROSS),
    Figure("loss", "train", "number", "mean", "always"),
    Figure("kl_loss", "train", "number", "mean", "always"),
    Figure("clusters", "train", "count", "sum", "always"),
    Figure("outliers", "train", "count", "sum", "always"),
    Figure("idle", "train", "truth", "all", "always"),
    Figure("degenerate", "none", "word"),
    Figure("pairs_worse", "train", "count", "sum", "always", high=_MOST_PICTURES, only=_PAIRS),
    Figure("pairs_better", "train", "count", "sum", "always", high=_MOST_PICTURES, only=_PAIRS),
    Figure("pairs_compared", "train", "count", "sum", "always", high=_MOST_PICTURES, only=_PAIRS),
    Figure("crr_statistic", "train", "number", "none", "always", only="where pairs were compared"),
    Figure("cluster_precision", "train", "number", "mean", "always", 0, 1, _KNOWN),
    Figure("cluster_recall", "train", "number", "mean", "always", 0, 1, _KNOWN),
    Figure("camera_split", "train", "number", "mean", "always", 0, 1, _KNOWN),
    Figure("camera_span", "train", "number", "mean", "always", 0, 1, "where cameras are known"),
    Figure("owed", "train", "number", "mean", "always", 0, only="where `wire.values` cuts off"),
    Figure("steps", "train", "count", "none", "always", only="where it was trained", in_rows=False),
    Figure("seconds", "train", "seconds", "none", "always", 0, only="where time was taken"),
    Figure("releases", "train", "count", only="with `privacy=local_dp`", in_rows=False),
    Figure("pictures_changed", "both", "truth", "any", "always"),
    Figure("pictures_new", "both", "count", "none", "always", high=_MOST_PICTURES, only=_SINCE),
    Figure("pictures_gone", "both", "count", "none", "always", high=_MOST_PICTURES, only=_SINCE),
    Figure("klaw", "none", "number", "sum"),
    Figure("praw", "none", "number", "sum"),
    Figure("weight", "none", "number", "sum"),
    Figure("shortened", "none"),
    Figure("trust", "none"),
    Figure("alignment", "none"),
    Figure("epsilon", "none", "number", "max"),
    Figure("unasked", "none", "truth"),
    Figure("bytes_up", "none", "count", "sum"),
    Figure("bytes_down", "none", "count", "sum"),
    Figure("bytes_message_up", "none", "count", "sum"),
    Figure("bytes_message_down", "none", "count", "sum"),
    Figure("bytes_dense", "none", "count", "sum"),
    Figure("bytes_paper", "none", "count", "sum"),
    Figure("bytes_bound", "none", "count", "sum"),
    Figure("bytes_masks", "none", "count", "sum"),
    Figure("bytes_vectors", "none", "count", "sum"),
    Figure("bytes_front", "none", "count", "sum"),
    Figure("step_up", "none", "number", "max"),
    Figure("step_down", "none", "number", "max"),
    Figure("status", "none", "status"),
    Figure("failed", "none", "reason"),
    Figure("server_peak_mb", "none"),
)

FIGURES = {figure.name: figure for figure in _TABLE}


SCORES = tuple(f.name for f in _TABLE if f.withheld == "scores" and f.reply == "evaluate")
"""Accuracies of a model on a site's test set, from query to gallery."""

CURVES = tuple(f.name for f in _TABLE if f.in_rows and f.kind in ("number", "count"))
"""What is a number in run.jsonl, and so a curve."""
