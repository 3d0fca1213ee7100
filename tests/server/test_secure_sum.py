"""Claims about a whole secure sum, the real client against the real server, without a network."""

import fcntl
import json
import threading
import zlib

import numpy as np
import pytest

from fedklpr_flwr.client.secure_update import SecureUpdate
from fedklpr_flwr.errors import MemoryStateError, MergeError, WireError
from fedklpr_flwr.protocol.secure.blinding import Place
from fedklpr_flwr.protocol.secure.quantise import dequantise, step_of
from fedklpr_flwr.protocol.secure.stages import (
    Advert,
    Opened,
    OpenTask,
    Shares,
    ValuesTask,
    pack,
    unpack,
    unpack_values,
)
from fedklpr_flwr.server.secure_sum import SecureSum

PLACE = Place("run", 2)
NAMES = ("ash", "birch", "cedar", "dogwood")
WEIGHTS = {"ash": 0.5, "birch": 0.25, "cedar": 0.25, "dogwood": 0.0}
CHANGES = {
    "ash": [[0.5, -0.25, 0.125], [3.0]],
    "birch": [[-0.5, 0.25, 0.0], [-1.0]],
    "cedar": [[0.1, 0.2, 0.3], [0.0]],
    "dogwood": [[9.0, 9.0, 9.0], [9.0]],
}


class Sum:
    """One sum, stage by stage; whoever is not named in a stage does not answer it."""

    def __init__(self, root, names=NAMES, place=PLACE, changes=CHANGES):
        self.clients, adverts = {}, {}
        for name in names:
            folder = root / name
            folder.mkdir(exist_ok=True)
            self.clients[name] = SecureUpdate(folder, name, place)
            arrays = [np.array(values, np.float32) for values in changes[name]]
            told = self.clients[name].begin({"w": arrays[0], "b": arrays[1]}, "mask")
            adverts[name] = unpack(Advert, told)
        self.server = SecureSum(place, 4, adverts)

    def share(self, *names):
        for name in names:
            answer = self.clients[name].answer("share", pack(self.server.key_list()))
            self.server.take_shares(name, memoryview(answer))

    def values(self, *names, weights=WEIGHTS):
        for name in names:
            task = pack(self.server.values_task(name, weights))
            answer = self.clients[name].answer("values", task)
            self.server.take_values(name, memoryview(answer))

    def open(self, *names):
        for name in names:
            answer = self.clients[name].answer("open", pack(self.server.open_task()))
            self.server.take_opened(name, memoryview(answer))

    def numbers(self):
        total, exponents = self.server.open(), self.server.exponents
        clients = len(self.server.shared)
        steps = np.repeat([step_of(exponent, clients) for exponent in exponents], [3, 1])
        return np.array([dequantise(total, 1.0)[at] * steps[at] for at in range(4)]), steps


def exact(*names):
    flat = {name: np.concatenate([*map(np.array, CHANGES[name])]) for name in names}
    return sum(WEIGHTS[name] * flat[name] for name in names)


