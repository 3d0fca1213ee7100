"""Run folders damaged by chance or on purpose: each is read, or refused in words.

Whatever stands in rows, state, masks and settings, a reader ends with a figure or a FedKlprError,
and never takes much memory: what it may take here is a few megabytes.
"""

import json
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from fedklpr_flwr.config.compose import read_settings
from fedklpr_flwr.errors import FedKlprError, SettingsError
from fedklpr_flwr.model.mask_file import MaskFile, masks_to_bytes, pack_masks
from fedklpr_flwr.report.layer_density import model_density
from fedklpr_flwr.report.run_report import read_told_run
from fedklpr_flwr.runs.record_reader import check_row, flat_settings
from fedklpr_flwr.runs.rows import Row, append_rows, read_rows, round_row
from fedklpr_flwr.runs.run_folder import read_state

MEMORY_ALLOWED = 30_000_000
MASKS = {"conv.weight": torch.arange(90).reshape(9, 10) % 3 > 0, "bn": torch.ones(7) > 0}
STATE = {
    "run": "r1", "round": 1, "owes": False, "version": 1,
    "pending": [{"round": 1, "client": "ash"}],
    "clients": {"ash": {"base_round": 1, "mask_hash": "x", "delivered": "", "examples": 3}},
}  # fmt: skip
CONFIG = """\
experiment_name: smoke
seed: 0
method: {name: fedavg, pruning: none}
data:
  root: null
  clients:
  - {name: ash, reader: "drawn:street", folder: null}
federation: {rounds: 2}
"""
NASTY = [
    *("null", "true", "-1", "1e999", "NaN", "1" + "0" * 3000, "1" + "0" * 5000, '""', "[]", "{}"),
    *('"../../x"', '"\\u001b]0;x"', '"\\ud800"', "[" * 3000, '{"a":' * 3000, "&a [*a]", "*a"),
    *("!!python/object:os.system x", "${oc.env:HOME}", "2001-01-01", "0x10", ".inf", "? x", "\t"),
]
SHAPES = [[10**8], [10**9, 10**9], [-9], [0], [], [9, 10.0], ["9"], [True] * 90, None, {}, "ab"]


def rows_file(folder):
    path = folder / "run.jsonl"
    path.unlink(missing_ok=True)
    rows = [Row(1, "ash", rank1=0.5, seconds={"train": 1.0}), Row(1, "birch", rank1=0.25)]
    append_rows(path, [*rows, round_row(rows, 1.0, {})])
    return path.read_bytes()


def spoiled(generator, content):
    """The content with bytes flipped, cut, doubled, or values put in the place of others."""
    data = bytearray(content)
    kind = generator.integers(5)
    place = int(generator.integers(len(data)))
    if kind == 0:
        for at in generator.integers(len(data), size=int(generator.integers(1, 9))):
            data[at] = int(generator.integers(256))
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        data[place:place] = data[place : place + 40]
    else:  # a value, from a colon to the next comma or line
        starts = [i + 1 for i, byte in enumerate(data) if byte == ord(":")]
        start = int(generator.choice(starts)) if starts else place
        ends = [i for i in range(start, len(data)) if data[i] in b",}\n"]
        end = ends[0] if ends else len(data)
        data[start:end] = b" " + str(generator.choice(NASTY)).encode("utf-8", "surrogatepass")
    return bytes(data)


def spoiled_mask(generator):
    """A mask file: damaged, or in order and lying about its shapes."""
    if generator.integers(2):
        return spoiled(generator, masks_to_bytes(MASKS))
    packed, shapes = pack_masks(MASKS)
    shapes[str(generator.choice(list(shapes)))] = SHAPES[generator.integers(len(SHAPES))]
    told = json.dumps(shapes)
    return save(packed, metadata={"fedklpr-masks-1": told})


def look_at_rows(folder, generator, good):
    path = folder / "run.jsonl"
    path.write_bytes(spoiled(generator, good))
    for row in read_rows(path):
        check_row(path, row)


def look_at_state(folder, generator, good):
    (folder / "state.json").write_bytes(spoiled(generator, good))
    read_state(folder)


def look_at_mask(folder, generator, good):
    path = folder / "clients" / "ash" / "mask.safetensors"
    path.write_bytes(spoiled_mask(generator))
    dict(MaskFile(path))
    model_density(folder)


def look_at_settings(folder, generator, good):
    path = folder / "config.yaml"
    path.write_bytes(spoiled(generator, good))
    flat_settings(path)
    with pytest.raises(SettingsError):  # ten settings of two hundred
        read_settings(path)


def fuzz(folder, cases, seed):
    """How many of so many damaged files were read and refused, by kind."""
    (folder / "clients" / "ash").mkdir(parents=True)
    (folder / "global.safetensors").write_bytes(save({"bn": np.ones(7, np.float32)}))
    generator = np.random.default_rng(seed)
    looks = {
        look_at_rows: rows_file(folder),
        look_at_state: json.dumps(STATE).encode(),
        look_at_mask: b"",
        look_at_settings: CONFIG.encode(),
    }
    outcomes = Counter()
    tracemalloc.start()
    try:
        for number in range(cases):
            look, good = list(looks.items())[number % len(looks)]
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            try:
                look(folder, generator, good)
                outcomes[look.__name__, "read"] += 1
            except FedKlprError:
                outcomes[look.__name__, "refused"] += 1
            assert tracemalloc.get_traced_memory()[1] - held < MEMORY_ALLOWED, (look, number)
            if number % 50 == 0:
                told(folder)
    finally:
        tracemalloc.stop()
    return outcomes


def told(folder):
    """The report reads all of these files as they are now."""
    try:
        read_told_run(folder)
    except FedKlprError:
        return


def test_four_hundred_damaged_files_are_read_or_refused_in_words(tmp_path):
    outcomes = fuzz(tmp_path, 400, seed=0)
    assert len(outcomes) == 8, "each kind is sometimes read and sometimes refused"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_twenty_thousand_damaged_files_are_read_or_refused_in_words(seed, tmp_path):
    assert sum(fuzz(tmp_path, 2_500, seed).values()) == 2_500
