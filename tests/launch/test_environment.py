"""What other people's machines bring does not reach a run."""

import os
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
import torch

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.launch.environment import (
    check_environment,
    last_words,
    notes_of_environment,
    run_environment,
    short_temporary_folder,
)
from fedklpr_flwr.launch.own_superlink import what_the_server_says
from fedklpr_flwr.reid.initial_weights import IMAGENET_FILES, holds_imagenet_weights
from fedklpr_flwr.system.paths import user_cache


def test_loopback_passes_every_proxy_which_others_still_use(tmp_path):
    given = {"http_proxy": "http://proxy:3128", "no_proxy": "intra.example", "HOME": "/home/x"}
    env = run_environment(given, tmp_path)
    assert env["http_proxy"] == "http://proxy:3128"
    assert env["no_proxy"] == "intra.example,127.0.0.1,localhost,::1"
    assert env["NO_PROXY"] == "127.0.0.1,localhost,::1"
    assert "no_grpc_proxy" not in env
    assert run_environment({"no_grpc_proxy": "a"}, tmp_path)["no_grpc_proxy"].startswith("a,127.")


@pytest.mark.skipif(find_spec("socksio") is not None, reason="a SOCKS proxy can be used")
def test_a_proxy_that_flower_cannot_use_is_left_behind(tmp_path):
    given = {"all_proxy": "socks5://p:1080", "HTTPS_PROXY": "SOCKS5h://p:1", "HOME": "/home/x"}
    for home in (tmp_path, None):
        env = run_environment({**given, "http_proxy": "http://p:3128"}, home)
        assert given.keys() & env.keys() <= {"HOME"}
        assert env["http_proxy"] == "http://p:3128"


@pytest.mark.parametrize(
    "given",
    [
        {"no_proxy": "10.0.0.0/8,fe80::/10,[::1]", "http_proxy": "http://p:3128"},
        {"NO_PROXY": "intra.example,fd00::/8", "all_proxy": "p:3128"},
        {"HTTP_PROXY": "ftp://x"},
        {"http_proxy": "http://user:pass#word@p:3128"},
        {"https_proxy": "http://p:port"},
    ],
)
def test_no_proxy_and_no_list_of_exceptions_stops_flowers_client(given, tmp_path, monkeypatch):
    for key in [key for key in os.environ if key.casefold().endswith("_proxy")]:
        monkeypatch.delenv(key)
    for home in (tmp_path, None):
        env = run_environment({"HOME": "/home/x", **given}, home)
        for key in [key for key in env if key.casefold().endswith("_proxy")]:
            monkeypatch.setenv(key, env[key])
        httpx.Client().close()
    assert "p:3128" in "".join(env.values()) or not {"no_proxy", "NO_PROXY"} & given.keys()