def test_the_server_gets_the_weighted_sum_within_half_a_step_a_client(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    whole.values(*NAMES)
    whole.open(*NAMES)
    numbers, steps = whole.numbers()
    assert np.all(abs(numbers - exact(*NAMES)) <= 4 * steps / 2 + 1e-12)


@pytest.mark.parametrize("gone", ["before_shares", "before_values", "before_opening"])
def test_a_third_may_drop_out_in_any_stage(tmp_path, gone):
    whole, here = Sum(tmp_path), ("ash", "birch", "cedar")
    whole.share(*(here if gone == "before_shares" else NAMES))
    whole.values(*(NAMES if gone == "before_opening" else here))
    whole.open(*here)
    numbers, steps = whole.numbers()
    assert np.all(abs(numbers - exact(*here)) <= 4 * steps / 2 + 1e-12)  # dogwood's weight is 0


def test_with_one_fewer_than_two_thirds_nothing_is_opened(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    whole.values(*NAMES)
    whole.open("ash", "birch")
    with pytest.raises(MergeError, match="2 opened the sum, 3 are needed"):
        whole.server.open()


def test_a_sum_of_too_few_is_refused_by_every_client(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    whole.values("ash", "birch")
    with pytest.raises(WireError, match="expected at least 3 of ash, birch, cedar, dogwood"):
        whole.open("ash")


def test_what_one_client_sends_says_nothing_and_is_another_each_time(tmp_path):
    sent = []
    for _ in range(2):
        whole = Sum(tmp_path)
        whole.share(*NAMES)
        task = pack(whole.server.values_task("ash", WEIGHTS))
        sent.append(unpack_values(whole.clients["ash"].answer("values", task), 4).tolist())
    assert sent[0] != sent[1]


def test_each_stage_is_answered_once_and_in_its_turn(tmp_path):
    whole = Sum(tmp_path)
    with pytest.raises(WireError, match="expected share of round 2; each is answered once"):
        whole.values("ash") if whole.server.shared else whole.clients["ash"].answer("open", b"")
    whole.share(*NAMES)
    with pytest.raises(WireError, match="expected values"):
        whole.share("ash")
    whole.values(*NAMES)
    with pytest.raises(WireError, match="expected open"):
        whole.clients["ash"].answer("values", pack(whole.server.values_task("ash", WEIGHTS)))
    whole.open(*NAMES)
    with pytest.raises(WireError, match="no sum is open here"):
        whole.open("ash")
    assert not list(tmp_path.glob("*/secure.*"))  # secrets and changes are gone
    other = SecureUpdate(tmp_path / "ash", "ash", Place("run", 3))
    with pytest.raises(WireError, match="no sum is open here"):
        other.answer("share", b"")


def test_secrets_and_changes_are_readable_by_their_user_alone(tmp_path):
    Sum(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("ash/secure*")}
    assert modes == {"secure.json": 0o600, "secure.safetensors": 0o600}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"ash": 1.0}, "one client counts is that client's update"),
        ({"ash": 1 - 2e-9, "birch": 1e-9, "cedar": 1e-9}, "which one client is 1 tells of that"),
        ({"ash": 0.6, "birch": 0.4}, "expected at most 0.5, set klpwa.cap=0.5"),
        ({"ash": 0.7, "birch": 0.7}, "shares of at most 1 in all, got 1.4"),
        ({"ash": 0.7, "birch": 0.7, "cedar": -0.4}, "shares of at most 1"),
        ({"ash": float("nan"), "birch": 0.5}, "cannot be read"),
    ],
)
def test_weights_that_single_one_out_are_refused(tmp_path, weights, words):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    with pytest.raises(WireError, match=words):
        whole.values("ash", weights={**dict.fromkeys(NAMES, 0.0), **weights})


def test_those_left_must_be_two_that_count(tmp_path):
    whole = Sum(tmp_path, NAMES)
    whole.share(*NAMES)
    weights = {"ash": 0.5, "birch": 0.0, "cedar": 0.0, "dogwood": 0.5}
    whole.values("ash", "birch", "cedar", weights=weights)
    with pytest.raises(WireError, match="one client counts"):
        whole.open("birch")
    again = Sum(tmp_path, NAMES)
    again.share(*NAMES)
    weights = {"ash": 0.5, "birch": 0.1, "cedar": 0.0, "dogwood": 0.4}
    again.values("ash", "birch", "cedar", weights=weights)
    with pytest.raises(WireError, match=r"one client is 0\.833 tells of that client"):
        again.open("birch")


