"""The sites of `experiment=own` where nobody lists them: every folder of data.root is one."""

from pathlib import Path

from fedklpr_flwr.config.client_name import CLIENT_NAME_RULE, is_client_name
from fedklpr_flwr.errors import SettingsError

OWN = "own"
_EXAMPLE = "data.clients=[{name: gate, reader: folder, folder: gate}]"


def own_sites(root: Path) -> str:
    """List a folder's folders as `data.clients`.

    Args:
        root: data.root.

    Returns:
        The override: a client for each folder, in order of their names, called as it is; its reader
        is `csv` where a table lies in it, else `folder`.

    Raises:
        SettingsError: there is no such folder, or no folder in it, or one with a name
            that no client may have.
    """
    folders = sorted(p for p in root.glob("*") if p.is_dir()) if root.is_dir() else []
    sites = [folder for folder in folders if not folder.name.startswith(".")]
    if not sites:
        got = "it has none" if root.is_dir() else "there is no such folder"
        raise SettingsError(
            f"data.root={root}: expected a folder for each site in it, {got}; {_EXAMPLE} lists them"
        )
    for site in sites:
        if not is_client_name(site.name):
            raise SettingsError(
                f"the site's folder {site.name!r} cannot be a client's name ({CLIENT_NAME_RULE}): "
                f"rename it, or list the sites by {_EXAMPLE}"
            )
    clients = [
        f"{{name: '{site.name}', reader: {_reader(site)}, folder: '{site.name}'}}" for site in sites
    ]
    return f"data.clients=[{','.join(clients)}]"


def _reader(site: Path) -> str:
    return "csv" if any(p.suffix.lower() == ".csv" for p in site.iterdir()) else "folder"
