"""The card of an exported model: what it was made of, how good it is, and what it is for."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.data.benchmarks import CARDS
from fedklpr_flwr.export.recipe import printed
from fedklpr_flwr.export.shipped_network import Checked
from fedklpr_flwr.export.sparse_file import Architecture
from fedklpr_flwr.report.summary import largest_epsilon
from fedklpr_flwr.runs.rows import Row


@dataclass(frozen=True)
class Shipped:
    """What is known of an exported model.

    Attributes:
        name: what it is, in words.
        file: the file's name.
        kind: onnx, torchscript or safetensors.
        size: of the file, in bytes.
        sha256: of the file.
        architecture: the network.
        features: D.
        numbers: of the network, dense.
        kept: of them, those that are not pruned.
        checked: how near it is to torch.
        client: whose own model it is; None = the merged one, or not known.
        settings: of the run; None where the model is a file without its run.
        rows: the clients' rows of the run's last round.
        round: that round.
        licence: as whoever exports it says; empty = not said.
    """

    name: str
    file: str
    kind: str
    size: int
    sha256: str
    architecture: Architecture
    features: int
    numbers: int
    kept: int
    checked: Checked
    client: str | None = None
    settings: Settings | None = None
    rows: Sequence[Row] = ()
    round: int = 0
    licence: str = ""


def model_card(shipped: Shipped) -> str:
    """The card as Markdown."""
    parts = (
        ("", _front(shipped)),
        ("Data", _data(shipped)),
        ("Accuracy", _accuracy(shipped)),
        ("Licence of the weights", _licence(shipped)),
        ("Intended use", _INTENDED),
        ("How to use it", _usage(shipped)),
    )
    lines = [f"# {shipped.name}"]
    for title, text in parts:
        lines += ["", f"## {title}", ""] if title else [""]
        lines.append(text.strip("\n"))
    return "\n".join(lines) + "\n"


_INTENDED = """
Finding the same person among pictures of several cameras, where the people seen know of it and the
law allows it: features of two pictures are compared by their cosine. It says who looks alike, not
who somebody is: a person must look at what it finds. It knows the sites it was trained on and no
others; on other cameras, seasons or people its accuracy is not known, and it may differ between
groups of people. Not for decisions about people without a person, and not for covert surveillance.
Features are personal data: keep them no longer than needed.
"""


def _front(shipped: Shipped) -> str:
    size = shipped.architecture
    density = shipped.kept / shipped.numbers
    checked = shipped.checked
    near = f"largest difference {checked.difference:.1e}" if checked.difference is not None else ""
    lines = [
        f"- file: `{shipped.file}`, {shipped.kind}, {shipped.size / 1e6:.2f} MB, SHA-256 "
        f"`{shipped.sha256}`",
        f"- network: {size.backbone}{_stem(size)} with a batch-norm neck; {shipped.numbers:,} "
        f"numbers, {shipped.kept:,} kept: density {density:.3f}; pruned ones are zero",
        f"- pictures: RGB, {size.height} high, {size.width} wide",
        f"- features: {shipped.features} numbers, of unit length",
        f"- checked against torch on {checked.pictures}: {near or 'not, for want of onnxruntime'}",
    ]
    return "\n".join(lines)


def _stem(size: Architecture) -> str:
    if not size.backbone.startswith("resnet"):
        return ""
    return f" (last stride 1, stem {'with' if size.stem_relu else 'without'} ReLU)"


def _data(shipped: Shipped) -> str:
    settings = shipped.settings
    if settings is None:
        return "Not known: the file it was exported from says nothing of its run."
    whose = f"client {shipped.client}'s own model" if shipped.client else "the merged model"
    lines = [
        f"{whose[0].upper()}{whose[1:]} after {shipped.round} of {settings.federation.rounds} "
        f"rounds of {settings.method.name}, experiment {settings.experiment}, seed "
        f"{settings.seed}; labels by {settings.labels.source}. No picture left its site.",
        "",
        "| site | pictures | terms |",
        "|---|---|---|",
    ]
    for site in settings.data.sites:
        title, terms = _origin(site.reader)
        lines.append(f"| {site.name} | {title} | {terms} |")
    most = largest_epsilon(shipped.rows)
    if most is not None:
        delta = settings.privacy.delta
        lines += [
            "",
            f"Sites noised their updates (privacy=local_dp): no site's epsilon is above {most:.3g} "
            f"at delta {delta:g}, for all its pictures together.",
        ]
    return "\n".join(lines)


def _origin(reader: str) -> tuple[str, str]:
    """What a site's pictures are, and their terms as the reader's card tells them."""
    if reader.startswith("drawn:"):
        return "people drawn by this package", "none: nobody is on them"
    card = CARDS.get(reader)
    words = " ".join(card.words.split()) if card else ""
    told = words.partition("Terms: ")[2]
    terms = told.partition(". ")[0] if told else "the site's own"
    return (card.title if card and card.expected else "the site's own pictures"), terms.rstrip(".")


def _accuracy(shipped: Shipped) -> str:
    if not shipped.rows:
        return "Not known. `fedklpr evaluate` measures it on any data set."
    rows = [row for row in shipped.rows if shipped.client in (None, row.client)]
    lines = ["| site | Rank-1 | Rank-5 | mAP | pruned |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (_share(value) for value in (row.rank1, row.rank5, row.map, row.pruned))
        lines.append(f"| {row.client} | {' | '.join(cells)} |")
    whose = (
        "This model"
        if shipped.client
        else "Each site's own model, which is the merged one seen through its mask and personal "
        "parts (`fedklpr evaluate RUN --global` scores the merged model itself),"
    )
    said = f"{whose} on its site's query and gallery: cosine, the same-camera rule."
    return "\n".join([*lines, "", said])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _licence(shipped: Shipped) -> str:
    start = shipped.settings.model.weights if shipped.settings else ""
    begun = {
        None: "Training began from random numbers: no earlier weights are in it.",
        "": "What training began from is not known.",
        "imagenet": "Training began from torchvision's ImageNet weights (BSD-3-Clause; the "
        "pictures of ImageNet are for research).",
    }
    other = (
        f"Training began from `{str(start).rsplit('/', 1)[-1]}`, whose licence goes on to apply."
    )
    said = shipped.licence or (
        "Not stated. Whoever passes the weights on states one that allows no more than the terms "
        "of the pictures above."
    )
    return f"{said}\n\n{begun.get(start, other)}"


def _usage(shipped: Shipped) -> str:
    size = shipped.architecture
    if shipped.kind == "safetensors":
        return _SPARSE_USAGE.format(file=shipped.file, height=size.height, width=size.width)
    body = _ONNX if shipped.kind == "onnx" else _TORCHSCRIPT
    lines = printed(size.width, size.height).rstrip()
    pictures = _PICTURES.format(width=size.width, height=size.height, lines=lines)
    return pictures + body.format(file=shipped.file)


_PICTURES = """
Cut the person out; the lines below turn it upright, decode a large JPEG at a fraction of its scale
and resize the cut to {width} x {height} (bilinear, antialiased): the pixels that the model was
trained on. A colour profile of red, green and blue is followed; convert pictures of 16 bits, in
CMYK or grey with a profile to 8 bits in sRGB before. Normalisation is inside; any number of
pictures at once.

```python
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms, ImageOps


{lines}


pictures = np.stack([picture("one.jpg"), picture("two.jpg")])
"""

_ONNX = """
import onnxruntime

features = onnxruntime.InferenceSession("{file}").run(None, {{"pictures": pictures}})[0]
print(features[0] @ features[1])  # the cosine: 1 = the same
```
"""

_TORCHSCRIPT = """
import torch

with torch.no_grad():
    features = torch.jit.load("{file}")(torch.from_numpy(pictures)).numpy()
print(features[0] @ features[1])  # the cosine: 1 = the same
```
"""

_SPARSE_USAGE = """
```
fedklpr search --model {file} --gallery FOLDER --query PICTURE
fedklpr evaluate {file} --data market1501 --root FOLDER
```

```python
from pathlib import Path
import numpy as np
import torch
from fedklpr_flwr.data.picture_file import decode_picture
from fedklpr_flwr.runs.opened_model import open_model

names = ("one.jpg", "two.jpg")
pictures = [decode_picture(Path(name), height={height}, width={width}) for name in names]
features = open_model(Path("{file}")).features(torch.from_numpy(np.stack(pictures)))
print(features[0] @ features[1])  # the cosine: 1 = the same
```
"""
