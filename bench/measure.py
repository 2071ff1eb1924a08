"""Meter one child process, whatever it is, from start to tail, into a run's folder.

The folder holds `start.json` (what was known before the window), `events.jsonl` and `trace.log`
while the child runs. The record is a function of the folder alone, so a run whose parent was
killed is finished later by `recover` in the same way. The parent holds a lock on `start.json`:
who gets the lock knows that the parent is gone.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import __version__
from bench import record as records
from bench.errors import BenchError
from bench.record import Idle, Metric, Phase, Record, Spec, Status, Warn
from bench.units import NS_PER_S, Budget, g_co2e

if TYPE_CHECKING:
    from bench.power.meter import Meter
    from bench.power.probes import Domain
    from bench.power.trace import Trace

TICK_S = 0.25  # how often the live line is drawn and the budget is looked at
KILL_AFTER_S = 5.0  # a child that was told to end has this long before it is killed
RESERVE_BYTES = 1 << 18  # room for the record on a disk that fills up


@dataclass
class Progress:
    """What is known of a running child; drawn by the live line."""

    phase: str = "start"
    elapsed_s: float = 0.0
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    score: tuple[str, float] | None = None
    text: str = ""
    power_w: dict[str, float] = field(default_factory=dict)
    energy_j: float = 0.0
    estimated: bool = False  # one of the charged domains is
    reading_age_s: float = 0.0
    train_started: tuple[float, float] | None = None  # elapsed_s, energy_j
    stopping: bool = False

    def forecast(self) -> tuple[float, float] | None:
        """(seconds, joules) that the whole run will come to, once training has shown its pace."""
        if not (self.train_started and self.total_steps and self.step):
            return None
        began_s, began_j = self.train_started
        share = self.step / self.total_steps
        if self.elapsed_s - began_s < 2 or share > 1:
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


@dataclass(frozen=True)
class Start:
    """What is known before the window opens."""

    run_id: str
    nonce: str
    started_at: str
    spec: Spec
    code_sha256: str
    machine: dict[str, Any]
    software: dict[str, str]
    visible_gpus: list[str]  # UUIDs that the child can see: they are charged
    region: str | None
    notes: list[Warn] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    start_ns: int
    stop_ns: int

    @property
    def duration_s(self) -> float:
        return (self.stop_ns - self.start_ns) / NS_PER_S


def measure(
    command: Sequence[str],
    folder: Path,
    start: Start,
    meter: Meter,
    *,
    environment: Mapping[str, str],
    stop_file: Path,
    budget: Budget | None = None,
    intensity_g_per_kwh: float = 0.0,
    idle_s: float = 3.0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Run `command` under `meter`; `folder` then holds events and trace. Never raises for what
    the child does; an interrupt ends the child and is an outcome."""
    progress = Progress()
    journal = _Journal(folder / "events.jsonl")
    outcome = None
    try:
        with _interrupts_raise():
            started = meter.start()
            charges = charged(start, started.domains)
            progress.estimated = any(d.level == "M0" for d in started.domains if charges(d.name))
            journal.write("meter", refused=[r.as_dict() for r in started.refusals])
            progress.text = "idle power"
            _idle(meter, journal, idle_s, progress, on_progress)
            journal.write("window_start", t_ns=meter.edge(lead_s=0.25))
            before_j = dict(meter.live().energy_j)
            outcome = _child(
                command, journal, meter, progress, environment, stop_file, folder,
                _Limit(budget, intensity_g_per_kwh), on_progress, charges, before_j,
            )  # fmt: skip
            meter.edge()
            progress.phase, progress.text = "tail", "idle power"
            _idle(meter, journal, idle_s, progress, on_progress)
    except _Interrupted as interrupt:  # in the tail it only cuts the idle power short
        outcome = outcome or Outcome("interrupted", f"interrupted by {interrupt}")
    except BenchError as error:  # the sampler did not start
        outcome = Outcome("failed", _with_hint(error.message, error.hint))
    except OSError as error:  # no disk, no processes: the window may never have opened
        outcome = Outcome("failed", str(error))
    (folder / "reserve").unlink(missing_ok=True)  # room for what follows, on a full disk too
    if journal.error:
        journal.write(
            "warning", id="disk", message=f"the disk took no events for a while: {journal.error}"
        )
    journal.write("outcome", status=outcome.status, failure=outcome.failure)
    journal.close()
    return outcome


