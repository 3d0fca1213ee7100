"""Whole federations of the scenarios, and of people that nobody knows."""

import shutil

import pytest
from tiny_federation import NAMES, ONE_ROUND, run_tiny_federation

from fedklpr_flwr.report.summary import closing_lines
from fedklpr_flwr.runs.progress_line import progress_line

FIND_CLUSTERS = (
    *("labels.source=clusters", "labels.min_samples=2", "labels.k1=6", "labels.k2=2"),
    *("labels.eps=0.7", "ide.target=4", "ide.persons=3"),
)


def test_one_set_dealt_to_three_clients_is_a_federation(federate):
    run = federate(ONE_ROUND, "data.scenario=many", "data.many.clients=3", names=["ash"], nodes=3)
    clients = [row for row in run.rows if row.client and row.round == 1]
    assert [row.client for row in clients] == ["ash-0", "ash-1", "ash-2"]
    assert {row.status for row in clients} == {"merged"}
    assert sum(row.weight for row in clients) == pytest.approx(1)


@pytest.fixture(scope="module")
def unlabelled(sites, tmp_path_factory):
    """Three sites without a person's name: train/CAMERA/anything.png, no query, no gallery."""
    root = tmp_path_factory.mktemp("unlabelled")
    for name in NAMES:
        for picture in (sites / name / "train").rglob("*.png"):
            camera, number = picture.stem.split("_")
            folder = root / name / "train" / f"cam{camera[1:]}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder / f"{picture.parent.name}{number}.png")
    return root


def test_without_labels_every_round_works_and_its_health_is_told(unlabelled, tmp_path):
    run = run_tiny_federation(unlabelled, tmp_path / "run", *FIND_CLUSTERS)
    rounds = [row for row in run.rows if row.client is None]
    assert [row.status for row in rounds] == ["3 merged"] * 3
    assert {(row.rank1, row.rank5, row.map, row.rank1_local) for row in run.rows} == {(None,) * 4}
    assert {row.cluster_precision for row in run.rows} == {None}
    for row in (row for row in run.rows if row.round):
        assert row.clusters + row.outliers > 0
        assert row.cosine_distance > 0
    last = rounds[-1]
    told = f"clusters {last.clusters}, outliers {last.outliers}, feature drift "
    assert f"Rank-1 -  {told}{last.cosine_distance:.3f}" in progress_line(last, 2)
    assert any("nobody could be searched for" in line for line in closing_lines(run.rows))
