"""The rows of run.jsonl: one a client and round, and one a round."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.protocol.figures import FIGURES, OverClients
from fedklpr_flwr.system.atomic_file import open_unlinked, write_atomically
from fedklpr_flwr.system.plain_text import parse_json
from fedklpr_flwr.wording import counted, named


@dataclass
class Row:
    """One line of run.jsonl; `client` None is the round's own line.

    Accuracies are fractions, `seconds` is by phase, the rest counts bytes or things. What needs a
    word, first on a client's line, then on the round's own:

    With privacy=local_dp clusters, outliers and idle are null, and so is every figure made of the
    pictures: they are withheld, which is no zero.

    Attributes:
        pruned: share of the prunable weights its last merged update pruned, also where it was not
            merged this time; the mean over all clients.
        crr: pruned | held_level | held_drop | at_target | off; a text that counts the updates
            merged in this round, "held_drop 3, pruned 5", empty where nobody trained.
        pairs_worse: training pictures of the client that the model before its last prune placed
            right and the one now does not; pairs_better the reverse, pairs_compared all
            (`crr.test` paired or sequential, else 0); the sums.
        crr_statistic: what `crr.test` made of them, else null.
        shortened: to what share of its length an update that stood out was shortened, else null
            (`defence.norm_bound`).
        epsilon: of all that this client may have sent in this run up to here, with
            privacy=local_dp and settings that leak nothing; else null; the largest.
        trust: the factor of its weight by how far its direction agrees with the others', 1 = whole
            (`defence.alignment`); null where that is not asked.
        alignment: how far that is, the running mean of its rounds' cosines; likewise.
        bytes_dense: what dense float32 FedAvg would have sent whatever the method keeps at home, 4
            bytes for every number of the model: down once to who was asked anything, up once from
            whose update was merged; the sum.
        bytes_masks: of `bytes_up` and `bytes_down`, what told masks; the sum.
        bytes_vectors: likewise, what told batch norm and biases.
        bytes_front: likewise, what told neither masks nor values, a few bytes a tensor; the rest is
            values of weights, and 30 bytes an update that say of which run and round it is.
        step_up: with `wire.values=change`, how coarsely an update told weights in this round, in
            root mean squares of their change; step_down: likewise the server; else null.
        owed: root mean square of what the update cut off, which the next one tells, over that of
            what was learnt; null where nothing is cut off.
        seconds: a client's own, in training, and `send`: of a real box, the rest of the time from
            the server's message to the update's arrival; the round's by the server's clock.
        status: merged (in round 0: evaluated) | failed | late | absent; a text, "8 merged", with
            the names of those who were away, "7 merged, absent: yard".
        cosine_distance: how far local training moved the features of 32 of the client's pictures,
            mean 1 - cos: the feature drift, which needs no labels to be watched.
        examples: training pictures; null in round 0, where nothing was merged, where it is withheld
            and in runs of before it was kept; the sum.
        pictures_new: training pictures that the run before, which this one continues, did not have,
            by name and size; pictures_gone: those that it had and this one has not; null where
            there was none, once the client was merged in this run, and on the round's own line.
        degenerate: why the client's labels can teach little (`label_fault`), else null; on
            the round's own line with the clients' names.
        failed: the reason, or false; a merged update may have one too, where its scores were not
            usable. On the round's own line the names of those clients, "ash, birch", or false.
        unasked: it was there, and neither a training nor an evaluation was asked of it
            (`federation.evaluate=next`); false on the round's own line.
    """

    round: int
    client: str | None
    rank1: float | None = None
    rank5: float | None = None
    rank10: float | None = None
    map: float | None = None
    minp: float | None = None
    rank1_local: float | None = None
    map_local: float | None = None
    rank1_final: float | None = None
    map_final: float | None = None
    pruned: float = 0.0
    crr: str = "off"
    pairs_worse: int | None = 0
    pairs_better: int | None = 0
    pairs_compared: int | None = 0
    crr_statistic: float | None = None
    accuracy: float | None = None
    klaw: float = 0.0
    praw: float = 0.0
    weight: float = 0.0
    shortened: float | None = None
    trust: float | None = None
    alignment: float | None = None
    divergence: float | None = None
    cosine_distance: float | None = None
    loss: float | None = None
    kl_loss: float | None = None
    examples: int | None = None
    clusters: int | None = 0
    outliers: int | None = 0
    idle: bool | None = False
    degenerate: str | None = None
    cluster_precision: float | None = None
    cluster_recall: float | None = None
    camera_split: float | None = None
    camera_span: float | None = None
    pictures_changed: bool = False
    pictures_new: int | None = None
    pictures_gone: int | None = None
    epsilon: float | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    bytes_message_up: int = 0
    bytes_message_down: int = 0
    bytes_dense: int = 0
    bytes_paper: int = 0
    bytes_bound: int = 0
    bytes_masks: int = 0
    bytes_vectors: int = 0
    bytes_front: int = 0
    step_up: float | None = None
    step_down: float | None = None
    owed: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    status: str = "absent"
    failed: str | bool = False
    unasked: bool = False
    server_peak_mb: float | None = None


_NEARLY_ALL = 0.8
"""Share of a site's pictures without a label from which on it is worth a word."""

