"""Claims about whole federations whose server sees sums alone (privacy=secure_aggregation)."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tiny_federation import (
    NAMES,
    ONE_ROUND,
    client_name,
    fails,
    forget,
    interfering,
    run_tiny_federation,
    tiny_overrides,
)

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.model.shared_model import initial_network, shared_layout
from fedklpr_flwr.protocol.flower_messages import PAYLOAD, TASK, payload_record, read_payload
from fedklpr_flwr.protocol.secure.quantise import step_of
from fedklpr_flwr.protocol.secure.stages import (
    SECURE,
    Advert,
    Opened,
    Shares,
    ValuesTask,
    pack,
    unpack,
)
from fedklpr_flwr.protocol.update_front import FRONT, with_front
from fedklpr_flwr.reid.network import float_state

SECURE_SUM = ("method=fedavg", "privacy=secure_aggregation", "labels.source=identities")
PRUNED = (
    *("privacy=secure_aggregation", "method.pruning=always", "pruning.first_round=1"),
    *("pruning.masks=consensus", "klaw.direction=bounded"),
)


FOUR = tuple(
    f"{{name: {name}, reader: folder, folder: {folder}}}"
    for name, folder in zip([*NAMES, "dogwood"], [*NAMES, "cedar"], strict=True)
)
OF_FOUR = f"data.clients=[{','.join(FOUR)}]"


def run_four(sites, path, *words, **options):
    """The tiny federation with a fourth site of cedar's pictures: of four one may drop out."""
    return run_tiny_federation(sites, path, *words, OF_FOUR, nodes=4, **options)


class Overheard:
    """The real app, and everything that passed between it and the server."""

    def __init__(self, app=None):
        self._app = app or interfering(fails, client="nobody")
        self.adverts, self.values, self.stages = {}, {}, []

    def __call__(self, message, context):
        reply = self._app(message, context)
        kind, client = message.metadata.message_type, context.node_config["partition-id"]
        if reply.has_error():
            return reply
        content = read_payload(reply.content)[FRONT.size :]
        if kind == "train":
            self.adverts[client] = unpack(Advert, content)
        elif kind == SECURE:
            stage = message.content[TASK]["stage"]
            self.stages.append((client, stage))
            if stage == "values":
                task = unpack(ValuesTask, read_payload(message.content))
                self.values[client] = task, np.frombuffer(content[:-4], "<u2")
        return reply


def in_stage(stage, what=fails):
    """An interference with one stage of a secure sum alone."""

    def do(message, context, app):
        meant = message.content[TASK].get("stage") == stage
        return what(message, context, app) if meant else app(message, context)

    return do


def settings_of(sites, words):
    return compose_settings("smoke", (*tiny_overrides(sites), *words))


def apart_at_most(sites, words, overheard):
    """Half a step a client of each tensor: what two merges may differ by."""
    layout = shared_layout(settings_of(sites, words))
    task, _ = overheard.values[0]
    clients = len(task.clients)
    pairs = zip(layout, task.exponents, strict=True)
    return {spec.name: clients / 2 * step_of(exponent, clients) for spec, exponent in pairs}


@pytest.mark.slow
@pytest.mark.parametrize("words", [SECURE_SUM, PRUNED], ids=["dense", "one_mask"])
def test_the_merged_model_is_the_open_one_within_half_a_step_a_client(sites, tmp_path, words):
    overheard = Overheard()
    secret = run_tiny_federation(sites, tmp_path / "secret", *words, ONE_ROUND, app=overheard)
    instead = [w for w in words if w != "privacy=secure_aggregation"]
    told = run_tiny_federation(sites, tmp_path / "open", *instead, "klpwa.cap=0.5", ONE_ROUND)
    found, expected = secret.state().tensors, told.state().tensors
    bounds = apart_at_most(sites, words, overheard)
    assert bounds.keys() == expected.keys()
    for name, bound in bounds.items():
        apart = np.abs(found[name].astype(np.float64) - expected[name])
        rounding = 2e-6 * np.abs(expected[name]).max(initial=0)
        assert apart.max(initial=0) <= bound + rounding, name
    for name in NAMES:
        ours, theirs = secret.row(1, name), told.row(1, name)
        assert (ours.weight, ours.loss, ours.pruned) == pytest.approx(
            (theirs.weight, theirs.loss, theirs.pruned)
        )
        assert ours.status == "merged"
    assert sum(secret.row(1, name).weight for name in NAMES) == pytest.approx(1)


def test_a_number_costs_16_bits_and_rows_count_every_stage(sites, tmp_path):
    overheard = Overheard()
    run = run_tiny_federation(sites, tmp_path, *PRUNED, ONE_ROUND, app=overheard)
    row = run.row(1, "ash")
    numbers = overheard.values[0][1].size
    assert 2 * numbers < row.bytes_up < 2 * numbers + 12_000
    assert row.bytes_bound == 2 * numbers
    assert row.bytes_message_up > row.bytes_up
    assert row.pruned == pytest.approx(0.2, abs=0.01)
    assert {stage for _, stage in overheard.stages} == {"share", "values", "open"}