def test_a_range_below_ones_own_change_is_refused(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    task = whole.server.values_task("ash", WEIGHTS)
    low = ValuesTask(task.clients, task.sealed, task.weights, (-9, *task.exponents[1:]))
    with pytest.raises(WireError, match="mine is beyond"):
        whole.clients["ash"].answer("values", pack(low))


def test_a_list_without_my_keys_or_with_a_key_twice_is_refused(tmp_path):
    whole = Sum(tmp_path)
    told = whole.server.key_list()
    twice = type(told)(told.clients, (told.blinding[1],) * 4, told.sealing)
    alone = type(told)(told.clients[:1], told.blinding[:1], told.sealing[:1])
    others = type(told)(told.clients[1:], told.blinding[1:], told.sealing[1:])
    upside = type(told)(told.clients[::-1], told.blinding[::-1], told.sealing[::-1])
    short = type(told)(told.clients, told.blinding[:2], told.sealing[:2])
    for wrong in (twice, alone, others, upside, short):
        with pytest.raises(WireError, match="expected at least two clients by name"):
            whole.clients["ash"].answer("share", pack(wrong))


def test_a_round_is_opened_again_for_the_same_set_and_weights_alone(tmp_path):
    """A server that stopped between sum and commit asks anew; a second set would single one out."""

    def attempt(weights=WEIGHTS, values=NAMES):
        whole = Sum(tmp_path)
        whole.share(*NAMES)
        whole.values(*values, weights=weights)
        return whole

    attempt().open(*NAMES)
    attempt().open(*NAMES)
    with pytest.raises(WireError, match="was opened here as the sum of ash, birch, cedar, dogwood"):
        attempt(values=NAMES[:3]).open("ash")
    others = {"ash": 0.25, "birch": 0.5, "cedar": 0.25, "dogwood": 0.0}
    with pytest.raises(WireError, match="opened as no other"):
        attempt(others).open("ash")
    later = Sum(tmp_path, place=Place("run", 3))
    later.share(*NAMES)
    later.values(*NAMES[:3])
    later.open(*NAMES[:3])
    with pytest.raises(WireError, match="round 2 comes after round 3 was opened here"):
        attempt().open("ash")


def test_a_client_that_lost_its_memory_is_a_drop_out_in_words(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    for path in (tmp_path / "ash").iterdir():
        path.unlink()
    with pytest.raises(WireError, match="lost its memory"):
        whole.values("ash")


@pytest.mark.parametrize("junk", ["{", "[]", json.dumps({"round": 2}), "é"])
def test_a_damaged_memory_is_an_error_in_words(tmp_path, junk):
    whole = Sum(tmp_path)
    (tmp_path / "ash" / "secure.json").write_text(junk)
    with pytest.raises(MemoryStateError, match="is damaged"):
        whole.share("ash")


def test_a_damaged_change_is_an_error_in_words(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    (tmp_path / "ash" / "secure.safetensors").write_bytes(b"junk")
    with pytest.raises(MemoryStateError, match="is damaged"):
        whole.values("ash")


def test_damaged_or_foreign_bytes_are_errors_in_words(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    answer = bytearray(pack(OpenTask(("ash",))))
    answer[3] ^= 1
    with pytest.raises(WireError, match="damaged on its way"):
        whole.clients["ash"].answer("values", bytes(answer))
    for foreign in (pack(OpenTask(("ash",))), b"", b"\0" * 4, b"junk"):
        with pytest.raises(WireError):
            whole.clients["ash"].answer("values", foreign)
        with pytest.raises(WireError):
            whole.server.take_shares("ash", memoryview(foreign))
    with pytest.raises(WireError, match="expected 12 bytes for 4 of them, got 8"):
        whole.server.take_values("ash", memoryview(bytes(8)))


def test_of_two_clients_both_are_needed(tmp_path):
    pair = Sum(tmp_path, ("ash", "birch"))
    assert pair.server.needed == 2
    pair.share("ash", "birch")
    pair.values("ash", "birch", weights={"ash": 0.5, "birch": 0.5})
    pair.open("ash", "birch")
    numbers, steps = pair.numbers()
    assert np.all(abs(numbers - [0.0, 0.0, 0.0625, 1.0]) <= steps)


def opened_wrongly(whole, name, seeds=None):
    """A hostile client tells other shares than it holds."""
    said = whole.server._opened[name]
    wrong = seeds or said.seeds[::-1]
    whole.server.take_opened(name, memoryview(pack(Opened(tuple(wrong), said.keys))))


@pytest.mark.parametrize("seeds", [None, ["no number"] * 4, ["00"] * 4, [""] * 4])
def test_one_who_tells_wrong_shares_ends_nothing_and_is_doubted(tmp_path, seeds):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    whole.values(*NAMES)
    whole.open(*NAMES)
    opened_wrongly(whole, "ash", seeds)
    numbers, steps = whole.numbers()
    assert np.all(abs(numbers - exact(*NAMES)) <= 4 * steps / 2 + 1e-12)
    assert "ash" in {of for of, _ in whole.server.doubts} <= {"ash"}
    assert whole.server.blamed == set()


def test_with_two_wrong_of_four_no_sum_is_believed(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    whole.values(*NAMES)
    whole.open(*NAMES)
    for name in ("ash", "birch"):
        opened_wrongly(whole, name)
    with pytest.raises(MergeError, match=r"cannot be opened.*is at fault"):
        whole.server.open()


def seals_rubbish(whole, *for_whom, names=NAMES, mark=None):
    """Dogwood seals what does not open, or names another seed than it divided."""
    told = unpack(Shares, whole.clients[names[-1]].answer("share", pack(whole.server.key_list())))
    sealed = tuple("junk" if n in for_whom else s for n, s in zip(names, told.sealed, strict=True))
    wrong = Shares(sealed, mark or told.mark)
    whole.server.take_shares(names[-1], memoryview(pack(wrong)))


@pytest.mark.parametrize("names", [NAMES[:3], NAMES], ids=["of_three", "of_four"])
def test_a_share_that_does_not_open_shuts_nobody_out(tmp_path, names):
    """The one it was sealed for goes on, and says so when the sum is opened."""
    whole = Sum(tmp_path, names)
    whole.share(*names[:-1])
    seals_rubbish(whole, "ash", names=names)
    weights = dict.fromkeys(names, 1 / len(names))
    whole.values(*names, weights=weights)
    whole.open(*names)
    whole.numbers()
    assert whole.server.came == [*names]
    assert (whole.server.doubts, whole.server.blamed) == ({("ash", names[-1])}, set())


def test_whose_shares_do_not_open_at_two_is_to_blame_before_anything_is_opened(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES[:3])
    seals_rubbish(whole, "ash", "birch")
    whole.values("ash")
    assert whole.server.blamed == set(), "one alone may lie"
    whole.values("birch")
    assert whole.server.blamed == {"dogwood"}


def test_who_names_another_seed_than_it_divides_ends_nothing(tmp_path):
    whole = Sum(tmp_path)
    whole.share(*NAMES[:3])
    seals_rubbish(whole, mark="0" * 64)
    whole.values(*NAMES)
    whole.open(*NAMES)
    numbers, steps = whole.numbers()
    assert np.all(abs(numbers - exact(*NAMES)) <= 4 * steps / 2 + 1e-12)
    opened_wrongly(whole, "ash")
    with pytest.raises(MergeError, match="dogwood's secret is not in the shares"):
        whole.server.open()


def test_of_three_that_began_no_sum_of_two_is_made(tmp_path):
    """Who makes the third one fail would read the second one's update."""
    names = NAMES[:3]
    whole = Sum(tmp_path, names)
    assert (whole.server.needed, whole.server.fewest) == (2, 3)
    whole.share("ash", "birch")
    weights = {"ash": 0.5, "birch": 0.5}
    with pytest.raises(WireError, match="expected at least 3 of ash, birch, cedar"):
        whole.values("ash", weights=weights)


def test_two_answers_at_a_time_are_one_after_the_other(tmp_path):
    """The second would blind other numbers by the same streams."""
    whole = Sum(tmp_path)
    whole.share(*NAMES)
    task, told = pack(whole.server.values_task("ash", WEIGHTS)), []
    with open(tmp_path / "ash" / ".secure-lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waits = threading.Thread(
            target=lambda: told.append(whole.clients["ash"].answer("values", task)), daemon=True
        )
        waits.start()
        waits.join(0.3)
        assert told == []
    waits.join(30)
    assert len(told) == 1


ODD = [0, -1, 10**400, 0.5, 1e308, "", "ash", "birch", "x" * 999, None, True, [], {}, "00", "é"]


@pytest.mark.parametrize("stage", ["share", "values", "open"])
def test_whatever_comes_in_a_stage_is_answered_or_refused_in_words(tmp_path, stage):
    """300 messages of the right names and odd values, each with a checksum that fits."""
    generator = np.random.default_rng(len(stage))
    whole = Sum(tmp_path)
    asked = {"share": whole.server.key_list}
    if stage != "share":
        whole.share(*NAMES)
        asked["values"] = lambda: whole.server.values_task("ash", WEIGHTS)
    if stage == "open":
        whole.values(*NAMES)
        asked["open"] = whole.server.open_task
    good = json.loads(pack(asked[stage]())[:-4])
    kept = {path.name: path.read_bytes() for path in (tmp_path / "ash").iterdir()}
    refused = 0
    for _ in range(300):
        said = {key: [*values] for key, values in good.items()}
        for _ in range(generator.integers(1, 3)):
            key = str(generator.choice([*said]))
            odd = ODD[generator.integers(len(ODD))]
            if generator.random() < 0.2:
                said[key] = odd
            elif isinstance(said[key], list) and said[key]:
                said[key][generator.integers(len(said[key]))] = odd
        inner = json.dumps(said).encode()
        try:
            whole.clients["ash"].answer(stage, inner + zlib.crc32(inner).to_bytes(4, "little"))
        except WireError:
            refused += 1
        for name, content in kept.items():
            (tmp_path / "ash" / name).write_bytes(content)
    assert refused > 150
