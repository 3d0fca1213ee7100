"""Initial weights: from a file, or torchvision's ImageNet weights."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn

from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.system.paths import user_cache

IMAGENET_FILES: dict[str, tuple[str, str]] = {
    "resnet18": (
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    ),
    "resnet34": (
        "resnet34-b627a593.pth",
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    ),
    "resnet50": (
        "resnet50-11ad3fa6.pth",
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
    ),
    "mobilenet_v2": (
        "mobilenet_v2-7ebf99e0.pth",
        "7ebf99e03e254b273379b23edca7ec0da9f48273b23a332b93c1c99d49e86e8f",
    ),
}
"""File names and SHA-256 of `model.weights=imagenet`: torchvision's newest for each backbone."""

_FROM = "https://download.pytorch.org/models/"

_LISTED = 8
# What others put a state dict into, the likeliest first.
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "network", "net", "params"),
    *("weights", "backbone", "checkpoint", "state_dict_ema", "ema_state_dict", "model_ema", "ema"),
    *("teacher", "student"),
)


def load_backbone_weights(network: nn.Module, path: Path) -> str:
    """Fill a network in place from a file that fits its backbone to the last key.

    Args:
        network: with the submodules `backbone` and `neck`.
        path: .safetensors, or .pth holding a dict of tensors, bare or wrapped (`read_tensors`).
            Keys are torchvision's (the backbone's own names) or this network's full ones, behind
            any prefix that all of the backbone share (module., model., base. ...). What is not of
            the backbone (a classifier, another neck) is passed over, and the neck then keeps its
            values. Integer counters may be absent.

    Returns:
        What was passed over and taken off, in words; empty where nothing was.

    Raises:
        WeightsError: the file cannot be read, or a key is missing, unknown or of another shape;
            the network is then unchanged.
    """
    tensors, taken = _read(path)
    backbone = network.get_submodule("backbone")
    prefix = backbone_prefix(backbone, tensors)
    outer = prefix.removesuffix("backbone.")
    own = {f"{outer}{name}" for name, value in network.state_dict().items() if _is_float(value)}
    whole = prefix.endswith("backbone.") and own <= tensors.keys()
    target = network if whole else backbone
    before = outer if whole else prefix
    tops = {name.partition(".")[0] for name in target.state_dict()}
    found = {
        name.removeprefix(before): tensor
        for name, tensor in tensors.items()
        if name.startswith(before) and name.removeprefix(before).partition(".")[0] in tops
    }
    _check_fit(target.state_dict(), found, path, before)
    target.load_state_dict(found, strict=False)  # strict but for the counters, checked above
    passed = sorted({_head(name, before) for name in tensors if not _taken(name, before, found)})
    said = [taken] * bool(taken) + [f"the prefix {before} taken off"] * bool(before)
    for other in _prefixes(backbone, tensors):
        if other != prefix and _fitting(backbone, tensors, other) == len(backbone.state_dict()):
            said.append(f"what is behind {other or 'no prefix'} fits as well and is passed over")
    said += [f"passed over: {', '.join(passed[:_LISTED])}"] if passed else []
    return "; ".join(said)


def backbone_prefix(backbone: nn.Module, names: Mapping[str, Tensor]) -> str:
    """What stands before the names of a backbone's weights in a file.

    Args:
        backbone: the network's.
        names: the file's tensors by name.

    Returns:
        The prefix under which most of the backbone's names are there, with its point, the first in
        the file where several are alike (MoCo's encoder_q before encoder_k); empty where they stand
        alone, or less than half of them are there.
    """
    found = max(
        _prefixes(backbone, names), key=lambda one: _fitting(backbone, names, one), default=""
    )
    return found if 2 * _fitting(backbone, names, found) >= len(backbone.state_dict()) else ""


def _prefixes(backbone: nn.Module, names: Mapping[str, Tensor]) -> list[str]:
    """What may stand before a backbone's names in a file, in the file's order."""
    first = next(iter(backbone.state_dict()))
    found = dict.fromkeys(name.removesuffix(first) for name in names if name.endswith(first))
    return [one for one in found if not one or one.endswith(".")]