def test_two_runs_of_one_seed_blind_otherwise_and_merge_alike(sites, tmp_path):
    heard = Overheard(), Overheard()
    runs = [
        run_tiny_federation(sites, tmp_path / str(n), *SECURE_SUM, ONE_ROUND, app=app)
        for n, app in enumerate(heard)
    ]
    assert runs[0].model == runs[1].model
    first, second = (app.values[0][1] for app in heard)
    assert np.mean(first == second) < 1e-3
    assert not list(tmp_path.glob("*/memory/*/*/secure.*"))  # nothing open is left


@pytest.mark.parametrize("stage", ["share", "values", "open"])
def test_one_of_four_may_drop_out_in_any_stage(sites, tmp_path, stage):
    app = interfering(in_stage(stage), client="cedar", phase=SECURE)
    run = run_four(sites, tmp_path, *SECURE_SUM, ONE_ROUND, app=app)
    row = run.row(1, "cedar")
    if stage == "open":  # its values are in the sum, which the others open
        assert (row.status, run.row(1, None).status) == ("merged", "4 merged")
        return
    assert (row.status, run.row(1, None).status) == ("failed", "3 merged")
    assert "the camera store is on fire" in row.failed
    weights = [run.row(1, name).weight for name in ("ash", "birch", "dogwood")]
    assert sum(weights) == pytest.approx(1)
    assert row.weight == 0


def test_the_others_model_is_that_of_a_federation_without_the_drop_out(sites, tmp_path):
    words = (*SECURE_SUM, "method.aggregation_weights=uniform", ONE_ROUND)
    overheard = Overheard(interfering(in_stage("values"), client="cedar", phase=SECURE))
    dropped = run_four(sites, tmp_path / "a", *words, app=overheard)
    never = interfering(fails, client="cedar", phase="train")
    without = run_four(sites, tmp_path / "b", *words, app=never)
    found, expected = dropped.state().tensors, without.state().tensors
    left = 0.75  # of the weights that were told
    for name, bound in apart_at_most(sites, words, overheard).items():
        apart = np.abs(found[name].astype(np.float64) - expected[name])
        assert apart.max(initial=0) <= 2 * bound / left + 1e-5, name


class CedarIsSlow(InProcessGrid):
    """Cedar's blinded values come when the sum has been opened, if they are asked for then."""

    opened = False

    def push_messages(self, messages):
        for message in messages:
            stage = message.content[TASK].get("stage") if message.has_content() else None
            self.opened = self.opened or stage == "open"
            yield from super().push_messages([message])

    def pull_messages(self, message_ids):
        here = [key for key in message_ids if not self._is_held(self._waiting.get(key))]
        return super().pull_messages(here)

    def _is_held(self, message):
        if message is None or message.metadata.dst_node_id != 4 or self.opened:
            return False
        return message.content[TASK].get("stage") == "values"


def test_values_that_come_when_the_sum_is_opened_are_left_alone(sites, tmp_path):
    words = (*SECURE_SUM, ONE_ROUND, "federation.round_seconds=1")
    overheard = Overheard()
    run = run_four(sites, tmp_path, *words, app=overheard, grid=CedarIsSlow)
    row = run.row(1, "cedar")
    assert (row.status, row.weight) == ("late", 0.0)
    assert "no answer within 1 s" in row.failed
    assert run.row(1, None).status == "3 merged"
    # Both would be needed to see cedar's update alone, and it sent neither.
    assert {stage for client, stage in overheard.stages if client == 2} == {"share"}


def failing_in(stages):
    """The real app, failing for each named client in a stage, so many times."""
    apps = {
        client: interfering(in_stage(stage), client=client, phase=SECURE, times=times)
        for client, (stage, times) in stages.items()
    }
    through = interfering(fails, client="nobody")
    return lambda message, context: apps.get(client_name(context), through)(message, context)


def test_of_too_many_drop_outs_all_try_once_more_and_the_round_is_merged(sites, tmp_path):
    app = failing_in({"birch": ("values", 2), "cedar": ("values", 2)})
    run = run_tiny_federation(sites, tmp_path, *SECURE_SUM, ONE_ROUND, app=app)
    assert run.row(1, None).status == "3 merged"
    assert run.row(1, None).failed is False


def test_a_sum_that_nobody_can_open_stops_the_run_with_what_to_do(sites, tmp_path):
    app = failing_in({"birch": ("share", 99), "cedar": ("values", 99)})
    with pytest.raises(RunError, match="the secure sum needs 3"):
        run_tiny_federation(sites, tmp_path, *SECURE_SUM, ONE_ROUND, app=app)
    again = run_tiny_federation(sites, tmp_path, *SECURE_SUM, ONE_ROUND)
    assert again.row(1, None).status == "3 merged"


