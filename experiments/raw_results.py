"""A study's raw results, and the tables that are recomputed from them.

    python experiments/raw_results.py experiments/results/drawn20 --against fedcapr

A study's folder holds each run's run.jsonl, compressed, as METHOD-seedS.jsonl.gz. A row's figures
are those of the last round, and the mean of the last five rounds, which is less of a draw; a
difference is taken seed by seed, so that what a seed is worth to both cancels.
"""

import argparse
import gzip
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from fedklpr_flwr.errors import FedKlprError, RunError
from fedklpr_flwr.report.mean_std import paired_difference, spread_of
from fedklpr_flwr.runs.rows import Row, row_from

LAST = 5
"""Rounds that a whole-run figure is the mean of."""

_NAME = re.compile(r"(?P<method>[a-z0-9_]+)-seed(?P<seed>\d+)\.jsonl\.gz")


@dataclass(frozen=True)
class RunFigures:
    """What one run comes to; fractions, None where nobody could be searched for.

    Attributes:
        rank1: of the last round, the clients' mean.
        map: likewise.
        rank1_late: the mean of the last five rounds.
        map_late: likewise.
        saved_paper: the share of bytes saved by the paper's count, up and down.
        saved: the share really saved.
    """

    rank1: float | None
    map: float | None
    rank1_late: float | None
    map_late: float | None
    saved_paper: float
    saved: float


Study = dict[str, dict[int, RunFigures]]
"""Figures by method and seed."""


def keep_run(run_file: Path, study: Path, method: str, seed: int) -> Path:
    """Compress a run.jsonl into a study's folder; equal rows give equal bytes.

    Args:
        run_file: the finished run's run.jsonl.
        study: the folder.
        method: as `method=` says, with what else tells the row apart behind an underscore.
        seed: the run's.
    """
    target = study / f"{method}-seed{seed}.jsonl.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(run_file.read_bytes(), mtime=0))
    return target


def read_run(file: Path) -> list[Row]:
    """The rows of a compressed run.jsonl.

    Raises:
        RunError: it is damaged.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return [row_from(json.loads(line)) for line in lines]
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise RunError(f"{file} is damaged ({error}): make that run again") from error


def figures_of(rows: Sequence[Row]) -> RunFigures:
    """What a run's rows come to.

    Raises:
        RunError: there is no trained round.
    """
    rounds = sorted((r for r in rows if r.client is None and r.round), key=lambda r: r.round)
    if not rounds:
        raise RunError("a run's rows must hold a trained round, these hold none")
    dense = sum(row.bytes_dense for row in rounds) or 1
    late = rounds[-LAST:]
    return RunFigures(
        rounds[-1].rank1,
        rounds[-1].map,
        _mean([row.rank1 for row in late]),
        _mean([row.map for row in late]),
        1 - sum(row.bytes_paper for row in rounds) / dense,
        1 - sum(row.bytes_up + row.bytes_down for row in rounds) / dense,
    )


def read_study(folder: Path) -> Study:
    """All runs of a study's folder.

    Raises:
        RunError: there is none, or one is damaged.
    """
    study: Study = {}
    for file in sorted(folder.glob("*.jsonl.gz")):
        if found := _NAME.fullmatch(file.name):
            seeds = study.setdefault(found["method"], {})
            seeds[int(found["seed"])] = figures_of(read_run(file))
    if not study:
        raise RunError(f"{folder} holds no METHOD-seedS.jsonl.gz: is it a study's folder?")
    return study


def result_table(study: Study) -> list[str]:
    """A line per method: mean +- standard deviation over its seeds."""
    lines = [
        "| method | seeds | Rank-1 | mAP | Rank-1, last five | mAP, last five | less by the paper "
        "| really less |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, runs in study.items():
        cells = [
            _spread([getattr(run, key) for run in runs.values()])
            for key in ("rank1", "map", "rank1_late", "map_late")
        ]
        saved = [fmean(getattr(run, key) for run in runs.values()) for key in _SAVED]
        told = " | ".join([*cells, *(f"{share:.1%}" for share in saved)])
        lines.append(f"| {method} | {_seeds(runs)} | {told} |")
    return lines


def difference_table(study: Study, against: str) -> list[str]:
    """A line per other method: its figures less the baseline's, mean +- standard error in points.

    Raises:
        RunError: the baseline is not in the study.
    """
    if against not in study:
        raise RunError(f"--against {against} is not in the study; there are: {', '.join(study)}")
    lines = [
        f"| less {against} | seeds | Rank-1 | mAP | Rank-1, last five | mAP, last five |",
        "|---|---|---|---|---|---|",
    ]
    base = study[against]
    for method, runs in study.items():
        both = {seed: run for seed, run in runs.items() if seed in base}
        if method == against or not both:
            continue
        cells = [_difference(both, base, key) for key in ("rank1", "map", "rank1_late", "map_late")]
        lines.append(f"| {method} | {_seeds(both)} | {' | '.join(cells)} |")
    return lines


_SAVED = ("saved_paper", "saved")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _seeds(runs: Mapping[int, RunFigures]) -> str:
    return " ".join(map(str, sorted(runs)))


def _spread(values: Sequence[float | None]) -> str:
    found = spread_of(values)
    if found is None:
        return "-"
    return f"{found.mean:.3f}" + ("" if found.deviation is None else f" ± {found.deviation:.3f}")


def _difference(ours: Mapping[int, RunFigures], theirs: Mapping[int, RunFigures], key: str) -> str:
    found = paired_difference(
        {seed: getattr(run, key) for seed, run in ours.items()},
        {seed: getattr(run, key) for seed, run in theirs.items()},
    )
    if found is None:
        return "-"
    error = "" if found.error is None else f" ± {100 * found.error:.1f}"
    return f"{100 * found.mean:+.1f}{error}"


def main() -> None:
    """Print a study's tables; a known fault is one sentence on stderr and exit status 1."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    found.add_argument("study", type=Path, help="a folder of METHOD-seedS.jsonl.gz")
    found.add_argument("--against", default="fedcapr", help="whose figures are subtracted")
    arguments = found.parse_args()
    try:
        study = read_study(arguments.study)
        print("\n".join([*result_table(study), "", *difference_table(study, arguments.against)]))
    except FedKlprError as error:
        print(f"raw_results: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
