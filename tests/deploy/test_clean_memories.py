"""Claims about `fedklpr deploy clean`: what ended long ago goes, and nothing else."""

import os

import pytest
from typer.testing import CliRunner

from fedklpr_flwr.commands.__main__ import app

DAY = 86_400


def remember(root, run, days, name="round-0003.safetensors"):
    """A memory that was last written so many days ago."""
    folder = root / run / "gate"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"x" * 2_000_000)
    moment = (folder / name).stat().st_mtime - days * DAY
    os.utime(folder / name, (moment, moment))
    return root / run


def cleaned(*words):
    ran = CliRunner().invoke(app(), ["deploy", "clean", *map(str, words)])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "memory"
    remember(root, "old", 100.2)
    remember(root, "new", 3)
    return root


def test_old_memories_are_listed_and_removed_only_when_asked(root):
    assert f"{root / 'old'}: 100 days old, 2.0 MB" in (said := cleaned(root))
    assert "new" not in said
    assert "--remove" in said
    assert (root / "old").exists()
    assert f"removed {root / 'old'}" in cleaned(root, "--remove")
    assert [path.name for path in root.iterdir()] == ["new"]
    assert "nothing" in cleaned(root, "--remove")


def test_a_run_that_wrote_again_is_not_old(root):
    (root / "old" / "gate" / "pictures.json").write_text("{}")
    assert "nothing" in cleaned(root)


def test_what_is_no_memory_and_what_a_link_leads_to_stays(root, tmp_path):
    others = remember(tmp_path / "elsewhere", "mine", 500)
    (root / "link").symlink_to(others)
    (root / "old" / "gate" / "link").symlink_to(others)
    foreign = remember(root, "thesis", 500, name="thesis.odt")
    moment = (foreign / "gate" / "thesis.odt").stat().st_mtime
    os.utime(root / "old" / "gate" / "link", (moment, moment), follow_symlinks=False)
    cleaned(root, "--days", 1, "--newest", "--remove")
    assert sorted(path.name for path in root.iterdir()) == ["link", "thesis"]
    assert (others / "gate" / "round-0003.safetensors").exists()


@pytest.fixture
def weekly(tmp_path):
    """Three runs of which each continues the one before; the fourth was begun and never trained."""
    root = tmp_path / "weekly"
    for number, days in enumerate((40, 33, 26), start=1):
        remember(root, f"week{number}", days)
    remember(root, "week4", 20, name="round-0000.safetensors")
    for number in (2, 3, 4):
        note = root / f"week{number}" / "gate" / "continues"
        note.write_text(f"week{number - 1}")
        os.utime(note, (0, 0))
    return root


def test_of_runs_that_continue_each_other_the_newest_is_kept_unless_it_is_told_to_go(weekly):
    assert "kept" in cleaned(weekly, "--days", 10)
    said = cleaned(weekly, "--days", 10, "--yes")
    assert f"removed {weekly / 'week1'}" in said
    assert f"{weekly / 'week3'}: 26 days old, 2.0 MB, kept" in said
    assert sorted(path.name for path in weekly.iterdir()) == ["week3", "week4"]
    assert "add --remove" not in cleaned(weekly, "--days", 10)
    cleaned(weekly, "--days", 10, "--newest", "--yes")
    assert list(weekly.iterdir()) == []


def test_a_run_that_was_continued_and_trained_goes_by_its_age(weekly):
    record = weekly / "week4" / "gate" / "round-0001.safetensors"
    record.write_bytes(b"x")
    cleaned(weekly, "--days", 10, "--yes")
    assert [path.name for path in weekly.iterdir()] == ["week4"]


def test_the_only_run_of_a_box_is_what_the_next_one_starts_from(tmp_path):
    week1 = remember(tmp_path / "memory", "week1", 3)
    assert "kept" in cleaned(week1.parent, "--days", 0, "--remove")
    assert week1.exists()


def test_days_that_are_no_number_are_refused(root):
    ran = CliRunner().invoke(app(), ["deploy", "clean", str(root), "--days", "nan", "--remove"])
    assert ran.exit_code == 1
    assert "expected a number of days" in str(ran.exception)
    assert (root / "old").exists()


def test_a_place_without_memories_is_refused_in_words(tmp_path):
    ran = CliRunner().invoke(app(), ["deploy", "clean", str(tmp_path / "nowhere")])
    assert ran.exit_code == 1
    assert "is no folder" in str(ran.exception)
