"""One child process under a meter: its events, its budget, its interrupts, its end."""

from __future__ import annotations

import ctypes
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench import errors
from bench.events import identity
from bench.interrupts import ENDING, handled
from bench.record import Status
from bench.units import NS_PER_S, Budget, g_co2e

if TYPE_CHECKING:
    from bench.power.meter import Meter
    from bench.power.probes import Domain

TICK_S = 0.25  # how often the live line is drawn and the budget is looked at
KILL_AFTER_S = 5.0  # a child that was told to end has this long before it is killed
STOP_PATIENCE_S = 30.0  # a program in front has this long to see the stop file


@dataclass
class Progress:
    """What is known of a running child; drawn by the live line."""

    phase: str = "start"
    elapsed_s: float = 0.0
    step: int = 0
    first_step: int = 0  # made before this run, which goes on with another
    total_steps: int | None = None
    loss: float | None = None
    score: tuple[str, float] | None = None
    text: str = ""
    power_w: dict[str, float] = field(default_factory=dict)
    energy_j: float = 0.0
    estimated: bool = False  # one of the charged domains is
    silent: list[str] = field(default_factory=list)  # charged domains that aren't read any more
    train_started: tuple[float, float] | None = None  # elapsed_s, energy_j
    stopping: bool = False

    def forecast(self) -> tuple[float, float] | None:
        """(seconds, joules) that the whole run will come to, once training has shown its pace."""
        if not (self.train_started and self.total_steps and self.step):
            return None
        began_s, began_j = self.train_started
        left = self.total_steps - self.first_step
        share = (self.step - self.first_step) / left if left > 0 else 0.0
        if self.elapsed_s - began_s < 2 or not 0 < share <= 1:
            return None
        return (
            began_s + (self.elapsed_s - began_s) / share,
            began_j + (self.energy_j - began_j) / share,
        )


@dataclass
class Outcome:
    """How the child ended."""

    status: Status
    failure: str | None = None
    code: int | None = None  # as the child's exit; negative: the signal that ended it
    left_running: bool = False  # something that it started has not ended
    end_asked: bool = False  # an interrupt came to bench itself: no further run


