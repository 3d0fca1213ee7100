"""Claims about somebody whose pictures are deleted: nothing of ours shows them afterwards."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
from galleries import small_model
from PIL import Image
from safetensors.numpy import load_file
from tiny_federation import PAIR, PRUNES, tiny_overrides

from fedklpr_flwr.commands.simulate import simulate_prepared
from fedklpr_flwr.launch.prepare import prepare
from fedklpr_flwr.report.html_report import html_report
from fedklpr_flwr.report.site_inspection import Look
from fedklpr_flwr.search.gallery import open_gallery

pytestmark = pytest.mark.slow

COMPARES = (*PRUNES, "crr.test=paired", "method.pruning=recovery", "crr.level=0", "crr.drop=1")
"""Features of the training pictures are kept in the memory, since the last prune."""


@pytest.fixture
def place(sites, tmp_path, monkeypatch):
    """The tiny federation's pictures for this test to delete, and a cache of its own."""
    shutil.copytree(sites, tmp_path / "sites")
    monkeypatch.setenv("FEDKLPR_CACHE", str(tmp_path / "ours" / "cache"))
    return tmp_path


def week(place, name, *words):
    """A run through the command's own door; its memories lie in its folder."""
    given = [*tiny_overrides(place / "sites", PAIR), "federation.min_clients=2", *words]
    if any(word.startswith("run.continues=") for word in words):
        given = ["federation.min_clients=2", *words]
    folder = place / "ours" / name
    prepared = prepare(["experiment=smoke", *given, f"run.dir={folder}"])
    try:
        simulate_prepared(prepared)
    finally:
        prepared.release()
    return folder


def pixel_rows(pictures):
    """The whole rows of pictures as they lie in memory, by colour and by picture element."""
    decoded = [np.asarray(Image.open(path).convert("RGB")) for path in pictures]
    by_element = {row.tobytes() for picture in decoded for row in picture}
    by_colour = {
        row.tobytes() for picture in decoded for row in picture.transpose(2, 0, 1).reshape(-1, 16)
    }
    return by_element | by_colour


def holding(folder, needles):
    """The files below a folder that hold one of these bytes."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if any(needle in content for needle in needles):
            found.append(path)
    return found


def shown(page):
    """The pictures in a page, as arrays."""
    coded = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    opened = [Image.open(io.BytesIO(base64.b64decode(one))) for one in coded]
    return [np.asarray(one.convert("RGB").resize((16, 32)), float) for one in opened]


def nearest(page, originals):
    """Which pictures a page shows, as far as JPEG lets that be told."""
    return {
        min(originals, key=lambda path: np.abs(originals[path] - one).mean()) for one in shown(page)
    }


def test_of_a_deleted_person_no_pixel_no_feature_and_no_report_is_left(place):
    ours, ash = place / "ours", place / "sites" / "ash"
    first = week(place, "first", *COMPARES)
    models = small_model(0), small_model(1)
    galleries = [open_gallery(model, ash / "gallery", ours / "cache") for model in models]
    look = Look(True, "ash", None, None, 50, 0, False)

    gone = [*(ash / "train" / "p0").iterdir(), *ash.glob("query/p50/*"), *ash.glob("gallery/p50/*")]
    originals = {
        path: np.asarray(Image.open(path), float)
        for path in (*ash.glob("query/*/*"), *ash.glob("gallery/*/*"))
    }
    pixels = pixel_rows(gone)
    searched = {
        feature.tobytes()
        for gallery in galleries
        for row, feature in zip(gallery.pictures, gallery.features, strict=True)
        if row.path in gone
    }
    remembered = {
        row.tobytes()
        for path in first.glob("memory/*/ash/round-*.safetensors")
        for row in load_file(path).get("reference/features", np.empty((0, 1)))
    }
    stayed = pixel_rows([path for path in ash.rglob("*.png") if path not in gone])
    assert len(holding(ours, pixels)) == 3, "train, query and gallery as they were decoded"
    assert len(holding(ours, searched)) == 2
    assert len(holding(ours, remembered)) >= 1
    assert nearest(html_report(first, look), originals) >= {p for p in gone if p in originals}

    for path in gone:
        path.unlink()
    week(place, "second", f"run.continues={first}")
    open_gallery(models[1], ash / "gallery", ours / "cache")
    assert holding(ours, pixels) == []
    assert holding(ours, searched) == []
    assert holding(ours, remembered) == []
    seen = nearest(html_report(first, look), originals)
    assert seen
    assert not seen & set(gone)
    assert len(holding(ours, stayed)) == 3, "those who stayed were decoded anew"
