"""The sampler: a process that reads the probes at a fixed rate and appends what they say to a log.

It belongs to `bench.power.meter`, which starts it, talks to it over its standard input (`follow
PID`, `edge`, `stop`) and reads one line from its standard output once the probes have answered. It
ends with its parent. Each probe has a thread of its own, so that a driver that hangs stops nothing
else, and so has what writes to the disk. Imports are few on purpose: the window can't start before
this process has.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

from bench.errors import BenchError
from bench.power import log, probes
from bench.power.probes import Domain, Found, Mark, ProbeLike, Refusal
from bench.power.processes import Tree, end_session
from bench.power.recorder import Look, Recorder

BURST_S = 0.35  # after an edge: three ticks of a counter that moves every 100 ms
BURST_HZ = 200.0
_FIRST_BURST_S = 0.5  # shows the counter's tick
GOLDEN = 0.618034  # its multiples, less whole numbers, lie evenly and never repeat
_CLOCK_S = 1.0
_STUCK_S, _HUNG_S, _LAST_S, _END_S = 1.2, 2.0, 1.5, 0.5


class Sampler:
    """What the threads share."""

    def __init__(self, recorder: Recorder, rate_hz: float, parent: int) -> None:
        self.recorder = recorder
        self.parent = parent
        self.period_s = 1 / rate_hz
        self.burst_until_s = self.edge_s = 0.0
        self.stopping = False
        self.tree = Tree()
        self.threads: list[ProbeThread] = []

    def is_owned(self) -> bool:
        """Whether the process that started this one is still there."""
        return os.getppid() == self.parent

    def burst(self, duration_s: float) -> None:
        self.burst_until_s = max(self.burst_until_s, time.monotonic() + duration_s)
        self._wake()

    def stop(self) -> None:
        self.stopping = True
        self._wake()

    def _wake(self) -> None:
        for thread in self.threads:
            thread.wake()


class ProbeThread(threading.Thread):
    """Starts one probe and then reads it until the sampler stops, or another thread reads on."""

    def __init__(self, sampler: Sampler, found: Found) -> None:
        super().__init__(name=found.shown, daemon=True)
        self.sampler = sampler
        self.found = found
        self.probe: ProbeLike | None = None
        self.left = False  # another thread reads on
        self.answered = threading.Event()
        self.go = threading.Event()
        self.refusal: Refusal | None = None
        self.kinds: tuple[str, ...] = ()
        self.domains: list[Domain] = []
        self.reading_since_s: float | None = None
        self.read_at_s = 0.0  # when the last reading that came through was begun
        self._alarm = threading.Lock()  # a lock's timeout is the cheapest sleep that can be ended
        self._alarm.acquire()

    def run(self) -> None:
        if self.probe is None:
            self.probe = self._start()
            self.answered.set()
        if self.probe is not None:
            self.go.wait()
            self._read(self.probe)
            if not self.left:
                self.probe.close()

    def answers_by(self, deadline_s: float) -> bool:
        """Whether the probe says in time what it reads, and while there is somebody to tell."""
        while not self.answered.wait(0.1):
            if time.monotonic() >= deadline_s or not self.sampler.is_owned():
                return False
        return True

    def _start(self) -> ProbeLike | None:
        try:
            probe = probes.build(self.found, self.sampler.tree)
        except BenchError as error:
            self.refusal = Refusal(error.message, error.hint)
            return None
        self.kinds = tuple(probe.kinds)
        self.refusal = probe.why_not()
        if self.refusal is not None:
            return None
        domains = list(probe.domains())
        why = next((why for d in domains if (why := probes.why_unusable(d))), None)
        if why is not None:
            self.refusal = Refusal(f"what it reads can't be used: {why}")
            return None
        self.domains = domains
        return probe

    def _read(self, probe: ProbeLike) -> None:
        sampler = self.sampler
        due_s, turn = time.monotonic(), 0.0
        while self.domains and not (sampler.stopping or self.left):
            self.reading_since_s = before_s = time.monotonic()
            items = list(probe.read())
            if self.left:
                return
            self.reading_since_s, self.read_at_s = None, before_s
            now_s = time.monotonic()
            look = Look(self.name, self.domains, items, now_s - before_s)
            sampler.recorder.seen.append(look)
            due_s += sampler.period_s
            if due_s < now_s - sampler.period_s:  # late: skip, don't catch up
                due_s = now_s
            turn = (turn + GOLDEN) % 1  # within its period: no load repeats in time with this
            shift_s = (turn - 0.5) * sampler.period_s
            due_s = self._wait(due_s + shift_s) - shift_s

    def _wait(self, due_s: float) -> float:
        """Sleep until the next reading is due, `due_s` outside a burst; when it was due."""
        while not self.sampler.stopping:
            now_s = time.monotonic()
            if now_s < self.sampler.burst_until_s:
                self._alarm.acquire(timeout=1 / BURST_HZ)
                return time.monotonic()
            if now_s >= due_s:
                break
            self._alarm.acquire(timeout=due_s - now_s)
        return due_s

    def wake(self) -> None:
        if self._alarm.locked():
            self._alarm.release()

    def owes(self, edge_s: float) -> bool:
        """Whether a reading from after the last edge is still to come, and may come."""
        return (
            self.is_alive() and bool(self.domains) and self.read_at_s < edge_s and not self.hung_s()
        )

    def hung_s(self) -> float:
        """How long the probe has not answered, once that is long; else 0."""
        waited_s = self._reading_s()
        return waited_s if waited_s > _HUNG_S else 0.0

    def _reading_s(self) -> float:
        """For how long this thread has been waiting for its probe."""
        since_s = self.reading_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def look_after(self) -> None:
        """Mark it when it hangs, unless another thread can read on without what hangs."""
        self.pass_on()
        hung_s = 0.0 if self.left else self.hung_s()
        if hung_s:
            self.mark("hung", f"has not answered for {hung_s:.1f} s", hung_s)

    def pass_on(self) -> None:
        """Let another thread read on where one of several devices holds this one up."""
        stuck_s = getattr(self.probe, "stuck_s", None)
        if stuck_s is None or min(stuck_s(), self._reading_s()) < _STUCK_S:
            return
        self.left = True
        other = ProbeThread(self.sampler, self.found)
        other.name = self.name
        other.probe, other.kinds, other.domains = self.probe, self.kinds, self.domains
        other.answered.set()
        other.go.set()
        self.sampler.threads[self.sampler.threads.index(self)] = other
        other.start()

    def mark(self, id: str, what: str, value: float | None = None) -> None:
        """Mark each domain of this probe."""
        t_ns = time.monotonic_ns()
        for domain in self.domains:
            mark = Mark(t_ns, id, f"{self.name} {what}", domain.name, value)
            self.sampler.recorder.seen.append(["mark", *mark])


def start(sampler: Sampler, several: Sequence[Found], patience_s: float, calibrated: bool) -> None:
    """Start every probe, wait for them to answer, and tell the parent what there is."""
    threads = [ProbeThread(sampler, found) for found in several]
    _tell_apart(threads)
    threading.excepthook = _failed
    for thread in threads:
        thread.start()
    deadline_s = time.monotonic() + patience_s
    for thread in threads:
        if not thread.answers_by(deadline_s):
            thread.refusal = Refusal(f"did not answer within {patience_s:.3g} s")
    _refuse_doubles(threads)
    refusals = [
        {"probe": t.name, "reason": t.refusal.reason, "fix": t.refusal.fix,
         "kinds": t.kinds if t.refusal.kinds is None else t.refusal.kinds}
        for t in threads if t.refusal is not None
    ]  # fmt: skip
    sampler.threads = working = [t for t in threads if t.refusal is None]
    measured = {d.kind for t in working for d in t.domains if d.level != "M0"}
    for thread in working:  # an estimate never stands beside a measurement of its kind
        thread.domains = [d for d in thread.domains if d.level != "M0" or d.kind not in measured]
    if calibrated:
        _calibrate(working)
    for thread in working:
        sampler.recorder.adopt(thread.domains)
    answer = {"domains": {t.name: [d._asdict() for d in t.domains] for t in working},
              "refusals": refusals, "log_error": sampler.recorder.writer.error}  # fmt: skip
    with contextlib.suppress(BrokenPipeError):  # the parent is gone: `supervise` sees it
        os.write(1, json.dumps(answer).encode() + b"\n")
    sampler.burst(_FIRST_BURST_S)
    for thread in working:
        thread.go.set()


def _tell_apart(threads: Sequence[ProbeThread]) -> None:
    """Give each a name of its own: what tells two programs apart may be in what is not shown."""
    seen: dict[str, int] = {}
    for thread in threads:
        shown = thread.name
        seen[shown] = seen.get(shown, 0) + 1
        if seen[shown] > 1:
            thread.name = f"{shown} ({seen[shown]})"


def _refuse_doubles(threads: Sequence[ProbeThread]) -> None:
    """Two domains of one name would become one: the later probe is refused."""
    taken: set[str] = set()
    for thread in (t for t in threads if t.refusal is None):
        names = {d.name for d in thread.domains}
        if both := sorted(names & taken):
            text = f"another probe reads {', '.join(both)} too"
            thread.refusal = Refusal(text, "two meters of a kind are told apart by name=…")
        taken |= names


def _calibrate(threads: Sequence[ProbeThread]) -> None:
    """Of all domains at once: a calibration may be of their sum."""
    from bench.power import calibration  # not at the top: it imports much, and is seldom there

    domains = calibration.apply([d for thread in threads for d in thread.domains])
    by_name = {d.name: d for d in domains}
    for thread in threads:
        thread.domains = [by_name[d.name] for d in thread.domains]


def _failed(hook: threading.ExceptHookArgs) -> None:
    """A probe raised: refuse it when it was starting, mark the trace when it was reading."""
    text = f"failed: {hook.exc_type.__name__}: {hook.exc_value}"
    thread = hook.thread
    if not isinstance(thread, ProbeThread):  # the recorder: what is not recorded is not measured
        os._exit(1)
    if thread.answered.is_set():
        thread.reading_since_s = None
        thread.mark("probe-failed", text)
    else:
        thread.refusal = Refusal(text)
        thread.answered.set()


def supervise(sampler: Sampler) -> bool:
    """Obey the parent until it says stop (True) or is gone; keep an eye on clocks and probes."""
    clock_s = 0.0
    commands = b""
    while sampler.is_owned():
        now_s = time.monotonic()
        if now_s >= clock_s:
            clock_s = now_s + _CLOCK_S
            sampler.recorder.seen.append(_clock())
            for thread in sampler.threads:
                thread.look_after()
        readable, _, _ = select.select([0], [], [], clock_s - now_s)
        if readable:
            data = os.read(0, 4096)
            if not data:
                break
            *lines, commands = (commands + data).split(b"\n")
            if not all(_obey(sampler, line.decode()) for line in lines):
                return True
    return False


def _obey(sampler: Sampler, command: str) -> bool:
    """Do what the parent asks; False when it asks for the end."""
    if command.startswith("follow "):
        sampler.tree.follow(int(command.split()[1]))
    elif command == "edge":
        sampler.edge_s = time.monotonic()
        sampler.burst(BURST_S)
    return command != "stop"


def _clock() -> list[Any]:
    """The clocks, read together: a suspend or a set clock shows as a change between them."""
    return ["clock", time.monotonic_ns(), time.time_ns(),
            time.clock_gettime_ns(time.CLOCK_BOOTTIME)]  # fmt: skip


def finish(sampler: Sampler, told: bool) -> None:
    """End the probes, as far as they answer, and put the rest of the log on disk."""
    deadline_s = time.monotonic() + _LAST_S
    while any(t.owes(sampler.edge_s) for t in sampler.threads) and time.monotonic() < deadline_s:
        for thread in sampler.threads:
            thread.pass_on()
        time.sleep(0.01)
    sampler.stop()
    deadline_s = time.monotonic() + _END_S
    for thread in sampler.threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
        if thread.is_alive():
            thread.look_after()
    sampler.recorder.seen.append(_clock())
    rest = sampler.recorder.end(_END_S)
    with contextlib.suppress(BrokenPipeError):
        while told and rest:
            rest = rest[os.write(1, rest) :]


def main(call_fd: int) -> None:
    """Called by the process that `bench.power.meter` starts; what it is to do is in that file, as
    everybody may read a process's arguments, and a probe's may hold a password."""
    with open(call_fd, "rb") as file:
        folder, rate_hz, patience_s, live_fd, parent, calibrated, several = json.load(file)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent's business; this process ends with it
    recorder = Recorder(log.Writer(f"{folder}/{log.NAME}"), live_fd)
    facts = {"pid": os.getpid(), "rate_hz": rate_hz,
             "probes": [probes.shown(text) for text, _ in several],
             "started_ns": time.monotonic_ns(), "started_unix_ns": time.time_ns()}  # fmt: skip
    recorder.seen += [["head", log.VERSION, facts], _clock()]
    recorder.start()
    sampler = Sampler(recorder, rate_hz, parent)
    start(sampler, [Found(*found) for found in several], patience_s, calibrated)
    told = supervise(sampler)
    finish(sampler, told)
    end_session()
    os._exit(0)  # a thread that hangs in a driver must not keep the process
