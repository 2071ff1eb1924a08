"""The sampler: a process that reads the probes at a fixed rate and appends what they say to a log.

It belongs to `bench.power.meter`, which starts it, talks to it over its standard input (`follow
PID`, `edge`, `stop`) and reads one line from its standard output once the probes have answered. It
ends with its parent. Each probe has a thread of its own, so that a driver that hangs stops nothing
else. Imports are few on purpose: the window can't start before this process has.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bench.power import log, probes
from bench.power.probes import Domain, Mark, ProbeLike, Reading, Refusal
from bench.power.processes import Tree

BURST_S = 0.35  # after an edge: three ticks of a counter that moves every 100 ms
BURST_HZ = 200.0
_FIRST_BURST_S = 0.5  # shows the counter's tick
_FLUSH_S, _SYNC_S, _LIVE_S = 0.5, 3.0, 0.05
_SLOW_S, _HUNG_S, _LAST_S = 0.1, 2.0, 1.5


class Sampler:
    def __init__(self, writer: log.Writer, rate_hz: float, live_fd: int) -> None:
        self.writer = writer
        self.period_s = 1 / rate_hz
        self.stopping = threading.Event()
        self.woken = threading.Condition()
        self.burst_until_s = 0.0
        self.edge_s = 0.0
        self.indices: dict[str, int] = {}
        self.live = _Live(live_fd)
        self.tree = Tree()

    def adopt(self, domains: list[Domain]) -> None:
        for domain in domains:
            self.indices[domain.name] = len(self.indices)
            self.writer.add(["domain", self.indices[domain.name], domain._asdict()])

    def take(self, item: Reading | Mark) -> None:
        if isinstance(item, Mark):
            self.writer.add(["mark", *item])
        elif item.domain in self.indices:
            self.live.add(item)
            end = 8 if item.error is not None else 7
            self.writer.add(["r", self.indices[item.domain], *item[1:end]])

    def burst(self, duration_s: float) -> None:
        with self.woken:
            self.burst_until_s = max(self.burst_until_s, time.monotonic() + duration_s)
            self.woken.notify_all()

    def wait(self, due_s: float) -> float:
        """Sleep until the next reading is due, `due_s` outside a burst; when it was due."""
        with self.woken:
            while not self.stopping.is_set():
                now_s = time.monotonic()
                if now_s < self.burst_until_s:
                    self.woken.wait(1 / BURST_HZ)
                    return time.monotonic()
                if now_s >= due_s:
                    return due_s
                self.woken.wait(due_s - now_s)
        return due_s

    def stop(self) -> None:
        self.stopping.set()
        with self.woken:
            self.woken.notify_all()


class ProbeThread(threading.Thread):
    """Starts one probe and then reads it until the sampler stops."""

    def __init__(self, sampler: Sampler, text: str) -> None:
        super().__init__(name=text, daemon=True)
        self.sampler = sampler
        self.answered = threading.Event()
        self.go = threading.Event()
        self.refusal: Refusal | None = None
        self.kinds: tuple[str, ...] = ()
        self.domains: list[Domain] = []
        self.reading_since_s: float | None = None
        self.read_at_s = 0.0  # when the last reading that came through was begun

    def run(self) -> None:
        probe = probes.build(self.name, self.sampler.tree)
        self.kinds = probe.kinds
        self.refusal = probe.why_not()
        if self.refusal is None:
            self.domains = probe.domains()
        self.answered.set()
        if self.refusal is None:
            self.go.wait()
            self._read(probe)
            probe.close()

    def _read(self, probe: ProbeLike) -> None:
        sampler = self.sampler
        due_s = time.monotonic()
        while self.domains and not sampler.stopping.is_set():
            self.reading_since_s = before_s = time.monotonic()
            for item in probe.read():
                sampler.take(item)
            self.reading_since_s, self.read_at_s = None, before_s
            now_s = time.monotonic()
            if now_s - before_s > _SLOW_S:
                self.mark("slow", f"took {now_s - before_s:.2f} s to answer", now_s - before_s)
            sampler.live.publish()
            due_s += sampler.period_s
            if due_s < now_s - sampler.period_s:  # late: skip, don't catch up
                due_s = now_s
            due_s = sampler.wait(due_s)

    def owes(self, edge_s: float) -> bool:
        """Whether a reading from after the last edge is still to come, and may come."""
        return (
            self.is_alive() and bool(self.domains) and self.read_at_s < edge_s and not self.hung_s()
        )

    def hung_s(self) -> float:
        """How long the probe has not answered, once that is long; else 0."""
        since_s = self.reading_since_s
        waited_s = 0.0 if since_s is None else time.monotonic() - since_s
        return waited_s if waited_s > _HUNG_S else 0.0

    def mark(self, id: str, what: str, value: float | None = None) -> None:
        """Mark each domain of this probe."""
        t_ns = time.monotonic_ns()
        names: list[str | None] = [d.name for d in self.domains]
        for name in names or [None]:
            self.sampler.take(Mark(t_ns, id, f"{self.name} {what}", name, value))


class _Live:
    """The newest watts and the joules so far, for the parent to look at without asking."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._last: dict[str, Reading] = {}
        self._power_w: dict[str, float] = {}
        self._energy_j: dict[str, float] = {}
        self._published_s = 0.0

    def add(self, reading: Reading) -> None:
        name = reading.domain
        if reading.power_w is None and reading.energy_j is None:
            self._power_w.pop(name, None)
            return
        with self._lock:
            last = self._last.get(name)
            if last is None:
                self._last[name], self._energy_j[name] = reading, 0.0
                if reading.power_w is not None:
                    self._power_w[name] = reading.power_w
                return
            span_s = (reading.t_ns - last.t_ns) / 1e9
            if reading.energy_j is not None and last.energy_j is not None:
                if span_s < _LIVE_S and reading.power_w is None:
                    return  # too short for watts from a counter
                joules = max(0.0, reading.energy_j - last.energy_j)
                derived_w: float | None = joules / span_s if span_s > 0 else None
            else:
                mean_w = ((last.power_w or 0.0) + (reading.power_w or 0.0)) / 2
                joules, derived_w = mean_w * span_s, None
            self._energy_j[name] += joules
            power_w = derived_w if reading.power_w is None else reading.power_w
            if power_w is not None:
                self._power_w[name] = power_w
            self._last[name] = reading

    def publish(self) -> None:
        now_s = time.monotonic()
        if now_s - self._published_s < _LIVE_S:
            return
        self._published_s = now_s
        with self._lock:
            newest_ns = max((r.t_ns for r in self._last.values()), default=0)
            line = log.encode(["live", newest_ns, self._power_w, self._energy_j])
        os.pwrite(self._fd, line, 0)


