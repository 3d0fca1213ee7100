"""Claims about the bundle that `flwr run` builds and ships: it is the package and its settings."""

import io
import os
import subprocess
import sys
import zipfile

import pytest
from office import TREE, bundle_of_the_tree

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def bundle():
    return zipfile.ZipFile(io.BytesIO(bundle_of_the_tree()))


def test_the_bundle_is_the_package_and_the_settings_and_nothing_else(bundle):
    code = {path.relative_to(TREE).as_posix() for path in TREE.glob("fedklpr_flwr/**/*.py")}
    settings = {path.relative_to(TREE).as_posix() for path in TREE.glob("conf/**/*.yaml")}
    assert len(code) > 50, "the tree was not found"
    assert len(settings) > 10, "the tree was not found"
    shipped = {name for name in bundle.namelist() if not name.startswith(".info/")}
    assert shipped == code | settings | {"pyproject.toml", "README.md", "LICENSE"}


def test_what_is_shipped_is_what_lies_in_the_tree(bundle):
    for name in bundle.namelist():
        if name.startswith(("fedklpr_flwr/", "conf/")):
            assert bundle.read(name) == (TREE / name).read_bytes(), name


def test_the_bundle_is_far_below_what_flower_takes(bundle):
    assert sum(entry.file_size for entry in bundle.infolist()) < 5_000_000


@pytest.mark.slow
def test_an_unpacked_bundle_reads_its_own_settings(bundle, tmp_path):
    bundle.extractall(tmp_path)
    code = (
        "from fedklpr_flwr.config.compose import configuration_folder, load_settings;"
        "print(configuration_folder(), load_settings({'experiment': 'smoke'}).federation.rounds)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == [str(tmp_path / "conf"), "2"]
