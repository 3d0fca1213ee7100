"""Claims about exported models: what leaves draws torch's features, or nothing leaves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from galleries import small_model, write_gallery
from PIL import Image

from fedklpr_flwr.algorithm.masks import apply_mask, full_mask, prunable_weights
from fedklpr_flwr.algorithm.smallest_weights import prune_smallest
from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.data.picture_file import decode_picture
from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.export.shipped_network import check_near
from fedklpr_flwr.export.write_export import Pictures, ship
from fedklpr_flwr.reid.features import extract_features
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.runs.opened_model import PictureModel, open_model

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "viper" / "cam_a"


def pruned_model() -> PictureModel:
    """A model of which half the prunable weights are zero."""
    model = small_model()
    state = float_state(model.network)
    masks = prune_smallest(state, full_mask(state, prunable_weights(model.network)), 0.5)
    apply_mask(state, masks)
    return PictureModel(model.network, model.architecture, model.settings, masks, "half a model")


@pytest.fixture
def files(tmp_path):
    """Real pictures of people where they lie beside the checkout, else drawn ones."""
    if REAL.is_dir():
        return sorted(REAL.iterdir())[:5]
    return sorted(write_gallery(tmp_path / "drawn").glob("*/*.png"))[:5]


@pytest.fixture
def pictures(files):
    pixels = [decode_picture(file, height=32, width=16) for file in files]
    return Pictures(torch.from_numpy(np.stack(pixels)), "five pictures")


def read_plainly(files):
    """Pictures as the card tells a stranger to read them."""
    small = [
        Image.open(file).convert("RGB").resize((16, 32), Image.Resampling.BILINEAR)
        for file in files
    ]
    return np.stack([np.asarray(one, np.float32).transpose(2, 0, 1) / 255 for one in small])


def wanted(model, pictures):
    """Torch's own features."""
    return extract_features(model.network, image_loader(pictures.pixels, 5)).numpy()


def test_torchscript_gives_torchs_features_of_plain_pictures(tmp_path, files, pictures):
    model = pruned_model()
    told = ship(model, "torchscript", tmp_path / "model.pt", pictures)
    script = torch.jit.load(str(tmp_path / "model.pt"))
    features = script(torch.from_numpy(read_plainly(files))).detach().numpy()
    assert np.abs(features - wanted(model, pictures)).max() < 1e-4
    assert told.checked.difference < 1e-4
    assert script(torch.zeros(1, 3, 32, 16)).shape == (1, 128)


@pytest.mark.slow
def test_onnx_gives_torchs_features_of_plain_pictures(tmp_path, files, pictures):
    runtime = pytest.importorskip("onnxruntime")
    model = pruned_model()
    told = ship(model, "onnx", tmp_path / "model.onnx", pictures)
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    for count in (1, 3, 5):
        (features,) = session.run(None, {"pictures": read_plainly(files)[:count]})
        assert features.shape == (count, 128)
        assert np.abs(features - wanted(model, pictures)[:count]).max() < 1e-4
        assert np.linalg.norm(features, axis=1) == pytest.approx(np.ones(count), abs=1e-5)
    assert told.checked.difference < 1e-4


def test_what_no_mask_keeps_is_zero_and_the_rest_as_it_was(tmp_path, pictures):
    model = pruned_model()
    before = {name: tensor.clone() for name, tensor in float_state(model.network).items()}
    told = ship(model, "safetensors", tmp_path / "model.safetensors", pictures)
    opened = open_model(tmp_path / "model.safetensors")
    state = float_state(opened.network)
    for name, mask in model.masks.items():
        assert not state[name][~mask].any()
        assert torch.equal(state[name][mask], before[name][mask])
    assert all(torch.equal(before[n], t) for n, t in float_state(model.network).items())
    pruned = sum(int((~mask).sum()) for mask in model.masks.values())
    assert told.numbers - told.kept == pruned > 0
    assert (opened.architecture, opened.remark) == (model.architecture, "")


def test_features_that_are_not_torchs_leave_no_file(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr("fedklpr_flwr.export.shipped_network.IMAGENET_MEAN", (0.4, 0.4, 0.4))
    with pytest.raises(WeightsError, match="differ from torch's by"):
        ship(small_model(), "torchscript", tmp_path / "model.pt", pictures)
    assert list(tmp_path.glob("*.pt*")) == []


def test_a_difference_is_told_as_it_is():
    one = np.zeros((2, 3), np.float32)
    assert check_near(one + np.float32(5e-5), one, "x").difference == pytest.approx(5e-5)
    assert check_near(None, one, "x").difference is None
    for far in (one + 2e-4, one * np.nan):
        with pytest.raises(WeightsError, match="it was not written"):
            check_near(far, one, "x")