def _fitting(backbone: nn.Module, names: Mapping[str, Tensor], prefix: str) -> int:
    """How many of a backbone's names a file has behind a prefix."""
    return sum(f"{prefix}{name}" in names for name in backbone.state_dict())


def _taken(name: str, before: str, found: Mapping[str, Tensor]) -> bool:
    return name.startswith(before) and name.removeprefix(before) in found


def _head(name: str, before: str) -> str:
    """The part of a network that a tensor is of, as few words as tell it."""
    return name.removeprefix(before).partition(".")[0]


def _is_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def download_imagenet_weights(backbone: str) -> Path:
    """Fetch torchvision's ImageNet weights of a backbone into torch's cache, or find them there.

    Args:
        backbone: one of IMAGENET_FILES.

    Returns:
        The path of the .pth file, its SHA-256 checked.

    Raises:
        WeightsError: there are no such weights, they are not in the cache and cannot be fetched,
            or the file there is another; the message names the file to carry over by hand.
    """
    if backbone not in IMAGENET_FILES:
        raise WeightsError(
            f"there are no ImageNet weights for {backbone!r}, only for {', '.join(IMAGENET_FILES)};"
            " set model.weights=none or a file"
        )
    name, sha256 = IMAGENET_FILES[backbone]
    path = _hub() / "checkpoints" / name
    if not path.exists():
        _fetch(_FROM + name, path, sha256)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path} is not torchvision's file: expected SHA-256 {sha256}, found {found}; remove "
            "it, and fetch or carry it anew"
        )
    return path


def holds_imagenet_weights(backbone: str) -> bool:
    """Tell whether torchvision's ImageNet weights of a backbone lie in torch's cache.

    Args:
        backbone: any; there are weights of IMAGENET_FILES only.
    """
    if backbone not in IMAGENET_FILES:
        return False
    return (_hub() / "checkpoints" / IMAGENET_FILES[backbone][0]).exists()


def _hub() -> Path:
    """Torch's cache; below our own where torch knows no home, and would take a folder called ~."""
    folder = Path(torch.hub.get_dir())
    return user_cache() / "torch" / "hub" if folder.parts[0] == "~" else folder


