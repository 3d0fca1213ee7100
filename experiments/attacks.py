"""What two hostile clients of eight can do to the honest six, with the defences of a deployment.

    python experiments/attacks.py --out runs/attacks       # three seeds; about 80 minutes of a core
    python experiments/attacks.py --out runs/try --rounds 2 --seeds 0       # to see that it works

Two of the drawn sites send, instead of what they learnt, noise (the received model and normal noise
as large as its weights), both the same noise, a huge update (a thousand times what they learnt),
all with the largest divergence they may say, or the opposite of what they learnt, three times. Runs
that are whole are kept, and those that were stopped go on. The honest six are compared with a
federation in which the two never were.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Message

from fedklpr_flwr import client_app
from fedklpr_flwr.client import outgoing_update as site_update
from fedklpr_flwr.commands.simulate import simulate_prepared
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.launch.prepare import prepare
from fedklpr_flwr.runs.rows import read_rows

HOSTILE = ("street", "yard")
DEFENCE = ("defence.norm_bound=3", "defence.alignment=0.3", "klpwa.cap=0.5")
TRIMMED = ("method.merge=trimmed_mean", "defence.trim=0.25")
RUNS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "six": (None, DEFENCE),
    "noise": ("noise", DEFENCE),
    "same_noise": ("same_noise", DEFENCE),
    "huge": ("huge", DEFENCE),
    "six_trimmed": (None, (*DEFENCE, *TRIMMED)),
    "sign_flipped": ("sign_flipped", (*DEFENCE, *TRIMMED)),
}
"""A run's name: what the two send (None = they are not there), and its overrides."""
AGAINST = {"noise": "six", "same_noise": "six", "huge": "six", "sign_flipped": "six_trimmed"}
MOST_LOST = 0.03

Tensors = Mapping[str, torch.Tensor]


def spoilt(
    kind: str, tensors: Tensors, received: Mapping[str, np.ndarray], seed: int
) -> dict[str, Any]:
    """What a hostile client sends in place of its tensors.

    Variances stay positive, or the server would refuse the update.
    """
    random = torch.Generator().manual_seed(seed)
    sent = {}
    for name, value in tensors.items():
        base = torch.from_numpy(received[name])
        if kind.endswith("noise"):
            size = float(base.std(correction=0))
            bad = base + size * torch.randn(base.shape, generator=random)
        else:
            bad = base + (1000.0 if kind == "huge" else -3.0) * (value - base)
        sent[name] = bad.abs() if name.endswith("running_var") else bad.clamp(-2e4, 2e4)
    return sent


def run_one(name: str, seed: int, folder: Path, words: Sequence[str]) -> None:
    """One run in this process."""
    kind, overrides = RUNS[name]
    begun = (folder / "state.json").exists()
    words = [*overrides, *words, f"seed={seed}", f"{'resume' if begun else 'run.dir'}={folder}"]
    if kind is None:
        words.append(without_hostile())
    prepared = prepare(words)
    honest_encoding, attacking, drawn = site_update.encode_update, [False], [0]

    def encode(tensors: Tensors, masks: Any, known: Any, received: Any, *rest: Any) -> Any:
        if attacking[0]:
            assert kind is not None
            tensors = spoilt(kind, tensors, received, drawn[0])
            tensors = {n: t * masks[n] if n in masks else t for n, t in tensors.items()}
        return honest_encoding(tensors, masks, known, received, *rest)

    def app(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        attacking[0] = kind is not None and prepared.settings.data.clients[number].name in HOSTILE
        own = 0 if kind == "same_noise" else 1 + number
        drawn[0] = 10_000 * seed + 100 * int(message.metadata.group_id or 0) + own
        reply = client_app.app(message, context)
        if attacking[0] and message.metadata.message_type == "train" and kind != "sign_flipped":
            reply.content["report"]["divergence"] = 1e9
        return reply

    site_update.encode_update = encode
    simulate_prepared(prepared, app)


def without_hostile() -> str:
    """The override that leaves the two out."""
    clients = [c for c in compose_settings("drawn").data.clients if c.name not in HOSTILE]
    listed = ",".join(f'{{name: {c.name}, reader: "{c.reader}", folder: null}}' for c in clients)
    return f"data.clients=[{listed}]"


def honest_rank1(folder: Path, rounds: int) -> float | None:
    """Mean Rank-1 of the honest six after the last round; None where the run is not whole."""
    rows = read_rows(folder / "run.jsonl") if (folder / "run.jsonl").exists() else []
    last = [row for row in rows if row.round == rounds and row.client not in (None, *HOSTILE)]
    return mean(row.rank1 or 0.0 for row in last) if last else None


def table(out: Path, seeds: Sequence[int], rounds: int) -> tuple[str, list[dict[str, Any]]]:
    """What the honest six lost, as Markdown and as plain values."""
    lines = [
        "| attack | honest six, without the two | with them | lost (points) | at most 3 |",
        "|---|---|---|---|---|",
    ]
    results = []
    for attack, base in AGAINST.items():
        pairs = [
            (
                honest_rank1(out / f"{base}-s{s}", rounds),
                honest_rank1(out / f"{attack}-s{s}", rounds),
            )
            for s in seeds
        ]
        whole = [(one, other) for one, other in pairs if one is not None and other is not None]
        if len(whole) < len(seeds):
            lines.append(f"| {attack} | not whole | | | |")
            results.append({"attack": attack, "ok": False, "lost": None})
            continue
        lost = [one - other for one, other in whole]
        spread = f" ± {100 * stdev(lost):.1f}" if len(lost) > 1 else ""
        good = mean(lost) <= MOST_LOST
        results.append({"attack": attack, "ok": good, "lost": lost})
        lines.append(
            f"| {attack} | {mean(one for one, _ in whole):.3f} | {mean(o for _, o in whole):.3f} "
            f"| {100 * mean(lost):.1f}{spread} | {'yes' if good else 'no'} |"
        )
    return "\n".join(lines), results


def main() -> int:
    """Run what is not there yet, and print the table; 0 where every attack is borne."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--json", type=Path)
    # What is left are overrides for every run.
    parser.add_argument("--one", nargs=2, metavar=("RUN", "SEED"), help=argparse.SUPPRESS)
    chosen, overrides = parser.parse_known_args()
    out = chosen.out.resolve()
    words = [f"federation.rounds={chosen.rounds}", *overrides]
    if chosen.one:
        name, seed = chosen.one
        run_one(name, int(seed), out / f"{name}-s{seed}", words)
        return 0
    out.mkdir(parents=True, exist_ok=True)

    def start(job: tuple[str, int]) -> None:
        name, seed = job
        if honest_rank1(out / f"{name}-s{seed}", chosen.rounds) is not None:
            return
        command = [sys.executable, __file__, "--out", str(out), "--rounds", str(chosen.rounds)]
        with (out / f"{name}-s{seed}.log").open("wb") as log:
            code = subprocess.run(
                [*command, "--one", name, str(seed), *overrides],
                stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"},
            ).returncode  # fmt: skip
        print(
            f"{name}, seed {seed}: {'done' if code == 0 else f'failed, see {log.name}'}", flush=True
        )

    with ThreadPoolExecutor(chosen.jobs) as pool:
        list(pool.map(start, [(name, seed) for seed in chosen.seeds for name in RUNS]))
    markdown, results = table(out, chosen.seeds, chosen.rounds)
    print(markdown)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0 if all(result["ok"] for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
