"""Claims about fedklpr_flwr.server.node_registry: who is asked, who answers, and who is late."""

import threading
import time

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.superlink.grid import HttpGrid

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.protocol.box_state import PROTOCOL, BoxState
from fedklpr_flwr.protocol.flower_messages import REPORT, report_record
from fedklpr_flwr.server import reply_deadline
from fedklpr_flwr.server.node_registry import NodeRegistry
from fedklpr_flwr.server.reply_deadline import LATE, exchange, why_failed
from fedklpr_flwr.server.reply_polling import PullApart, polling_of
from fedklpr_flwr.version import VERSION


def say_name(message, context):
    """A client that knows nothing but its name."""
    name = str(context.node_config.get("client", ""))
    return Message(RecordDict({REPORT: report_record({"client": name})}), reply_to=message)


def grid_of(*names, app=say_name):
    return InProcessGrid(app, {}, [{"client": name} for name in names])


def nobody():
    return (Message(RecordDict(), node, "query") for node in ())


def ask(grid, seconds=5.0):
    messages = [Message(RecordDict(), n, "query") for n in grid.get_node_ids()]
    return {reply.metadata.src_node_id: reply for reply in exchange(grid, messages, seconds)}


def is_late(reply):
    return reply.has_error() and reply.error.code == LATE


def test_every_client_asked_gives_exactly_one_reply():
    replies = ask(grid_of("a", "b", "c"))
    assert sorted(replies) == [2, 3, 4]
    assert not any(reply.has_error() for reply in replies.values())


def test_why_a_reply_failed_is_the_last_line_of_its_traceback():
    def broken(message, context):
        raise ValueError("line one\nthe disk is full")

    reply = ask(grid_of("a", app=broken))[2]
    assert (why_failed(reply), is_late(reply)) == ("the disk is full", False)


def test_an_error_without_a_reason_gives_its_code():
    def silent(message, context):
        return Message(Error(code=7), reply_to=message)

    assert why_failed(ask(grid_of("a", app=silent))[2]) == "error code 7"


