"""What a client may be called: a name comes over the network and becomes a part of paths."""

import re

CLIENT_NAME_RULE = "letters, digits, '.', '_' and '-', not beginning with '.', at most 64 in all"
"""The rule in words, for errors."""

_ALLOWED = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def is_client_name(name: object) -> bool:
    """Whether a client may be called so, wherever the name comes from.

    Args:
        name: what it says; anything but a text is refused.
    """
    return isinstance(name, str) and _ALLOWED.fullmatch(name) is not None
