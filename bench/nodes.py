"""One training on several machines: what their `bench run`s say to each other.

torchrun joins the processes that train. Beside it, the first machine's bench listens one port above
torchrun's and the others connect: each meters its own machine over one window, which opens when all
are ready and closes when the training has ended on all. Then the first gets what the others have
written, and computes the record from all of it (`bench.merging`).
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench.child import TICK_S, Outcome, Progress
from bench.errors import BenchError, UsageError
from bench.record import part_folder

PORT = 29500  # torchrun's, where none is said
FILES = ("node.json", "events.jsonl", "trace.parquet", "log.txt")
"""What the first machine gets from each other."""

_MEET_S = 1800.0  # machines of a cluster don't start at once
_HELLO_S = 10.0
_SILENT_S = 30.0  # a machine that meters says something each second
_STALLED_S = 60
_HAND_OVER_S = 300.0
_CAUSE_S = 3.0
_EVERY_S = 1.0
_MOST_BYTES = 1 << 30

Message = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where this machine stands among those of a training."""

    nodes: int
    number: int  # the first is 0
    host: str  # of the first one, as torchrun is told
    port: int

    @property
    def first(self) -> bool:
        return self.number == 0


def place(nodes: int | None, number: int | None, master: str | None) -> Place | None:
    """From what was asked, and where nothing was, the environment as torchrun and Slurm have it;
    None for one machine. UsageError where it does not say enough."""
    if nodes is None or nodes == 1:
        return None
    number = _number() if number is None else number
    if number is None:
        raise UsageError(
            f"--nnodes {nodes}: which of them is this machine?",
            "--node-rank 0 on the first, 1 on the next; or NODE_RANK, SLURM_NODEID",
        )
    if not 0 <= number < nodes:
        raise UsageError(f"--node-rank {number}: of {nodes} machines the last is {nodes - 1}")
    host, _, port = (master or os.environ.get("MASTER_ADDR", "")).partition(":")
    port = port or os.environ.get("MASTER_PORT", "") or str(PORT)
    if not host:
        raise UsageError(
            f"--nnodes {nodes}: where is the first machine?", "--master HOST[:PORT], or MASTER_ADDR"
        )
    if not port.isdecimal() or not 0 < int(port) < 65535:
        raise UsageError(f"{port} is no port", "--master HOST:29500; bench uses the next one too")
    return Place(nodes, number, host, int(port))


def _number() -> int | None:
    for name in ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID"):
        if (text := os.environ.get(name, "")).isdecimal():
            return int(text)
    return None


# --- one connection ------------------------------------------------------------------------------


class Link:
    """To another machine. What comes is JSON, then bytes where it says so: nothing is executed."""

    def __init__(self, taken: socket.socket, name: str) -> None:
        for keep, value in (("KEEPIDLE", 10), ("KEEPINTVL", 5), ("KEEPCNT", 4)):
            taken.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{keep}"), value)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        taken.setblocking(True)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # of a message that has begun
            taken.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _STALLED_S, 0))
        self._connection = Connection(taken.detach())
        self.name = name
        self.heard_s = time.monotonic()

    def send(self, say: str, **facts: Any) -> None:
        self.send_bytes(json.dumps({"say": say, **facts}).encode())

    def send_bytes(self, data: bytes) -> None:
        try:
            self._connection.send_bytes(data)
        except OSError as error:
            raise self._gone() from error

    def receive(self, timeout_s: float) -> Message | None:
        """The next message; None when none came in time. BenchError when the other is gone."""
        data = self.receive_bytes(timeout_s, 1 << 24)
        if data is None:
            return None
        try:
            message = json.loads(data)
            message["say"]
        except (ValueError, TypeError, KeyError):
            raise BenchError(f"{self.name} said what is no message of bench's") from None
        return dict(message)

    def receive_bytes(self, timeout_s: float, most: int) -> bytes | None:
        try:
            if not self._connection.poll(timeout_s):
                return None
            data = self._connection.recv_bytes(most)
        except (EOFError, OSError) as error:
            raise self._gone() from error
        self.heard_s = time.monotonic()
        return data

    def _gone(self) -> BenchError:
        return BenchError(f"{self.name} is gone", "its own screen, or its log, says why")

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()


