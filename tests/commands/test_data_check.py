"""Claims about `fedklpr data check`: short where all is well, the layouts where they are needed."""

from PIL import Image


def place(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16), (len(name), 20, sum(map(ord, name)) % 255)).save(root / name)


def test_own_pictures_that_fit_are_counted_in_a_dozen_lines(tmp_path, typed):
    place(tmp_path, "train/cam1/1.png", "train/cam1/22.png", "train/cam2/333.png")
    status, out, _ = typed("data", "check", "folder", tmp_path)
    assert status == 0
    assert "verdict: usable" in out
    assert "?" not in out
    assert "Layout" not in out
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("note: "))


def test_pictures_in_another_layout_bring_the_layouts_and_each_fault_five_times(tmp_path, typed):
    place(tmp_path, *(f"train/{number:04}.png" for number in range(9)))
    status, out, _ = typed("data", "check", "folder", tmp_path)
    assert status == 1
    assert "Layout with persons" in out
    assert "verdict: nothing here to train on" in out
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 6
    assert problems[-1] == "problem: ... and 4 more like it (all: --json)"


def test_a_published_set_is_told_beside_its_counts(tmp_path, typed):
    place(tmp_path, "cam_a/001_0.bmp", "cam_b/001_90.bmp")
    _, out, _ = typed("data", "check", "viper", tmp_path)
    assert "of 1264" in out
    assert "verdict: " in out


def test_nothing_in_a_files_name_is_obeyed_by_a_terminal(tmp_path, typed):
    place(tmp_path, "train/cam1/1.png", "train/cam\x1b[31m2/22.png")
    (tmp_path / "train" / "cam1" / "b\x1b[2J.png").write_bytes(b"no")
    _, out, _ = typed("data", "check", "folder", tmp_path)
    assert "b?[2J.png" in out
    assert "cam?[31m2" in out
    assert "\x1b" not in out