def finish(
    folder: Path, start: Start, trace: Trace, metric: Metric | None, outcome: Outcome | None = None
) -> Record:
    """Write trace, record and manifest of a run whose child has ended, from its folder.

    What they are made from goes last, so that a kill in between loses nothing.
    """
    (folder / "reserve").unlink(missing_ok=True)
    events = read_events(folder / "events.jsonl")
    outcome = outcome or _outcome(events)
    window = _window(events, trace)
    charges = charged(start, trace.domains)
    domains = trace.energy(window.start_ns, window.stop_ns, charges, expected(start))
    record = Record(
        bench_version=__version__,
        run_id=start.run_id,
        nonce=start.nonce,
        started_at=start.started_at,
        status=outcome.status,
        failure=outcome.failure,
        spec=start.spec,
        code_sha256=start.code_sha256,
        machine=start.machine,
        software=start.software,
        model_facts=next((_facts(e) for e in events if e["event"] == "model"), {}),
        duration_s=window.duration_s,
        domains=domains,
        phases=_phases(events, trace, window, {d.domain for d in domains if d.charged}),
        idle_before=_idle_power(events, trace, "idle_before"),
        idle_after=_idle_power(events, trace, "idle_after"),
        region=start.region,
        not_covered=_not_covered(events),
        warnings=_warnings(start, events, trace, window),
        metric=metric,
    )
    scratch = folder / ".trace.parquet"
    trace.write_parquet(scratch)
    scratch.replace(folder / "trace.parquet")
    _close(folder, record)
    return record


def _close(folder: Path, record: Record) -> None:
    records.write(record, folder)
    (folder / "trace.log").unlink(missing_ok=True)
    (folder / "start.json").unlink(missing_ok=True)


@contextmanager
def opened(folder: Path, start: Start) -> Iterator[None]:
    """Hold the run's folder: nobody recovers it meanwhile. It holds `start.json` from now on."""
    (folder / "reserve").write_bytes(b"\0" * RESERVE_BYTES)
    facts = {**asdict(start), "spec": start.spec.model_dump(mode="json")}
    facts["notes"] = [n.model_dump(mode="json") for n in start.notes]
    scratch = folder / ".start.json"
    with scratch.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(facts, file, indent=1)
        file.flush()
        scratch.rename(folder / "start.json")  # locked before anybody can see it
        yield


