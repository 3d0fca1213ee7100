"""Pictures that cannot be used: an error that names them, or a skip that is counted and listed."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_federation import ONE_ROUND, PAIR, run_tiny_federation, tiny_overrides

from fedklpr_flwr.commands.__main__ import main
from fedklpr_flwr.errors import DataError, SettingsError
from fedklpr_flwr.launch.prepare import prepare


def truncate(site: Path) -> Path:
    picture = next((site / "train").rglob("*.png")).with_suffix(".jpg")
    Image.effect_noise((160, 320), 60).convert("RGB").save(picture)
    picture.write_bytes(picture.read_bytes()[:4000])
    return picture


def empty(site: Path) -> Path:
    picture = next((site / "gallery").rglob("*.png"))
    picture.write_bytes(b"")
    return picture


def bomb(site: Path) -> Path:
    picture = next((site / "train").rglob("*.png"))
    Image.new("1", (9000, 8000)).save(picture)
    return picture


def misname(site: Path) -> Path:
    picture = next((site / "query").rglob("*.png"))
    return picture.rename(picture.with_name("holiday.png"))


def link_outside(site: Path) -> Path:
    picture = next((site / "train").rglob("*.png"))
    shutil.move(picture, site.parent / "elsewhere.png")
    os.symlink(site.parent / "elsewhere.png", picture)
    return picture


@pytest.fixture
def copied(sites, tmp_path):
    """The sites in a folder with blanks and letters that are not ASCII."""
    root = tmp_path / "my sites – Kameras 行人"
    shutil.copytree(sites, root)
    return root


def words(root, tmp_path, *more):
    return ["experiment=smoke", *tiny_overrides(root, PAIR), f"run.dir={tmp_path}/run", *more]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (truncate, "truncated"),
        (empty, "0 bytes"),
        (bomb, "9000 x 8000 pixels"),
        (misname, "CAMERA_anything"),
        (link_outside, "a link to elsewhere"),
    ],
)
def test_a_bad_picture_stops_the_run_by_name_or_is_left_out_counted_and_listed(
    copied, tmp_path, spoil, why
):
    picture = spoil(copied / "ash")
    with pytest.raises(DataError) as caught:
        prepare(words(copied, tmp_path))
    assert picture.name in str(caught.value)
    assert why in str(caught.value)
    assert "data.skip_unreadable=true" in str(caught.value)
    assert not (tmp_path / "run").exists()
    prepared = prepare(words(copied, tmp_path, "data.skip_unreadable=true"))
    prepared.release()
    (note,) = [note for note in prepared.notes if "1 file left out:" in note] or [
        note for note in prepared.notes if "cannot be decoded" in note
    ]
    assert note.startswith("ash: 1 ")
    assert picture.name in note
    assert why in note


@pytest.mark.slow
def test_a_run_with_a_bad_picture_says_so_in_its_log_and_goes_on(copied, tmp_path, flower_log):
    picture = truncate(copied / "ash")
    run = run_tiny_federation(
        copied, tmp_path / "run", ONE_ROUND, "data.skip_unreadable=true", names=PAIR
    )
    assert {row.status for row in run.rows if row.client} == {"merged"}
    said = {record.getMessage() for record in flower_log.records}
    (told,) = [line for line in said if line.startswith("ash: 1 of ")]
    assert picture.name in told


@pytest.mark.slow
def test_a_note_is_given_once_where_command_and_clients_are_one_process(
    copied, tmp_path, monkeypatch, capsys
):
    truncate(copied / "ash")
    typed = words(copied, tmp_path, "data.skip_unreadable=true", ONE_ROUND)
    monkeypatch.setattr(sys, "argv", ["fedklpr", "simulate", *typed])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out.count("left out (data.skip_unreadable=true)") == 1


def test_a_root_that_is_a_file_stops_the_run(sites, tmp_path):
    (tmp_path / "file").write_text("x")
    clients = "data.clients=[{name: a, reader: folder, folder: file}]"
    with pytest.raises(SettingsError, match=r"client a needs the folder .*/file"):
        prepare([*words(tmp_path, tmp_path), clients, "federation.min_clients=1"])
