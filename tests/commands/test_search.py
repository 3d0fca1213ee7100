"""Claims about `fedklpr search`: any of our models finds people in a folder, or it says why not."""

import json
from functools import partial

import pytest
import torch
from galleries import write_figure
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_federation import PAIR, PRUNES


@pytest.fixture(scope="module")
def run(federate_in, tmp_path_factory):
    """Two clients and a round; each prunes what it likes."""
    folder = tmp_path_factory.mktemp("search") / "run"
    words = ("federation.rounds=1", "pruning.when=after_training", *PRUNES)
    return federate_in(folder, *words, names=PAIR).folder


@pytest.fixture
def search(typed):
    """`search("--model", RUN, ...)`: exit status, stdout, stderr."""
    return partial(typed, "search")


@pytest.fixture
def asked(sites, run):
    """The words of a search in ash's test pictures for one of its people."""
    query = sites / "ash" / "query" / "p51" / "c0_0.png"
    return ("--model", run, "--gallery", sites / "ash", "--query", query)


def found(search, *words):
    status, out, err = search(*words, "--json")
    assert status == 0, err
    return json.loads(out)


@pytest.mark.slow
def test_the_nearest_are_told_with_camera_person_and_score(search, asked):
    (told,) = found(search, *asked, "--top", 3)
    assert told["query"].endswith("p51/c0_0.png")
    assert [one["place"] for one in told["found"]] == [1, 2, 3]
    scores = [one["score"] for one in told["found"]]
    assert scores == sorted(scores, reverse=True)
    assert {one["camera"] for one in told["found"]} <= {"c0", "c1"}
    assert all(f"/{one['person']}/" in one["picture"] for one in told["found"])


def test_a_table_says_the_same(search, asked):
    status, out, _ = search(*asked, "--top", 2)
    assert status == 0
    assert "the merged model of" in out
    assert "16 pictures by 2 cameras" in out
    (told,) = found(search, *asked, "--top", 1)
    assert f"{told['found'][0]['score']:.3f}" in out


def test_a_sheet_is_a_picture_of_all_queries(search, asked, sites, tmp_path):
    other = sites / "ash" / "query" / "p52" / "c1_0.png"
    status, _, err = search(*asked, "--query", other, "--sheet", tmp_path / "s.png", "--top", 4)
    assert status == 0
    assert "s.png" in err
    one = search(*asked, "--sheet", tmp_path / "one.png", "--top", 4)[0]
    assert one == 0
    heights = [Image.open(tmp_path / name).height for name in ("one.png", "s.png")]
    assert heights[1] > 1.9 * heights[0]


def test_a_clients_own_model_and_the_merged_one_find_differently(search, asked, run):
    merged, ashs, birchs = (
        found(search, *asked, *more)[0]["found"]
        for more in ((), ("--client", "ash"), ("--client", "birch"))
    )
    assert len({str(one) for one in (merged, ashs, birchs)}) == 3
    assert found(search, "--model", run / "global.safetensors", *asked[2:])[0]["found"] == merged


def test_bare_weights_are_taken_as_usual_and_that_is_said(search, asked, run, tmp_path):
    save_file(load_file(run / "global.safetensors"), tmp_path / "bare.safetensors")
    status, _, err = search("--model", tmp_path / "bare.safetensors", *asked[2:])
    assert status == 0
    assert "bare.safetensors says nothing of its pictures: taken as 64 x 32, by conf/model" in err
    _, _, err = search("--model", tmp_path / "bare.safetensors", *asked[2:], "--height", 96)
    assert "taken as 96 x 48, by --height, half as wide as high" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--query PICTURE says who is looked for"),
        (("--query", "x.png", "--port", "1"), "add --serve"),
        (("--serve", "--query", "x.png"), "leave --query"),
        (("--client", "oak", "--query", "x.png"), "--client oak"),
    ],
)
def test_words_that_make_no_sense_are_refused(words, said, search, asked):
    status, out, err = search(*asked[:4], *words)
    assert (status, out) == (1, "")
    assert said in err


def test_what_does_not_fit_is_one_sentence(search, asked, run, tmp_path):
    def refusal(*words):
        status, out, err = search(*words)
        assert (status, out, err.count("\n")) == (1, "", 1), err
        return err

    query = asked[4:]
    assert "there is nothing" in refusal("--model", tmp_path / "x", *asked[2:])
    assert "holds no run" in refusal("--model", tmp_path, *asked[2:])
    torch.save({"a.weight": torch.ones(3)}, tmp_path / "other.pth")
    said = refusal("--model", tmp_path / "other.pth", *asked[2:])
    assert "fits none of small, resnet18" in said
    (tmp_path / "merged.onnx").write_bytes(b"\x08\x0a")
    assert "merged.onnx is ONNX" in refusal("--model", tmp_path / "merged.onnx", *asked[2:])
    (tmp_path / "empty").mkdir()
    assert "empty folder" in refusal(*asked[:2], "--gallery", tmp_path / "empty", *query)
    (tmp_path / "no.png").write_bytes(b"no")
    assert "no.png: expected a picture, got: no picture of a known format" in refusal(
        *asked[:4], "--query", tmp_path / "no.png"
    )
    client = refusal("--model", run / "global.safetensors", *asked[2:], "--client", "ash")
    assert "--client ash" in client


def test_unreadable_gallery_pictures_are_named_and_the_others_searched(search, asked, tmp_path):
    write_figure(tmp_path / "g" / "cam1" / "1.png", 1)
    (tmp_path / "g" / "cam1" / "2.png").write_bytes(b"no")
    status, out, err = search(*asked[:2], "--gallery", tmp_path / "g", *asked[4:])
    assert status == 0
    assert "left out of" in err
    assert "1 file\n" in err
    assert "2.png: no picture of a known format" in err
    assert "1.png" in out


def test_nothing_in_a_pictures_name_is_obeyed_by_a_terminal(search, asked, tmp_path):
    write_figure(tmp_path / "g" / "cam1\x1b[31m" / "a\x1b]0;pwned\x07.png", 1)
    (tmp_path / "g" / "cam1\x1b[31m" / "b\x1b[2J.png").write_bytes(b"no")
    status, out, err = search(*asked[:2], "--gallery", tmp_path / "g", *asked[4:])
    assert status == 0
    assert "]0;pwned" in out
    assert "b?[2J.png: no picture" in err
    assert not {"\x1b", "\x07"} & {*out, *err}