def recover(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Finish every run below `root` whose parent is gone: its folder, and why it can't be
    finished, if it can't. One that is damaged must not stand in the way of the others."""
    for path in sorted(root.glob("*/*/start.json")):
        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # it goes on
            if path.exists() and not _still_sampled(path.parent):
                try:
                    _recover(path.parent, json.load(file))
                except (BenchError, OSError, ValueError, TypeError, KeyError) as error:
                    yield path.parent, f"{type(error).__name__}: {error}".splitlines()[0]
                else:
                    yield path.parent, None


def _recover(folder: Path, facts: dict[str, Any]) -> None:
    from bench.power.trace import Trace

    if (folder / "record.json").exists():  # killed between the record and the end
        _close(folder, records.read(folder))
        return
    start = Start(
        **{
            **facts,
            "spec": Spec.model_validate(facts["spec"]),
            "notes": [Warn.model_validate(n) for n in facts["notes"]],
        }
    )
    finish(folder, start, Trace.read_log(folder / "trace.log"), None)


def _still_sampled(folder: Path) -> bool:
    from bench.power import log

    path = folder / log.NAME
    return path.exists() and log.being_written(path)


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a run; a torn last line is left out."""
    events = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return events


# --- the child -----------------------------------------------------------------------------------


class _Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP came; BaseException so that nothing swallows it."""


def _interrupts() -> list[signal.Signals]:
    """Those that end a run; one that is ignored (nohup, a job in the background) stays so."""
    some = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [s for s in some if signal.getsignal(s) is not signal.SIG_IGN]


@contextmanager
def _interrupts_raise() -> Iterator[None]:
    """The first interrupt raises; later ones are ignored while things end."""
    caught = _interrupts()

    def handler(number: int, frame: object) -> None:
        for s in caught:
            signal.signal(s, signal.SIG_IGN)
        raise _Interrupted("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    before = {s: signal.signal(s, handler) for s in caught}
    try:
        yield
    finally:
        for s, old in before.items():
            signal.signal(s, old)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold interrupts back, so that a record is written whole; one that came is sent afterwards.

    A mask would not do: the signal goes to another thread, and its handler runs here all the same.
    """
    came: list[int] = []
    before = {s: signal.signal(s, lambda number, _: came.append(number)) for s in _interrupts()}
    try:
        yield
    finally:
        for s, old in before.items():
            signal.signal(s, old)
        if came:
            signal.raise_signal(came[0])


class _Journal:
    """events.jsonl: the child's events as they come, and the meter's own (`"by": "meter"`).

    What a full disk does not take waits in memory: the training goes on.
    """

    def __init__(self, path: Path) -> None:
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


class _Limit:
    """Whether a budget is spent. One of energy is, too, when nothing is read any more."""

    BLIND_S = 5.0

    def __init__(self, budget: Budget | None, intensity_g_per_kwh: float) -> None:
        self._budget = budget
        self._intensity = intensity_g_per_kwh

    def spent(self, progress: Progress) -> str | None:
        """Why the run has to stop; None while it may go on."""
        b = self._budget
        if b is None:
            return None
        if b.duration_s is not None:
            return (
                f"the budget of {b.text} is spent" if progress.elapsed_s >= b.duration_s else None
            )
        if progress.reading_age_s > self.BLIND_S:
            return f"the budget of {b.text} can't be watched: the meter went silent"
        grams = g_co2e(progress.energy_j, self._intensity)
        spent = (b.energy_j is not None and progress.energy_j >= b.energy_j) or (
            b.emissions_g is not None and grams >= b.emissions_g
        )
        return f"the budget of {b.text} is spent" if spent else None


def _child(
    command: Sequence[str],
    journal: _Journal,
    meter: Meter,
    progress: Progress,
    environment: Mapping[str, str],
    stop_file: Path,
    folder: Path,
    limit: _Limit,
    on_progress: Callable[[Progress], None],
    charges: Callable[[str], bool],
    before_j: Mapping[str, float],
) -> Outcome:
    read_fd, write_fd = os.pipe()
    child = None
    opened_ns = time.monotonic_ns()
    try:
        try:
            with (folder / "log.txt").open("ab") as log:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write_fd,),
                    env={
                        **environment,
                        "BENCH_EVENTS_FD": str(write_fd), "BENCH_STOP": str(stop_file),
                    },
                    start_new_session=True, preexec_fn=_die_with_parent(),
                )  # fmt: skip
        finally:
            os.close(write_fd)
        meter.follow(child.pid)
        events = _Reader(read_fd, journal, progress)
        while True:
            events.wait(TICK_S)
            code = child.poll()
            _look(meter, progress, opened_ns, charges, before_j)
            why = None if progress.stopping or code is not None else limit.spent(progress)
            if why:
                stop_file.touch()
                journal.write("budget_spent", message=why)
                progress.stopping = True
            on_progress(progress)
            if code is not None:
                break
        journal.write("window_stop")
        events.drain()
        return _how_it_ended(code, events)
    except BaseException:
        journal.write("window_stop")
        raise
    finally:
        os.close(read_fd)
        if child is not None:
            _end(child)


def _how_it_ended(code: int, events: _Reader) -> Outcome:
    if code == 0:
        return Outcome("budget" if events.stop_reason == "budget" else "complete")
    if events.failure:
        return Outcome("failed", events.failure)
    if code < 0:
        name = signal.Signals(-code).name
        why = " (out of memory?)" if code == -signal.SIGKILL else ""
        return Outcome("failed", f"the training process was killed by {name}{why}")
    return Outcome("failed", f"the training process ended with exit code {code}; see log.txt")


_THE_METERS = {"meter", "window_start", "window_stop", "outcome", "budget_spent", "bad_event"}
_FIELDS: dict[str, dict[str, type]] = {
    "phase_start": {"phase": str}, "phase_stop": {"phase": str}, "progress": {"text": str},
    "step": {"step": int}, "eval": {"metric": str, "value": float},
    "warning": {"id": str, "message": str}, "failure": {"kind": str, "message": str},
}  # fmt: skip
_OPTIONAL: dict[str, type] = {"loss": float, "total_steps": int}


def checked_event(line: bytes) -> dict[str, Any]:
    """A child's event with what bench reads of it in the right types; ValueError, TypeError or
    KeyError if it is none, or is one that only the meter may send."""
    event = json.loads(line)
    if not isinstance(event, dict) or type(event["t_ns"]) is not int:
        raise ValueError("not an object with a whole t_ns")
    name = str(event["event"])
    if name in _THE_METERS or name.startswith("idle_"):
        raise ValueError(f"'{name}' is the meter's own")
    event.pop("by", None)
    if name == "devices":
        event["uuids"] = [str(uuid) for uuid in event["uuids"]]
    for key, kind in _FIELDS.get(name, {}).items():
        event[key] = kind(event[key])
    for key, kind in _OPTIONAL.items():
        if event.get(key) is not None:
            event[key] = kind(event[key])
    return event


def _with_hint(message: str, hint: str | None) -> str:
    return f"{message} ({hint})" if hint else message


class _Reader:
    """Reads the child's events from the pipe, journals them and keeps `progress` up to date."""

    def __init__(self, fd: int, journal: _Journal, progress: Progress) -> None:
        os.set_blocking(fd, False)
        self._fd, self._journal, self._progress = fd, journal, progress
        self._rest = b""
        self._open = True
        self.failure: str | None = None
        self.stop_reason: str | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(fd, selectors.EVENT_READ)

    def wait(self, timeout_s: float) -> None:
        """Take in events until `timeout_s` is over or the child has closed the pipe."""
        deadline = time.monotonic() + timeout_s
        while self._open and (left := deadline - time.monotonic()) > 0:
            if self._selector.select(left):
                self._read()
        if not self._open:  # closed but not ended: the child may only have dropped the descriptor
            time.sleep(0.02)

    def drain(self) -> None:
        while self._open and self._selector.select(0):
            self._read()

    def _read(self) -> None:
        data = os.read(self._fd, 1 << 16)
        self._open = bool(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                event = checked_event(line)
            except (ValueError, TypeError, KeyError) as error:
                text = line[:200].decode(errors="replace")
                self._journal.write("bad_event", text=text, why=str(error))
                continue
            self._take(event)
            self._journal.write_line(json.dumps(event).encode() + b"\n")

    def _take(self, event: dict[str, Any]) -> None:
        p = self._progress
        match event["event"]:
            case "phase_start":
                p.phase, p.text = event["phase"], ""
                if p.phase == "train" and p.train_started is None:
                    p.train_started = (p.elapsed_s, p.energy_j)
            case "step":
                p.step, p.total_steps = event["step"], event.get("total_steps")
                p.loss = event.get("loss")
            case "eval":
                p.score = (event["metric"], event["value"])
            case "progress":
                p.text = event["text"]
            case "failure":
                self.failure = _with_hint(f"{event['kind']}: {event['message']}", event.get("hint"))
            case "run_stop":
                self.stop_reason = event.get("reason")


def _look(
    meter: Meter,
    progress: Progress,
    opened_ns: int,
    charges: Callable[[str], bool],
    before_j: Mapping[str, float],
) -> None:
    live = meter.live()
    progress.elapsed_s = (time.monotonic_ns() - opened_ns) / NS_PER_S
    progress.power_w = {d: w for d, w in live.power_w.items() if charges(d)}
    counted = {d: e - before_j.get(d, 0.0) for d, e in live.energy_j.items() if charges(d)}
    progress.energy_j = sum(counted.values())
    progress.reading_age_s = live.age_s or 0.0


def _idle(
    meter: Meter,
    journal: _Journal,
    idle_s: float,
    progress: Progress,
    on_progress: Callable[[Progress], None],
) -> None:
    name = "idle_after" if progress.phase == "tail" else "idle_before"
    journal.write(f"{name}_start")
    deadline = time.monotonic() + idle_s
    while (left := deadline - time.monotonic()) > 0:
        progress.power_w = dict(meter.live().power_w)
        on_progress(progress)
        time.sleep(min(TICK_S, left))
    journal.write(f"{name}_stop")


def _die_with_parent() -> Callable[[], None]:
    """A pre-exec hook: the kernel kills the child when its parent dies (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def hook() -> None:
        if libc:
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    return hook


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child's process group: asked first, then killed."""
    with_group = [signal.SIGTERM] if child.poll() is None else []
    for s in (*with_group, signal.SIGKILL):
        try:
            os.killpg(child.pid, s)
        except ProcessLookupError:
            break
        if s == signal.SIGTERM:
            try:
                child.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                continue
    child.wait()


# --- from the folder to the record -------------------------------------------------------------


def charged(start: Start, domains: Iterable[Domain]) -> Callable[[str], bool]:
    """Which domains count: every device that the child could see and all that is not an
    accelerator; estimates only where nothing was measured, so that they never enter a sum with
    what was."""
    hidden = {d.name for d in domains if d.kind == "gpu"} - set(expected(start))
    measured = any(d.level != "M0" and d.name not in hidden for d in domains)
    left_out = hidden | {d.name for d in domains if measured and d.level == "M0"}
    return lambda name: name not in left_out


def expected(start: Start) -> list[str]:
    """The domains that must be there: a missing one is missing, not zero."""
    return [f"gpu:{uuid}" for uuid in start.visible_gpus]


def _outcome(events: list[dict[str, Any]]) -> Outcome:
    told = next((e for e in reversed(events) if e["event"] == "outcome"), None)
    if told and told["status"] not in ("complete", "budget"):
        return Outcome(told["status"], told["failure"])
    return Outcome("interrupted", "bench itself was killed; recovered from what it had written")


def _window(events: list[dict[str, Any]], trace: Trace) -> Window:
    """From the meter's events; empty when it never opened, to the last reading when it was cut."""
    at = {e["event"]: e["t_ns"] for e in events if e["event"] in ("window_start", "window_stop")}
    start_ns = at.get("window_start", trace.stop_ns)
    return Window(start_ns, max(at.get("window_stop", trace.stop_ns), start_ns))


def phase_spans(events: Iterable[dict[str, Any]], window: Window) -> list[tuple[str, int, int]]:
    """(name, start_ns, stop_ns) of each phase; together they cover the window without overlap."""
    spans: list[tuple[str, int, int]] = []
    name, since = "other", window.start_ns
    for event in events:
        if event["event"] not in ("phase_start", "phase_stop"):
            continue
        at = min(max(int(event["t_ns"]), since), window.stop_ns)
        if at > since:
            spans.append((name, since, at))
        name = str(event["phase"]) if event["event"] == "phase_start" else "other"
        since = at
    if window.stop_ns > since:
        spans.append((name, since, window.stop_ns))
    return spans


def _phases(
    events: list[dict[str, Any]], trace: Trace, window: Window, charged: set[str]
) -> list[Phase]:
    return [
        Phase(
            name=name,
            start_s=(begin - window.start_ns) / NS_PER_S,
            duration_s=(end - begin) / NS_PER_S,
            energy_j={d: j for d, j in trace.phase_energy_j(begin, end).items() if d in charged},
        )
        for name, begin, end in phase_spans(events, window)
    ]


def _idle_power(events: list[dict[str, Any]], trace: Trace, name: str) -> Idle | None:
    at = {e["event"]: e["t_ns"] for e in events if e["event"].startswith(name)}
    begin, end = at.get(f"{name}_start"), at.get(f"{name}_stop")
    if begin is None or end is None or end <= begin:
        return None
    return Idle(duration_s=(end - begin) / NS_PER_S, power_w=trace.mean_power_w(begin, end))


def _not_covered(events: list[dict[str, Any]]) -> list[str]:
    """What each probe that could not be used would have read, and why it did not."""
    refused: list[dict[str, Any]] = next(
        (e["refused"] for e in events if e["event"] == "meter"), []
    )
    return [r["text"] for r in refused]


def _warnings(
    start: Start, events: list[dict[str, Any]], trace: Trace, window: Window
) -> list[Warn]:
    told = [Warn(id=e["id"], message=e["message"]) for e in events if e["event"] == "warning"]
    told += [
        Warn(id="budget", message=e["message"]) for e in events if e["event"] == "budget_spent"
    ]
    used = {u for e in events if e["event"] == "devices" for u in e["uuids"]}
    told += [
        Warn(id="unmetered", message=f"the child used {u}, which is not charged", rankable=False)
        for u in sorted(used - set(start.visible_gpus))
    ]
    return [
        *start.notes,
        *trace.warnings(
            window.start_ns, window.stop_ns, charged(start, trace.domains), expected(start)
        ),
        *told,
    ]


def _facts(event: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in event.items() if k not in ("event", "t_ns", "by")}