_TOGETHER = 1.75
"""Pictures a cluster; pairs of two cameras, as VIPeR has them, are 2, and a few are not found."""

_NO_SPAN = 0.02
"""Share of clustered pictures in clusters of several cameras below which cameras are learnt."""

MAY_BE_NULL = {item.name for item in fields(Row) if NoneType in get_args(item.type)}
"""Figures that are null where they are not known, or withheld."""

_WITHHELD = [n for n in MAY_BE_NULL & FIGURES.keys() if FIGURES[n].withheld == "always"]


def round_row(rows: Sequence[Row], server_peak_mb: float, seconds: dict[str, float]) -> Row:
    """The round's own line: sums of bytes, counts and weights, means of accuracies.

    Args:
        rows: the clients' lines of one round.
        server_peak_mb: the server's peak resident memory so far, in MB.
        seconds: the server's wall seconds by phase.
    """
    away = [row.client or "" for row in rows if is_away(row)]
    status = f"{_count(rows, 'merged')} merged" + (f", absent: {named(away)}" if away else "")
    if any(row.rank1 is not None for row in rows):  # the mean is of the others
        known = [row for row in rows if row.status == "merged" and row.failed]
        unscored = [row.client or "" for row in known if row.rank1 is None]
        status += f", not scored: {named(unscored)}" if unscored else ""
    summary = Row(round=rows[0].round, client=None, status=status)
    for name, figure in FIGURES.items():
        if figure.in_rows and figure.over_clients != "none":
            combined = _over_clients(figure.over_clients, [getattr(row, name) for row in rows])
            setattr(summary, name, combined)
    trained = [row for row in rows if row.round and row.status == "merged"]
    summary.crr = ", ".join(f"{word} {_count(trained, word, 'crr')}" for word in _words(trained))
    faults = [f"{row.client}: {row.degenerate}" for row in rows if row.degenerate]
    summary.degenerate = named(faults) or None
    summary.failed = ", ".join(row.client or "" for row in rows if row.failed) or False
    summary.server_peak_mb, summary.seconds = server_peak_mb, seconds
    return summary


def _over_clients(how: OverClients, values: Sequence[Any]) -> Any:
    """A round's figure from its clients'; a mean or a largest is of those who have one."""
    known = [value for value in values if value is not None]
    match how:
        case "mean":
            return sum(known) / len(known) if known else None
        case "max":
            return max(known, default=None)
        case "any":
            return any(known)
    if len(known) < len(values):  # withheld by one: a sum of the others would read as the whole
        return None
    return all(values) if how == "all" else sum(values)


def is_away(row: Row) -> bool:
    """Whether nothing was sent to a client in a round: it was not there, or is in quarantine.

    Who is merely not chosen to train (`federation.fraction`) is sent the merged model all the same,
    unless `federation.evaluate=next`, where nothing may be asked of it in a round (`unasked`).
    """
    return row.status == "absent" and not row.bytes_message_down and not row.unasked


def away_at_the_end(rows: Sequence[Row]) -> str:
    """Who was away in the last round, in words; empty where nobody was."""
    last = max((row.round for row in rows), default=0)
    away = sorted(row.client for row in rows if row.client and row.round == last and is_away(row))
    return f"absent in round {last}: {named(away)}" if away else ""


