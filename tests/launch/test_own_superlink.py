"""Claims about launch.own_superlink: what it starts it ends, and it says how it went."""

import socket
import tomllib

import pytest

from fedklpr_flwr.launch.environment import OFF
from fedklpr_flwr.launch.own_superlink import (
    Ending,
    _correct_status,
    free_port,
    what_the_server_says,
)
from fedklpr_flwr.system.paths import app_folder
from fedklpr_flwr.system.plain_text import toml_text


def test_a_free_port_can_be_bound_and_is_never_one_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {free_port() for _ in range(20)}
        assert taken.getsockname()[1] not in ports
    with socket.socket() as server:
        server.bind(("127.0.0.1", ports.pop()))
        assert server.getsockname()[1] > 0


@pytest.mark.parametrize(
    ("flower", "server", "good"),
    [
        ("finished:completed", "finished", True),
        ("finished:completed", "failed", False),
        ("finished:completed", "running", False),
        ("finished:failed", "finished", False),
        ("finished:stopped", "running", False),
        ("unknown", "finished", False),
        ("running", "not started", False),
    ],
)
def test_a_run_is_good_only_if_flower_and_the_server_both_say_so(flower, server, good):
    assert Ending(flower, server, "").good is good


def test_a_server_that_was_killed_is_said_to_have_ended_without_a_word(tmp_path):
    log = tmp_path / "flower.log"
    assert "never ran" in what_the_server_says(tmp_path, log)["message"]
    for status, said in (("failed", "no disk"), ("running", "ended without a word")):
        (tmp_path / "status.json").write_text(f'{{"status": "{status}", "message": "no disk"}}')
        found = what_the_server_says(tmp_path, log)
        assert found["status"] == status
        assert said in found["message"]


def test_a_server_that_ended_without_a_word_says_the_last_error_of_flowers_log(tmp_path):
    log = tmp_path / "flower.log"
    log.write_text("ValueError: first\nException: The node timed out\n\nFor more, visit a page\n")
    (tmp_path / "status.json").write_text('{"status": "running", "message": ""}')
    said = what_the_server_says(tmp_path, log)["message"]
    assert said.endswith(f"{log}: Exception: The node timed out")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a":' * 100_000])
def test_a_status_that_is_none_is_said_to_be_damaged(text, tmp_path):
    (tmp_path / "status.json").write_text(text)
    _correct_status(tmp_path)
    found = what_the_server_says(tmp_path, tmp_path / "flower.log")
    assert (found["status"], "status.json is damaged" in found["message"]) == ("unknown", True)


@pytest.mark.parametrize("text", ["plain", 'it\'s "x" \\', "sites 😀 ü", "a\tb\x7f\n"])
def test_what_the_launcher_hands_to_flower_reads_back_from_toml(text):
    assert tomllib.loads(f"key = {toml_text(text)}") == {"key": text}


def test_the_app_is_built_from_the_checkout():
    assert (app_folder() / "pyproject.toml").is_file()
    assert (app_folder() / "conf" / "config.yaml").is_file()


def test_flower_neither_downloads_nor_reports_nor_looks_for_updates():
    assert OFF["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert OFF["FLWR_TELEMETRY_ENABLED"] == "0"
    assert OFF["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert OFF["RAY_USAGE_STATS_ENABLED"] == "0"
