"""Claims about a run folder that may come from somebody else."""

import os
import tracemalloc
from contextlib import suppress

import pytest
from run_folders import write_run

from fedklpr_flwr.config.compose import compose_settings, read_settings, write_settings
from fedklpr_flwr.errors import DataError, FedKlprError, RunError
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.report.html_report import write_page
from fedklpr_flwr.report.run_report import read_run_report
from fedklpr_flwr.runs.checkpoint import RunFolder
from fedklpr_flwr.runs.lock import COMMAND, SERVER, hold
from fedklpr_flwr.runs.resume_checks import settings_of_run
from fedklpr_flwr.runs.rows import append_rows
from fedklpr_flwr.runs.run_config_file import read_begun_with
from fedklpr_flwr.runs.run_record import read_run
from fedklpr_flwr.runs.trained_models import open_run
from fedklpr_flwr.runs.trusted_runs import (
    is_own,
    read_run_settings,
    refuse_links,
    write_own_settings,
)

MARKED = (
    "status.json",
    "config.yaml",
    "run-config.json",
    "run.jsonl",
    "state.json",
    "commit.json",
    ".made-here",
)
SECRET = "what somebody else's folder must not touch"


@pytest.fixture
def victim(tmp_path):
    """A file of the user's own."""
    file = tmp_path / "authorized_keys"
    file.write_text(SECRET)
    return file


@pytest.fixture
def run(tmp_path):
    """A folder that has what a run's has, as far as it is looked at here."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "state.json").write_text("{}")
    write_settings(settings(), folder / "config.yaml")
    return folder


def settings(*overrides):
    return compose_settings("smoke", overrides)


@pytest.mark.parametrize("name", [SERVER, COMMAND])
def test_a_lock_that_is_a_link_empties_nothing(name, run, victim):
    (run / name).symlink_to(victim)
    with pytest.raises(RunError, match="cannot be written"):
        hold(run, name)
    assert victim.read_text() == SECRET


def test_a_lock_keeps_what_is_in_it(run):
    (run / SERVER).write_text("kept")
    hold(run, SERVER).close()
    assert (run / SERVER).read_text() == "kept"


def test_pages_rows_and_settings_are_never_written_through_a_link(run, victim):
    for name in ("report.html", "config.yaml", "run.jsonl"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(victim)
    planted = run / f".report.html.{os.getpid()}.tmp"
    planted.symlink_to(victim)
    write_page("<p>hello", run / "report.html")
    write_own_settings(settings(), run)
    with pytest.raises(RunError, match="cannot be written"):
        append_rows(run / "run.jsonl", [])
    assert victim.read_text() == SECRET
    assert (run / "report.html").read_text() == "<p>hello"
    assert (run / "report.html").stat().st_mode & 0o077 == 0, "there may be people in it"


@pytest.mark.parametrize(
    "name", ["report.html", ".lock", ".flower", "flower.log", "clients/a", "memory/r/a/x.payload"]
)
def test_a_run_folder_with_a_link_in_it_is_refused_by_every_reader(name, run, victim):
    link = run / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    for read in (open_run, read_run_report, read_run, refuse_links):
        with pytest.raises(RunError, match="is a link to"):
            read(run)
    assert victim.read_text() == SECRET


@pytest.mark.parametrize("name", ["config.yaml", "commit.json", "clients/a", ".flower/x"])
def test_a_pipe_in_a_run_folder_is_refused_and_not_waited_for(name, run):
    pipe = run / name
    pipe.parent.mkdir(parents=True, exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    (run / "run.jsonl").touch()
    for read in (open_run, read_run_report, read_run, refuse_links):
        with pytest.raises(RunError, match="is neither a file nor a folder"):
            read(run)


def read_back(folder, read):
    """Read a folder, or be told why not; the most memory that it took, in bytes."""
    tracemalloc.start()
    with suppress(FedKlprError):
        read(folder)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("name", MARKED)
def test_a_file_of_nothing_but_a_size_fills_no_memory(name, tmp_path):
    """A hole of 200 MB takes no room on a disk, nor in an archive."""
    folder = write_run(tmp_path / "run")
    write_own_settings(read_settings(folder / "config.yaml"), folder)
    (folder / "state.json").write_text("{}")
    with (folder / name).open("ab") as file:
        file.truncate(200_000_000)
    for read in (read_run, read_run_report, open_run, is_own, read_begun_with, settings_of_run):
        assert read_back(folder, read) < 60_000_000, read


def test_a_link_to_a_run_folder_is_as_good_as_the_folder(run):
    (run.parent / "latest").symlink_to(run)
    refuse_links(run.parent / "latest")


def test_a_run_is_this_users_own_until_its_settings_change(run, tmp_path):
    assert not is_own(run)
    write_own_settings(settings("data.root=/srv/pictures"), run)
    assert is_own(run)
    moved = run.rename(tmp_path / "moved")
    assert is_own(moved)
    assert read_run_settings(moved).data.root == "/srv/pictures"
    config = moved / "config.yaml"
    config.write_text(config.read_text().replace("/srv/pictures", "/etc"))
    assert not is_own(moved)
    assert read_run_settings(moved).data.root is None


def test_no_place_that_somebody_elses_settings_name_is_believed_without_trust(run, tmp_path):
    places = ("data.root=/srv", "data.cache=/srv/cache", "run.memory=/srv/memory")
    clients = "data.clients=[{name: gate, reader: folder, folder: /home/you/pictures}]"
    alone = "federation.min_clients=1"
    write_settings(settings(*places, clients, alone), run / "config.yaml")
    found = read_run_settings(run)
    assert (found.data.root, found.data.cache, found.run.memory) == (None, None, None)
    with pytest.raises(DataError, match=r"was not made here by this user.*--trust"):
        open_site(found.data.clients[0], found, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    assert read_run_settings(run, trust=True) == read_settings(run / "config.yaml")


def test_what_killed_processes_left_half_written_is_removed_at_opening(run):
    (run / "clients" / "a").mkdir(parents=True)
    left = [run / ".state.json.77.tmp", run / "clients" / "a" / ".mask.safetensors.next.78.tmp"]
    for path in left:
        path.write_bytes(b"half")
    RunFolder(run).close()
    assert not any(path.exists() for path in left)