def start(sampler: Sampler, names: list[str], patience_s: float) -> list[ProbeThread]:
    """Start every probe, wait for them to answer, and tell the parent what there is."""
    threads = [ProbeThread(sampler, name) for name in names]
    threading.excepthook = lambda hook: _failed(sampler, hook)
    for thread in threads:
        thread.start()
    deadline_s = time.monotonic() + patience_s
    for thread in threads:
        if not thread.answered.wait(max(0.0, deadline_s - time.monotonic())):
            thread.refusal = Refusal(f"did not answer within {patience_s:.3g} s")
    refusals = [
        {"probe": t.name, "reason": t.refusal.reason, "fix": t.refusal.fix,
         "kinds": t.kinds if t.refusal.kinds is None else t.refusal.kinds}
        for t in threads if t.refusal is not None
    ]  # fmt: skip
    working = [t for t in threads if t.refusal is None]
    measured = {d.kind for t in working for d in t.domains if d.level != "M0"}
    for thread in working:  # an estimate never stands beside a measurement of its kind
        thread.domains = [d for d in thread.domains if d.level != "M0" or d.kind not in measured]
        sampler.adopt(thread.domains)
    answer = {"domains": {t.name: [d._asdict() for d in t.domains] for t in working},
              "refusals": refusals, "log_error": sampler.writer.error}  # fmt: skip
    os.write(1, json.dumps(answer).encode() + b"\n")
    sampler.burst(_FIRST_BURST_S)
    for thread in working:
        thread.go.set()
    return working


