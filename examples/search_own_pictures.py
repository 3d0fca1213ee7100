"""Search a folder of your own pictures for the person on one of them.

    python examples/search_own_pictures.py MODEL GALLERY QUERY

MODEL is a run folder or a file of weights, GALLERY a folder with CAMERA/anything.jpg, QUERY a
picture of one person. Without them a small federation of drawn people is trained first, and one of
its people is looked for.
"""

import sys
import tempfile
from pathlib import Path

from fedklpr_flwr import extract_features, load_model, search_gallery, simulate


def drawn(folder: Path) -> tuple[Path, Path, Path]:
    """Train on drawn sites; the run, the gallery of one site, and a picture to look for in it."""
    run = simulate("smoke", [f"run.dir={folder / 'run'}", f"data.root={folder}", *sys.argv[1:]])
    query = min(folder.rglob("street-0/query/*.png"))
    return run, query.parent.parent / "gallery", query


def main(model_path: Path, gallery: Path, query: Path) -> None:
    """Print the five people who look most like the one on the query."""
    model = load_model(model_path)
    for found in search_gallery(model, gallery, query, count=5, keep=False):
        print(f"{found.score:.3f}  {found.camera or 'unknown camera':16} {found.path.name}")
    # The same features, for whatever else is to be done with them.
    (feature,) = extract_features(model, [query])
    print(f"{query.name}: {len(feature)} numbers of length {(feature @ feature) ** 0.5:.3f}")


if __name__ == "__main__":
    if len(sys.argv) == 4 and "=" not in sys.argv[1]:
        main(*map(Path, sys.argv[1:]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(*drawn(Path(place)))
