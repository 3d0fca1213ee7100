"""The surprises of each benchmark, on trees of a few pictures with official names."""

import pytest
from scipy.io import savemat

from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.errors import DataError


def ids(images):
    return sorted({image.person_id for image in images})


def cameras(images):
    return sorted({image.camera_id for image in images})


def by_name(images):
    return {image.path.name: (image.person_id, image.camera_id) for image in images}


MARKET = [
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c6s1_000551_01.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "query/1488_c1s6_023021_00.jpg.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg",
    "bounding_box_test/0001_c2s1_000301_00.jpg",
]


def test_markets_junk_is_dropped_and_its_distractors_stay_in_the_gallery_alone(plant, tmp_path):
    extra = ["bounding_box_train/0000_c1s1_000001_00.jpg", "query/-1_c1s1_000001_00.jpg"]
    dataset = read_dataset("market1501", plant(tmp_path, MARKET + extra))
    assert ids(dataset.gallery) == [0, 1]
    assert ids(dataset.train) == [2]
    assert ids(dataset.query) == [1, 1488]
    assert dataset.notes == (
        "1 junk picture (-1) dropped from the gallery",
        "2 pictures of nobody (-1 or 0) dropped from train and query",
    )


def test_markets_cameras_are_counted_from_zero(plant, tmp_path):
    dataset = read_dataset("market1501", plant(tmp_path, MARKET))
    assert by_name(dataset.train) == {
        "0002_c1s1_000451_03.jpg": (2, 0),
        "0002_c6s1_000551_01.jpg": (2, 5),
    }


def test_market_is_found_from_the_folder_above(plant, tmp_path):
    plant(tmp_path / "Market-1501-v15.09.15", MARKET)
    assert len(read_dataset("market1501", tmp_path).train) == 2


def test_a_seventh_camera_of_market_is_an_impossible_name(plant, tmp_path):
    root = plant(tmp_path, [*MARKET, "query/0001_c7s1_001051_00.jpg"])
    with pytest.raises(DataError, match="0001_c7s1"):
        read_dataset("market1501", root)


def test_duke_reads_its_own_names(plant, tmp_path):
    names = [
        "bounding_box_train/0001_c2_f0046182.jpg",
        "query/0005_c2_f0046985.jpg",
        "bounding_box_test/0005_c8_f0061425.jpg",
    ]
    dataset = read_dataset("dukemtmc", plant(tmp_path, names))
    assert by_name(dataset.train + dataset.query + dataset.gallery) == {
        "0001_c2_f0046182.jpg": (1, 1),
        "0005_c2_f0046985.jpg": (5, 1),
        "0005_c8_f0061425.jpg": (5, 7),
    }


def test_cuhk03_np_reads_detected_first_and_labeled_when_pointed_at(plant, tmp_path):
    for kind, person in (("detected", 3), ("labeled", 4)):
        plant(
            tmp_path / kind,
            [
                f"bounding_box_train/000{person}_c1_21.png",
                "query/0001_c1_1.png",
                "bounding_box_test/0001_c2_6.png",
            ],
        )
    assert ids(read_dataset("cuhk03", tmp_path).train) == [3]
    assert ids(read_dataset("cuhk03", tmp_path / "labeled").train) == [4]


def plain_cuhk03(plant, root):
    pictures = [f"{person:04d}_{n:02d}.jpg" for person in (0, 1) for n in range(10)]
    return plant(root, [f"labeled/{part}/{name}" for part in ("train", "val") for name in pictures])


def test_cuhk03_pictures_00_to_04_are_camera_a_and_05_to_09_camera_b(plant, tmp_path):
    dataset = read_dataset("cuhk03", plain_cuhk03(plant, tmp_path))
    for name, (_, camera) in by_name(dataset.train).items():
        assert camera == (0 if int(name[5:7]) <= 4 else 1)


def test_cuhk03_val_numbers_restart_but_mean_other_people(plant, tmp_path):
    dataset = read_dataset("cuhk03", plain_cuhk03(plant, tmp_path))
    assert ids(dataset.train) == [1, 2]
    assert ids(dataset.query) == ids(dataset.gallery) == [10001, 10002]
    assert len(dataset.query) == 4
    assert len(dataset.gallery) == 16


