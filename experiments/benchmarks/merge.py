"""How fast, and in how little memory, the server merges: against Flower's own aggregation."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.app.message import Array
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from safetensors.numpy import load_file, save_file

from experiments.benchmarks.memory import in_fresh_process, peak_mb, resident_mb
from experiments.benchmarks.rows import Row, make_row, median_seconds, value_at_most
from fedklpr_flwr.algorithm.merging import Contribution, merge_model
from fedklpr_flwr.algorithm.update import TrainingReport
from fedklpr_flwr.federation.mask_file import MaskFile, pack_masks
from fedklpr_flwr.federation.merge_round import Arrival, run_merge_round
from fedklpr_flwr.settings import compose_settings
from fedklpr_flwr.wire.codec import encode, open_payload
from fedklpr_flwr.wire.layout import layout_of

Arrays = Mapping[str, np.ndarray]
Update = tuple[Arrays, Arrays]
"""A client's tensors, zero where pruned, and its masks."""

CLIENTS = 8  # different updates; more clients than that send these again
PRUNED = 0.5
NOISE = 0.3  # of a tensor's deviation, how far the clients stand apart
