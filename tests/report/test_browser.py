"""Claims about the report in a real browser: headless Chromium draws it, wide and narrow."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from run_folders import write_run

from fedklpr_flwr.report.html_report import write_page
from fedklpr_flwr.report.page.page import whole_page
from fedklpr_flwr.report.run_report import read_run_report
from fedklpr_flwr.report.site_inspection import Seen

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--hide-scrollbars", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]
THREE = ({"ash": 0.2, "birch": 0.4}, {"ash": 0.5, "birch": 0.7}, {"ash": 0.6, "birch": 0.8})

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium"
    ),
]


@pytest.fixture
def drawn(tmp_path):
    """`drawn(page, width, dark=False)`: what the browser draws, uint8 (H, W, 3)."""

    def draw(page, width, *, dark=False):
        write_page(page, tmp_path / "page.html")
        shot = tmp_path / "shot.png"
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--blink-settings=preferredColorScheme=0"] if dark else []
        command += [f"--screenshot={shot}", f"--window-size={width},2600"]
        command += [(tmp_path / "page.html").as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return np.asarray(Image.open(shot).convert("RGB"))

    return draw


def page_of(folder):
    return whole_page(read_run_report(folder), Seen())


def check_within(pixels, width):
    """Something is drawn, and the paper is left free at both edges."""
    paper = pixels[2, 2]
    assert (pixels[:, :6] == paper).all()
    assert (pixels[:, width - 6 : width] == paper).all()
    assert (pixels[:, :width] != paper).any(axis=2).mean() > 0.4


def test_the_page_is_drawn_and_stays_within_its_width(tmp_path, drawn):
    pixels = drawn(page_of(write_run(tmp_path / "run", rank1=THREE)), 1200)
    assert pixels.shape[1] == 1200
    check_within(pixels, 1200)


def test_on_a_phone_it_stays_within_390_pixels(tmp_path, drawn):
    """In a frame: headless Chromium's own window is never narrower than 500 pixels."""
    page = page_of(write_run(tmp_path / "run", rank1=THREE))
    write_page(page, tmp_path / "inner.html")
    frame = '<iframe src="inner.html" style="border:0;width:390px;height:2600px"></iframe>'
    check_within(drawn(f'<body style="margin:0">{frame}</body>', 600), 390)


def test_dark_paper_is_dark(tmp_path, drawn):
    page = page_of(write_run(tmp_path / "run", rank1=THREE))
    light, dark = drawn(page, 900), drawn(page, 900, dark=True)
    assert light[2, 2].min() > 200
    assert dark[2, 2].max() < 60
