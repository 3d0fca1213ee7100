"""Claims about text that others wrote."""

import pytest
import yaml

from fedklpr_flwr.system.plain_text import check_plain_yaml, parse_json, printable


def test_json_that_is_nested_without_end_is_no_json():
    assert parse_json('{"a": [1, null]}') == {"a": [1, None]}
    for text in ("[" * 200_000, '{"a":' * 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(text)


def test_yaml_with_aliases_or_without_end_is_refused_before_it_is_built():
    """Nine levels of ten aliases would be a thousand million entries."""
    levels = ["a0: &a0 [x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(yaml.YAMLError, match="alias"):
        check_plain_yaml("\n".join(levels))
    with pytest.raises(yaml.YAMLError, match="lie in one another"):
        check_plain_yaml("a: " + "[" * 200_000)
    check_plain_yaml("a: {b: [1, 2], c: {d: 1e-3}}")


def test_nothing_that_a_terminal_obeys_is_printable():
    assert printable("fed\x1b]0;PWNED\x07avg\u202e\n") == "fed?]0;PWNED?avg??"
    assert printable("Zürich, 東京") == "Zürich, 東京"
