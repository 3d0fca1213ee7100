"""Give a site pictures that no reader knows, by a function of your own.

    python examples/custom_site.py [KEY=VALUE ...]

A reader gets a folder and a seed and says of every picture who is on it and which camera took it.
Here names are CAMERA-PERSON-NUMBER.png, all in one folder. Everything runs in this process, so a
line in READERS and one in CARDS are enough; a reader for everybody is a file of
fedklpr_flwr/data/benchmarks (CONTRIBUTING.md says how).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from fedklpr_flwr import read_rows, simulate
from fedklpr_flwr.data.benchmarks import CARDS, READERS
from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

TESTED = 4


def read_dashes(tree: PictureTree, seed: int) -> ReidDataset:
    """Read CAMERA-PERSON-NUMBER.png; the last persons are searched for, nobody trains on them."""
    images = []
    for path in tree.pictures(tree.root):
        camera, person, _ = path.stem.split("-")
        images.append(PersonImage(path, person_id=int(person) + 1, camera_id=int(camera)))
    last = max(image.person_id for image in images)
    test = [image for image in images if image.person_id > last - TESTED]
    return ReidDataset(
        name="dashes",
        train=tuple(image for image in images if image not in test),
        query=tuple(image for image in test if image.camera_id == 0),
        gallery=tuple(image for image in test if image.camera_id != 0),
    )


def write_pictures(folder: Path, persons: int, seed: int) -> None:
    """Stand-ins for your pictures: two colours a person, seen by two cameras."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for person in range(persons):
        upper, lower = generator.integers(40, 216, (2, 3))
        for camera in range(2):
            for number in range(3):
                picture = 90 + 60 * camera + generator.normal(0, 12, (64, 32, 3))
                picture[8:32, 8:24] += upper - 120
                picture[32:60, 10:22] += lower - 120
                name = f"{camera}-{person}-{number}.png"
                Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name)


def main() -> None:
    """Train two sites that this reader reads."""
    READERS["dashes"] = read_dashes
    CARDS["dashes"] = DatasetCard("dashes", layout="CAMERA-PERSON-NUMBER.png in one folder")
    with tempfile.TemporaryDirectory() as place:
        for seed, site in enumerate(("north", "south")):
            write_pictures(Path(place) / "sites" / site, persons=12, seed=seed)
        sites = ", ".join(
            f"{{name: {name}, reader: dashes, folder: {name}}}" for name in ("north", "south")
        )
        words = (f"run.dir={Path(place) / 'run'}", f"data.root={Path(place) / 'sites'}")
        run = simulate("smoke", [*words, f"data.clients=[{sites}]", *sys.argv[1:]])
        for row in read_rows(run):
            if row.client:
                print(f"round {row.round}  {row.client}: Rank-1 {row.rank1:.3f}  mAP {row.map:.3f}")


if __name__ == "__main__":
    main()
