"""Pages for this machine's own browser: where they are served, and to whom they answer."""

import secrets

from fedklpr_flwr.errors import RunError

LOOPBACK = "127.0.0.1"


def new_token() -> str:
    """Make the part of a page's address that other users of this machine cannot guess."""
    return secrets.token_urlsafe(16)


def own_names(port: int) -> frozenset[str]:
    """What a browser on this machine calls a page served here; any other name is refused.

    A foreign web page can point its own name at 127.0.0.1: such a request names it as its host.
    """
    return frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})


def port_taken(port: int, error: OSError) -> RunError:
    """What to say of a port that cannot be opened."""
    return RunError(f"--port {port} cannot be opened: {error.strerror}; 0 takes a free one")
