"""Claims about fedklpr_flwr.launch.own_sites: a folder of folders is a federation."""

import pytest

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.launch.command_line import split_arguments


@pytest.fixture
def root(tmp_path):
    for name in ("yard", "gate-3", ".hidden", "table"):
        (tmp_path / name).mkdir()
    (tmp_path / "table" / "people.CSV").write_text("path,person,camera,split\n")
    (tmp_path / "notes.txt").write_text("no site")
    return tmp_path


def test_every_folder_is_a_site_and_one_with_a_table_is_read_by_it(root):
    settings = compose_settings(*split_arguments(["experiment=own", f"data.root={root}"]))
    found = [(one.name, one.reader, one.folder) for one in settings.data.clients]
    assert found == [
        ("gate-3", "folder", "gate-3"),
        ("table", "csv", "table"),
        ("yard", "folder", "yard"),
    ]
    assert settings.experiment == "own", "its runs are called so"


def test_sites_that_are_listed_are_those(root):
    listed = "data.clients=[{name: a, reader: folder, folder: yard}]"
    _, overrides = split_arguments(["experiment=own", f"data.root={root}", listed])
    assert [word for word in overrides if word.startswith("data.clients")] == [listed]


def test_other_experiments_look_at_no_folder(root):
    _, overrides = split_arguments(["experiment=real_small", f"data.root={root}"])
    assert not any(word.startswith("data.clients") for word in overrides)


def test_what_can_be_no_site_is_named(root, tmp_path):
    (root / "Nord & Sued").mkdir()
    with pytest.raises(SettingsError, match="'Nord & Sued' cannot be a client's name"):
        split_arguments(["experiment=own", f"data.root={root}"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="a folder for each site in it, it has none"):
        split_arguments(["experiment=own", f"data.root={tmp_path / 'empty'}"])
    with pytest.raises(SettingsError, match="there is no such folder"):
        split_arguments(["experiment=own", f"data.root={tmp_path / 'nowhere'}"])
