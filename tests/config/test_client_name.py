"""Claims about fedklpr_flwr.config.client_name: a name that may become part of a path."""

import pytest

from fedklpr_flwr.config.client_name import is_client_name
from fedklpr_flwr.errors import SettingsError

GOOD = ["a", "gate-3", "site_7.north", "9", "-x", "_", "x" * 64, "a..b"]
BAD = ["", ".", "..", ".git", "a/b", "a\\b", "a b", "a\n", "a\0", "höhe", "x" * 65, "a:b", "a'b"]


@pytest.mark.parametrize("name", GOOD)
def test_an_ordinary_name_is_allowed(name):
    assert is_client_name(name)


@pytest.mark.parametrize("name", [*BAD, None, 7, b"gate", ["gate"]])
def test_what_could_leave_a_folder_or_break_a_line_is_not(name):
    assert not is_client_name(name)


@pytest.mark.parametrize("name", ["../up", "x" * 65, "two words"])
def test_the_settings_have_the_same_rule(name, tiny_settings):
    with pytest.raises(SettingsError, match=r"data\.clients has the name"):
        tiny_settings(
            f"data.clients=[{{name: '{name}', reader: folder, folder: ash}}]",
            "federation.min_clients=1",
        )
