"""Claims about registering keys: a SuperLink that cannot be spoken to is told apart at once."""

import socket
import threading

import pytest
from typer.testing import CliRunner

from fedklpr_flwr.commands.__main__ import app
from fedklpr_flwr.deploy.registering import register_keys
from fedklpr_flwr.errors import FedKlprError, RunError, SettingsError


@pytest.fixture
def office(tmp_path):
    """The office of a deployment, and somebody who speaks plain text at its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "SITES.yaml").write_text(
            f"federation: harbour\nserver: {{hosts: [127.0.0.1], port: {port}}}\n"
            "sites: [{name: hall, data: 'drawn:hall'}]\n"
        )
        words = ["deploy", "init", str(tmp_path / "SITES.yaml"), "--out", str(tmp_path / "out")]
        assert CliRunner().invoke(app(), words).exit_code == 0

        def serve():
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield tmp_path / "out" / "office"
        server.close()


def test_a_superlink_that_speaks_no_tls_is_told_before_a_key_is_sent(office):
    with pytest.raises(RunError, match=r"no key was registered: .* does not speak TLS .*start\.sh"):
        register_keys(office)


def test_another_folder_is_no_office(office):
    with pytest.raises(SettingsError, match=r"holds no connection \(No such file or directory\)"):
        register_keys(office.parent / "sites" / "hall")


def test_a_list_of_sites_that_is_not_there_is_said_in_plain_words(tmp_path):
    done = CliRunner().invoke(app(), ["deploy", "init", str(tmp_path / "none.yaml")])
    assert isinstance(done.exception, FedKlprError)
    said = str(done.exception)
    assert said == f"{tmp_path / 'none.yaml'} cannot be read: No such file or directory"
