"""Claims about the app on Flower's Hub: what Flower asks of one holds, and it runs from a folder.

As far as the installed Flower and its public pages tell, a README needs no front matter there;
GitHub would show it as a table above the title, so there is none.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from flwr.cli.app_cmd.publish import _collect_file_paths, _validate_description, _validate_files
from flwr.cli.config_utils import load_and_validate
from flwr.cli.utils import validate_project_name
from flwr.supercore.fab_format_version import normalize_and_validate_fab_format
from office import bundle_of_the_tree

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.launch.end_processes import end_processes_of
from fedklpr_flwr.launch.environment import OFF
from fedklpr_flwr.launch.own_superlink import free_port
from fedklpr_flwr.version import VERSION

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The bundle in a fresh folder of the app's name, as `flwr new` leaves it."""
    folder = tmp_path_factory.mktemp("hub") / "fedklpr-flwr"
    zipfile.ZipFile(io.BytesIO(bundle_of_the_tree())).extractall(folder)
    return folder


def test_flower_finds_nothing_wrong_or_missing_in_what_the_app_says_of_itself(unpacked):
    config, warnings = load_and_validate(unpacked / "pyproject.toml")
    assert warnings == []
    project = config["project"]
    _validate_description(project["description"])  # asks a person above 200 characters
    assert len(project["description"]) <= 200
    for name in (project["name"], unpacked.name):
        validate_project_name(name, "name")
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["version"] == VERSION
    assert project["license"] == "Apache-2.0"
    assert (unpacked / "LICENSE").read_text().split()[:2] == ["Apache", "License"]


def test_flower_derives_the_oldest_version_that_the_app_runs_on(unpacked):
    config, _ = load_and_validate(unpacked / "pyproject.toml")
    found = normalize_and_validate_fab_format(config)
    assert found.flwr_version_min == "1.41"


def test_flower_would_take_every_file_of_the_bundle(unpacked):
    """Kinds, number, sizes, depth and UTF-8, by what `flwr app publish` itself looks at."""
    paths = _collect_file_paths(unpacked)
    _validate_files(paths)
    given = {path for path in unpacked.rglob("*") if path.is_file()}
    assert given - {*paths} == {unpacked / ".info" / "CONTENT"}


def test_a_readme_begins_with_its_title(unpacked):
    assert (unpacked / "README.md").read_text().startswith("# fedklpr-flwr\n")


def test_the_readme_says_how_many_supernodes_and_what_pictures_the_app_wants(unpacked):
    text = (unpacked / "README.md").read_text()
    (command,) = re.findall(r"^flwr run \. .*num-supernodes=(\d+).*$", text, re.MULTILINE)
    config, _ = load_and_validate(unpacked / "pyproject.toml")
    settings = compose_settings(config["tool"]["flwr"]["app"]["config"]["experiment"])
    assert int(command) == len(settings.data.clients)
    assert "simulation" in config["project"]["optional-dependencies"]
    assert "pip install -e '.[simulation]'" in text
    assert re.search(r"JPEG|PNG", text)


class Flower:
    """`flwr run` of a folder by somebody who has only Flower; its SuperLink ends with the block."""

    def __init__(self, app, home):
        self.app, self.home = app, home
        home.mkdir()
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHONPATH")}
        ports = ("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "FLWR_LOCAL_CONTROL_API_PORT")
        self.env = {**env, **OFF, **{name: str(free_port()) for name in ports}}
        self.env |= {"FLWR_HOME": str(home), "FEDKLPR_CACHE": str(home / "cache")}
        self.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end_processes_of(self.home)

    def run(self, nodes, config):
        """What the run says; Flower exits with 0 whatever happened."""
        federation = f"num-supernodes={nodes} client-resources-num-cpus=1 init-args-num-cpus=2"
        words = ["flwr", "run", ".", "--stream", "--federation-config", federation, "-c", config]
        done = subprocess.run(
            words, cwd=self.app, env=self.env, capture_output=True, text=True, timeout=400
        )
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


@pytest.mark.slow
def test_a_fresh_folder_runs_and_says_what_to_do_where_it_cannot(unpacked, tmp_path):
    app = tmp_path / unpacked.name  # its own: a run leaves files in it, and nodes leave late
    shutil.copytree(unpacked, app)
    # An experiment that only this folder has: what runs is what lies in it.
    smoke = (app / "conf/experiment/smoke.yaml").read_text()
    (app / "conf/experiment/fresh.yaml").write_text(smoke)
    with Flower(app, tmp_path / "home") as flower:
        said = flower.run(3, "experiment='fresh' overrides='federation.rounds=1'")
        runs = [path for path in (app / "runs").iterdir() if not path.is_symlink()]
        assert len(runs) == 1, said[-4000:]
        assert json.loads((runs[0] / "status.json").read_text())["status"] == "finished", said[
            -4000:
        ]
        few = flower.run(2, "experiment='fresh' overrides='federation.wait_seconds=1'")
        assert "Start as many SuperNodes as there are sites" in few, few[-4000:]
        assert "num-supernodes=3" in few
        missing = flower.run(2, "experiment='own' overrides=''")
        assert "flwr run takes data.root=FOLDER and the list of them" in missing, missing[-4000:]
