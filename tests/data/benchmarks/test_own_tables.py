"""Claims about tables as other programs write them: read, or refused in words that help."""

import pytest

from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.errors import DataError

ROWS = [("1.jpg", "anna", "door", "train"), ("2.jpg", "ben", "hall", "train")]


def table(plant, root, delimiter=",", header="path person camera split", encoding="utf-8", more=()):
    """Write a table with two rows; `more` are a further column's name and its cells' text."""
    plant(root, [row[0] for row in ROWS])
    heads = [*header.split(), *more[:1]]
    lines = [heads, *([*row, *more[1:]] for row in ROWS)]
    text = "\n".join(delimiter.join(line) for line in lines)
    (root / "t.csv").write_text(text, encoding=encoding)
    return root


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_stands_between_the_columns_is_told_by_the_columns(plant, tmp_path, delimiter):
    others = "".join({",", ";", "\t", "|"} - {delimiter}) * 5
    root = table(plant, tmp_path, delimiter, more=(f"a{others}b", "x"))
    assert len(read_dataset("csv", root).train) == 2


@pytest.mark.parametrize("name", ["image_name", "img_name", "filepath", "image_file"])
def test_a_column_of_pictures_has_many_names(plant, tmp_path, name):
    root = table(plant, tmp_path, header=f"{name} pid camid split")
    assert len(read_dataset("csv", root).train) == 2


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_utf_32_is_refused_by_name(plant, tmp_path, encoding):
    with pytest.raises(DataError, match="got UTF-32; save it as UTF-8"):
        read_dataset("csv", table(plant, tmp_path, encoding=encoding))


@pytest.mark.parametrize(
    ("split", "told"), [("test", r"searched for \(query\) or"), ("val", "call it train, or leave")]
)
def test_another_toolkits_split_is_explained(plant, tmp_path, split, told):
    root = table(plant, tmp_path)
    text = (root / "t.csv").read_text()
    (root / "t.csv").write_text(text.replace("hall,train", f"hall,{split}"))
    with pytest.raises(DataError, match=f"query or gallery, got '{split}': .*{told}"):
        read_dataset("csv", root)


@pytest.mark.parametrize("suffix", [".tsv", ".txt", ".xlsx"])
def test_a_table_of_another_suffix_is_named(plant, tmp_path, suffix):
    root = table(plant, tmp_path, "\t")
    (root / "t.csv").rename(root / f"t{suffix}")
    with pytest.raises(DataError, match=rf"got none, beside t\{suffix}; point data\.root at the"):
        read_dataset("csv", root)
    assert len(read_dataset("csv", root / f"t{suffix}").train) == 2
