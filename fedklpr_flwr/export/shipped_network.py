"""A network as it leaves the house: plain pictures in, unit features out, nothing of ours."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedklpr_flwr.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from fedklpr_flwr.errors import RunError, SettingsError, WeightsError
from fedklpr_flwr.reid.network import ReidNetwork

TOLERANCE = 1e-4
"""How far any number of a shipped feature may be from torch's."""

_OPSET = 18


class ShippedNetwork(nn.Module):
    """A re-identification network with its normalisation inside.

    Attributes:
        backbone: pictures to (N,D).
        neck: the batch norm behind it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: ReidNetwork) -> None:
        super().__init__()
        self.backbone, self.neck = network.backbone, network.neck
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures to features.

        Args:
            pictures: (N,3,H,W) float32, RGB, 0 to 1, of the height and width it was trained with.

        Returns:
            (N,D) float32, rows of unit length.
        """
        normal = (pictures - self.mean) / self.deviation
        return functional.normalize(self.neck(self.backbone(normal)), dim=1)


@dataclass(frozen=True)
class Checked:
    """How near a shipped file's features are to torch's.

    Attributes:
        pictures: what they were compared on, in words.
        difference: the largest of any number; None = there was nothing to run the file with.
    """

    pictures: str
    difference: float | None


def write_torchscript(path: Path, network: ReidNetwork, height: int, width: int) -> None:
    """Write a network as TorchScript; `torch.jit.load` opens it without this package.

    Args:
        path: the file.
        network: on the host, in evaluation mode.
        height: of its pictures.
        width: of its pictures.
    """
    example = torch.zeros(2, 3, height, width)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch would rather be asked for something newer
        shipped = ShippedNetwork(network).eval()
        traced = torch.jit.trace(shipped, example)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(path))


def write_onnx(path: Path, network: ReidNetwork, height: int, width: int) -> None:
    """Write a network as ONNX: input `pictures`, output `features`, any number of pictures.

    Args:
        path: the file.
        network: on the host, in evaluation mode.
        height: of its pictures.
        width: of its pictures.

    Raises:
        SettingsError: the extra `export` is not installed.
    """
    for name in ("onnx", "onnxscript"):
        _package(name)
    example = torch.zeros(2, 3, height, width)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ShippedNetwork(network).eval(),
            (example,),
            str(path),
            input_names=["pictures"],
            output_names=["features"],
            dynamic_shapes={"pictures": {0: torch.export.Dim("count")}},
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def features_of_file(path: Path, kind: str, pictures: Tensor) -> np.ndarray | None:
    """Draw features with a shipped file, as its user would.

    Args:
        path: the file.
        kind: onnx or torchscript.
        pictures: (N,3,H,W) float32, RGB, 0 to 1.

    Returns:
        (N,D) float32; None where onnxruntime is not installed.
    """
    if kind == "torchscript":
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            script = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
            drawn: np.ndarray = script(pictures).numpy()
        return drawn
    try:
        runtime = _package("onnxruntime")
    except SettingsError:
        return None
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"pictures": pictures.numpy()})[0]
    return found


def check_near(found: np.ndarray | None, wanted: np.ndarray, pictures: str) -> Checked:
    """Hold a shipped file's features against torch's.

    Args:
        found: (N,D), or None where the file could not be run.
        wanted: (N,D), torch's.
        pictures: of what, in words.

    Raises:
        WeightsError: they differ by more than `TOLERANCE`.
    """
    if found is None:
        return Checked(pictures, None)
    difference = float(np.abs(found - wanted).max())
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"the exported model's features differ from torch's by {difference:.2g} on {pictures}, "
            f"more than {TOLERANCE:g}: it was not written; another version of torch or onnx may do"
        )
    return Checked(pictures, difference)


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits.

    Raises:
        RunError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error


def _package(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SettingsError(
            f"--format onnx needs the package {name}: pip install 'fedklpr-flwr[export]'"
        ) from error
