"""Claims about runs that continue finished ones: who was there goes on, who was not begins anew."""

import shutil

import pytest
from flwr.app import Context, RecordDict
from tiny_federation import NAMES, PRUNES, Finished, pruned_share, tiny_overrides

from fedklpr_flwr import client_app, server_app
from fedklpr_flwr.client.state_store import MemoryFolder
from fedklpr_flwr.commands.simulate import simulate_prepared
from fedklpr_flwr.deploy.clean_memories import old_memories
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.launch.prepare import prepare
from fedklpr_flwr.runs.rows import read_rows
from fedklpr_flwr.runs.trained_models import open_run
from fedklpr_flwr.system.paths import memory_below

pytestmark = pytest.mark.slow

RECOVERS = ("crr.level=0", "crr.drop=1", "pruning.first_round=1")
"""Prunes whenever there is an accuracy: from round 2 of a run that begins anew."""


@pytest.fixture
def place(sites, tmp_path):
    """The tiny federation's pictures, for this test to change."""
    shutil.copytree(sites, tmp_path / "sites")
    return tmp_path


def week(place, name, *words, names=NAMES):
    """A run of some clients through the command's own door."""
    everything = tiny_overrides(place / "sites", names)
    clients = [word for word in everything if word.startswith("data.clients=")]
    own = clients if any(word.startswith("run.continues=") for word in words) else everything
    given = [*own, "federation.min_clients=2", *words, f"run.dir={place / name}"]
    prepared = prepare(["experiment=smoke", *given])
    try:
        simulate_prepared(prepared)
    finally:
        prepared.release()
    return Finished(prepared.folder)


def memory_of(run, client):
    return MemoryFolder(memory_below(run.folder), run.state().run, client)


def test_who_was_there_goes_on_and_who_joins_or_lost_its_memory_begins_anew(place):
    first = week(place, "first", *RECOVERS, names=("ash", "birch"))
    shutil.rmtree(memory_of(first, "birch").folder)
    old = sorted((place / "sites" / "ash" / "train").glob("*/*.png"))
    shutil.copy(old[0], old[0].with_name("c0_9.png"))
    old[1].unlink()
    second = week(place, "second", f"run.continues={first.folder}", "federation.rounds=1")

    shares = {name: second.row(0, name).pruned for name in NAMES}
    assert shares == {"ash": pytest.approx(pruned_share(first, "ash")), "birch": 0, "cedar": 0}
    assert shares["ash"] > 0.1
    assert second.row(0, "ash").rank1 == first.row(2, "ash").rank1
    assert second.row(0, "ash").map == first.row(2, "ash").map
    assert second.row(1, "ash").pruned > shares["ash"]
    assert all(second.row(1, name).status == "merged" for name in NAMES)

    row = second.row(0, "ash")
    assert (row.pictures_new, row.pictures_gone) == (1, 1)
    assert second.row(0, "birch").pictures_new is second.row(0, "cedar").pictures_new is None
    before = memory_of(first, "ash").read(2).recovery
    begun = memory_of(second, "ash").read(0).recovery
    assert [number for number, _ in begun.history] == [-1, 0]
    assert [value for _, value in begun.history] == [value for _, value in before.history]
    assert second.state().continues == first.state().run
    assert open_run(second.folder).settings.run.continues == str(first.folder)


def test_with_nothing_changed_round_0_is_the_last_round_of_the_run_before(place):
    first = week(place, "first", *PRUNES)
    second = week(place, "second", f"run.continues={first.folder}", "federation.rounds=1")
    for name in NAMES:
        last, begun = first.row(2, name), second.row(0, name)
        assert (begun.rank1, begun.map) == (last.rank1, last.map)
        assert begun.pruned == pytest.approx(pruned_share(first, name))
        assert (begun.pictures_new, begun.pictures_gone) == (0, 0)
        assert begun.bytes_down < first.row(0, name).bytes_down, "pruned weights were sent"
    assert first.model != second.model


def test_a_client_that_was_away_for_a_whole_run_comes_back_with_its_mask(place):
    first = week(place, "first", *PRUNES, "federation.rounds=1")
    second = week(place, "second", f"run.continues={first.folder}", names=("birch", "cedar"))
    assert second.row(1, "ash").status == "absent"
    third = week(place, "third", f"run.continues={second.folder}")
    share = pruned_share(first, "ash")
    assert share > 0
    assert third.row(0, "ash").pruned == pytest.approx(share)
    assert third.row(0, "ash").pictures_new == 0
    assert third.row(1, "ash").status == "merged"
    assert third.row(0, "birch").pruned > share


