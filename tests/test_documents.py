"""Claims about what is written for people: names exist, links lead somewhere, commands run."""

import dataclasses
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from fedklpr_flwr.commands.__main__ import command_line
from fedklpr_flwr.config.compose import compose_settings

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
MARKS = ("fast", "slow", "by-hand")
PROGRAMS = "fedklpr|flwr|flower-[a-z]+|make|pip|python3?|export|curl|scp|ssh|sudo|systemctl|docker"
COMMAND = re.compile(rf"^(\.venv/bin/)?({PROGRAMS}) ", re.MULTILINE)
BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path):
    """Every fenced block of a document: its info string, and what is in it."""
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def name_of(path):
    return str(path.relative_to(ROOT))


# ---------------------------------------------------------------------------- commands


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_block_of_commands_says_whether_it_is_fast_slow_or_by_hand(path):
    """```sh fast: only the first word is shown as a language, so the mark does not show."""
    right = {f"sh {mark}" for mark in MARKS}
    wrong = [
        f"{info or '(nothing)'}: {content.splitlines()[0]}"
        for info, content in blocks(path)
        if (COMMAND.search(content) or info.startswith("sh")) and info not in right
    ]
    assert wrong == [], f"mark them ```sh fast, ```sh slow or ```sh by-hand: {name_of(path)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_no_block_is_without_a_language(path):
    """An unmarked block could hide commands that nobody runs."""
    assert [content.splitlines()[0] for info, content in blocks(path) if not info] == []


def test_the_readme_has_commands_that_are_run_here():
    marks = [info for info, _ in blocks(ROOT / "README.md")]
    assert marks.count("sh fast") >= 4


@pytest.mark.slow
def test_the_fast_commands_run_in_the_order_in_which_they_stand(tmp_path):
    """In an empty folder with .venv and the checkout's experiments, as one who reads would."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FEDKLPR_CACHE": str(tmp_path / "cache")}
    ran = []
    for path in DOCUMENTS:
        for info, content in blocks(path):
            if info != "sh fast":
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", content],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, f"{name_of(path)}: {content}\n{done.stdout}{done.stderr}"
            ran.append(content)
    assert (tmp_path / "runs" / "latest" / "report.html").exists()
    assert len(ran) >= 4


def commands(group=None, way=("fedklpr",)):
    """Every command of the application with the words that lead to it."""
    group = group or command_line()
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            yield from commands(command, (*way, name))
        else:
            yield pytest.param((*way, name), command, id=" ".join((*way[1:], name)))


@pytest.mark.parametrize(("way", "command"), list(commands()))
def test_every_commands_help_has_an_example_that_it_understands(way, command):
    examples = re.findall(r"Example: (.+)", command.help or "")
    assert examples, f"{' '.join(way)} --help has no line `Example: {' '.join(way)} ...`"
    for example in examples:
        words = shlex.split(example)
        assert tuple(words[: len(way)]) == way
        command.make_context(way[-1], words[len(way) :])  # raises what a user would be told


@pytest.mark.parametrize(("way", "command"), list(commands()))
def test_every_argument_and_option_says_what_it_is(way, command):
    silent = [one.name for one in command.params if not getattr(one, "help", None)]
    assert silent == []


# ---------------------------------------------------------------------------- names and links


def settings_keys():
    def leaves(value, way):
        for field in dataclasses.fields(value):
            found, here = getattr(value, field.name), (*way, field.name)
            yield ".".join(here)
            if dataclasses.is_dataclass(found):
                yield from leaves(found, here)

    return set(leaves(compose_settings("drawn"), ()))


def exists(name, keys):
    """Whether it is a file, something that can be imported below the package, or a key."""
    if name in keys or (ROOT / name).exists() or (ROOT / "fedklpr_flwr" / name).exists():
        return True
    module, _, rest = f"fedklpr_flwr.{name}".rpartition(".")
    try:
        return hasattr(importlib.import_module(module), rest)
    except ImportError:
        return False


def test_every_name_of_the_walkthrough_exists():
    text = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    names = re.findall(r"`([^`\n]+)`", text)
    assert len(names) > 60
    keys = settings_keys()
    assert [name for name in names if not exists(name, keys)] == []


def test_a_name_that_does_not_exist_is_noticed():
    keys = settings_keys()
    for wrong in ("reid.features.extract_feature", "data/nowhere.py", "kl.heavy", "nowhere.at_all"):
        assert not exists(wrong, keys)
    for right in ("reid.features.extract_features", "data/check.py", "kl.weight", "docs"):
        assert exists(right, keys)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_leads_to_a_file(path):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    inner = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in inner if not (path.parent / link).exists()] == []


def test_the_citation_is_of_this_version_and_this_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["title"], cited["version"]) == (project["name"], project["version"])
    assert cited["license"] == project["license"]
    (paper,) = cited["references"]
    assert "2508.17431" in paper["url"]
