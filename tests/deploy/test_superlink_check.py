"""Claims about reaching a SuperLink: each way to fail has a sentence that says what to do."""

import contextlib
import re
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest

from fedklpr_flwr.deploy.certificates import make_authority, sign_server
from fedklpr_flwr.deploy.superlink_check import check_connection, split_address, tls_fault
from fedklpr_flwr.errors import RunError, SettingsError

AUTHORITY = make_authority("harbour")


@contextlib.contextmanager
def listening(answer, host="127.0.0.1"):
    """A server on loopback that treats one connection by `answer`; its port."""
    with socket.create_server((host, 0)) as server:
        server.settimeout(10)

        def serve():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join()


def plain(connection):
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture
def speaking_tls(tmp_path):
    """A TLS server with a certificate for `hosts`, of `authority`; its port."""

    def serve(hosts=("127.0.0.1",), days=10, authority=AUTHORITY, age=0, host="127.0.0.1"):
        begin = datetime.now(UTC) - timedelta(days=age)
        signed = sign_server(authority, "harbour", hosts, days, begin=begin)
        (tmp_path / "server.crt").write_bytes(signed.certificate)
        (tmp_path / "server.key").write_bytes(signed.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

        def answer(connection):
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(1)

        return listening(answer, host)

    return serve


@pytest.fixture
def authority(tmp_path):
    (tmp_path / "ca.crt").write_bytes(AUTHORITY.certificate)
    return tmp_path / "ca.crt"


def test_a_server_with_a_good_certificate_is_reached(speaking_tls, authority):
    for host in ("127.0.0.1", "localhost"):
        with speaking_tls(["fl.example.org"]) as port:
            assert tls_fault(f"{host}:{port}", authority) is None


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"age": 20}, "has expired: .*fedklpr deploy renew"),
        ({"age": -20}, "is not valid yet: is this machine's clock right"),
        ({"authority": make_authority("harbour")}, "is not signed by this federation's authority"),
    ],
)
def test_a_certificate_that_does_not_hold_is_named(how, told, speaking_tls, authority):
    with speaking_tls(**how) as port:
        assert re.search(told, str(tls_fault(f"127.0.0.1:{port}", authority)))


def test_a_certificate_for_another_host_is_named(speaking_tls, authority):
    with speaking_tls(["fl.example.org"], host="127.0.0.2") as port:
        told = tls_fault(f"127.0.0.2:{port}", authority)
    assert "is not for 127.0.0.2: add it to server.hosts in SITES.yaml" in str(told)


def test_a_server_without_tls_is_told_from_one_that_is_away(authority):
    with listening(plain) as port:
        assert "does not speak TLS" in str(tls_fault(f"127.0.0.1:{port}", authority))
    with pytest.raises(ConnectionError, match="is the SuperLink started"):
        tls_fault(f"127.0.0.1:{port}", authority)


def test_a_damaged_authority_is_named(tmp_path):
    (tmp_path / "ca.crt").write_text("no certificate")
    assert "carry its folder here again" in str(tls_fault("127.0.0.1:1", tmp_path / "ca.crt"))


@pytest.mark.parametrize(
    ("address", "parts"), [("a.org:1", ("a.org", 1)), ("[::1]:8443", ("::1", 8443))]
)
def test_an_address_is_a_host_and_a_port(address, parts):
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["a.org", "a.org:x", "https://a.org:1", ":8"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(SettingsError, match="expected HOST:PORT"):
        split_address(address)


# ---------------------------------------------------------------------------- run --superlink


@pytest.fixture
def connection(tmp_path, monkeypatch):
    """Flower's configuration with one connection, `office`."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))

    def write(port, line):
        text = f'[superlink.office]\naddress = "127.0.0.1:{port}"\n{line}'
        (tmp_path / "config.toml").write_text(text)

    return write


def test_a_plain_connection_to_a_superlink_with_tls_is_refused(connection, speaking_tls):
    with speaking_tls() as port:
        connection(port, "insecure = true\n")
        with pytest.raises(RunError, match="TLS and this connection has insecure=true: use"):
            check_connection("office")


def test_a_tls_connection_to_a_plain_superlink_is_refused(connection, authority):
    with listening(plain) as port:
        connection(port, f'root-certificates = "{authority}"\n')
        with pytest.raises(RunError, match="does not speak TLS"):
            check_connection("office")


def test_connections_that_fit_are_not_refused(connection, authority, speaking_tls):
    with speaking_tls() as port:
        connection(port, f'root-certificates = "{authority}"\n')
        check_connection("office")
    with listening(plain) as port:
        connection(port, "insecure = true\n")
        check_connection("office")


def test_a_connection_that_is_not_there_or_leads_to_nobody_is_refused(connection):
    with listening(plain) as port:
        connection(port, "insecure = true\n")
        with pytest.raises(RunError, match="no such connection, it has office; set FLWR_HOME"):
            check_connection("street")
        check_connection("local")  # Flower's own
        socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(RunError, match="nobody answers at"):
        check_connection("office")