@pytest.mark.parametrize(
    "words",
    [
        ("wire.values=int8",),
        ("method=fedpav", "labels.source=identities"),
        ("pruning.masks=consensus",),
        ("personal.batchnorm=reestimate", "personal.own_share=0.5"),
        ("crr.rollback=true", "crr.test=paired", "crr.level=0"),
    ],
)
def test_every_kind_of_state_is_taken_over(place, words):
    rules = () if any(word.startswith(("method=", "crr")) for word in words) else PRUNES
    first = week(place, "first", *words, *rules, "federation.rounds=1")
    second = week(place, "second", f"run.continues={first.folder}")
    assert all(second.row(1, name).status == "merged" for name in NAMES)
    if not any(word.startswith(("wire", "pruning")) for word in words):
        for name in NAMES:
            assert second.row(0, name).map == pytest.approx(first.row(1, name).map)


@pytest.mark.parametrize("words", [("privacy=secure_aggregation",), ("wire.values=change",)])
def test_what_is_blinded_or_told_as_a_change_goes_on_too(place, words):
    pytest.importorskip("numba")
    is_lossy = words == ("wire.values=change",)
    clients = PRUNES if is_lossy else ("method.pruning=none", "klaw.direction=gain")
    first = week(place, "first", *words, *clients, "federation.rounds=1")
    second = week(place, "second", f"run.continues={first.folder}")
    assert [second.row(1, name).status for name in NAMES] == ["merged"] * 3
    if is_lossy:
        pruned = second.row(0, "ash").pruned, second.row(1, "ash").pruned
        assert pruned == pytest.approx((0.2, 0.36), abs=1e-4)
    else:
        assert second.row(0, "ash").map == pytest.approx(first.row(1, "ash").map)


def test_noised_updates_are_counted_on_over_all_runs(place):
    pytest.importorskip("opacus")
    first = week(place, "first", "privacy=local_dp")
    second = week(place, "second", f"run.continues={first.folder}")
    assert first.state().clients["ash"].releases == 2
    assert second.state().clients["ash"].releases == 4
    assert memory_of(second, "ash").count_release(0) == 5
    assert second.row(2, "ash").status == "merged"
    assert second.row(2, "ash").epsilon > first.row(2, "ash").epsilon
    assert second.row(0, "ash").pictures_new is None, "it is a figure of the pictures"


def boxes_week(place, name, *words, names=NAMES):
    """A run of boxes, which keep their memories in folders of their own."""
    own = ["federation.min_clients=1", f"federation.start_clients={len(names)}"]
    given = ["experiment=smoke", *words, *own, "deployment=true", f"run.dir={place / name}"]
    prepared = prepare(given, simulated=False)
    nodes = [
        {
            "client": name,
            "data": "folder",
            "root": str(place / "sites" / name),
            "state-dir": str(place / "boxes" / name),
        }
        for name in names
    ]
    context = Context(1, 0, {}, RecordDict(), dict(prepared.run_config))
    try:
        server_app.main(InProcessGrid(client_app.app, prepared.run_config, nodes), context)
    finally:
        prepared.release()
    return Finished(prepared.folder)


def test_boxes_find_the_memory_of_the_run_that_is_continued(place):
    tiny = [word for word in tiny_overrides(place / "sites") if not word.startswith("data.")]
    first = boxes_week(place, "first", *tiny, *PRUNES, names=("ash", "birch"))
    shutil.rmtree(place / "boxes" / "birch")
    second = boxes_week(place, "second", f"run.continues={first.folder}")
    rows = {row.client: row for row in read_rows(second.folder / "run.jsonl") if row.round == 0}
    assert rows["ash"].pruned == pytest.approx(pruned_share(first, "ash"))
    assert rows["ash"].map == first.row(2, "ash").map
    assert (rows["birch"].pruned, rows["cedar"].pruned) == (0, 0)
    assert not (place / "second" / "memory").exists()
    old = old_memories(place / "boxes" / "ash", 0.0)
    assert {memory.folder.name: memory.is_next for memory in old} == {
        first.state().run: False,
        second.state().run: True,
    }
