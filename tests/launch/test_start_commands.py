"""Claims about fedklpr_flwr.launch.start_commands: what is printed can be typed."""

import shlex

import pytest
from flwr.common.config import parse_config_args

from fedklpr_flwr.launch.command_line import override
from fedklpr_flwr.launch.start_commands import start_commands

PLAIN = ("seed=1", "pruning.rate=0.2")
AWKWARD = (
    override("data.root", "/my sets/it's"),
    'data.clients=[{name: "a", reader: folder, folder: null}]',
    "model.weights=C:\\weights",
)


@pytest.mark.parametrize("words", [(), PLAIN, AWKWARD])
def test_both_commands_start_the_run_as_it_was_started(words, tmp_path, tiny_settings):
    by_hand, by_launcher = start_commands(tiny_settings(), shlex.join(words), tmp_path, 3)
    given = shlex.split(by_hand)
    assert given[:4] == ["flwr", "run", ".", "--stream"]
    assert "num-supernodes=3 client-resources-num-cpus=1" in given
    config = parse_config_args([given[-1]])
    assert config["experiment"] == "smoke"
    assert tuple(shlex.split(config.get("overrides", ""))) == words
    assert tuple(shlex.split(by_launcher)) == ("fedklpr", "run", "experiment=smoke", *words)


@pytest.mark.parametrize("place", ["run.dir='/runs/1'", "resume='/runs/1'"])
def test_a_run_whose_folder_was_named_goes_on_in_it(place, tmp_path, tiny_settings):
    folder = tmp_path / "run"
    given = shlex.join([place, "seed=1"])
    by_hand, by_launcher = start_commands(tiny_settings(), given, folder, 3)
    config = parse_config_args([shlex.split(by_hand)[-1]])
    assert shlex.split(config["overrides"]) == ["seed=1", f"resume='{folder}'"]
    assert shlex.split(by_launcher)[-2:] == ["seed=1", f"resume='{folder}'"]