# --- the first machine ---------------------------------------------------------------------------


class First:
    """The first machine's end: `hellos` of all machines by number, its own included."""

    def __init__(self, links: Mapping[int, Link], hellos: Mapping[int, Message]) -> None:
        self._links, self.hellos = links, hellos
        self._reset()

    def _reset(self) -> None:
        self._live: dict[int, Message] = {}
        self._ended: set[int] = set()
        self._settled = False

    def begin(self, **facts: Any) -> None:
        """A run begins: what the others need to know of it."""
        self._reset()
        self._broadcast("begin", **facts)

    def open(self) -> None:
        """When all are ready, the window opens on all."""
        waiting = set(self._links)
        while waiting:
            for number, message in self._heard(TICK_S):
                if message["say"] == "ready":
                    waiting.discard(number)
        self._broadcast("open")

    def look(self, progress: Progress) -> None:
        """Add what the others meter. BenchError when one has failed, or is gone."""
        for _ in self._heard(0.0):
            pass
        silent_s = time.monotonic() - _SILENT_S
        for number, link in self._links.items():
            if number not in self._ended and link.heard_s < silent_s:
                raise BenchError(f"{link.name} has said nothing for {_SILENT_S:g} s")
        for number, live in self._live.items():
            progress.energy_j += live["energy_j"]
            progress.power_w[f"node{number}"] = live["power_w"]
            progress.silent += [f"node{number}:{name}" for name in live["silent"]]

    def close(self, outcome: Outcome) -> Outcome:
        """Wait until the training has ended on all."""
        if outcome.failure is not None:
            return replace(outcome, failure=self._with_causes(outcome.failure))
        while self._ended != set(self._links):
            for _ in self._heard(TICK_S):
                pass
        self._settled = True
        self._broadcast("close")
        return outcome

    def _with_causes(self, failure: str) -> str:
        """Where another machine has failed, too, that may be why."""
        deadline = time.monotonic() + _CAUSE_S
        try:
            while time.monotonic() < deadline and self._ended != set(self._links):
                for _ in self._heard(TICK_S):
                    pass
        except BenchError as error:
            return f"{failure}; {error.message}"
        return failure

    def settle(self, outcome: Outcome) -> None:
        """However it has ended here, the others end, too."""
        if not self._settled:
            self._settled = True
            self._tell_who_is_left("stop", why=outcome.failure or "the run has ended")

    def collect(self, folder: Path) -> None:
        """Take what the others have written into `folder`/node-N. A machine that is gone leaves
        nothing, and then its energy is missing."""
        for number, link in self._links.items():
            with suppress(BenchError):
                _take_files(link, part_folder(folder, number))

    def conclude(self, record: str, folder: Path) -> None:
        """Tell the others what the run came to."""
        self._tell_who_is_left("record", record=record, folder=str(folder))

    def _tell_who_is_left(self, say: str, **facts: Any) -> None:
        """That one is gone, the outcome says already."""
        for link in self._links.values():
            with suppress(BenchError):
                link.send(say, **facts)

    def _broadcast(self, say: str, **facts: Any) -> None:
        for link in self._links.values():
            link.send(say, **facts)

    def _heard(self, timeout_s: float) -> Iterator[tuple[int, Message]]:
        """What has come, or comes first. A failure of another machine is raised here."""
        ready = wait([link.fileno() for link in self._links.values()], timeout_s)
        for number, link in self._links.items():
            while link.fileno() in ready and (message := link.receive(0.0)):
                self._note(number, message)
                yield number, message

    def _note(self, number: int, message: Message) -> None:
        if message["say"] == "tick":
            self._live[number] = message
        if message["say"] == "ended":
            self._ended.add(number)
            if message["failure"]:
                raise BenchError(f"{self._links[number].name}: {message['failure']}")