def _failed(sampler: Sampler, hook: threading.ExceptHookArgs) -> None:
    """A probe raised: refuse it when it was starting, mark the trace when it was reading."""
    text = f"failed: {hook.exc_type.__name__}: {hook.exc_value}"
    thread = hook.thread
    if isinstance(thread, ProbeThread):
        thread.reading_since_s = None
        if not thread.answered.is_set():
            thread.refusal = Refusal(text)
            thread.answered.set()
        thread.mark("probe-failed", text)
    sys.__excepthook__(hook.exc_type, hook.exc_value or hook.exc_type(), hook.exc_traceback)


def supervise(sampler: Sampler, threads: list[ProbeThread], parent: int) -> bool:
    """Obey the parent and write the log until told to stop (True) or the parent is gone."""
    clock_s = sync_s = 0.0
    commands = b""
    while True:
        readable, _, _ = select.select([0], [], [], _FLUSH_S)
        now_s = time.monotonic()
        if readable:
            data = os.read(0, 4096)
            if not data:
                return False
            *lines, commands = (commands + data).split(b"\n")
            if not all(_obey(sampler, line.decode()) for line in lines):
                return True
        if os.getppid() != parent:
            return False
        if now_s - clock_s >= 1:
            clock_s = now_s
            sampler.writer.add(_clock())
            for thread in threads:
                _look_at(thread)
        sync = now_s - sync_s >= _SYNC_S
        sync_s = now_s if sync else sync_s
        sampler.writer.flush(sync)


def _obey(sampler: Sampler, command: str) -> bool:
    """Do what the parent asks; False when it asks for the end."""
    if command.startswith("follow "):
        sampler.tree.follow(int(command.split()[1]))
    elif command == "edge":
        sampler.edge_s = time.monotonic()
        sampler.burst(BURST_S)
        sampler.writer.add(["edge", time.monotonic_ns()])
    return command != "stop"


def _look_at(thread: ProbeThread) -> None:
    hung_s = thread.hung_s()
    if hung_s:
        thread.mark("hung", f"has not answered for {hung_s:.1f} s", hung_s)


def _clock() -> list[Any]:
    """The clocks, read together: a suspend or a set clock shows as a change between them."""
    return ["clock", time.monotonic_ns(), time.time_ns(),
            time.clock_gettime_ns(time.CLOCK_BOOTTIME)]  # fmt: skip


def finish(sampler: Sampler, threads: list[ProbeThread], told: bool) -> None:
    """End the probes, as far as they answer, and put the rest of the log on disk."""
    deadline_s = time.monotonic() + _LAST_S
    while any(t.owes(sampler.edge_s) for t in threads) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    sampler.stop()
    deadline_s = time.monotonic() + 0.5
    for thread in threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
        if thread.is_alive():
            _look_at(thread)
    sampler.writer.add(_clock())
    if sampler.writer.error:
        text = f"{sampler.writer.error}: the rest of the trace was kept in memory"
        sampler.take(Mark(time.monotonic_ns(), "log-failed", text))
    if told:
        sampler.writer.add(["stop", time.monotonic_ns()])
    sampler.writer.flush(sync=True)
    with contextlib.suppress(BrokenPipeError):
        rest = sampler.writer.rest()
        while told and rest:
            rest = rest[os.write(1, rest) :]


def main(arguments: list[str]) -> None:
    folder, rate_hz, patience_s, live_fd, parent, *names = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent's business; this process ends with it
    writer = log.Writer(Path(folder) / log.NAME)
    facts = {"pid": os.getpid(), "rate_hz": float(rate_hz), "probes": names,
             "started_ns": time.monotonic_ns(), "started_unix_ns": time.time_ns()}  # fmt: skip
    writer.add(["head", log.VERSION, facts])
    writer.add(_clock())
    sampler = Sampler(writer, float(rate_hz), int(live_fd))
    threads = start(sampler, names, float(patience_s))
    told = supervise(sampler, threads, int(parent))
    finish(sampler, threads, told)
    os._exit(0)  # a thread that hangs in a driver must not keep the process
