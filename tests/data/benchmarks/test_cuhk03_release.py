"""Pictures out of cuhk-03.mat."""

import sys

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.data.benchmarks.cuhk03_release import extract_pictures
from fedklpr_flwr.errors import DataError


def write_release(path, kind="detected", persons=2):
    """Write a file as MATLAB 7.3 does: cells are references, arrays are transposed."""
    h5py = pytest.importorskip("h5py", reason="h5py reads MATLAB 7.3 files; pip install h5py")
    with h5py.File(path, "w") as content:
        pairs = []
        for pair in range(5):
            cells = np.empty((10, persons), dtype=h5py.ref_dtype)
            for person in range(persons):
                for number in range(10):
                    name = f"{pair}/{person}/{number}"
                    if number == 9:  # an empty cell
                        cells[number, person] = content.create_dataset(name, data=[0, 0]).ref
                        continue
                    pixels = np.full((6, 4, 3), (10 * pair, 20 * person, 25 * number), np.uint8)
                    cells[number, person] = content.create_dataset(name, data=pixels.T).ref
            pairs.append(content.create_dataset(f"pair{pair}", data=cells).ref)
        content.create_dataset(kind, data=np.array([pairs], dtype=h5py.ref_dtype))


def test_pictures_are_extracted_once_with_the_protocols_names(tmp_path):
    write_release(tmp_path / "cuhk-03.mat")
    savemat(
        tmp_path / "cuhk03_new_protocol_config_detected.mat",
        {
            "filelist": [["1_001_1_01.png"], ["5_002_2_09.png"]],
            "labels": [[1], [2]],
            "train_idx": [[1]],
            "query_idx": [[2]],
            "gallery_idx": [[2]],
        },
    )
    dataset = read_dataset("cuhk03", tmp_path)
    assert len(list((tmp_path / "images_detected").iterdir())) == 5 * 2 * 9
    assert dataset.query[0].camera_id == 1
    pixel = Image.open(dataset.query[0].path).getpixel((0, 0))
    assert pixel == (40, 20, 200)
    assert Image.open(dataset.query[0].path).size == (4, 6)
    (tmp_path / "cuhk-03.mat").unlink()
    assert read_dataset("cuhk03", tmp_path) == dataset


def test_a_damaged_release_leaves_nothing_behind(tmp_path):
    pytest.importorskip("h5py", reason="h5py reads MATLAB 7.3 files; pip install h5py")
    (tmp_path / "cuhk-03.mat").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"cuhk-03\.mat: expected 'detected' pictures"):
        extract_pictures(tmp_path / "cuhk-03.mat", "detected", tmp_path / "images_detected")
    assert [path.name for path in tmp_path.iterdir()] == ["cuhk-03.mat"]


def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match="pip install h5py"):
        extract_pictures(tmp_path / "cuhk-03.mat", "detected", tmp_path / "images_detected")