def test_an_eleventh_picture_of_cuhk03_is_an_impossible_name(plant, tmp_path):
    root = plant(plain_cuhk03(plant, tmp_path), ["labeled/train/0000_10.jpg"])
    with pytest.raises(DataError, match=r"0000_10\.jpg: expected a picture number 00 to 09"):
        read_dataset("cuhk03", root)


def cuhk03_config(root, kind="detected"):
    names = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_2_06.png"]
    savemat(
        root / f"cuhk03_new_protocol_config_{kind}.mat",
        {
            "filelist": [[name] for name in names],
            "labels": [[1], [1], [2], [2]],
            "train_idx": [[1], [2]],
            "query_idx": [[3]],
            "gallery_idx": [[4]],
        },
    )
    return names


@pytest.mark.parametrize("folder", ["images_detected", "cuhk03_detected"])
def test_cuhk03_reads_the_official_protocol_beside_extracted_pictures(plant, tmp_path, folder):
    names = cuhk03_config(tmp_path)
    dataset = read_dataset("cuhk03", plant(tmp_path, [f"{folder}/{name}" for name in names]))
    assert by_name(dataset.train) == {"1_001_1_01.png": (1, 0), "1_001_2_06.png": (1, 1)}
    assert by_name(dataset.query) == {"1_002_1_01.png": (2, 0)}
    assert by_name(dataset.gallery) == {"1_002_2_06.png": (2, 1)}


def test_cuhk03_reads_labeled_when_pointed_at_its_pictures(plant, tmp_path):
    names = cuhk03_config(tmp_path, "labeled")
    cuhk03_config(tmp_path, "detected")
    plant(tmp_path, [f"images_labeled/{name}" for name in names])
    assert len(read_dataset("cuhk03", tmp_path / "images_labeled").train) == 2


def test_a_picture_that_the_cuhk03_protocol_names_and_that_is_missing_is_an_error(plant, tmp_path):
    names = cuhk03_config(tmp_path)
    root = plant(tmp_path, [f"images_detected/{name}" for name in names[1:]])
    with pytest.raises(DataError, match=r"1_001_1_01\.png: expected this picture"):
        read_dataset("cuhk03", root)


def test_a_cuhk03_protocol_without_pictures_says_what_is_missing(tmp_path):
    cuhk03_config(tmp_path)
    with pytest.raises(DataError, match=r"images_detected or cuhk03_detected .* or cuhk-03\.mat"):
        read_dataset("cuhk03", tmp_path)


def test_a_damaged_cuhk03_protocol_is_an_error(tmp_path):
    (tmp_path / "cuhk03_new_protocol_config_detected.mat").write_bytes(b"MATLAB" * 40)
    with pytest.raises(DataError, match="expected a MATLAB file"):
        read_dataset("cuhk03", tmp_path)


def prid2011(plant, root, kinds, shared=4, only_a=2, only_b=3, frames=12):
    numbers = {
        "cam_a": [*range(1, shared + 1), *range(201, 201 + only_a)],
        "cam_b": [*range(1, shared + 1), *range(201, 201 + only_b)],
    }
    for camera, persons in numbers.items():
        for person in persons:
            if "single_shot" in kinds:
                plant(root, [f"single_shot/{camera}/person_{person:04d}.png"])
            if "multi_shot" in kinds:
                folder = f"multi_shot/{camera}/person_{person:04d}"
                plant(root, [f"{folder}/{frame:04d}.png" for frame in range(1, frames + 1)])
    return root


