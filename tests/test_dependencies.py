"""Claims about what a box installs: nothing with a known hole, and versions that were tried."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BASE = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
TRIED = [Requirement(line) for line in LINES if not line.startswith("#")]

HOLES = {
    "torch": "2.9.1",  # CVE-2026-24747: memory corruption by a weights file
    "pillow": "12.1.0",  # CVE-2026-25990: PSD, out of bounds; CVE-2025-48379: DDS
    "cryptography": "46.0.4",  # CVE-2026-26007; CVE-2024-12797 in the OpenSSL of 44.0.0
}


@pytest.mark.parametrize("name", HOLES)
def test_no_version_with_a_known_hole_may_be_installed(name):
    assert not BASE[name].specifier.contains(HOLES[name])


def test_each_version_that_was_tried_is_one_and_may_be_installed():
    versions = {canonicalize_name(r.name): str(r.specifier) for r in TRIED}
    assert len(versions) == len(TRIED)
    assert all(told.startswith("==") for told in versions.values())
    assert BASE.keys() <= versions.keys()
    for name, requirement in BASE.items():
        assert requirement.specifier.contains(Version(versions[name][2:])), name
