"""Claims about fedklpr_flwr.model.site: a client's pictures, decoded and known."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_federation import CAMERAS, PERSONS, PICTURES

from fedklpr_flwr.config.settings import Client
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.model.site import open_site


def test_a_site_has_its_pictures_at_the_size_of_the_model(tiny_settings, tmp_path):
    settings = tiny_settings()
    site = open_site(settings.data.clients[0], settings, tmp_path)
    count = PERSONS["ash"] * CAMERAS * PICTURES
    assert site.train.pixels.shape == (count, 3, 32, 16)
    assert site.train.pixels.dtype == torch.uint8
    assert len(site.train.persons) == len(site.train.cameras) == count
    assert site.known_persons == PERSONS["ash"]
    assert set(site.train.cameras.tolist()) == {0, 1}
    assert not set(site.train.persons.tolist()) & set(site.query.persons.tolist())


def test_a_site_of_unknown_people_says_so(tiny_settings, sites, tmp_path):
    blank = Client(name="blank", reader="folder", folder="blank")
    site = open_site(blank, tiny_settings(), tmp_path)
    assert site.known_persons == 0
    assert (len(site.query), len(site.gallery)) == (0, 0)


def test_an_absolute_folder_is_taken_as_it_is(tiny_settings, sites, tmp_path):
    there = Client(name="x", reader="folder", folder=str(sites / "birch"))
    settings = tiny_settings("data.root=/elsewhere")
    assert open_site(there, settings, tmp_path).known_persons == PERSONS["birch"]


def test_unreadable_pictures_stop_a_site_or_are_left_out_as_asked(tiny_settings, sites, tmp_path):
    folder = tmp_path / "sites" / "ash"
    for file in sorted((sites / "ash").rglob("*.png")):
        copy = folder / file.relative_to(sites / "ash")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    spoilt = next(path for path in sorted(folder.rglob("*.png")) if "train" in path.parts)
    spoilt.write_bytes(b"not a picture")
    (folder / "train" / "stray.png").write_bytes(b"nor is this")
    ash = Client(name="ash", reader="folder", folder=str(folder))
    with pytest.raises(DataError, match="stray"):
        open_site(ash, tiny_settings(), tmp_path / "cache")
    site = open_site(ash, tiny_settings("data.skip_unreadable=true"), tmp_path / "cache")
    assert len(site.train) == PERSONS["ash"] * CAMERAS * PICTURES - 1


@pytest.mark.slow
def test_drawings_are_the_same_for_every_seed(tmp_path):
    from fedklpr_flwr.config.compose import compose_settings

    first, second = (compose_settings("smoke", (f"seed={seed}",)) for seed in (0, 1))
    identity = first.data.clients[-1]
    one, other = (open_site(identity, settings, tmp_path) for settings in (first, second))
    assert torch.equal(one.train.pixels, other.train.pixels)
    assert isinstance(tmp_path, Path)


def test_a_subset_keeps_pictures_persons_and_cameras_together(tiny_site):
    some = tiny_site.train.subset(torch.tensor([3, 0]))
    assert torch.equal(some.pixels[0], tiny_site.train.pixels[3])
    assert some.persons.tolist() == tiny_site.train.persons[[3, 0]].tolist()
    assert some.cameras.tolist() == tiny_site.train.cameras[[3, 0]].tolist()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("labels.source=bottom_up",), "labels.source=bottom_up looks at no tracks"),
        (("labels.source=clusters", "ide.jaccard=copies"), "ide.jaccard=copies is for pictures"),
        (("labels.source=clusters",), ""),
        (("labels.source=bottom_up", "labels.tracks=ignored"), ""),
    ],
)
def test_settings_that_do_not_hear_tracks_say_so(tiny_settings, tmp_path, words, told):
    for track in ("a", "b"):
        folder = tmp_path / "set" / "train" / "gate" / track
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 8), "red").save(folder / "1.png")
    identity = Client(name="gate", reader="folder", folder=str(tmp_path / "set"))
    source = open_site(identity, tiny_settings(*words), tmp_path / "cache").source
    assert source is not None
    doubts = [note for note in source.left_out_notes if note.startswith("in doubt:")]
    assert len(doubts) == bool(told)
    assert all(told in note for note in doubts)
