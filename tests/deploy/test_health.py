"""Claims about the health checks: what answers and speaks with the other side is well."""

import socket
import ssl
import threading

import pytest

from fedklpr_flwr.deploy.certificates import make_authority, sign_server
from fedklpr_flwr.deploy.health import has_contact, main, superlink_fault, supernode_fault

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ILL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def line(port, state, unanswered=0):
    """A line of /proc/net/tcp: a connection to a port of 127.0.0.1."""
    return (
        f"   0: 0100007F:91FE 0100007F:{port:04X} {state} 00000000:00000000 00:00000000 "
        f"{unanswered:08X}     0        0 271385 1 000000001faf72d4 20 4 31 18 -1\n"
    )


@pytest.mark.parametrize(
    ("port", "state", "unanswered", "fresh"),
    [
        (8443, "01", 0, True),  # established
        (8443, "06", 0, True),  # TIME_WAIT: closed within the last minute
        (8443, "01", 2, False),  # what was sent is not answered
        (8443, "02", 0, False),  # SYN_SENT: nobody is there
        (8443, "08", 0, False),  # CLOSE_WAIT: the other side has gone
        (8444, "01", 0, False),  # another server
    ],
)
def test_a_connection_counts_that_is_answered_or_was_closed_a_moment_ago(
    port, state, unanswered, fresh
):
    assert has_contact(HEAD + line(port, state, unanswered), 8443) is fresh
    assert not has_contact(HEAD, 8443)


class Answering:
    """A server that gives every request one answer, over TLS where it has a certificate."""

    def __init__(self, answer, context=None):
        self.answer, self.context = answer, context
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
                if self.context:
                    connection = self.context.wrap_socket(connection, server_side=True)
                with connection:
                    if connection.recv(1000):
                        connection.sendall(self.answer)
            except OSError:
                if self.listening.fileno() < 0:
                    return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listening.shutdown(socket.SHUT_RDWR)  # wakes the thread, whose accept keeps the port
        self.listening.close()


@pytest.fixture
def authority(tmp_path):
    made = make_authority("harbour")
    signed = sign_server(made, "harbour", ["127.0.0.1"], 10)
    for name, content in (("ca.crt", made.certificate), ("s.crt", signed.certificate)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "s.key").write_bytes(signed.key)
    return tmp_path


def test_a_superlink_is_well_that_answers_so_over_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "s.crt", authority / "s.key")
    with Answering(WELL, context) as server:
        address = f"127.0.0.1:{server.port}"
        assert superlink_fault(address, authority / "ca.crt") is None
        assert main(["superlink", address, str(authority / "ca.crt")]) == 0
    with Answering(ILL, context) as server:
        told = superlink_fault(f"127.0.0.1:{server.port}", authority / "ca.crt")
        assert told == f"127.0.0.1:{server.port} answers with status 503"
    other = authority / "other.crt"
    other.write_bytes(make_authority("harbour").certificate)
    with Answering(WELL, context) as server:
        told = superlink_fault(f"127.0.0.1:{server.port}", other)
        assert "is not signed by this federation's authority" in told


def test_a_superlink_that_is_away_or_speaks_no_tls_is_ill(authority, capsys):
    with Answering(WELL) as server:
        address = f"127.0.0.1:{server.port}"
        assert "does not speak TLS" in superlink_fault(address, authority / "ca.crt")
    assert main(["superlink", address, str(authority / "ca.crt")]) == 1
    assert "nobody answers at" in capsys.readouterr().out


def test_a_supernode_is_well_that_answers_and_is_connected():
    with Answering(WELL) as own, Answering(WELL) as superlink:
        address = f"127.0.0.1:{superlink.port}"
        told = supernode_fault(address, own.port)
        assert told == f"no connection to {address} for a minute: is the SuperLink started?"
        with socket.create_connection(("127.0.0.1", superlink.port)):
            assert supernode_fault(address, own.port) is None
    assert "does not answer" in supernode_fault(address, own.port)


def test_a_call_that_makes_no_sense_is_ill_and_told_how(capsys):
    assert main(["supernode", "nowhere", "1"]) == 1
    assert main(["superlink"]) == 1
    assert capsys.readouterr().out.count("expected") >= 2
