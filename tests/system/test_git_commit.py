"""Claims about fedklpr_flwr.system.git_commit: which code a run says that it was made by."""

import subprocess

from fedklpr_flwr import __version__
from fedklpr_flwr.system.git_commit import commit_of


def git(folder, *words):
    own = ["-c", "user.name=a", "-c", "user.email=a@b"]
    ran = subprocess.run(["git", "-C", folder, *own, *words], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_checkout_has_its_commit_and_says_what_is_not_in_it(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert commit_of(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert commit_of(tmp_path) == f"{head} with changes that are not committed"


def test_an_installed_package_has_its_version_whatever_checkout_it_lies_in(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    (tmp_path / "site-packages").mkdir()
    assert commit_of(tmp_path / "site-packages") == f"version {__version__}"