@pytest.mark.parametrize(
    ("kinds", "pictures"),
    [(("single_shot",), 1), (("multi_shot",), 10), (("single_shot", "multi_shot"), 10)],
)
def test_prid2011_numbers_above_200_are_different_people_in_the_two_cameras(
    plant, tmp_path, kinds, pictures
):
    dataset = read_dataset("prid2011", prid2011(plant, tmp_path, kinds))
    assert {201, 202} < set(ids(dataset.train))
    assert len(ids(dataset.train)) == 4
    assert len(dataset.train) == (2 * 2 + 2) * pictures
    assert len(dataset.query) == 2
    assert cameras(dataset.query) == [0]
    assert ids(dataset.gallery) == sorted([*ids(dataset.query), 10201, 10202, 10203])
    assert cameras(dataset.gallery) == [1]
    assert len(dataset.gallery) == 5
    assert not set(ids(dataset.train)) & set(ids(dataset.gallery))
    assert dataset.single_shot


def test_prid2011_takes_test_pictures_from_single_shot_where_it_is_there(plant, tmp_path):
    dataset = read_dataset("prid2011", prid2011(plant, tmp_path, ("single_shot", "multi_shot")))
    assert {image.path.parts[-3] for image in dataset.query + dataset.gallery} == {"single_shot"}
    assert all("multi_shot" in image.path.parts for image in dataset.train)


def test_ten_frames_of_a_track_are_evenly_apart_with_first_and_last(plant, tmp_path):
    root = prid2011(plant, tmp_path, ("multi_shot",), frames=19)
    dataset = read_dataset("prid2011", root)
    frames = [image.path.stem for image in dataset.train if image.person_id == 201]
    assert frames == [f"{frame:04d}" for frame in range(1, 20, 2)]


def test_prid2011_can_be_pointed_at_one_of_its_two_halves(plant, tmp_path):
    prid2011(plant, tmp_path / "prid_2011", ("single_shot", "multi_shot"))
    assert len(read_dataset("prid2011", tmp_path / "prid_2011" / "single_shot").train) == 6
    assert len(read_dataset("prid2011", tmp_path).train) == 60


def test_cuhk01_001_and_002_are_camera_a_and_003_and_004_camera_b(plant, tmp_path):
    names = [f"campus/{person:04d}{n:03d}.png" for person in range(1, 6) for n in range(1, 5)]
    dataset = read_dataset("cuhk01", plant(tmp_path, names))
    assert len(ids(dataset.train)) == 2
    assert {image.path.stem[4:] for image in dataset.query} == {"001", "002"}
    assert {image.path.stem[4:] for image in dataset.gallery} == {"003", "004"}
    assert cameras(dataset.query) == [0]
    assert cameras(dataset.gallery) == [1]
    for image in dataset.train:
        assert image.camera_id == (0 if image.path.stem[4:] in ("001", "002") else 1)


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("viper", [f"cam_{c}/{p:03d}_{45 * (c == 'b')}.bmp" for p in range(4) for c in "ab"]),
        ("prid450s", [f"cam_{c}/img_{p:03d}.png" for p in range(4) for c in "ab"]),
    ],
)
def test_sets_with_one_picture_a_camera_are_single_shot_from_a_to_b(
    plant, tmp_path, name, pictures
):
    dataset = read_dataset(name, plant(tmp_path, pictures))
    assert dataset.single_shot
    assert len(dataset.train) == 4
    assert cameras(dataset.query) == [0]
    assert cameras(dataset.gallery) == [1]
    assert ids(dataset.query) == ids(dataset.gallery)
    assert min(ids(dataset.train + dataset.query)) == 1
    assert not set(ids(dataset.train)) & set(ids(dataset.query))


def test_a_test_person_whom_camera_b_lacks_is_left_out_and_told(plant, tmp_path):
    root = plant(tmp_path, [f"cam_a/{p:03d}_0.bmp" for p in range(6)] + ["cam_b/000_0.bmp"])
    dataset = read_dataset("viper", root)
    assert ids(dataset.query) == ids(dataset.gallery)
    left = 6 - len(ids(dataset.train)) - len(ids(dataset.query))
    assert f"{left} test pictures left out" in dataset.notes[1]


def test_viper_seeds_are_different_splits(plant, tmp_path):
    root = plant(tmp_path, [f"cam_{c}/{p:03d}_0.bmp" for p in range(20) for c in "ab"])
    splits = {tuple(ids(read_dataset("viper", root, seed=seed).train)) for seed in range(10)}
    assert len(splits) == 10