def test_without_a_home_a_run_looks_for_weights_where_its_command_does(tmp_path, monkeypatch):
    for key in ("HOME", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("FEDKLPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without a passwd entry
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.chdir(tmp_path)
    name, _ = IMAGENET_FILES["resnet18"]
    env = run_environment({}, tmp_path / "run")
    there = Path(env["TORCH_HOME"]) / "hub" / "checkpoints" / name
    assert not holds_imagenet_weights("resnet18")
    there.parent.mkdir(parents=True)
    there.touch()
    assert holds_imagenet_weights("resnet18")
    assert "TORCH_HOME" not in run_environment({"HOME": "/home/x"}, tmp_path)


def test_what_others_said_of_ray_and_flower_is_left_behind_in_a_simulation_alone(tmp_path):
    given = {"RAY_ADDRESS": "cluster:6379", "FLWR_HOME": "/else", "FLWR_X": "1", "HOME": "/home/x"}
    env = run_environment(given, tmp_path)
    assert "FLWR_X" not in env
    assert env["RAY_ADDRESS"] == "local", "a Ray that was started on this machine is not joined"
    assert env["FLWR_HOME"] == str(tmp_path)
    assert env["FLWR_TELEMETRY_ENABLED"] == "0"
    assert run_environment(given, None)["FLWR_HOME"] == "/else"


CLUSTER = {
    "FORCE_COLOR": "1",
    "CLICOLOR_FORCE": "1",
    "COLUMNS": "20",
    "PYTHONWARNINGS": "error",
    "PYTHONINSPECT": "1",
    "PYTHONOPTIMIZE": "2",
    "OMP_PROC_BIND": "true",
    "OMP_PLACES": "cores",
    "GOMP_CPU_AFFINITY": "0",
    "KMP_AFFINITY": "compact",
}


def test_what_spoils_tables_that_are_read_or_binds_all_clients_to_a_core_is_left_behind(tmp_path):
    for home in (tmp_path, None):
        env = run_environment({**CLUSTER, "HOME": "/home/x", "OMP_NUM_THREADS": "4,2"}, home)
        assert CLUSTER.keys() & env.keys() == set()
        assert env["PYTHONUTF8"] == "1"
        assert env["OMP_NUM_THREADS"] == "4,2", "a client's threads are training.threads anyhow"


@pytest.mark.parametrize("key", ["FEDKLPR_CACHE", "XDG_CACHE_HOME"])
def test_all_processes_have_the_commands_cache_wherever_they_work(key, tmp_path, monkeypatch):
    monkeypatch.delenv("FEDKLPR_CACHE", raising=False)
    monkeypatch.setenv(key, "kept here")
    monkeypatch.chdir(tmp_path)
    expected = user_cache()
    env = run_environment(dict(os.environ), tmp_path / "home")
    monkeypatch.chdir("/")
    monkeypatch.setenv("FEDKLPR_CACHE", env["FEDKLPR_CACHE"])
    assert user_cache() == expected
    assert expected.is_relative_to(tmp_path)


def test_a_user_without_a_name_has_one_in_a_simulation(tmp_path, monkeypatch):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert run_environment({"HOME": "/home/x"}, tmp_path)["USER"] == "fedklpr"
    assert "USER" not in run_environment({"HOME": "/home/x", "LOGNAME": "eve"}, tmp_path)


def test_precision_that_the_environment_changes_is_told():
    (note,) = notes_of_environment({"NVIDIA_TF32_OVERRIDE": "1", "HOME": "/home/x"})
    assert "NVIDIA_TF32_OVERRIDE=1 is set" in note
    assert notes_of_environment({"OMP_NUM_THREADS": "3"}) == []


def test_flowers_programs_that_are_missing_are_told_before_a_run_folder_is_made(
    tmp_path, monkeypatch
):
    from fedklpr_flwr.commands.run import run

    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="the program flwr is neither beside this Python"):
        check_environment(os.environ)
    folder = tmp_path / "run"
    with pytest.raises(RunError, match="the program flwr"):
        run(["experiment=smoke", f"run.dir={folder}"])
    assert not folder.exists()


def test_sockets_lie_where_their_path_is_short_enough(tmp_path):
    long = tmp_path / ("x" * 60)
    long.mkdir()
    assert short_temporary_folder({"TMPDIR": str(long)}) in ("/tmp", "/var/tmp", "/dev/shm")
    assert short_temporary_folder({"TMPDIR": "relative"}) != "relative"
    assert short_temporary_folder({"TMPDIR": "/var/tmp"}) == "/var/tmp"


def test_no_place_for_sockets_is_told_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match="set TMPDIR"):
        short_temporary_folder({})
    with pytest.raises(RunError, match="set TMPDIR"):
        check_environment(os.environ)


def test_a_server_that_never_ran_says_what_flowers_log_says(tmp_path):
    log = tmp_path / "flower.log"
    log.write_text("one\n\nfailed to connect: \x1b[31mproxy refused\n")
    assert last_words(log) == "one | failed to connect: [31mproxy refused"
    assert "proxy refused" in what_the_server_says(tmp_path, log)["message"]
    assert last_words(tmp_path / "none") == ""


def test_a_user_without_a_home_is_told_of_the_cache_folder(monkeypatch, tmp_path):
    for key in ("HOME", "XDG_CACHE_HOME", "FEDKLPR_CACHE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(RunError, match="set FEDKLPR_CACHE to a folder"):
        user_cache()
    monkeypatch.setenv("FEDKLPR_CACHE", str(tmp_path))
    assert user_cache() == tmp_path
    assert run_environment({}, tmp_path)["HOME"] == str(tmp_path)
