"""How many files this process may hold open at once."""

from fedklpr_flwr.errors import MergeError

_OTHERS = 256
"""Sockets, logs and libraries beside them."""


def allow_all_open_files() -> None:
    """Raise this process's own limit as far as the system lets it, if it does."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ImportError, OSError, ValueError):  # no such limits; a filter; a hard one that is none
        return


def allow_open_files(count: int) -> None:
    """Raise this process's own limit where so many more files need it.

    A login shell or a service begins with 1,024, and may raise it itself to a far higher one.

    Args:
        count: files that will be open at once.

    Raises:
        MergeError: the system allows fewer.
    """
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed, endless = count + _OTHERS, resource.RLIM_INFINITY
    if soft == endless or soft >= needed:
        return
    if hard != endless and hard < needed:
        raise MergeError(
            f"a merge of {count:,} updates opens as many files, and this process may open "
            f"{hard:,}: raise its limit to {needed:,} (`ulimit -Hn`, or LimitNOFILE= of a service)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