def test_3dpes_counts_as_two_cameras_of_whole_sequences(plant, tmp_path):
    names = [
        f"RGB/{person}_{sequence}_FRAME_{frame}_RGB.bmp"
        for person in range(1, 11)
        for sequence in range(1, 5)
        for frame in (61, 70)
    ]
    dataset = read_dataset("3dpes", plant(tmp_path, names))
    assert len(ids(dataset.train)) == 4
    assert cameras(dataset.train) == [0, 1]
    assert cameras(dataset.query) == [0]
    assert cameras(dataset.gallery) == [1]
    assert len(dataset.query) == len(dataset.gallery) == 6 * 4
    of_sequence = {}
    for image in dataset.train + dataset.query + dataset.gallery:
        of_sequence.setdefault(image.path.name.rsplit("_", 3)[0], set()).add(image.camera_id)
    assert all(len(one) == 1 for one in of_sequence.values())


def test_a_person_of_3dpes_with_one_sequence_is_never_a_query(plant, tmp_path):
    names = [f"RGB/{person}_1_FRAME_1_RGB.bmp" for person in range(1, 9)]
    dataset = read_dataset("3dpes", plant(tmp_path, names))
    assert dataset.query == ()
    assert len(ids(dataset.gallery)) == 5


def ilids_vid(plant, root, persons=4, frames=3):
    for camera in ("cam1", "cam2"):
        for person in range(1, persons + 1):
            name = f"person{person:03d}"
            plant(root, [f"images/{camera}/{name}/{camera}_{name}.png"])
            plant(
                root,
                [f"sequences/{camera}/{name}/{camera}_{name}_{n:05d}.png" for n in range(frames)],
            )
    return root


def test_ilids_vid_counts_as_two_cameras(plant, tmp_path):
    dataset = read_dataset("ilids_vid", ilids_vid(plant, tmp_path / "i-LIDS-VID"))
    assert len(dataset.train) == 2 * 2 * 3
    assert cameras(dataset.train) == [0, 1]
    assert cameras(dataset.query) == [0]
    assert cameras(dataset.gallery) == [1]
    assert len(dataset.query) == len(dataset.gallery) == 2
    assert dataset.single_shot
    assert all("images" in image.path.parts for image in dataset.query)


def test_ilids_vid_uses_the_official_split_where_it_is_there(plant, tmp_path):
    ilids_vid(plant, tmp_path / "i-LIDS-VID")
    (tmp_path / "train-test people splits").mkdir()
    savemat(
        tmp_path / "train-test people splits" / "train_test_splits_ilidsvid.mat",
        {"ls_set": [[4, 1, 3, 2]] + [[1, 2, 3, 4]] * 9},
    )
    root = tmp_path / "i-LIDS-VID"
    assert ids(read_dataset("ilids_vid", tmp_path, seed=0).train) == [2, 3]
    assert len(read_dataset("ilids_vid", root, seed=1).train) == 12


def test_ilids_without_cameras_in_its_names_is_made_into_two(plant, tmp_path):
    names = [f"Persons/{person:04d}{n:03d}.jpg" for person in range(1, 8) for n in range(1, 6)]
    dataset = read_dataset("ilids_vid", plant(tmp_path / "i-LIDS_Pedestrian", names))
    assert len(ids(dataset.train)) == 3
    assert len(dataset.query) == 4 * 2
    assert len(dataset.gallery) == 4 * 3


def msmt17(plant, root, parts=("train", "test")):
    listed = {
        "list_train.txt": (parts[0], [("0000/0000_000_01_0303morning_0008_0.jpg", 0)]),
        "list_val.txt": (parts[0], [("0000/0000_001_15_0303morning_0008_0.jpg", 0)]),
        "list_query.txt": (parts[1], [("0000/0000_000_02_0303noon_0008_0.jpg", 0)]),
        "list_gallery.txt": (parts[1], [("0000/0000_001_05_0303noon_0008_0.jpg", 0)]),
    }
    for name, (part, pictures) in listed.items():
        plant(root, [f"{part}/{path}" for path, _ in pictures])
        (root / name).write_text("".join(f"{path} {person}\n" for path, person in pictures))
    return root