class Journal:
    """events.jsonl: the child's events as they come, and the meter's own (`"by": "meter"`).

    What a full disk does not take waits in memory: the training goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray()
        self.error: str | None = None

    def write(self, event: str, *, t_ns: int | None = None, **fields: Any) -> None:
        stamp = time.monotonic_ns() if t_ns is None else t_ns
        self.write_line(
            json.dumps({"event": event, "t_ns": stamp, "by": "meter", **fields}).encode() + b"\n"
        )

    def write_line(self, line: bytes) -> None:
        self._waiting += line
        try:
            while self._waiting:
                del self._waiting[: self._file.write(self._waiting)]
        except OSError as error:
            self.error = error.strerror

    def close(self) -> None:
        self._file.close()


class Limit:
    """Whether a budget is spent. One of energy is, too, when a part of it is not read any more."""

    def __init__(self, budget: Budget | None, intensity_g_per_kwh: float) -> None:
        self._budget = budget
        self._intensity = intensity_g_per_kwh

    def spent(self, progress: Progress) -> str | None:
        """Why the run has to stop; None while it may go on."""
        b = self._budget
        if b is None:
            return None
        if progress.silent and b.duration_s is None:
            silent = ", ".join(progress.silent)
            return f"the budget of {b.text} can't be watched: no reading of {silent}"
        spent = b.is_spent(
            duration_s=progress.elapsed_s,
            energy_j=progress.energy_j,
            emissions_g=g_co2e(progress.energy_j, self._intensity),
        )
        return f"the budget of {b.text} is spent" if spent else None


@dataclass(frozen=True)
class Program:
    """A command and what it is given."""

    command: Sequence[str]
    environment: Mapping[str, str]
    stop_file: Path  # appears when it should stop
    log: Path | None = None  # takes what it prints; None: it has bench's own input and output
    keeps_others: bool = False  # what it leaves running is not ended with it

    @property
    def in_front(self) -> bool:
        """Whether it has the terminal, and takes the signals that bench is sent."""
        return self.log is None


class Others(Protocol):
    """Other machines, on which the program runs as well."""

    def open(self) -> None:
        """Wait until all are ready: the windows open together."""

    def look(self, progress: Progress) -> None:
        """Tell them, or hear, what is metered. BenchError when one has failed, or is gone."""

    def close(self, outcome: Outcome) -> Outcome:
        """Wait until the program has ended on all."""

    def settle(self, outcome: Outcome) -> None:
        """It has ended here, one way or another."""


class Gauge:
    """What the meter shows of the domains that count, corrected where they are calibrated."""

    BLIND_S, BLIND_PERIODS = 5.0, 3  # without a reading for longer, a domain is silent

    def __init__(self, meter: Meter, domains: Sequence[Domain]) -> None:
        from bench.power.calibration import Correction

        self.meter, self._domains = meter, domains
        self._corrections = {d.name: Correction.of(d) for d in domains}

    def power_w(self) -> dict[str, float]:
        power_w = self.meter.live().power_w
        corrections = self._corrections.items()
        return {d: by.watts(power_w[d]) for d, by in corrections if d in power_w}

    def open(self) -> None:
        """Time and energy count from now on."""
        self.opened_ns = time.monotonic_ns()
        self._before_j = dict(self.meter.live().energy_j)

    def look(self, progress: Progress) -> None:
        live = self.meter.live()
        progress.elapsed_s = (time.monotonic_ns() - self.opened_ns) / NS_PER_S
        progress.power_w = self.power_w()
        progress.energy_j = sum(
            by.joules(live.energy_j[d] - self._before_j.get(d, 0.0), progress.elapsed_s)
            for d, by in self._corrections.items()
            if d in live.energy_j
        )
        ages_s = [live.domain_age_s.get(d.name) for d in self._domains]
        progress.silent = [
            d.name
            for d, age_s in zip(self._domains, ages_s, strict=True)
            if (progress.elapsed_s if age_s is None else age_s) > self._patience_s(d)
        ]

    def _patience_s(self, domain: Domain) -> float:
        own_s = float(domain.facts.get("period_s") or 0.0)
        return max(self.BLIND_S, self.BLIND_PERIODS * own_s)


def run_child(
    program: Program,
    journal: Journal,
    gauge: Gauge,
    progress: Progress,
    limit: Limit,
    on_progress: Callable[[Progress], None],
    others: Others | None = None,
) -> Outcome:
    """Run the program from start to end; the journal then holds its events and `window_stop`."""
    gauge.open()
    with _running(program, journal) as (child, read_fd), _signals_pass(program, child):
        gauge.meter.follow(child.pid)
        events = _Reader(read_fd, child.pid, journal, progress, gauge)
        watch = _Budget(program, journal, limit, child)
        code = None
        while code is None:
            events.wait(TICK_S)
            code = child.poll()
            gauge.look(progress)
            if others:
                others.look(progress)
            if code is None:
                watch.look(progress)
                _stop_along(child)
            on_progress(progress)
        ended_ns = time.monotonic_ns()
        events.close()
        outcome = _how_it_ended(program, code, events)
        if others:
            outcome = others.close(outcome)
            ended_ns = time.monotonic_ns()
        journal.write("window_stop", t_ns=ended_ns)
        outcome.left_running = _lives(child)
        return outcome


class _Budget:
    """Asks the child to stop when its budget is spent; one in front is told again, by SIGTERM."""

    def __init__(
        self, program: Program, journal: Journal, limit: Limit, child: subprocess.Popen[bytes]
    ) -> None:
        self._program, self._journal, self._limit, self._child = program, journal, limit, child
        self._tell_again_s = math.inf

    def look(self, progress: Progress) -> None:
        if not progress.stopping and (why := self._limit.spent(progress)):
            self._program.stop_file.touch()
            self._journal.write("budget_spent", message=why)
            progress.stopping = True
            if self._program.in_front:  # it may never look at the stop file
                self._tell_again_s = time.monotonic() + STOP_PATIENCE_S
        if time.monotonic() >= self._tell_again_s:
            self._tell_again_s = math.inf
            _signal(self._child, signal.SIGTERM)


@contextmanager
def _running(program: Program, journal: Journal) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The started child and the end of its pipe of events; ended with its group afterwards."""
    read_fd, write_fd = os.pipe()
    environment = {
        **program.environment,
        "BENCH_EVENTS_FD": str(write_fd), "BENCH_EVENTS_ID": identity(write_fd),
        "BENCH_STOP": str(program.stop_file),
    }  # fmt: skip
    child = None
    try:
        try:
            if program.log is None:
                child = subprocess.Popen(
                    program.command, pass_fds=(write_fd,), env=environment, process_group=0,
                    preexec_fn=_before_exec(signal.SIGTERM, _takes_terminal()),
                )  # fmt: skip
            else:
                with program.log.open("ab") as log:
                    child = subprocess.Popen(
                        program.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                        pass_fds=(write_fd,), env=environment, start_new_session=True,
                        preexec_fn=_before_exec(signal.SIGKILL, in_front=False),
                    )  # fmt: skip
        finally:
            os.close(write_fd)
        yield child, read_fd
    except BaseException:
        journal.write("window_stop")
        raise
    finally:
        os.close(read_fd)
        if child is not None:
            _end(child, program.keeps_others)
            if program.in_front:
                _hand_over(child.pid, os.getpgrp())


