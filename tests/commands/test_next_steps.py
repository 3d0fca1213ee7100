"""Claims about fedklpr_flwr.commands.next_steps: what a run ends with can be typed."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tiny_federation import PAIR

from fedklpr_flwr.commands.next_steps import lead_on
from fedklpr_flwr.system import run_files


@pytest.fixture(scope="module")
def run(federate_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("next steps") / "run"
    return federate_in(folder, "federation.rounds=1", names=PAIR).folder


@pytest.mark.slow
def test_the_picture_is_there_and_the_search_finds_somebody(run, typed, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    lines = lead_on(run)
    assert Image.open(lines[0].partition(": ")[2]).format == "PNG"
    words = [shlex.split(line, comments=True) for line in lines[2:]]
    assert [line[:2] for line in words] == [
        *(["fedklpr", "report"], ["fedklpr", "search"], ["fedklpr", "run"]),
        ["fedklpr", "compare"],
    ]
    assert words[0][2] == str(run)
    status, out, err = typed(*words[1][1:])
    assert status == 0, err
    assert "the merged model of" in out
    assert (tmp_path / "found.png").is_file()
    assert "method=fedavg" in words[2]


def test_a_run_whose_settings_are_gone_ends_with_a_sentence(tmp_path):
    (line,) = lead_on(tmp_path)
    assert line.startswith("what may be done next is not known: ")


def test_another_method_is_not_begun_with_this_ones_parts(run, tmp_path):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    words = "method.aggregation_weights=uniform seed=3 method=fedklpr"
    told = {"experiment": "smoke", "overrides": words}
    (folder / run_files.RUN_CONFIG).write_text(json.dumps(told))
    (line,) = [line for line in lead_on(folder) if "fedklpr run " in line]
    assert "fedklpr run experiment=smoke seed=3 method=fedavg " in line