def label_fault(row: Row, *, bottom_up: bool = False) -> str | None:
    """Say what is wrong with the labels that a client trained on in a round.

    Args:
        row: the client's line.
        bottom_up: a cluster a picture is where its labels begin, and no fault.

    Returns:
        In words: no cluster, one cluster, nearly all outliers, hardly two pictures a cluster, or
        clusters of one camera alone where it has several; None where nothing is, where nothing was
        trained, and where counts are withheld or, as in older runs, not told.
    """
    if not row.round or row.status != "merged" or row.clusters is None or row.outliers is None:
        return None
    if row.idle or not row.clusters:
        return "no cluster, nothing trained"
    if row.examples is None:
        return "all in one cluster" if row.clusters == 1 else None
    labelled = row.examples - row.outliers
    if row.outliers >= _NEARLY_ALL * row.examples:
        return f"{row.outliers} of {counted(row.examples, 'picture')} outliers"
    if row.clusters == 1:
        return f"{counted(labelled, 'picture')} all in one cluster"
    together = labelled >= _TOGETHER * row.clusters
    if not together and not bottom_up:
        found = f"{counted(row.clusters, 'cluster')} of {counted(labelled, 'picture')}"
        return f"{found}, hardly two in each"
    if together and row.camera_span is not None and row.camera_span < _NO_SPAN:
        return f"{counted(row.clusters, 'cluster')} of one camera each"
    return None


def withhold(row: Row) -> None:
    """Null what a client with privacy=local_dp says nothing of, and so sends as a zero."""
    for key in _WITHHELD:
        setattr(row, key, None)


def is_withheld(row: Row) -> bool:
    """Whether the figures made of the pictures were withheld."""
    return row.clusters is None


def _words(rows: Sequence[Row]) -> list[str]:
    return sorted({row.crr for row in rows})


def _count(rows: Iterable[Row], word: str, key: str = "status") -> int:
    return sum(getattr(row, key) == word for row in rows)


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows as JSON lines, in one write.

    Raises:
        RunError: they cannot be written, because the disk is full for one.
    """
    lines = _lines(rows)
    try:
        with open_unlinked(path, append=True) as file:
            file.write(lines.encode())
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror or error}; make room, then resume"
        ) from error


def _lines(rows: Iterable[Row]) -> str:
    # Python would write NaN, which is no JSON: whoever reads the file would stumble over the line.
    return "".join(json.dumps(asdict(row), allow_nan=False) + "\n" for row in rows)


_LONGEST_LINE = 4_000_000


def row_lines(path: Path) -> Iterator[str]:
    """The lines of a run.jsonl, one after the other; those that no row is as long as, in pieces.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise OSError("it is no regular file")
        with path.open(encoding="utf-8", errors="replace") as file:
            while line := file.readline(_LONGEST_LINE):
                yield line
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error}; is its folder a run folder?") from error


def read_rows(path: Path) -> list[Row]:
    """The rows of a run.jsonl; a half-written last line (a killed run) is left out.

    A number that is not finite, as the first runs could write it, is read as None.

    Raises:
        RunError: the file is missing, or a line before the last is damaged.
    """
    rows = []
    for number, line in enumerate(row_lines(path), start=1):
        try:
            rows.append(row_from(parse_json(line, parse_constant=lambda word: None)))
        except (ValueError, TypeError) as error:
            if not line.endswith("\n") and len(line) < _LONGEST_LINE:
                break
            raise RunError(
                f"{path}, line {number} is damaged ({error}): keep a copy, remove that line, "
                "then go on"
            ) from error
    return rows


def keep_finished_rounds(path: Path, last: int) -> int:
    """Drop rows of rounds after `last`, and of a round that was not written whole.

    Args:
        path: a run.jsonl; it need not exist.
        last: the last merged round.

    Returns:
        The last round that stands there whole; -1 where there is none.
    """
    rows = read_rows(path) if path.exists() else []
    whole = {row.round for row in rows if row.client is None and row.round <= last}
    kept = [row for row in rows if row.round in whole]
    write_atomically(path, _lines(kept).encode())
    return max(whole, default=-1)


def row_from(values: dict[str, Any]) -> Row:
    """A row from a JSON object; keys of a newer version are ignored.

    Raises:
        TypeError: it is no object, or has no round or client.
    """
    if not isinstance(values, dict):
        raise TypeError(f"expected a JSON object, got {values!r:.100}")
    known = {item.name for item in fields(Row)}
    return Row(**{key: value for key, value in values.items() if key in known})
