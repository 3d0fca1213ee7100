"""Claims about fedklpr_flwr.client.dataset_snapshot: a client knows its pictures again."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_federation import run_tiny_federation, write_pictures, write_sites
from wiretap import PAIR, memory_folder

from fedklpr_flwr import client_app
from fedklpr_flwr.client.dataset_snapshot import note_pictures
from fedklpr_flwr.config.settings import Client
from fedklpr_flwr.model.site import join_sites, open_site


@pytest.fixture
def ash(sites, tmp_path):
    """A copy of ash's pictures to change."""
    shutil.copytree(sites / "ash", tmp_path / "ash")
    return tmp_path / "ash"


@pytest.fixture
def opened(tiny_settings, tmp_path):
    """`opened(FOLDER, "seed=1", reader="viper")`: its pictures as they are now."""

    def site(folder, *overrides, reader="folder", name="ash"):
        identity = Client(name=name, reader=reader, folder=str(folder))
        return open_site(identity, tiny_settings(*overrides), tmp_path / "cache")

    return site


@pytest.fixture
def memory(tmp_path):
    (tmp_path / "memory").mkdir()
    return tmp_path / "memory"


def one_picture(folder):
    return sorted(folder.rglob("*.png"))[0]


def test_the_first_look_and_the_same_pictures_again_are_no_change(ash, opened, memory):
    assert note_pictures(memory, opened(ash), 0) is False
    before = (memory / "pictures.json").stat().st_mtime_ns
    assert note_pictures(memory, opened(ash), 1) is False
    assert (memory / "pictures.json").stat().st_mtime_ns == before, "hashed once more"


@pytest.mark.parametrize("how", ["another picture", "one more", "one less", "another name"])
def test_a_changed_folder_is_noticed_in_the_round_that_meets_it_first(how, ash, opened, memory):
    note_pictures(memory, opened(ash), 0)
    path = one_picture(ash)
    if how == "another picture":
        Image.fromarray(np.zeros((32, 16, 3), np.uint8)).save(path)
    elif how == "one more":
        shutil.copy(path, path.with_name("c0_9.png"))
    elif how == "one less":
        path.unlink()
    else:
        path.rename(path.with_name("c0_9.png"))
    assert note_pictures(memory, opened(ash), 3) is True
    assert note_pictures(memory, opened(ash), 3) is True, "a second try of the round hides it"
    assert note_pictures(memory, opened(ash), 4) is False


def test_a_folder_that_was_only_copied_or_touched_has_not_changed(ash, opened, memory, tmp_path):
    note_pictures(memory, opened(ash), 0)
    shutil.copytree(ash, tmp_path / "elsewhere", copy_function=shutil.copy)
    os.utime(one_picture(tmp_path / "elsewhere"), (1, 1))
    assert note_pictures(memory, opened(tmp_path / "elsewhere"), 1) is False


def test_a_damaged_record_is_begun_anew(ash, opened, memory):
    for content in ("", "{", "[]", '{"format": 99}'):
        (memory / "pictures.json").write_text(content)
        assert note_pictures(memory, opened(ash), 1) is False
        assert json.loads((memory / "pictures.json").read_text())["format"] == 1


def test_pictures_that_lie_nowhere_leave_nothing(tiny_site, memory):
    assert note_pictures(memory, tiny_site, 1) is False
    assert list(memory.iterdir()) == []


# ---------------------------------------------------------------------------- splits


@pytest.fixture
def viper(tmp_path):
    """Eight persons, one picture each by two cameras, as VIPeR comes."""
    write_pictures(tmp_path / "people", range(8), 1, 5)
    for camera, folder in enumerate(("cam_a", "cam_b")):
        (tmp_path / "viper" / folder).mkdir(parents=True)
        for person in range(8):
            picture = tmp_path / "people" / f"p{person}" / f"c{camera}_0.png"
            shutil.copy(picture, tmp_path / "viper" / folder / f"{person:03d}_0.png")
    return tmp_path / "viper"


def test_a_split_made_from_a_seed_is_written_down_as_it_is_worked_with(viper, opened, memory):
    site = opened(viper, "seed=3", reader="viper")
    note_pictures(memory, site, 0)
    split = json.loads((memory / "split.json").read_text())
    assert (split["set"], split["seed"]) == ("viper", 3)
    assert [person for _, person, _ in split["train"]] == site.train.persons.tolist()
    assert [person for _, person, _ in split["query"]] == site.query.persons.tolist()
    assert [camera for *_, camera in split["gallery"]] == site.gallery.cameras.tolist()
    assert split["query"][0][0].startswith("cam_a/"), "a path of this machine"
    trained = {person for _, person, _ in split["train"]}
    tested = {person for part in ("query", "gallery") for _, person, _ in split[part]}
    assert (len(trained), len(tested), trained & tested) == (4, 4, set())


def test_another_split_of_the_same_pictures_is_a_change(viper, opened, memory):
    note_pictures(memory, opened(viper, "seed=3", reader="viper"), 0)
    assert note_pictures(memory, opened(viper, "seed=4", reader="viper"), 1) is True
    assert json.loads((memory / "split.json").read_text())["seed"] == 4


def test_a_split_that_a_set_brings_is_not_written_down(ash, opened, memory):
    note_pictures(memory, opened(ash), 0)
    assert [file.name for file in memory.iterdir()] == ["pictures.json"]


def test_a_client_of_several_sites_remembers_each(viper, ash, opened, memory):
    parts = [opened(viper, reader="viper", name="streets"), opened(ash)]
    assert note_pictures(memory, join_sites("joined", parts), 0) is False
    assert (memory / "split-streets.json").exists()
    one_picture(ash).unlink()
    parts[1] = opened(ash)
    assert note_pictures(memory, join_sites("joined", parts), 1) is True


# ---------------------------------------------------------------------------- in a federation


@pytest.mark.slow
def test_a_client_whose_pictures_change_goes_on_and_the_rows_say_so(tmp_path, flower_log):
    """Between two rounds the run is stopped, and a picture of birch is replaced."""
    write_sites(tmp_path / "sites")
    places = (tmp_path / "sites", tmp_path / "run")
    first = run_tiny_federation(*places, "federation.rounds=1", names=PAIR)
    assert not any(row.pictures_changed for row in first.rows)
    picture = one_picture(tmp_path / "sites" / "birch" / "train")
    Image.fromarray(np.zeros((32, 16, 3), np.uint8)).save(picture)
    client_app._site.cache_clear()  # as a new process would
    run = run_tiny_federation(*places, names=PAIR)
    assert run.row(2, "birch").status == "merged"
    assert [run.row(2, name).pictures_changed for name in PAIR] == [False, True]
    assert run.row(2, None).pictures_changed
    assert "the pictures of birch have changed" in flower_log.text
    assert (memory_folder(run.folder / "memory", "birch") / "pictures.json").exists()
    third = run_tiny_federation(*places, "federation.rounds=3", names=PAIR)
    assert not third.row(3, "birch").pictures_changed
