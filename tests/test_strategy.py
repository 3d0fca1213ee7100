"""Claims about fedklpr_flwr.strategy: Flower's hooks around one merge."""

import inspect

import pytest
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import Strategy

from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.protocol.flower_messages import TASK, read_payload
from fedklpr_flwr.runs.checkpoint import RunFolder
from fedklpr_flwr.server_app import open_state
from fedklpr_flwr.strategy import FedKlprStrategy

EIGHT = {f"site-{number}": number + 2 for number in range(8)}
NAME_OF = {node: name for name, node in EIGHT.items()}


@pytest.fixture
def strategy_of(tiny_settings, tmp_path):
    """`strategy_of("federation.fraction=0.5")`: a strategy with eight clients on its registry."""
    opened = []

    def make(*overrides):
        settings = tiny_settings(*overrides)
        folder = RunFolder(tmp_path / str(len(opened)))
        opened.append(folder)
        InProcessGrid(None, {}, [])
        strategy = FedKlprStrategy(settings, folder, open_state(settings, folder), -1)
        strategy.registry.nodes = dict(EIGHT)
        return strategy

    yield make
    for folder in opened:
        folder.close()


def messages(strategy, phase, number=1):
    hook = getattr(strategy, f"configure_{phase}")
    return list(hook(number, ArrayRecord(), ConfigRecord(), None))


def chosen(strategy, number):
    return {NAME_OF[m.metadata.dst_node_id] for m in messages(strategy, "train", number)}


def test_it_is_a_strategy_of_flowers_with_flowers_hooks():
    assert issubclass(FedKlprStrategy, Strategy)
    for name in Strategy.__abstractmethods__:
        ours = inspect.signature(getattr(FedKlprStrategy, name)).parameters
        theirs = inspect.signature(getattr(Strategy, name)).parameters
        assert list(ours) == list(theirs), name
    ours = inspect.signature(FedKlprStrategy.start).parameters
    assert list(ours)[: len(inspect.signature(Strategy.start).parameters)] == list(
        inspect.signature(Strategy.start).parameters
    )


def test_everybody_trains_where_the_fraction_is_one(strategy_of):
    assert chosen(strategy_of(), 1) == set(EIGHT)


@pytest.mark.slow
def test_a_fraction_is_chosen_by_seed_and_round_alone(strategy_of):
    half = ("federation.fraction=0.5", "federation.min_clients=1")
    first, again, other = (strategy_of(*half, f"seed={seed}") for seed in (0, 0, 1))
    by_round = [chosen(first, number) for number in range(1, 9)]
    assert {len(clients) for clients in by_round} == {4}
    assert by_round == [chosen(again, number) for number in range(1, 9)]
    assert by_round != [chosen(other, number) for number in range(1, 9)]
    assert set.union(*by_round) == set(EIGHT), "somebody is never chosen"
    assert len({frozenset(clients) for clients in by_round}) > 4


def test_a_fraction_never_chooses_fewer_than_a_round_needs(strategy_of):
    few = strategy_of("federation.fraction=0.01", "federation.min_clients=3")
    assert len(chosen(few, 1)) == 3


def test_the_choice_depends_on_who_is_there_and_not_on_the_order_they_came(strategy_of):
    half = strategy_of("federation.fraction=0.5")
    before = chosen(half, 1)
    half.registry.nodes = dict(reversed(EIGHT.items()))
    assert chosen(half, 1) == before


def test_the_model_goes_down_with_the_evaluation_and_training_only_names_it(strategy_of):
    strategy = strategy_of()
    down = messages(strategy, "evaluate", 0)
    train = messages(strategy, "train", 1)
    assert {len(read_payload(m.content)) > 0 for m in down} == {True}
    assert {len(read_payload(m.content)) for m in train} == {0}
    assert {m.content[TASK]["model"] for m in train} == {m.content[TASK]["model"] for m in down}
    assert {m.metadata.message_type for m in down + train} == {"evaluate", "train"}


def test_where_only_the_next_evaluate_they_are_who_trains_next_and_at_last_all(strategy_of):
    words = ("federation.fraction=0.5", "federation.evaluate=next", "federation.rounds=3")
    strategy = strategy_of(*words)
    for number in range(3):
        asked = {NAME_OF[m.metadata.dst_node_id] for m in messages(strategy, "evaluate", number)}
        assert asked == chosen(strategy, number + 1)
        assert len(asked) == 4
    assert len(messages(strategy, "evaluate", 3)) == 8


def test_clients_of_one_mask_get_the_same_bytes(strategy_of):
    payloads = {read_payload(m.content) for m in messages(strategy_of(), "evaluate", 0)}
    assert len(payloads) == 1


def test_what_start_has_no_use_for_is_refused(strategy_of):
    for given in ({"initial_arrays": ArrayRecord()}, {"evaluate_fn": print}):
        with pytest.raises(SettingsError, match=f"{next(iter(given))}.*expected None"):
            strategy_of().start(InProcessGrid(None, {}, []), **given)


def test_where_clients_are_missing_the_command_has_what_the_run_was_started_with(
    tiny_settings, tmp_path
):
    settings, folder = tiny_settings(), RunFolder(tmp_path / "run")
    grid = InProcessGrid(None, {}, [])
    strategy = FedKlprStrategy(
        settings, folder, open_state(settings, folder), -1, overrides="seed=7 data.root=/sets"
    )
    with pytest.raises(RunError) as error:
        strategy.start(grid)
    folder.close()
    assert """-c 'experiment="smoke" overrides="seed=7 data.root=/sets"'""" in str(error.value)
    assert "fedklpr run experiment=smoke seed=7 data.root=/sets" in str(error.value)
