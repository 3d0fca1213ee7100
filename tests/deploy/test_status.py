"""Claims about fedklpr_flwr.deploy.status: which runs are of an office's boxes."""

import json

from fedklpr_flwr.deploy.status import is_run_of


def test_a_simulation_with_a_site_of_the_same_name_is_no_run_of_the_boxes(tmp_path):
    office, simulated, deployed, others = (tmp_path / name for name in "abcd")
    (office / "keys").mkdir(parents=True)
    (office / "keys" / "yard.pub").write_text("a key")
    for folder, boxes in ((deployed, {"yard": {"node": 1}}), (others, {"hall": {"node": 1}})):
        folder.mkdir()
        (folder / "boxes.json").write_text(json.dumps(boxes))
    simulated.mkdir()
    assert is_run_of(office, deployed)
    assert not is_run_of(office, simulated)
    assert not is_run_of(office, others)
    assert not is_run_of(office, tmp_path / "none")
