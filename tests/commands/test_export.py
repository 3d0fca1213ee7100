"""Claims about `fedklpr export`: the file is the run's model, whole, and others can use it."""

import contextlib
import re
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_federation import PAIR, PRUNES, write_pictures

from fedklpr_flwr.model.mask_file import MaskFile
from fedklpr_flwr.reid.network import build_network, float_state
from fedklpr_flwr.runs.opened_model import open_model
from fedklpr_flwr.runs.trained_models import open_run


@pytest.fixture(scope="module")
def run(federate_in, tmp_path_factory):
    """Two clients, each with a mask of its own."""
    folder = tmp_path_factory.mktemp("export") / "run"
    return federate_in(folder, "pruning.when=after_training", *PRUNES, names=PAIR).folder


@pytest.fixture
def export(typed):
    """`export(RUN, ...)`: exit status, stdout, stderr."""
    return partial(typed, "export")


@pytest.mark.slow
def test_the_merged_model_is_zero_where_nobody_holds_it(run, export):
    status, out, err = export(run, "--format", "safetensors")
    assert status == 0, err
    assert "merged.safetensors" in out
    state = float_state(open_model(run / "export" / "merged.safetensors").network)
    merged = load_file(run / "global.safetensors")
    files = [MaskFile(run / "clients" / name / "mask.safetensors") for name in PAIR]
    nobodys = 0
    for name, tensor in merged.items():
        held = torch.ones_like(tensor, dtype=torch.bool)
        if name in files[0]:
            held = files[0][name] | files[1][name]
            assert not torch.equal(files[0][name], files[1][name])
        assert torch.equal(state[name], torch.where(held, tensor, 0.0))
        nobodys += int(tensor[~held].ne(0).sum())
    assert nobodys, "this test could not fail"


@pytest.fixture
def elsewhere(tmp_path):
    """A set that took no part, in the layout of `folder`."""
    write_pictures(tmp_path / "new" / "train", range(300, 304), 2, 1)
    write_pictures(tmp_path / "new" / "query", range(350, 356), 1, 2)
    write_pictures(tmp_path / "new" / "gallery", range(350, 356), 2, 3)
    return tmp_path / "new"


@pytest.mark.slow
def test_run_file_and_export_are_one_model_for_evaluation_and_search(run, export, typed, elsewhere):
    export(run, "--format", "safetensors")
    models = (run, run / "global.safetensors", run / "export" / "merged.safetensors")
    query = elsewhere / "query" / "p351" / "c0_0.png"
    told: dict[str, list[str]] = {"evaluate": [], "search": []}
    for model in models:
        on = ("--data", "folder", "--root", elsewhere, "--json")
        told["evaluate"].append(typed("evaluate", model, *on)[1])
        words = ("--model", model, "--gallery", elsewhere, "--query", query, "--json")
        told["search"].append(typed("search", *words)[1])
    for said in told.values():
        assert said[0].startswith("[")
        assert said == [said[0]] * 3


def test_a_clients_model_is_the_one_that_was_scored(run, export, tmp_path):
    file = tmp_path / "new" / "ash.safetensors"
    status, _, err = export(run, "--client", "ash", "--format", "safetensors", "--out", file)
    assert status == 0, err
    own = float_state(open_run(run).own("ash"))
    exported = float_state(open_model(file).network)
    assert all(torch.equal(own[name], tensor) for name, tensor in exported.items())
    card = (tmp_path / "new" / "ash.safetensors.md").read_text()
    assert "ash's model of run" in card
    assert "after 2 of 2 rounds of fedklpr" in card


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torchscript", "safetensors"])
def test_the_code_on_the_card_runs_and_compares_two_pictures(kind, run, export, tmp_path, capsys):
    file = tmp_path / "model.out"
    assert export(run, "--format", kind, "--out", file)[0] == 0
    Image.new("RGB", (20, 50), "red").save(tmp_path / "one.jpg")
    Image.new("RGB", (30, 40), "blue").save(tmp_path / "two.jpg")
    blocks = re.findall(r"```python\n(.*?)```", file.with_name("model.out.md").read_text(), re.S)
    capsys.readouterr()
    with contextlib.chdir(tmp_path):
        exec("\n".join(blocks), {})
    assert -1 <= float(capsys.readouterr().out) < 1


def test_torchscript_is_checked_on_the_runs_own_pictures(run, export):
    status, out, err = export(run, "--format", "torchscript")
    assert status == 0, err
    assert "of torch on 16 pictures of ash, read by the lines below" in out
    script = torch.jit.load(str(run / "export" / "merged.pt"))
    assert script(torch.rand(4, 3, 32, 16)).norm(dim=1).tolist() == pytest.approx([1] * 4, abs=1e-5)


def test_pictures_that_the_card_reads_otherwise_are_named_and_left_out(run, export, tmp_path):
    words = (run, "--format", "torchscript", "--out", tmp_path / "m.pt", "--check", tmp_path / "p")
    (tmp_path / "p" / "gate").mkdir(parents=True)
    deep = np.random.default_rng(0).integers(0, 65_536, (64, 32), np.uint16)
    Image.fromarray(deep).save(tmp_path / "p" / "gate" / "deep.png")
    status, _, err = export(*words)
    assert status == 1
    assert "(8 bits, sRGB or an RGB profile), found none among 1" in err
    Image.new("RGB", (32, 64), "red").save(tmp_path / "p" / "gate" / "plain.jpg")
    status, out, err = export(*words)
    assert status == 0, err
    assert "1 picture of p, read by the lines below, without 1 that they read otherwise" in out
    assert "(deep.png: more than 8 bits)" in out


def test_a_file_of_weights_says_its_size_and_takes_another(export, tmp_path):
    network = build_network("small", weights=None, generator_seed=0)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    words = (tmp_path / "w.pth", "--format", "torchscript")
    status, _, err = export(*words, "--height", 64)
    assert status == 0, err
    assert "says nothing of its pictures: taken as 64 x 32" in err
    assert torch.jit.load(str(tmp_path / "w.pt"))(torch.rand(1, 3, 64, 32)).shape[0] == 1


@pytest.mark.slow
def test_an_export_can_be_exported_again(run, export, tmp_path, sites):
    first = tmp_path / "a.safetensors"
    assert export(run, "--format", "safetensors", "--out", first)[0] == 0
    words = ("--format", "torchscript", "--check", sites / "birch")
    status, out, err = export(first, *words)
    assert status == 0, err
    assert "16 pictures of birch" in out
    script = torch.jit.load(str(tmp_path / "a.pt"))
    export(run, "--format", "torchscript", "--out", tmp_path / "b.pt")
    pictures = torch.rand(2, 3, 32, 16)
    with torch.no_grad():
        both = [script(pictures), torch.jit.load(str(tmp_path / "b.pt"))(pictures)]
    assert np.array_equal(*(one.numpy() for one in both))


def test_words_that_make_no_sense_are_refused(run, export, tmp_path):
    def refusal(*words):
        status, out, err = export(*words)
        assert (status, out, err.count("\n")) == (1, "", 1), err
        return err

    assert "--client oak" in refusal(run, "--client", "oak")
    assert "holds no run" in refusal(tmp_path)
    model = tmp_path / "global.safetensors"
    model.write_bytes((run / "global.safetensors").read_bytes())
    assert "is the model itself" in refusal(model, "--format", "safetensors")


def test_onnx_without_its_packages_says_how_to_get_them(run, export, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    status, _, err = export(run, "--format", "onnx")
    assert status == 1
    assert "pip install 'fedklpr-flwr[export]'" in err
    assert not (run / "export" / "merged.onnx").exists()