# --- a program in front: it has the terminal, as under a shell -----------------------------------

_PASSED = (*ENDING, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


@contextmanager
def _signals_pass(program: Program, child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Signals that bench is sent go to the program's group while it runs in front."""
    if not program.in_front:
        yield
        return
    with handled(_PASSED, lambda number: _signal(child, number)):
        yield


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(child.pid, number)
        if number in ENDING:
            os.killpg(child.pid, signal.SIGCONT)  # what is stopped would not hear it
    except (ProcessLookupError, PermissionError):  # it has ended, or is another user's by now
        return


def _lives(child: subprocess.Popen[bytes]) -> bool:
    """Whether anything of the child's group is left."""
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_TERMINAL = "/dev/tty"  # the one that bench is controlled from, wherever input and output go


def _in_front() -> int | None:
    """The process group in front on the terminal; None where there is no terminal."""
    try:
        with open(_TERMINAL, "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno())
    except OSError:
        return None


def _put_in_front(group: int) -> None:
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it would stop who is behind
    try:
        with open(_TERMINAL, "rb", buffering=0) as terminal:
            os.tcsetpgrp(terminal.fileno(), group)
    except OSError:  # the group has ended
        return
    finally:
        signal.signal(signal.SIGTTOU, before)


def _hand_over(giver: int, taker: int) -> None:
    """Put `taker` in front on the terminal if `giver` is."""
    if _in_front() == giver:
        _put_in_front(taker)


def _takes_terminal() -> bool:
    """Whether the child is in front from the start. In a pipe, others may read the terminal: it
    gets it when it asks."""
    return os.isatty(0) and _in_front() == os.getpgrp()


def _stop_along(child: subprocess.Popen[bytes]) -> None:
    """When the child was stopped (Ctrl-Z), stop too, so that the shell goes on; then resume it.
    One that stopped because it asked for the terminal gets it, if it is bench's to give."""
    try:
        stopped = os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:  # it has just ended
        return
    if stopped is None or (front := _in_front()) is None:
        return
    asks = stopped.si_status in (signal.SIGTTIN, signal.SIGTTOU)
    if not (asks and front == os.getpgrp()):
        _hand_over(child.pid, os.getpgrp())
        os.kill(os.getpid(), signal.SIGSTOP)
    _hand_over(os.getpgrp(), child.pid)  # after `fg`, not after `bg`
    _signal(child, signal.SIGCONT)


def _how_it_ended(program: Program, code: int, events: _Reader) -> Outcome:
    if code == 0:
        return Outcome("budget" if events.stop_reason == "budget" else "complete", code=code)
    if events.failure:
        return Outcome("failed", events.failure, code)
    if code < 0:
        name = signal.Signals(-code).name
        status: Status = "interrupted" if program.in_front and -code in ENDING else "failed"
        why = " (out of memory?)" if code == -signal.SIGKILL else ""
        return Outcome(status, f"the program was killed by {name}{why}", code)
    see = f"; see {program.log.name}" if program.log else ""
    return Outcome("failed", f"the program ended with exit code {code}{see}", code)


_AHEAD_NS = NS_PER_S  # an event that is said to come so much later is of another clock
_THE_METERS = {"meter", "window_start", "window_stop", "outcome", "budget_spent", "bad_event"}
_FIELDS: dict[str, dict[str, type]] = {
    "phase_start": {"phase": str}, "phase_stop": {"phase": str}, "progress": {"text": str},
    "step": {"step": int}, "eval": {"metric": str, "value": float},
    "saved": {"name": str, "file": str, "sha256": str, "bytes": int, "step": int},
    "warning": {"id": str, "message": str}, "failure": {"kind": str, "message": str},
}  # fmt: skip
_OPTIONAL: dict[str, type] = {"loss": float, "total_steps": int, "first_step": int}


def checked_event(line: bytes, since_ns: int) -> dict[str, Any]:
    """An event of a child that runs since `since_ns`, with what bench reads of it in the right
    types; one without a time came now. ValueError if it is none, or only the meter may send it."""
    try:
        return _checked(json.loads(line), since_ns)
    except KeyError as error:
        raise ValueError(f"it has no {error}") from None
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _checked(event: Any, since_ns: int) -> dict[str, Any]:
    if not isinstance(event, dict):
        raise ValueError("not an object")
    now_ns = time.monotonic_ns()
    if type(t_ns := event.setdefault("t_ns", now_ns)) is not int:
        raise ValueError("t_ns is not a whole number")
    if not since_ns <= t_ns <= now_ns + _AHEAD_NS:
        raise ValueError("t_ns is not of this run by CLOCK_MONOTONIC")
    name = str(event["event"])
    if name in _THE_METERS or name.startswith("idle_"):
        raise ValueError(f"'{name}' is the meter's own")
    if name.startswith("phase") and name not in _FIELDS:
        raise ValueError(f"'{name}' is neither phase_start nor phase_stop")
    event.pop("by", None)
    if name == "devices":
        event["uuids"] = [str(uuid) for uuid in event["uuids"]]
    for key, kind in _FIELDS.get(name, {}).items():
        event[key] = kind(event[key])
    for key, kind in _OPTIONAL.items():
        if event.get(key) is not None:
            event[key] = kind(event[key])
    return event


def with_hint(message: str, hint: str | None) -> str:
    return f"{message} ({hint})" if hint else message


class _Reader:
    """Reads the child's events from the pipe, journals them and keeps `progress` up to date."""

    def __init__(
        self, fd: int, pid: int, journal: Journal, progress: Progress, gauge: Gauge
    ) -> None:
        os.set_blocking(fd, False)
        self._fd, self._journal, self._progress, self._gauge = fd, journal, progress, gauge
        self._rest = b""
        self.failure: str | None = None
        self.stop_reason: str | None = None
        self._ended_fd = os.pidfd_open(pid)  # readable when the child has ended
        self._selector = selectors.DefaultSelector()
        for each in (fd, self._ended_fd):
            self._selector.register(each, selectors.EVENT_READ)

    def wait(self, timeout_s: float) -> None:
        """Take in events until `timeout_s` is over or the child has ended."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            ready = {key.fd for key, _ in self._selector.select(left)}
            if self._fd in ready:
                self._read()
            if self._ended_fd in ready:
                return

    def close(self) -> None:
        """Take in what is left in the pipe; no more is waited for."""
        while any(key.fd == self._fd for key, _ in self._selector.select(0)):
            self._read()
        self._selector.close()
        os.close(self._ended_fd)

    def _read(self) -> None:
        data = os.read(self._fd, 1 << 16)
        if not data:
            self._selector.unregister(self._fd)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                event = checked_event(line, self._gauge.opened_ns)
            except ValueError as error:
                text = line[:200].decode(errors="replace")
                self._journal.write("bad_event", text=text, why=str(error))
                continue
            self._take(event)
            self._journal.write_line(json.dumps(event).encode() + b"\n")

    def _take(self, event: dict[str, Any]) -> None:
        p = self._progress
        if event["event"] in ("phase_start", "phase_stop"):
            self._gauge.meter.phase()
        match event["event"]:
            case "phase_start":
                p.phase, p.text = event["phase"], ""
                if p.phase == "train" and p.train_started is None:
                    p.train_started = (p.elapsed_s, p.energy_j)
            case "step":
                p.step, p.total_steps = event["step"], event.get("total_steps")
                p.first_step = event.get("first_step") or 0
                p.loss = event.get("loss")
            case "eval":
                p.score = (event["metric"], event["value"])
            case "progress":
                p.text = event["text"]
            case "failure":
                own = hasattr(errors, event["kind"])  # and its message says all
                said = event["message"] if own else f"{event['kind']}: {event['message']}"
                self.failure = with_hint(said, event.get("hint"))
            case "run_stop":
                self.stop_reason = event.get("reason")


def _before_exec(when_orphaned: signal.Signals, in_front: bool) -> Callable[[], None]:
    """A hook for the new process: the kernel signals it when its parent dies (Linux), and it is
    in front on the terminal before it can ask for it."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def hook() -> None:
        if libc:
            libc.prctl(1, when_orphaned)  # PR_SET_PDEATHSIG
        if in_front:
            _put_in_front(os.getpid())

    return hook


def _end(child: subprocess.Popen[bytes], keeps_others: bool) -> None:
    """End the child's process group: asked first, then killed."""
    if child.poll() is not None and keeps_others:
        return
    for number in [signal.SIGTERM] * (child.poll() is None) + [signal.SIGKILL]:
        _signal(child, number)
        if number == signal.SIGTERM:
            try:
                child.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                continue
    child.wait()
