"""Claims about fedklpr_flwr.runs.checkpoint: whole after a crash at any moment."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.model.mask_file import MaskFile, masks_to_bytes
from fedklpr_flwr.runs.checkpoint import ClientState, RunFolder, ServerState


def state_of(number, *, residual=False):
    """A federation after a round; every number in it tells the round."""
    tensors = {"conv": np.full((2, 3), number, np.float32), "scale": np.array(number, np.float32)}
    owed = {name: np.asarray(array / 8) for name, array in tensors.items()} if residual else {}
    return ServerState(
        run="run-1",
        round=number,
        tensors=tensors,
        sent={n: np.asarray(a + 0.5) for n, a in tensors.items()} if residual else tensors,
        residual=owed,
        clients={"a": ClientState(number, f"{number:032x}", "", 10 * number)},
        pending=[{"round": number, "client": "a"}],
    )


def write_mask(folder, client, number):
    file = folder.next_mask_file(client)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(masks_to_bytes({"conv": torch.arange(6).reshape(2, 3) < number}))


def assert_whole(path, number):
    """The folder opens as it was after that round: book, model and mask agree."""
    folder = RunFolder(path)
    state = folder.load_state()
    assert state.round == number
    assert (state.tensors["conv"] == number).all()
    assert state.clients["a"].base_round == number
    assert int(MaskFile(folder.mask_file("a"))["conv"].sum()) == number
    assert not (path / "commit.json").exists()
    assert not list(path.rglob("*.next"))
    folder.close()


@pytest.fixture
def after_round_1(tmp_path):
    folder = RunFolder(tmp_path / "run")
    write_mask(folder, "a", 1)
    folder.commit(state_of(1), ["a"])
    folder.close()
    return folder.path


def test_a_committed_state_comes_back_with_all_it_knows(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.has_state
    folder.commit(state_of(3), [])
    assert folder.has_state
    back, put = folder.load_state(), state_of(3)
    assert (back.run, back.round, back.clients, back.pending) == (
        put.run,
        put.round,
        put.clients,
        put.pending,
    )
    for name, array in put.tensors.items():
        assert np.array_equal(back.tensors[name], array)
        assert back.tensors[name].shape == array.shape
    assert (back.tensors, back.residual) == (back.sent, {})


def test_what_a_lossy_wire_owes_comes_back_and_goes_with_the_wire(tmp_path):
    folder = RunFolder(tmp_path)
    folder.commit(state_of(1, residual=True), [])
    back = folder.load_state()
    assert (back.sent["conv"] == 1.5).all()
    assert (back.residual["conv"] == 0.125).all()
    folder.commit(state_of(2), [])
    back = folder.load_state()
    assert (back.sent["conv"] == 2).all(), "the model of a round before went down"
    assert back.residual == {}


def test_notes_about_clients_are_kept_without_touching_the_model(after_round_1):
    folder = RunFolder(after_round_1)
    state = folder.load_state()
    state.clients["a"].delivered = "abc"
    before = (after_round_1 / "global.safetensors").stat().st_mtime_ns
    folder.note(state)
    assert folder.load_state().clients["a"].delivered == "abc"
    assert (after_round_1 / "global.safetensors").stat().st_mtime_ns == before
    folder.close()


# ---------------------------------------------------------------------------- a crash at any moment


def half_committed(path, stage):
    """Leave the folder as a crash in the commit of round 2 would, at one of its stages."""
    aside = path.parent / "aside"
    shutil.copytree(path, aside)
    second = RunFolder(aside)
    write_mask(second, "a", 2)
    second.commit(state_of(2), ["a"])
    second.close()
    files = ["global.safetensors", "state.json", "clients/a/mask.safetensors"]
    written = {"no file": 0, "a file": 1, "a file and half": 2}.get(stage, 3)
    for name in files[:written]:
        shutil.copy(aside / name, path / f"{name}.next")
    if stage == "a file and half":
        half = path / f"{files[1]}.next"
        half.write_bytes(half.read_bytes()[:20])
    moved = {"one move": 1, "two moves": 2, "all moves": 3}.get(stage, 0)
    if stage == "journal" or moved:
        (path / "commit.json").write_text(json.dumps(files))
    for name in files[:moved]:
        os.replace(path / f"{name}.next", path / name)


@pytest.mark.parametrize("stage", ["no file", "a file", "a file and half", "all files"])
def test_before_the_journal_the_old_round_stands(stage, after_round_1):
    half_committed(after_round_1, stage)
    assert_whole(after_round_1, 1)


@pytest.mark.parametrize("stage", ["journal", "one move", "two moves", "all moves"])
def test_from_the_journal_on_the_new_round_stands(stage, after_round_1):
    half_committed(after_round_1, stage)
    assert_whole(after_round_1, 2)


def test_opening_twice_after_a_crash_finishes_once(after_round_1):
    half_committed(after_round_1, "one move")
    assert_whole(after_round_1, 2)
    assert_whole(after_round_1, 2)


def die_at_step(number):
    """Let this process end without a word at its n-th replaced or removed file."""
    left = [number]

    def counted(real):
        def call(*args, **more):
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return real(*args, **more)

        return call

    os.replace, os.unlink = counted(os.replace), counted(os.unlink)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork of this process")
def test_a_process_killed_anywhere_in_a_commit_leaves_the_old_round_or_the_new(after_round_1):
    seen = []
    for number in range(20):
        path = after_round_1.parent / f"copy-{number}"
        shutil.copytree(after_round_1, path)
        child = os.fork()
        if child == 0:
            folder = RunFolder(path)
            write_mask(folder, "a", 2)
            die_at_step(number)
            folder.commit(state_of(2), ["a"])
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        folder = RunFolder(path)
        found = folder.load_state().round
        folder.close()
        assert_whole(path, found)
        seen.append(found)
        if status == 0:
            break
        assert status == 9
    assert seen[0] == 1
    assert seen[-1] == 2
    assert seen == sorted(seen), "an old round after a new one"
    assert len(seen) > 5, "the process was hardly ever killed"


# ---------------------------------------------------------------------------- who may open it


def test_a_folder_in_use_refuses_a_second_opener(tmp_path):
    first = RunFolder(tmp_path)
    with pytest.raises(RunError, match="in use by another run"):
        RunFolder(tmp_path)
    first.close()
    RunFolder(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_said_by_its_key(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"run\.dir=.*file.* cannot be written"):
        RunFolder(tmp_path / "file" / "run")


@pytest.mark.parametrize("damage", ["no model", "cut model", "cut book", "no book"])
def test_a_folder_that_holds_no_whole_run_cannot_be_resumed(damage, after_round_1):
    model, book = after_round_1 / "global.safetensors", after_round_1 / "state.json"
    victim = model if "model" in damage else book
    if damage.startswith("cut"):
        victim.write_bytes(victim.read_bytes()[:30])
    else:
        victim.unlink()
    folder = RunFolder(after_round_1)
    with pytest.raises(RunError, match="no run that can be resumed"):
        folder.load_state()
    folder.close()


def test_a_run_of_another_version_is_not_guessed_at(after_round_1):
    book = after_round_1 / "state.json"
    book.write_text(json.dumps({**json.loads(book.read_text()), "version": 99}))
    folder = RunFolder(after_round_1)
    with pytest.raises(RunError, match="another version"):
        folder.load_state()
    folder.close()


def test_the_status_says_how_a_run_stands_and_why(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_status("failed", "no disk")
    said = json.loads((tmp_path / "status.json").read_text())
    assert (said["status"], said["message"], said["pid"]) == ("failed", "no disk", os.getpid())
    folder.close()


def test_payloads_of_an_open_round_are_dropped(tmp_path):
    folder = RunFolder(tmp_path)
    folder.payload_file(1, "a").write_bytes(b"x")
    folder.drop_payloads()
    assert list((tmp_path / "payloads").iterdir()) == []
    folder.close(done=True)
    assert not (tmp_path / "payloads").exists()


# ---------------------------------------------------------------------------- damaged files


def changed(book, **fields):
    """A book with other values; None takes a field away."""
    record = {**book, **fields}
    return {key: value for key, value in record.items() if value is not None}


def with_client(book, name="a", **fields):
    return {**book, "clients": {name: changed(book["clients"]["a"], **fields)}}


BOOKS = {
    "no object": lambda book: [1, 2],
    "no run": lambda book: changed(book, run=None),
    "round is text": lambda book: changed(book, round="1"),
    "round is true": lambda book: changed(book, round=True),
    "clients is a list": lambda book: changed(book, clients=[]),
    "pending holds no rows": lambda book: changed(book, pending=[3]),
    "pending rows of no round": lambda book: changed(book, pending=[{"client": "a"}]),
    "a field too many": lambda book: changed(book, colour="red"),
    "client is no object": lambda book: changed(book, clients={"a": 3}),
    "client without a mask": lambda book: with_client(book, mask_hash=None),
    "client of another kind": lambda book: with_client(book, base_round="1"),
    "client with more": lambda book: with_client(book, colour="red"),
    "client outside": lambda book: with_client(book, "../../b"),
}


@pytest.mark.parametrize("damage", BOOKS)
def test_a_book_that_no_run_wrote_is_refused_with_what_to_do(damage, after_round_1):
    book = after_round_1 / "state.json"
    book.write_text(json.dumps(BOOKS[damage](json.loads(book.read_text()))))
    folder = RunFolder(after_round_1)
    with pytest.raises(RunError, match=r"no run that can be resumed.*restore the folder"):
        folder.load_state()
    folder.close()


def test_where_what_went_down_is_not_there_everybody_is_sent_the_merged_model(after_round_1):
    book = after_round_1 / "state.json"
    record = changed(json.loads(book.read_text()), owes=True)
    book.write_text(json.dumps(with_client(record, delivered="a name", held_round=1)))
    folder = RunFolder(after_round_1)
    with pytest.warns(UserWarning, match=r"downlink\.safetensors.*is sent the whole model"):
        state = folder.load_state()
    folder.close()
    assert (state.sent, state.residual, state.change) == (state.tensors, {}, b"")
    assert (state.clients["a"].delivered, state.clients["a"].held_round) == ("", 0)


def test_a_book_from_before_the_pruned_share_was_kept_is_read(after_round_1):
    book = after_round_1 / "state.json"
    record = json.loads(book.read_text())
    assert record["clients"]["a"].pop("pruned") == 0.0
    book.write_text(json.dumps(record))
    folder = RunFolder(after_round_1)
    assert folder.load_state().clients["a"] == ClientState(1, f"{1:032x}", "", 10, 0.0)
    folder.close()


JOURNALS = {
    "cut": '["global.safetensors", "state',
    "no text": b"\xff\xfe\x00",
    "no list": '{"global.safetensors": 1}',
    "numbers": "[1, 2]",
    "a path out": '["../outside"]',
    "a path out through a client": '["clients/../mask.safetensors"]',
    "a path out of a client": '["clients/a/../../../outside"]',
    "an absolute path": '["/tmp/outside"]',
    "another file": '["run.jsonl"]',
}


@pytest.mark.parametrize("damage", JOURNALS)
def test_a_journal_that_no_round_wrote_is_not_followed(damage, after_round_1):
    outside = after_round_1.parent / "outside"
    outside.write_text("mine")
    (after_round_1.parent / "outside.next").write_text("theirs")
    content = JOURNALS[damage]
    content = content if isinstance(content, bytes) else content.encode()
    (after_round_1 / "commit.json").write_bytes(content)
    for _ in range(2):  # the folder is not kept locked by who could not open it
        with pytest.raises(RunError, match=r"commit\.json is damaged.*restore the folder"):
            RunFolder(after_round_1)
    assert outside.read_text() == "mine"


def test_a_commit_that_cannot_be_finished_says_what_to_do(after_round_1):
    (after_round_1 / "commit.json").write_text('["state.json"]')
    (after_round_1 / "state.json.next").write_text("{}")
    (after_round_1 / "state.json").unlink()
    (after_round_1 / "state.json").mkdir()
    with pytest.raises(RunError, match=r"cannot be written: .*; make room, then resume"):
        RunFolder(after_round_1)
