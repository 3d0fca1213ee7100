"""Claims about a model's card: it says where the model comes from and what it may be used for."""

import pytest

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.export.card import Shipped, model_card
from fedklpr_flwr.export.shipped_network import Checked
from fedklpr_flwr.export.sparse_file import Architecture
from fedklpr_flwr.runs.rows import Row

ROWS = [
    Row(2, "ash", rank1=0.5, rank5=0.75, map=0.4, pruned=0.1),
    Row(2, "birch", rank1=None, rank5=None, map=None, pruned=0.3),
]


def shipped(**more):
    clients = (
        "[{name: ash, reader: viper, folder: viper}, {name: birch, reader: folder, folder: b}]"
    )
    settings = compose_settings(
        "smoke", (f"data.clients={clients}", "data.root=/sets", *more.pop("overrides", ()))
    )
    told = {
        "name": "Person re-identification: merged model of yesterday",
        "file": "merged.onnx",
        "kind": "onnx",
        "size": 2_400_000,
        "sha256": "ab" * 32,
        "architecture": Architecture("resnet18", False, 64, 32),
        "features": 512,
        "numbers": 1000,
        "kept": 750,
        "checked": Checked("16 pictures of ash", 3e-7),
        "settings": settings,
        "rows": ROWS,
        "round": 2,
    }
    return Shipped(**{**told, **more})


def test_data_rounds_accuracy_density_and_terms_are_told():
    card = model_card(shipped())
    for said in (
        "merged.onnx`, onnx, 2.40 MB, SHA-256 `abab",
        "750 kept: density 0.750",
        "stem without ReLU",
        "64 high, 32 wide",
        "on 16 pictures of ash: largest difference 3.0e-07",
        "after 2 of 2 rounds of fedklpr, experiment smoke, seed 0",
        "| ash | VIPeR | free for research; its README asks for the citation |",
        "| birch | the site's own pictures | the site's own |",
        "| ash | 0.500 | 0.750 | 0.400 | 0.100 |",
        "| birch | - | - | - | 0.300 |",
        "Training began from random numbers",
        "a person must look at what it finds",
        'InferenceSession("merged.onnx")',
    ):
        assert said in card, said


def test_a_clients_model_is_told_by_its_own_row():
    card = model_card(shipped(client="ash"))
    assert "Client ash's own model after 2" in card
    assert "| ash | 0.500" in card
    assert "| birch | -" not in card


@pytest.mark.parametrize(
    ("weights", "said"),
    [("imagenet", "torchvision's ImageNet weights"), ("/secret/place/old.pth", "`old.pth`")],
)
def test_what_training_began_from_binds_on(weights, said):
    card = model_card(shipped(overrides=(f"model.weights={weights}",), licence="CC BY-NC 4.0"))
    assert said in card
    assert "/secret" not in card
    assert "CC BY-NC 4.0\n" in card
    assert "Not stated" not in card


def test_what_is_not_known_is_said_to_be_unknown():
    bare = {"settings": None, "rows": (), "checked": Checked("x", None)}
    card = model_card(shipped(**bare, kind="safetensors", file="a.safetensors"))
    assert "says nothing of its run" in card
    assert "What training began from is not known" in card
    assert "not, for want of onnxruntime" in card
    assert "fedklpr search --model a.safetensors" in card
