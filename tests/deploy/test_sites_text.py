"""A SITES.yaml's text is what was written."""

import os
import re
import subprocess

import pytest

from fedklpr_flwr.deploy import scripts
from fedklpr_flwr.deploy.sites_file import read_sites
from fedklpr_flwr.errors import SettingsError


def written(tmp_path, site):
    path = tmp_path / "SITES.yaml"
    server = "server: {hosts: [a.example], port: 8443}"
    path.write_text(f"federation: f\n{server}\nsites:\n- {site}\n")
    return path


@pytest.mark.parametrize("name", ["010", "1e3", "1_0", "no", "off", "7", "0x1F", "2026-01-31"])
def test_a_name_is_what_was_written(tmp_path, name):
    sites = read_sites(written(tmp_path, f"{{name: {name}, root: /data/1.10, port: 9100}}"))
    (site,) = sites.sites
    assert (site.name, site.root, site.port) == (name, "/data/1.10", 9100)
    assert sites.server.port == 8443


def test_a_name_that_yaml_takes_for_nothing_asks_for_quotes(tmp_path):
    with pytest.raises(SettingsError, match="quotes"):
        read_sites(written(tmp_path, "{name: null, root: /x}"))
    assert read_sites(written(tmp_path, '{name: "null", root: /x}')).sites[0].name == "null"


@pytest.mark.parametrize("value", ["[" * 3000, "1" + "0" * 5000, '{"a":' * 3000])
def test_text_that_python_cannot_hold_is_a_sentence(tmp_path, value):
    path = tmp_path / "SITES.yaml"
    path.write_text(f"federation: shops\nserver:\n  hosts: [a]\n  port: {value}\nsites: []\n")
    with pytest.raises(SettingsError, match=r"SITES\.yaml"):
        read_sites(path)


def test_scripts_reach_their_own_machine_past_every_proxy(tmp_path):
    sites = read_sites(written(tmp_path, "{name: a, root: /x, port: 9100}"))
    given = {"PATH": os.environ["PATH"], "no_proxy": "intra", "no_grpc_proxy": "b"}
    for text in (
        scripts.start_superlink(sites),
        scripts.register(sites),
        scripts.start_supernode(sites, sites.sites[0]),
    ):
        begin = re.split(r"\n(?:exec |fedklpr )", text)[0]
        file = tmp_path / "start.sh"
        file.write_text(f"{begin}\necho $no_proxy $NO_PROXY $no_grpc_proxy\n")
        said = subprocess.run(["sh", file], env=given, capture_output=True, text=True, check=True)
        here = "127.0.0.1,localhost,::1"
        assert said.stdout.split() == [f"intra,{here}", here, f"b,{here}"]