def _fetch(url: str, path: Path, sha256: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"could not fetch {url} ({error}); without a network, carry {path.name} (SHA-256 "
            f"{sha256}) to {path.parent}, or set model.weights to a file"
        ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a dict of tensors without running any code that a file might carry.

    Args:
        path: .safetensors, or .pth holding a dict of tensors.

    Raises:
        WeightsError: the file cannot be read, or holds something else.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """A file's tensors, and which of several were taken, in words; empty where there is one."""
    if not path.is_file():
        raise WeightsError(f"expected a .pth or .safetensors file of weights; {path} is no file")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return _plain(load_file(path), path), ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript the error below says what it is
            # {epoch, rank1, state_dict}: numpy's numbers and arrays are no programs.
            with torch.serialization.safe_globals(_NUMPYS):
                _check_unpacked(path)
                content = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # zip, pickle and safetensors each raise their own kinds
        said = " ".join(str(error).split())
        raise WeightsError(f"{path} {_what_it_is(path, said)}; nothing in it was run") from error
    tensors = _unwrapped(content)
    if tensors is None:
        names = ", ".join(map(str, content))[:200] if isinstance(content, dict) else ""
        keys = f" with {names}" * bool(names)
        raise WeightsError(
            f"{path} holds a {type(content).__name__}{keys}, not a plain dict of name -> tensor, "
            f"alone or as {', '.join(_WRAPPERS)}; save the model's state_dict()"
        )
    found = [name for name in _WRAPPERS if _unwrapped(content.get(name)) is not None]
    taken = f"{found[0]} taken, {', '.join(found[1:])} passed over" if found[1:] else ""
    return _plain(tensors, path), taken


def _check_unpacked(path: Path) -> None:
    """Refuse a zip that comes to more than the file has: a few bytes would become gigabytes."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    with zipfile.ZipFile(path) as found:
        size = sum(entry.file_size for entry in found.infolist())
    if size > path.stat().st_size:
        raise ValueError(f"{_PACKED} {size:,} bytes")


_PACKED = "it would unpack to"


def _plain(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Refuse what no network of ours can be filled with: keys and tensors of other kinds."""
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise WeightsError(f"{path} has the key {name!r:.100}, expected names of tensors")
        number = tensor.is_floating_point() or tensor.dtype in _WHOLE
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or not number:
            raise WeightsError(
                f"{path} has {name!r:.100} as {tensor.layout} {tensor.dtype} on {tensor.device}, "
                "expected plain numbers: save the model's state_dict() before it is made sparse, "
                "quantised or empty"
            )
    return tensors


_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


def _unwrapped(content: object) -> dict[str, Tensor] | None:
    """The dict of tensors in what a file holds; None where there is none.

    Numbers and words beside them (a step, a version) are passed over.
    """
    if not isinstance(content, dict):
        return None
    inner = (_unwrapped(content[name]) for name in _WRAPPERS if name in content)
    if (found := next((one for one in inner if one is not None), None)) is not None:
        return found
    if not all(isinstance(value, _TENSORS + _BESIDE) for value in content.values()):
        return None
    tensors = {name: value for name, value in content.items() if isinstance(value, _TENSORS)}
    return {name: torch.as_tensor(value) for name, value in tensors.items()} or None


def _what_it_is(path: Path, said: str) -> str:
    """What a file that cannot be read seems to be, and what is expected instead.

    Args:
        path: the file.
        said: what its reader said of it.
    """
    expected = (
        "expected .safetensors, or a .pth with a plain state dict (torch.save(model.state_dict(), "
        "PATH))"
    )
    size = path.stat().st_size
    if not size:
        return f"is empty: {expected}"
    if path.suffix.lower() == ".onnx":
        return f"is ONNX, which other programs run: {expected}; {_SPARSE}"
    if _is_torchscript(path):
        return f"is TorchScript, which torch.jit.load opens: {expected}; {_SPARSE}"
    if said.startswith(_PACKED):
        return f"is compressed ({size:,} bytes; {said}), as torch.save leaves no file: {expected}"
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file: fetch that (git lfs pull)"
    if start.startswith(b"<"):
        return "is a web page, not the file: a download that asked something first; fetch it anew"
    if start.startswith(b"PK") and not zipfile.is_zipfile(path):
        return f"is damaged or cut off ({size:,} bytes): copy it anew"
    if program := _GLOBAL.search(said):
        return (
            f"holds an object of a program ({program[1]}) beside or around its tensors: {expected}"
        )
    if path.suffix.lower() == ".safetensors":
        return f"is damaged or cut off ({size:,} bytes; {said:.120}): copy or export it anew"
    return f"is not a readable file of weights: {expected}"


_TENSORS, _BESIDE = (Tensor, np.ndarray), (int, float, str, type(None), np.generic)
_KINDS = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
_MULTIARRAY = np._core.multiarray  # type: ignore[attr-defined]
_NUMPYS: list[Any] = [
    *(np.ndarray, np.dtype, *(type(np.dtype(name)) for name in _KINDS)),
    *(
        (getattr(_MULTIARRAY, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("_core", "core")  # numpy 2 and 1
    ),
]
_GLOBAL = re.compile(r"GLOBAL (\S+)")
_SPARSE = "of our runs fedklpr export RUN --format safetensors writes such a file"


def _is_torchscript(path: Path) -> bool:
    """Whether it is a zip that holds code, as `torch.jit.save` writes it."""
    try:
        with zipfile.ZipFile(path) as found:
            return any("/code/" in name for name in found.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _check_fit(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, before: str
) -> None:
    """Raise at the first key of either side that the other lacks or has in another shape."""
    for key in [*expected, *(k for k in found if k not in expected)]:
        want = tuple(expected[key].shape) if key in expected else None
        got = tuple(found[key].shape) if key in found else None
        counter = got is None and not expected[key].is_floating_point()
        if want != got and not counter:
            raise WeightsError(
                f"{path.name} does not fit the network at {before + key!r}: expected "
                f"{_shape(want)}, found {_shape(got)}; choose weights of this backbone"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    """Say a shape, or that there is none."""
    return "no such key" if shape is None else f"shape {shape}"