@pytest.mark.parametrize("parts", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17_numbers_restart_in_test_but_mean_other_people(plant, tmp_path, parts):
    dataset = read_dataset("msmt17", msmt17(plant, tmp_path / "MSMT17", parts))
    assert ids(dataset.train) == [1]
    assert ids(dataset.query) == ids(dataset.gallery) == [10001]
    assert cameras(dataset.train) == [0, 14]
    assert cameras(dataset.query) == [1]


def test_a_picture_that_msmt17s_list_names_and_that_is_missing_is_an_error(plant, tmp_path):
    root = msmt17(plant, tmp_path)
    (root / "list_val.txt").write_text("0001/0001_000_01_0303morning_0008_0.jpg 1\nnonsense\n")
    with pytest.raises(DataError, match=r"0001_000_01_.*got nothing \(and 1 more\)"):
        read_dataset("msmt17", root)


def test_ward_reads_person_and_camera_from_the_digits(plant, tmp_path):
    names = [
        f"{person:04d}{camera:04d}{frame:04d}.jpg"
        for person in (3, 7, 12, 70)
        for camera in (1, 2, 3)
        for frame in (1, 2)
    ]
    dataset = read_dataset("ward", plant(tmp_path, names))
    everything = dataset.train + dataset.query + dataset.gallery
    assert ids(everything) == [3, 7, 12, 70]
    assert by_name(everything)["007000030002.jpg"] == (70, 2)
    assert len(dataset.query) == len(dataset.gallery) == 6
    assert not set(ids(dataset.train)) & set(ids(dataset.query))


def test_pku_reid_reads_a_folder_for_each_person(plant, tmp_path):
    names = [f"{p:03d}/0{c}_{o}.jpg" for p in (1, 5, 9, 114) for c in (1, 2) for o in range(1, 9)]
    dataset = read_dataset("pku_reid", plant(tmp_path, names))
    assert ids(dataset.train + dataset.query) == [1, 5, 9, 114]
    assert len(dataset.query) == 4
    assert len(dataset.gallery) == 2 * 14


SMALL = [
    "pytorch/train_all/0/cam_0_00000_00000.bmp",
    "pytorch/train_all/0/cam_1_00000_00000.bmp",
    "pytorch/train/0/cam_0_00000_00000.bmp",
    "pytorch/val/0/cam_1_00000_00000.bmp",
    "pytorch/query/7/cam_0_00007_00000.bmp",
    "pytorch/gallery/7/cam_1_00007_00000.bmp",
]


def test_the_processed_layout_of_small_sets_is_read(plant, tmp_path):
    dataset = read_dataset("viper", plant(tmp_path, SMALL))
    assert by_name(dataset.train) == {
        "cam_0_00000_00000.bmp": (1, 0),
        "cam_1_00000_00000.bmp": (1, 1),
    }
    assert by_name(dataset.gallery) == {"cam_1_00007_00000.bmp": (8, 1)}
    assert dataset.single_shot


def test_train_and_val_of_the_processed_layout_are_train_all(plant, tmp_path):
    without = [name for name in SMALL if "train_all" not in name]
    dataset = read_dataset("viper", plant(tmp_path, without))
    assert len(dataset.train) == 2


def test_the_processed_layout_of_market_drops_junk_too(plant, tmp_path):
    names = [
        "pytorch/train/0002/0002_c1s1_000451_03.jpg",
        "pytorch/query/0001/0001_c1s1_001051_00.jpg",
        "pytorch/gallery/-1/-1_c1s1_000401_03.jpg",
        "pytorch/gallery/0000/0000_c1s1_000151_01.jpg",
        "pytorch/gallery/0001/0001_c2s1_000301_00.jpg",
    ]
    dataset = read_dataset("market1501", plant(tmp_path, names))
    assert ids(dataset.gallery) == [0, 1]
    assert not dataset.single_shot or len(dataset.gallery) == 2
