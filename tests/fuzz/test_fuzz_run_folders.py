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
from fedklpr_flwr.deploy.sites_file import read_sites
from fedklpr_flwr.errors import FedKlprError, SettingsError
from fedklpr_flwr.model.mask_file import MaskFile, masks_to_bytes, pack_masks
from fedklpr_flwr.report.layer_density import model_density
from fedklpr_flwr.report.run_report import read_run_report
from fedklpr_flwr.runs.checkpoint import read_state
from fedklpr_flwr.runs.record_reader import check_row, flat_settings
from fedklpr_flwr.runs.rows import Row, append_rows, read_rows, round_row

MEMORY_ALLOWED = 30_000_000
MASKS = {"conv.weight": torch.arange(90).reshape(9, 10) % 3 > 0, "bn": torch.ones(7) > 0}
STATE = {
    "run": "r1", "round": 1, "owes": False, "version": 1,
    "pending": [{"round": 1, "client": "ash"}],
    "clients": {"ash": {"base_round": 1, "mask_hash": "x", "delivered": "", "examples": 3}},
}  # fmt: skip
CONFIG = """\
seed: 0
method: {name: fedavg}
data:
  clients:
  - {name: ash, folder: null}
federation: {rounds: 2}
"""
SITES = """\
federation: shops
server: {hosts: [fedklpr.example.org], port: 8443, listen: 10.0.0.1}
sites:
- {name: gate, data: folder, root: /srv/pictures, port: 9095}
- name: yard
  root: /srv/yard
  policy: {scores: false, digits: 3}
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


def spoiled_yaml(generator, content):
    """As `spoiled`; three thousand groups in one another only take longer than a hundred."""
    return (
        spoiled(generator, content).replace(b"[" * 3000, b"[" * 100).replace(b'{"a":' * 2900, b"")
    )


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
    path.write_bytes(spoiled_yaml(generator, good))
    flat_settings(path)
    if generator.integers(20) == 0:
        with pytest.raises(SettingsError):  # five settings of two hundred
            read_settings(path)


def look_at_sites(folder, generator, good):
    path = folder / "SITES.yaml"
    path.write_bytes(spoiled_yaml(generator, good))
    read_sites(path)


GOOD = {
    look_at_rows: lambda folder: rows_file(folder),
    look_at_state: lambda folder: json.dumps(STATE).encode(),
    look_at_mask: lambda folder: b"",
    look_at_settings: lambda folder: CONFIG.encode(),
    look_at_sites: lambda folder: SITES.encode(),
}


def fuzz(folder, look, cases, seed):
    """How many of so many damaged files of a kind were read and refused."""
    (folder / "clients" / "ash").mkdir(parents=True, exist_ok=True)
    (folder / "global.safetensors").write_bytes(save({"bn": np.ones(7, np.float32)}))
    generator, good = np.random.default_rng(seed), GOOD[look](folder)
    outcomes = Counter()
    for number in range(cases):
        # Counting bytes makes Python slow: what takes memory is tried again and again.
        counted = number % 20 == 0
        if counted:
            tracemalloc.start()
        try:
            look(folder, generator, good)
            outcomes["read"] += 1
        except FedKlprError:
            outcomes["refused"] += 1
        finally:
            peak = tracemalloc.get_traced_memory()[1] if counted else 0
            tracemalloc.stop()
        assert peak < MEMORY_ALLOWED, (look, number)
        if number % 200 == 0:
            told(folder)
    return outcomes


def told(folder):
    """The report reads all of these files as they are now."""
    try:
        read_run_report(folder)
    except FedKlprError:
        return


@pytest.mark.parametrize("look", GOOD)
def test_a_hundred_damaged_files_are_read_or_refused_in_words(look, tmp_path):
    assert len(fuzz(tmp_path, look, 100, seed=0)) == 2, "some are read and some are refused"


@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize(
    ("look", "cases"),
    [
        (look_at_rows, 10_000),
        (look_at_state, 10_000),
        (look_at_mask, 10_000),
        (look_at_settings, 8_000),
        (look_at_sites, 2_000),
    ],
)
def test_twenty_thousand_damaged_files_of_a_kind_are_read_or_refused_in_words(
    look, cases, part, tmp_path
):
    """YAML is of two kinds: settings and sites, 20,000 together."""
    assert sum(fuzz(tmp_path, look, cases, seed=part).values()) == cases