class LostNodeGrid(InProcessGrid):
    """The first node is gone: Flower answers for it, as from the SuperLink itself."""

    def _answer(self, message):
        reply = super()._answer(message)
        if message.metadata.dst_node_id == 2:
            reply = Message(Error(3, "Node 2 is unavailable"), reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = 1
        return reply


def test_what_flower_says_of_a_lost_node_comes_from_that_node():
    replies = ask(LostNodeGrid(say_name, {}, [{"client": "a"}, {"client": "b"}]))
    assert sorted(replies) == [2, 3]
    assert why_failed(replies[2]) == "Node 2 is unavailable"
    assert not replies[3].has_error()


class DeafGrid(InProcessGrid):
    """Takes messages to the last node and never delivers them."""

    def push_messages(self, messages):
        last = max(self.get_node_ids())
        for message in messages:
            if message.metadata.dst_node_id == last:
                yield "lost"
            else:
                yield from super().push_messages([message])


class RefusingGrid(InProcessGrid):
    """Takes no message at all."""

    def push_messages(self, messages):
        return []


def test_who_does_not_answer_in_time_is_late_and_keeps_nobody_else():
    start = time.monotonic()
    replies = ask(DeafGrid(say_name, {}, [{"client": "a"}, {"client": "b"}]), seconds=0.3)
    assert time.monotonic() - start < 3
    assert (is_late(replies[2]), is_late(replies[3])) == (False, True)
    assert why_failed(replies[3]) == "no answer within 0.3 s"


def test_a_clock_that_jumps_makes_nobody_late(monkeypatch):
    def answer_tomorrow(message, context):
        monkeypatch.setattr(time, "time", lambda: 1e10)
        return say_name(message, context)

    grid = grid_of("a", "b", app=answer_tomorrow)
    assert [is_late(reply) for reply in ask(grid, seconds=60).values()] == [False, False]


def test_a_message_flower_does_not_take_is_answered_at_once():
    reply = ask(RefusingGrid(say_name, {}, [{"client": "a"}]))[2]
    assert "did not take" in why_failed(reply)


def test_what_is_there_already_is_taken_even_without_time_to_wait():
    assert not ask(grid_of("a", "b"), seconds=0)[3].has_error()


class HalfAReply(InProcessGrid):
    """The reply to the first message was announced and never comes whole: Flower waits for it."""

    first, never = None, threading.Event()

    def push_messages(self, messages):
        ids = super().push_messages(messages)
        self.first = self.first or ids[0]
        return ids

    def pull_messages(self, message_ids):
        if self.first in message_ids:
            self.never.wait(10)
        return super().pull_messages(message_ids)


def test_half_a_reply_holds_up_neither_the_others_nor_the_deadline():
    grid, start = (
        HalfAReply(say_name, {}, [{"client": n} for n in ("a", "b", "c")]),
        time.monotonic(),
    )
    messages = [Message(RecordDict(), n, "query") for n in grid.get_node_ids()]
    replies = list(exchange(grid, messages, 0.5, pull=PullApart(grid, pause_seconds=0.01)))
    grid.never.set()
    assert time.monotonic() - start < 5
    late = {reply.metadata.src_node_id: is_late(reply) for reply in replies}
    assert late == {2: True, 3: False, 4: False}


class TornGrid(InProcessGrid):
    def pull_messages(self, message_ids):
        raise ConnectionError("the run is over")


def test_what_the_grid_raises_is_raised_where_replies_are_asked_for_apart():
    grid = TornGrid(say_name, {}, [{"client": "a"}])
    message = Message(RecordDict(), 2, "query")
    with pytest.raises(ConnectionError, match="the run is over"):
        list(exchange(grid, [message], 5.0, pull=PullApart(grid)))


def test_only_over_a_network_replies_are_asked_for_apart():
    assert isinstance(polling_of(HttpGrid(token="t")), PullApart)
    assert not isinstance(polling_of(grid_of("a")), PullApart)


class CountingGrid(InProcessGrid):
    """Counts the messages that wait at once."""

    most = 0

    def push_messages(self, messages):
        ids = super().push_messages(messages)
        self.most = max(self.most, len(self._waiting))
        return ids


def test_neither_messages_nor_replies_pile_up_with_the_clients():
    grid = CountingGrid(say_name, {}, [{"client": f"c{n}"} for n in range(50)])
    made = []

    def messages():
        for node in grid.get_node_ids():
            made.append(node)
            yield Message(RecordDict(), node, "query")

    taken = [len(made) for _ in exchange(grid, messages(), 5.0)]
    assert grid.most == 1
    assert taken == list(range(1, 51)), "an answer is handed on before the next message is made"


class SlowGrid(InProcessGrid):
    """An answer comes at the tenth question for it; counts what is on its way."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked, self.most = {}, 0

    def push_messages(self, messages):
        ids = list(super().push_messages(messages))
        self.asked.update(dict.fromkeys(ids, 0))
        self.most = max(self.most, len(self.asked))
        return ids

    def pull_messages(self, message_ids):
        for name in message_ids:
            self.asked[name] += 1
        due = [name for name in message_ids if self.asked[name] > 9]
        for name in due:
            del self.asked[name]
        return super().pull_messages(due)


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (4, 4), (None, 10)])
def test_no_more_are_asked_at_a_time_than_is_said(at_once, most):
    grid = SlowGrid(say_name, {}, [{"client": f"c{n}"} for n in range(20)])
    messages = [Message(RecordDict(), n, "query") for n in grid.get_node_ids()]
    replies = list(exchange(grid, messages, 5.0, at_once=at_once))
    assert sorted(r.metadata.src_node_id for r in replies) == sorted(grid.get_node_ids())
    assert not any(r.has_error() for r in replies)
    assert grid.most == most, "without a limit the first answers as the tenth is asked"


def test_each_has_the_deadline_for_itself_and_who_is_late_makes_room():
    grid = DeafGrid(say_name, {}, [{"client": "a"}, {"client": "b"}])
    nodes = [3, 3, 3, 2]  # three questions that are never answered, one after the other
    messages = [Message(RecordDict(), n, "query") for n in nodes]
    start = time.monotonic()
    replies = list(exchange(grid, messages, 0.2, at_once=1))
    assert [is_late(r) for r in replies] == [True, True, True, False]
    assert 0.6 <= time.monotonic() - start < 5


# ---------------------------------------------------------------------------- the registry


def test_the_roster_knows_clients_by_the_names_they_say():
    registry = NodeRegistry.empty("run-1")
    registry.refresh(grid_of("gate", "", "yard"), 5.0)
    assert registry.nodes == {"gate": 2, "yard": 4}, "a node without a client is left alone"


def say_more(**more):
    """A real box: it says its name and how it is."""

    def answer(message, context):
        name = str(context.node_config["client"])
        report = {"client": name, **BoxState(VERSION, PROTOCOL, 900.0, time.time()).to_dict()}
        if name == "gate":
            report |= more
        return Message(RecordDict({REPORT: report_record(report)}), reply_to=message)

    return answer


def test_how_boxes_are_is_noted_once_they_say_their_names():
    told = []
    registry = NodeRegistry.empty("run-1", told.append)
    grid = grid_of("gate", "yard", app=say_more(box_free_mb=3.0))
    registry.refresh(grid, 5.0)
    registry.refresh(grid, 5.0)
    (boxes,) = told
    assert {name: box["node"] for name, box in boxes.items()} == {"gate": "2", "yard": "3"}
    assert boxes["gate"]["box_free_mb"] == 3.0
    assert abs(boxes["yard"]["clock_ahead"]) < 5


def test_a_box_of_another_protocol_is_refused_by_name_and_the_others_stay():
    registry = NodeRegistry.empty("run-1")
    older = say_more(box_protocol=PROTOCOL - 1, box_version="0.0.9")
    registry.refresh(grid_of("gate", "yard", app=older), 5.0)
    assert registry.nodes == {"yard": 3}
    (why,) = registry.faults.values()
    assert "version 0.0.9, whose protocol 0 does not go with this server's 1" in why
    assert "install one version on both" in why


def test_of_two_nodes_with_one_name_the_later_speaks():
    registry = NodeRegistry.empty("run-1")
    registry.refresh(grid_of("gate", "gate"), 5.0)
    assert registry.nodes == {"gate": 3}


class ChangingGrid(InProcessGrid):
    """Shows the nodes it is told to."""

    shown: tuple[int, ...] = ()

    def get_node_ids(self):
        return list(self.shown)


def test_who_is_gone_is_forgotten_and_who_comes_is_asked_once():
    asked = []

    def note(message, context):
        asked.append(context.node_config["client"])
        return say_name(message, context)

    grid = ChangingGrid(note, {}, [{"client": name} for name in ("a", "b")])
    registry = NodeRegistry.empty("run-1")
    for grid.shown, present in (((2,), {"a": 2}), ((2, 3), {"a": 2, "b": 3}), ((3,), {"b": 3})):
        registry.refresh(grid, 5.0)
        assert registry.nodes == present
    assert asked == ["a", "b"]


def only(found, there):
    return f"only {found} of {there}"


def test_waiting_ends_with_the_explanation_of_how_many_came():
    registry = NodeRegistry.empty("run-1")
    with pytest.raises(RunError, match="only 1 of 1"):
        registry.wait_for(grid_of("a"), 2, 0.0, only)
    registry.wait_for(grid_of("a", "b"), 2, 0.0, lambda found, there: "nobody should read this")


def test_when_the_time_is_up_the_fewest_are_enough(flower_log):
    registry = NodeRegistry.empty("run-1")
    with pytest.raises(RunError, match="only 2 of 2"):
        registry.wait_for(grid_of("a", "b"), 4, 0.0, only, fewest=3)
    registry.wait_for(grid_of("a", "b", "c"), 4, 0.0, only, fewest=3)
    assert sorted(registry.nodes) == ["a", "b", "c"]
    assert "3 of 4 clients came" in flower_log.text


def test_of_two_nodes_with_one_name_it_is_logged_which_replaced_which(flower_log):
    registry = NodeRegistry.empty("run-1")
    with pytest.raises(RunError) as error:
        registry.wait_for(grid_of("gate", "gate"), 2, 0.0, only)
    assert "node 3 replaces node 2 as the client gate" in flower_log.text
    assert "only 1 of 2\nnode 2 is there and not counted: says it is gate" in str(error.value)


def test_a_box_that_was_restarted_is_logged_and_counted(flower_log):
    grid = ChangingGrid(say_name, {}, [{"client": "gate"}, {"client": "gate"}])
    registry = NodeRegistry.empty("run-1")
    for grid.shown in ((2,), (3,)):
        registry.refresh(grid, 5.0)
    assert (registry.nodes, registry.faults) == ({"gate": 3}, {})
    assert "node 3 replaces node 2 as the client gate" in flower_log.text


# ----------------------------------------------------------------------- names from the network


def saying(content):
    return lambda message, context: Message(content, reply_to=message)


def named(name):
    return RecordDict({REPORT: ConfigRecord({"client": name})})


def raises_its_reason(message, context):
    raise RuntimeError("the configuration is torn")


HELLOS = {
    "raises": (raises_its_reason, "RuntimeError: the configuration is torn"),
    "no report": (saying(RecordDict()), "'report'"),
    "no name": (saying(RecordDict({REPORT: ConfigRecord({"status": "ok"})})), "name None"),
    "a number": (saying(named(7)), "name 7"),
    "two at once": (saying(RecordDict({REPORT: ConfigRecord({"a": 1, "a.b": 2})})), "'a' once"),
    "way out": (saying(named("../../etc")), "'../../etc'"),
    "absolute": (saying(named("/etc/passwd")), "'/etc/passwd'"),
    "hidden": (saying(named(".git")), "'.git'"),
    "line break": (saying(named("gate\n")), "'gate"),
    "too long": (saying(named("x" * 65)), "at most 64"),
}


@pytest.mark.parametrize("hello", HELLOS)
def test_a_node_whose_hello_is_wrong_is_named_and_nobody_else_is_kept(hello, flower_log):
    wrong, reason = HELLOS[hello]

    def app(message, context):
        return (wrong if context.node_id == 3 else say_name)(message, context)

    registry = NodeRegistry.empty("run-1")
    grid = grid_of("a", "b", app=app)
    registry.refresh(grid, 5.0)
    assert registry.nodes == {"a": 2}
    assert "node 3 speaks for nobody" in flower_log.text
    assert reason in flower_log.text
    flower_log.clear()
    registry.refresh(grid, 5.0)
    assert flower_log.text == "", "it is said again and again"
    with pytest.raises(RunError) as error:
        registry.wait_for(grid, 2, 0.0, only)
    assert "only 1 of 2\nnode 3 is there and not counted: " in str(error.value)
    assert reason in str(error.value)


def test_a_node_that_mends_its_hello_is_counted():
    broken = [True]

    def app(message, context):
        return (raises_its_reason if broken[0] else say_name)(message, context)

    registry, grid = NodeRegistry.empty("run-1"), grid_of("a", app=app)
    registry.refresh(grid, 5.0)
    broken[0] = False
    registry.refresh(grid, 5.0)
    assert (registry.nodes, registry.faults) == ({"a": 2}, {})


# --------------------------------------------------------------- names of registered keys


class RegisteredGrid(InProcessGrid):
    """A SuperLink that knows under which name each node's key was registered."""

    names: tuple[str, ...] = ()

    def get_nodes(self):
        ids = self.get_node_ids()
        return [NodeInfo(node_id=n, name=s) for n, s in zip(ids, self.names, strict=True)]


def test_a_node_speaks_for_the_name_it_was_registered_under_and_no_other(flower_log):
    grid = RegisteredGrid(say_name, {}, [{"client": name} for name in ("gate", "gate", "yard")])
    grid.names = ("gate", "hall", "yard")
    registry = NodeRegistry.empty("run-1")
    registry.refresh(grid, 5.0)
    assert registry.nodes == {"gate": 2, "yard": 4}
    assert "registered as 'hall' and it says it is gate: refused" in flower_log.text
    with pytest.raises(RunError, match="node 3 is there and not counted: its key was registered"):
        registry.wait_for(grid, 3, 0.0, only)


def test_a_node_without_a_registered_name_takes_none_that_is(flower_log):
    grid = RegisteredGrid(say_name, {}, [{"client": "gate"}, {"client": "gate"}])
    grid.names = ("gate", "")
    registry = NodeRegistry.empty("run-1")
    registry.refresh(grid, 5.0)
    assert registry.nodes == {"gate": 2}
    assert "gate, which is registered with another key: refused" in flower_log.text


def test_a_sites_own_policy_is_logged_once_and_printable(flower_log):
    def careful(message, context):
        said = {"client": "gate", "policy": "no scores\x1b[2J"}
        return Message(RecordDict({REPORT: report_record(said)}), reply_to=message)

    registry, grid = NodeRegistry.empty("run-1"), grid_of("a", app=careful)
    registry.refresh(grid, 5.0)
    assert "gate has a policy of its own: no scores?[2J" in flower_log.text
    flower_log.clear()
    registry.refresh(grid, 5.0)
    assert flower_log.text == ""


def test_a_node_that_never_says_who_it_is_costs_five_deadlines_and_no_more():
    asked = []

    class Deaf(ChangingGrid):
        def push_messages(self, messages):
            for message in messages:
                asked.append(message.metadata.dst_node_id)
                yield "lost"

    grid, registry = Deaf(say_name, {}, [{"client": "a"}]), NodeRegistry.empty("run-1")
    grid.shown = (2,)
    for _ in range(7):
        registry.refresh(grid, 0.0)
    assert asked == [2] * 5
    for grid.shown in ((), (2,)):
        registry.refresh(grid, 0.0)
    assert len(asked) == 6, "it went and came again"
    registry.refresh(grid, 0.0)
    assert len(asked) == 6, "and has had its one more chance"


def test_a_node_that_says_a_wrong_name_late_holds_all_up_five_times_and_no_more(monkeypatch):
    asked = []

    class Office(RegisteredGrid, ChangingGrid):
        names = ("hall",)

    def wrong(message, context):
        asked.append(context.node_id)
        clock[0] += 1.8
        return say_name(message, context)

    clock = [0.0]
    monkeypatch.setattr("fedklpr_flwr.server.node_registry.time.monotonic", lambda: clock[0])
    grid, registry = Office(wrong, {}, [{"client": "gate-3"}]), NodeRegistry.empty("run-1")
    grid.shown = (2,)
    for _ in range(7):
        registry.refresh(grid, 60.0)
    assert asked == [2] * 5
    assert "registered as 'hall' and it says it is gate-3" in registry.faults[2]


# ---------------------------------------------------------------------------- who is missing


def test_who_has_not_answered_is_told_after_a_while_and_then_ever_more_rarely(monkeypatch):
    monkeypatch.setattr(reply_deadline, "FIRST_TOLD", 0.1)
    grid = grid_of("a", "b")
    messages = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    told = []

    def nothing(ids):
        return []

    list(exchange(grid, messages, 1.0, pull=nothing, still_waiting=lambda *said: told.append(said)))
    assert [nodes for nodes, _ in told] == [[2, 3]] * len(told)
    assert 2 <= len(told) <= 4, "after 0.1, 0.2, 0.4 and 0.8 s"


def test_how_many_are_here_is_told_while_they_are_too_few():
    registry, told = NodeRegistry.empty("run"), []
    with pytest.raises(RunError, match="1 found"):
        registry.wait_for(
            grid_of("a"), 2, 0.1, lambda found, there: f"{found} found", say=told.append
        )
    assert told == [1], "once, not with every look"
    assert registry.missing_of(["a", "yard"]) == ", yard missing"
    assert registry.missing_of(["a"]) == ": a"
    assert registry.clients_of([2, 9]) == "a, node 9"