def test_a_client_that_loses_its_memory_on_the_way_is_a_drop_out(sites, tmp_path):
    app = interfering(in_stage("values", forget), client="ash", phase=SECURE, times=2)
    run = run_four(sites, tmp_path, *SECURE_SUM, "federation.rounds=2", app=app)
    assert "no sum is open here" in run.row(1, "ash").failed
    assert run.row(1, None).status == "3 merged"
    assert run.row(2, None).status == "4 merged"


def lies(message, context, app, **wrong):
    """A hostile client: what its honest self says, with some of it replaced."""
    reply = app(message, context)
    task, content = message.content[TASK], read_payload(reply.content)[FRONT.size :]
    kind = {"share": Shares, "open": Opened}.get(task.get("stage"), Advert)
    said = unpack(kind, content)
    changed = {key: change(getattr(said, key)) for key, change in wrong.items()}
    payload = with_front(pack(replace(said, **changed)), task["run"], task["round"])
    reply.content[PAYLOAD] = payload_record(payload)
    return reply


HOSTILE = {
    "keys": (None, {"blinding": lambda key: "no key"}),
    "rubbish": ("share", {"sealed": lambda sealed: ("rubbish", *sealed[1:])}),
    "rubbish for two": ("share", {"sealed": lambda sealed: ("no", "no", *sealed[2:])}),
    "mark": ("share", {"mark": lambda mark: "0" * 64}),
    "opened": ("open", {"seeds": lambda seeds: seeds[::-1]}),
}
"""By lie: in which stage, None = the training, and what is replaced."""


@pytest.mark.parametrize("lie", HOSTILE)
@pytest.mark.parametrize("count", [3, 4])
def test_one_hostile_client_neither_ends_a_run_nor_has_an_honest_one_blamed(
    sites, tmp_path, lie, count
):
    stage, wrong = HOSTILE[lie]
    lying, phase = partial(lies, **wrong), "train" if stage is None else SECURE
    what = in_stage(stage, lying) if stage else lying
    app = interfering(what, client="cedar", phase=phase)
    federation = run_tiny_federation if count == 3 else run_four
    run = federation(sites, tmp_path, *SECURE_SUM, ONE_ROUND, app=app)
    shut_out = lie in ("keys", "rubbish for two")  # of which nobody else can be at fault
    assert run.row(1, None).status == f"{count - shut_out} merged"
    assert run.row(1, "cedar").status == ("failed" if shut_out else "merged")
    assert "evaluation" not in str(run.row(1, "cedar").failed)
    honest = ["ash", "birch", "dogwood"][: count - 1]
    assert [run.row(1, name).failed for name in honest] == [False] * len(honest)
    if lie == "keys":
        assert "public key" in run.row(1, "cedar").failed


@pytest.mark.slow
def test_a_server_that_stops_within_a_sum_asks_the_round_anew_with_other_keys(sites, tmp_path):
    straight = run_tiny_federation(sites, tmp_path / "straight", *SECURE_SUM, ONE_ROUND)

    def stop(message, context, app):
        raise KeyboardInterrupt

    folder, heard = tmp_path / "stopped", []
    for stage in ("share", "values", "open"):
        overheard = Overheard(interfering(in_stage(stage, stop), client="birch", phase=SECURE))
        with pytest.raises(KeyboardInterrupt):
            run_tiny_federation(sites, folder, *SECURE_SUM, ONE_ROUND, app=overheard)
        heard.append(overheard.adverts[0].blinding)
    resumed = run_tiny_federation(sites, folder, *SECURE_SUM, ONE_ROUND)
    assert resumed.model == straight.model
    assert len(set(heard)) == 3


@pytest.mark.slow
def test_with_a_share_of_the_clients_the_chosen_ones_sum(sites, tmp_path):
    words = (*SECURE_SUM, "federation.fraction=0.67", "federation.rounds=2")
    run = run_tiny_federation(sites, tmp_path, *words)
    assert [run.row(n, None).status for n in (1, 2)] == ["2 merged", "2 merged"]


def test_where_only_one_has_learnt_something_nothing_is_summed(sites, tmp_path):
    """A client without clusters weighs nothing: the sum would be the other's update."""
    overheard = Overheard()
    words = (*SECURE_SUM, "federation.rounds=2")
    run = run_tiny_federation(sites, tmp_path, *words, app=overheard, names=("ash", "blank"))
    assert [run.row(1, name).idle for name in ("ash", "blank")] == [False, True]
    assert {stage for _, stage in overheard.stages} == {"share"}
    assert run.row(1, None).status == "2 merged"
    assert run.row(1, "ash").weight == 0
    start = float_state(initial_network(settings_of(sites, words), pretrained=True))
    tensors = run.state().tensors
    assert all(np.array_equal(tensors[name], start[name].numpy()) for name in tensors)
