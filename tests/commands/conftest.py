"""The command line as one types it, for the tests of every command."""

import sys
from collections.abc import Callable

import pytest

from fedklpr_flwr.commands.__main__ import main

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """`typed("search", "--model", RUN, ...)`: exit status, stdout, stderr."""

    def typed(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedklpr", *map(str, words)])
        capsys.readouterr()  # what was said before it
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return typed
