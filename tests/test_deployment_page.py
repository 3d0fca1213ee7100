"""Claims about docs/deployment.md: it promises nothing that no test proves."""

import ast
import re
from pathlib import Path

import pytest
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def rows_of(heading):
    """The rows of the first table below a heading, as lists of cells."""
    text = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE).group()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


HAPPENS = rows_of("What happens when")[2:]


@pytest.mark.parametrize("row", HAPPENS, ids=lambda row: row[0])
def test_every_row_of_what_happens_when_names_a_test_that_exists(row):
    path, name = row[-1].strip("`").split("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_table_has_a_row_for_all_that_the_project_promises():
    text = " ".join(row[0] for row in HAPPENS)
    for word in ("late", "twice", "joins", "leaves", "disk", "clock", "memory", "SuperLink"):
        assert word in text, word


def test_the_clock_limits_of_the_page_are_flowers():
    assert f"more than {SYSTEM_TIME_TOLERANCE} s ahead" in PAGE
    assert f"more than {TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE} s behind" in PAGE
