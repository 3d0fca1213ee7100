"""Claims about fedklpr_flwr.client_app: who a node is, and Flower's own shape of a client."""

import inspect

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client import NumPyClient
from tiny_federation import tiny_overrides

from fedklpr_flwr import client_app
from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.client.client import SiteClient
from fedklpr_flwr.client_app import ReidClient, identify
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import SettingsError, WireError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.model.mask_file import ArrayView
from fedklpr_flwr.model.shared_model import full_masks, initial_network, shared_layout
from fedklpr_flwr.protocol.flower_messages import (
    PAYLOAD,
    TASK,
    payload_record,
    read_payload,
    read_report,
)
from fedklpr_flwr.protocol.task import payload_name
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.wire.codec import encode


def context_of(sites=None, *overrides, **node):
    chosen = (*(tiny_overrides(sites) if sites else ()), *overrides)
    run_config = {"experiment": "smoke", "overrides": " ".join(f'"{item}"' for item in chosen)}
    config = {key.replace("_", "-"): value for key, value in node.items()}
    return Context(1, 2, config, RecordDict(), run_config)


@pytest.fixture(scope="module")
def smoke():
    return compose_settings("smoke")


def test_a_simulated_node_speaks_for_the_client_of_its_partition(smoke):
    for number, client in enumerate(smoke.data.clients):
        assert identify(context_of(partition_id=number), smoke) == client


def test_a_node_too_many_speaks_for_nobody(smoke):
    assert identify(context_of(partition_id=len(smoke.data.clients)), smoke) is None


def test_a_deployed_node_says_itself_who_it_is_and_where_its_pictures_lie(smoke):
    node = context_of(client="gate-3", data="viper", root="/srv/gate-3", partition_id=0)
    found = identify(node, smoke)
    assert (found.name, found.reader, found.folder) == ("gate-3", "viper", "/srv/gate-3")
    assert identify(context_of(client="gate-3"), smoke).reader == "folder"


def test_a_node_that_says_nothing_is_told_what_to_type(smoke):
    with pytest.raises(SettingsError, match="--node-config"):
        identify(context_of(), smoke)


@pytest.mark.parametrize("name", ["../gate", "gate 3", "", ".gate", "x" * 65])
def test_a_deployed_nodes_name_must_be_one_that_may_be_in_a_path(name, smoke):
    with pytest.raises(SettingsError, match="a client's name has letters, digits"):
        identify(context_of(client=name), smoke)


def ask(kind, context, content=None):
    InProcessGrid(client_app.app, {}, [])
    return client_app.app(Message(content or RecordDict(), 2, kind), context)


def test_a_query_is_answered_by_the_clients_name(sites):
    reply = ask("query", context_of(sites, partition_id=1))
    assert read_report(reply.content) == {"client": "birch"}
    assert read_payload(reply.content) == b""
    assert read_report(ask("query", context_of(sites, partition_id=9)).content) == {"client": ""}


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_task_for_a_node_without_a_client_is_an_error(kind, sites):
    content = RecordDict({TASK: ConfigRecord({"run": "r"})})
    with pytest.raises(SettingsError, match="speaks for no client"):
        ask(kind, context_of(sites, partition_id=9), content)


@pytest.mark.parametrize("run", ["../../home", "", "a/b", 3])
def test_a_servers_task_cannot_name_a_folder_elsewhere(run, sites):
    payload = payload_record(b"")
    content = RecordDict({TASK: ConfigRecord({"run": run}), PAYLOAD: payload})
    with pytest.raises(WireError, match="names the run"):
        ask("train", context_of(sites, partition_id=0), content)


def test_the_client_is_flowers_numpy_client():
    assert issubclass(ReidClient, NumPyClient)
    for name in ("fit", "evaluate"):
        ours = inspect.signature(getattr(ReidClient, name)).parameters
        theirs = inspect.signature(getattr(NumPyClient, name)).parameters
        assert list(ours) == list(theirs)


def test_fit_and_evaluate_give_what_flower_checks_for(tiny_site, tiny_settings, tmp_path):
    settings = tiny_settings()
    client = ReidClient(SiteClient(tiny_site, settings, tmp_path))
    network = initial_network(settings, pretrained=False)
    model = encode(ArrayView(float_state(network)), {}, layout=shared_layout(settings))
    task = {
        "run": "run-1",
        "round": 1,
        "base_round": 0,
        "mask_hash": mask_hash(full_masks(network, settings)),
        "model": payload_name(model),
        "full": False,
    }
    loss, count, said = client.evaluate([np.frombuffer(model, np.uint8)], task)
    assert isinstance(loss, float)
    assert (loss, count) == (1 - said["map"], 1)
    arrays, count, said = client.fit([np.frombuffer(b"", np.uint8)], task)
    assert isinstance(arrays, list)
    assert isinstance(count, int)
    assert (len(arrays), arrays[0].dtype, arrays[0].ndim) == (1, np.uint8, 1)
    assert (count, said["status"]) == (20, "ok")
    arrays, count, said = client.fit([arrays[0][:0]], {**task, "model": "of another run"})
    assert (arrays[0].size, count, said) == (0, 0, {"status": "needs_sync"})


@pytest.mark.slow
def test_masks_and_histories_lie_where_the_node_says_or_in_the_run_folder():
    def root(*overrides, **node):
        chosen = compose_settings("smoke", overrides)
        return str(client_app._memory_root(context_of(**node), chosen))

    assert root(state_dir="/srv/state") == "/srv/state"
    assert root("run.dir=/runs/1") == "/runs/1/memory"
    assert root("run.dir=/runs/1", "run.memory=/fast") == "/fast"
    assert root("run.dir=/runs/1", "resume=/runs/0") == "/runs/0/memory"