def _take_files(link: Link, folder: Path) -> None:
    deadline = time.monotonic() + _HAND_OVER_S
    while (left := deadline - time.monotonic()) > 0:
        message = link.receive(left)
        if message and message["say"] == "files":
            break
    else:
        raise BenchError(f"{link.name} did not hand over what it has metered")
    folder.mkdir(exist_ok=True)
    for name in message["names"]:
        data = link.receive_bytes(_HAND_OVER_S, _MOST_BYTES)
        if data is None or name not in FILES:
            raise BenchError(f"{link.name} did not hand over {name}")
        scratch = folder / f".{name}"
        scratch.write_bytes(data)
        scratch.replace(folder / name)


# --- the others ----------------------------------------------------------------------------------


class Other:
    """Another machine's end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._told_s = 0.0
        self._settled = False

    def begun(self) -> Message:
        """What the first machine says of the next run, once it begins."""
        self._settled = False
        return self._next("begin")

    def open(self) -> None:
        self._link.send("ready")
        self._next("open")

    def look(self, progress: Progress) -> None:
        """Tell what is metered here. BenchError when the first machine ends the run, or is gone."""
        if (now_s := time.monotonic()) >= self._told_s + _EVERY_S:
            self._told_s = now_s
            self._link.send(
                "tick", energy_j=progress.energy_j, power_w=sum(progress.power_w.values()),
                silent=progress.silent,
            )  # fmt: skip
        while message := self._link.receive(0.0):
            self._check(message)

    def close(self, outcome: Outcome) -> Outcome:
        self._settled = True
        self._link.send("ended", failure=outcome.failure)
        if outcome.failure is None:
            self._next("close")
        return outcome

    def settle(self, outcome: Outcome) -> None:
        if not self._settled:
            self._settled = True
            with suppress(BenchError):  # that the first one is gone, the outcome says already
                self._link.send("ended", failure=outcome.failure or "it has ended")

    def hand_over(self, folder: Path) -> None:
        """Give the first machine what was written here."""
        names = [name for name in FILES if (folder / name).is_file()]
        self._link.send("files", names=names)
        for name in names:
            self._link.send_bytes((folder / name).read_bytes())

    def concluded(self) -> Message:
        """What the run came to, by the first machine."""
        return self._next("record", stops=False)

    def _next(self, wanted: str, stops: bool = True) -> Message:
        while True:
            message = self._link.receive(TICK_S)
            if message and stops:
                self._check(message)
            if message and message["say"] == wanted:
                return message

    def _check(self, message: Message) -> None:
        if message["say"] == "refuse":
            raise UsageError(message["why"], message["hint"])
        if message["say"] == "stop":
            self._settled = True
            raise BenchError(f"{self._link.name}: {message['why']}")


# --- whether they are about to do the same


_TELLING = ("torch", "numpy", "transformers", "tokenizers")  # numbers depend on these


def check(hellos: Mapping[int, Message]) -> None:
    """UsageError where the machines would not train the same, in the same way."""
    first = hellos[0]
    for number, hello in hellos.items():
        for name in sorted({*first["spec"], *hello["spec"]}):
            ours, theirs = first["spec"].get(name), hello["spec"].get(name)
            if ours != theirs:
                raise UsageError(
                    f"machine {number} has {name} {_short(theirs)}, machine 0 {_short(ours)}",
                    "the same command on each, but for --node-rank, and the same data",
                )
        if hello["code"] != first["code"]:
            raise UsageError(
                f"machine {number} has other code than machine 0: another version of bench, or of "
                "the recipe's file",
                "the same installation on each",
            )
        for name in _TELLING:
            ours, theirs = first["software"].get(name), hello["software"].get(name)
            if ours != theirs:
                raise UsageError(f"machine {number} has {name} {theirs}, machine 0 {ours}")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {str(v)[:12]}" for k, v in value.items())
    return str(value)


def hardware(hellos: Mapping[int, Message]) -> str:
    """`2 nodes of 8 x NVIDIA H100 80GB HBM3`; those that differ, one by one."""
    each = [hello["hardware"] for hello in hellos.values()]
    what = each[0] if len(set(each)) == 1 else "; ".join(each)
    return f"{len(each)} nodes of {what}"


# --- how they meet -------------------------------------------------------------------------------


@contextmanager
def met(place: Place, hello: Message, tell: Tell) -> Iterator[First | Other]:
    """The other machines of a training, once all are there and are found to be about to do the
    same. `hello` is what this one says of itself; `tell` hears what is waited for."""
    with ExitStack() as stack:
        if not place.first:
            link = _joined(place, tell)
            stack.callback(link.close)
            link.send("hello", node=place.number, nodes=place.nodes, **hello)
            yield Other(link)
            return
        links, hellos = _gathered(place, stack, tell)
        hellos[0] = hello
        try:
            check(hellos)
        except BenchError as error:
            for link in links.values():
                link.send("refuse", why=error.message, hint=error.hint)
            raise
        yield First(dict(sorted(links.items())), dict(sorted(hellos.items())))


def _gathered(
    place: Place, stack: ExitStack, tell: Tell
) -> tuple[dict[int, Link], dict[int, Message]]:
    links: dict[int, Link] = {}
    hellos: dict[int, Message] = {}
    try:
        server = socket.create_server(("", place.port + 1))
    except OSError as error:
        raise BenchError(
            f"port {place.port + 1} can't be listened at: {error.strerror}",
            "--master HOST:PORT names another; bench uses the next one after it",
        ) from None
    with server:
        server.settimeout(TICK_S)
        deadline = time.monotonic() + _MEET_S
        while missing := set(range(1, place.nodes)) - set(links):
            names = ", ".join(map(str, sorted(missing)))
            tell(f"waits for machine {names} of {place.nodes} at port {place.port + 1}")
            if time.monotonic() > deadline:
                raise BenchError(f"machine {names} of {place.nodes} did not come")
            try:
                taken, address = server.accept()
            except TimeoutError:
                continue
            link = Link(taken, f"the machine at {address[0]}")
            try:
                message = link.receive(_HELLO_S)
                number = _introduced(message, place, links)
            except BenchError as error:
                tell(error.message)
                link.close()
                continue
            link.name = f"machine {number}"
            stack.callback(link.close)
            links[number], hellos[number] = link, message or {}
    return links, hellos


def _introduced(message: Message | None, place: Place, known: Mapping[int, Link]) -> int:
    """The number of a machine that says hello; it is told why it can't be one of those here."""
    if not message or message["say"] != "hello":
        raise BenchError("somebody came who is no machine of this training")
    number, nodes = int(message.get("node") or 0), message.get("nodes")
    if nodes != place.nodes or number not in range(1, place.nodes):
        raise BenchError(f"a machine came that is number {number} of {nodes}, not of {place.nodes}")
    if number in known:
        raise BenchError(f"a second machine came that is number {number}")
    return number


def _joined(place: Place, tell: Tell) -> Link:
    deadline = time.monotonic() + _MEET_S
    while True:
        tell(f"looks for the first machine at {place.host}:{place.port + 1}")
        try:
            taken = socket.create_connection((place.host, place.port + 1), timeout=_HELLO_S)
            return Link(taken, "machine 0")
        except OSError as error:
            if time.monotonic() > deadline:
                raise BenchError(
                    f"the first machine is not at {place.host}:{place.port + 1}: {error}"
                ) from None
            time.sleep(TICK_S)
