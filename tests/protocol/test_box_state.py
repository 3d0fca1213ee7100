"""Claims about protocol.box_state: a box says how it is, and nobody believes nonsense."""

import shutil
import subprocess
import sys
import time

import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.protocol.box_state import PROTOCOL, BoxState
from fedklpr_flwr.version import VERSION

SAID = {"box_version": "1.2", "box_protocol": 1, "box_free_mb": 900.0, "box_clock": 5e8}


def test_a_box_tells_its_version_the_room_on_its_disk_and_its_clock(tmp_path):
    told = BoxState.here(tmp_path / "not" / "made" / "yet")
    assert (told.box_version, told.box_protocol) == (VERSION, PROTOCOL)
    assert told.box_free_mb == pytest.approx(shutil.disk_usage(tmp_path).free / 1e6, rel=0.05)
    assert abs(told.box_clock - time.time()) < 5
    assert BoxState.read(told.to_dict()) == told
    assert told.remarks(told.noted(7)["clock_ahead"]) == []


def test_a_box_of_before_says_nothing():
    assert BoxState.read({"client": "gate"}) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("box_version", 3),
        ("box_version", "9" * 41),
        ("box_protocol", None),
        ("box_protocol", True),
        ("box_free_mb", -1.0),
        ("box_free_mb", float("nan")),
        ("box_clock", 1e13),
        ("box_clock", "noon"),
    ],
)
def test_what_no_box_can_be_is_refused_by_its_name(key, value):
    with pytest.raises(WireError, match=key):
        BoxState.read({**SAID, key: value})


def test_control_characters_of_a_version_do_not_reach_a_terminal():
    assert BoxState.read({**SAID, "box_version": "1\x1b[31m"}).box_version == "1?[31m"


def test_an_operator_is_told_of_another_version_a_full_disk_and_a_wrong_clock():
    box = BoxState("0.0.9", PROTOCOL, 12.0, 0.0)
    said = box.remarks(-3600.0)
    assert [words.split()[0] for words in said] == ["has", "has", "has"]
    assert said[0] == f"has version 0.0.9 installed, not {VERSION}"
    assert said[1] == "has 12 MB free on its disk"
    assert "3600 s behind" in said[2]


def test_the_version_is_the_installed_ones_not_that_of_the_app_the_server_sent(tmp_path):
    """As Flower does it: the sent app comes first on the path, and brings no installer's record."""
    record = tmp_path / "site" / "fedklpr_flwr-0.0.9.dist-info" / "METADATA"
    record.parent.mkdir(parents=True)
    record.write_text("Metadata-Version: 2.1\nName: fedklpr-flwr\nVersion: 0.0.9\n")
    code = (
        "import sys; from pathlib import Path; "
        "from fedklpr_flwr.protocol.box_state import BoxState; "
        f"sys.path.insert(0, {str(tmp_path / 'site')!r}); box = BoxState.here(Path('.')); "
        "print(box.box_version, box.remarks(0.0))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == f"0.0.9 ['has version 0.0.9 installed, not {VERSION}']\n"
