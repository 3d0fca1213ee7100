"""Who is there: which node speaks for which client."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from logging import INFO, WARNING
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid

from fedklpr_flwr.config.client_name import CLIENT_NAME_RULE, is_client_name
from fedklpr_flwr.errors import FedKlprError, RunError, WireError
from fedklpr_flwr.protocol.box_state import PROTOCOL, BoxState
from fedklpr_flwr.protocol.flower_messages import TASK, read_report
from fedklpr_flwr.server.reply_deadline import LATE, exchange, why_failed
from fedklpr_flwr.version import VERSION
from fedklpr_flwr.wording import named, printable

_MOST_SILENT = 5
_PROMPT = 1.0  # seconds: who answers within them holds nobody up

Note = Callable[[Mapping[str, Mapping[str, Any]]], None]
"""Told how each box is, by its name."""


def _keep_nothing(boxes: Mapping[str, Mapping[str, Any]]) -> None:
    """Of those who keep no note of boxes."""


@dataclass
class NodeRegistry:
    """Which node speaks for which client. Flower knows nodes; people know names.

    Attributes:
        run: the run's key.
        nodes: node ids by the name of the client they speak for.
        asked: what each node said its client's name is; empty = it has none.
        faults: why a node that is there speaks for nobody.
        silent: how often a node held all others up, with no answer or a late one that is no name.
        boxes: how each box was when it said its name, see `BoxState.noted`; in a simulation none.
        note: told of them whenever one has said its name.
        at_once: so many are asked for their names at a time; None = all together.
    """

    run: str
    nodes: dict[str, int]
    asked: dict[int, str]
    faults: dict[int, str] = field(default_factory=dict)
    silent: dict[int, int] = field(default_factory=dict)
    boxes: dict[str, dict[str, Any]] = field(default_factory=dict)
    note: Note = _keep_nothing
    at_once: int | None = None

    @classmethod
    def empty(
        cls, run: str, note: Note = _keep_nothing, at_once: int | None = None
    ) -> "NodeRegistry":
        """A registry on which nobody is yet."""
        return cls(run, {}, {}, note=note, at_once=at_once)

    def refresh(self, grid: Grid, deadline_seconds: float) -> None:
        """Ask every node that is new for its name; forget those that are gone.

        A node without a client (more nodes than sites in a simulation) answers with an empty name
        and is left alone. One whose answer is no name is logged, and asked again the next time. One
        that was silent five times, or gave such an answer late, is left alone, since each holds all
        others up; it is asked once more whenever it has gone and come again. A node speaks for the
        name that its key was registered under, where it was registered under one, and nobody else
        does. Where two nodes that were not claim one name the later one has it, a box that was
        restarted, and that is logged too.
        """
        registered = {node.node_id: node.name for node in grid.get_nodes()}
        present = set(registered)
        self.asked = {node: name for node, name in self.asked.items() if node in present}
        self.faults = {node: why for node, why in self.faults.items() if node in present}
        self.silent = {
            node: times if node in present else min(times, _MOST_SILENT - 1)
            for node, times in self.silent.items()
        }
        hello = [
            Message(_hello(self.run), node, "query")
            for node in sorted(present - set(self.asked))
            if self.silent.get(node, 0) < _MOST_SILENT
        ]
        began = time.monotonic()
        for reply in exchange(grid, hello, deadline_seconds, at_once=self.at_once):
            node = reply.metadata.src_node_id
            is_late = reply.has_error() and reply.error.code == LATE
            was_slow = time.monotonic() - began > _PROMPT
            try:
                name = _name_in(reply)
                _check_registered(node, name, registered)
                box = _box_in(reply)
                self._enter(node, name)
                self.silent.pop(node, None)
                _say_policy(name, reply)
                if box is not None:
                    self._note_box(name, node, box)
            except FedKlprError as error:
                self.silent[node] = self.silent.get(node, 0) + (is_late or was_slow)
                self._fault(node, str(error)[:500])
        self.nodes = {name: node for node, name in self.asked.items() if name}
        if hello and self.boxes:
            self.note(self.boxes)

    def _enter(self, node: int, name: str) -> None:
        """Note whom a node speaks for, and say so where another node did."""
        self.faults.pop(node, None)
        self.asked[node] = name
        earlier = self.nodes.get(name)
        if name:
            self.nodes[name] = node
        if earlier is None or earlier == node:
            return
        log(WARNING, "node %d replaces node %d as the client %s", node, earlier, name)
        if earlier in self.asked:
            self.faults[earlier] = f"says it is {name}, as node {node} did after it"

    def _note_box(self, name: str, node: int, box: BoxState) -> None:
        """Keep how a box is, and say what an operator should look at."""
        self.boxes[name] = noted = box.noted(node)
        for remark in box.remarks(noted["clock_ahead"]):
            log(WARNING, "%s %s", name, remark)

    def _fault(self, node: int, why: str) -> None:
        """Say, once, why a node speaks for nobody."""
        if self.faults.get(node) != why:
            log(WARNING, "node %d speaks for nobody: %s", node, why)
        self.faults[node] = why

    def wait_for(
        self,
        grid: Grid,
        count: int,
        wait_seconds: float,
        explain: Callable[[int, int], str],
        *,
        fewest: int | None = None,
        say: Callable[[int], None] = lambda found: None,
    ) -> None:
        """Wait until `count` clients are there; so many are enough at the end; None = all of them.

        Args:
            grid: Flower's grid.
            count: clients to wait for.
            wait_seconds: and for how long.
            explain: says what is wrong at the end, by the clients found and the nodes there.
            fewest: so many are enough at the end; None = `count`.
            say: told how many are here, while that is too few, whenever it has changed.

        Raises:
            RunError: they were not in time; the message is `explain(found, nodes there)`, and why
                each node that is there speaks for nobody.
        """
        end, said = time.monotonic() + wait_seconds, -1
        while True:
            self.refresh(grid, max(1.0, end - time.monotonic()))
            if len(self.nodes) >= count:
                return
            if len(self.nodes) != said:
                said = len(self.nodes)
                say(said)
            if time.monotonic() >= end and len(self.nodes) >= (fewest or count):
                told = "%d of %d clients came: the run goes on without the others until they do"
                log(WARNING, told, len(self.nodes), count)
                return
            if time.monotonic() >= end:
                there = len(list(grid.get_node_ids()))
                raise RunError("\n".join([explain(len(self.nodes), there), *self._reasons()]))
            time.sleep(0.5)

    def missing_of(self, known: Iterable[str]) -> str:
        """Who of these is not here; where all are, who is here: the end of a sentence."""
        missing, here = sorted(set(known) - self.nodes.keys()), sorted(self.nodes)
        if missing:
            return f", {named(missing)} missing"
        return f": {named(here)}" if here else ""

    def clients_of(self, nodes: Iterable[int]) -> str:
        """The clients that some nodes speak for, in words."""
        return named(sorted(self.asked.get(node) or f"node {node}" for node in nodes))

    def _reasons(self) -> list[str]:
        return [f"node {node} is there and not counted: {why}" for node, why in self.faults.items()]


def _name_in(reply: Message) -> str:
    """The client's name in a node's answer to hello; empty where it speaks for none.

    Raises:
        RunError: it did not answer.
        WireError: what it says is no name.
    """
    if reply.has_error():
        raise RunError(why_failed(reply))
    name = read_report(reply.content).get("client")
    if name != "" and not is_client_name(name):
        raise WireError(f"it gives the name {name!r:.100}, a client's name has {CLIENT_NAME_RULE}")
    return str(name)


def _check_registered(node: int, name: str, registered: Mapping[int, str]) -> None:
    """Refuse a name that is another's.

    Raises:
        RunError: this node's key was registered under another name, or the name is that of a key
            that is not this node's.
    """
    own = registered[node]
    if name and own and own != name:
        raise RunError(
            f"its key was registered as {own!r:.100} and it says it is {name}: refused; look at "
            f"the node.toml of {own!r:.100}, or at who has its key"
        )
    if name and not own and name in registered.values():
        raise RunError(f"it says it is {name}, which is registered with another key: refused")


def _box_in(reply: Message) -> BoxState | None:
    """How the box is that answered hello; None where it does not say.

    Raises:
        WireError: it is none of what a box can say.
        RunError: it cannot work with this server.
    """
    box = BoxState.read(read_report(reply.content))
    if box is not None and box.box_protocol != PROTOCOL:
        raise RunError(
            f"it runs version {box.box_version}, whose protocol {box.box_protocol} does not go "
            f"with this server's {PROTOCOL} (version {VERSION}): install one version on both"
        )
    return box


def _say_policy(name: str, reply: Message) -> None:
    """Log what a site's owner holds back, as it says once."""
    said = read_report(reply.content).get("policy")
    if isinstance(said, str):
        log(INFO, "%s has a policy of its own: %s", name, printable(said[:200]))


def _hello(run: str) -> RecordDict:
    return RecordDict({TASK: ConfigRecord({"run": run})})
