"""Meter one child process, whatever it is, from start to tail, into a run's folder.

The folder holds `start.json` (what was known before the window), `events.jsonl` and `trace.log`
while the child runs. The record is a function of the folder alone, so a run whose parent was
killed is finished later by `recover` in the same way. The parent holds a lock on `start.json`:
who gets the lock knows that the parent is gone.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import account, lineage
from bench import record as records
from bench.account import Start, read_events
from bench.child import (
    TICK_S,
    Gauge,
    Journal,
    Limit,
    Others,
    Outcome,
    Program,
    Progress,
    run_child,
    with_hint,
)
from bench.errors import BenchError
from bench.interrupts import Interrupted, interrupts_raise, undisturbed
from bench.power import calibration
from bench.record import Measurement, Metered, Metric, Record, Reference
from bench.units import Budget

if TYPE_CHECKING:
    from bench.power.meter import Meter
    from bench.power.trace import Trace

RESERVE_BYTES = 1 << 18  # room for the record on a disk that fills up


def measure(
    program: Program,
    folder: Path,
    start: Start,
    meter: Meter,
    *,
    budget: Budget | None = None,
    limit: Limit | None = None,
    intensity_g_per_kwh: float = 0.0,
    idle_s: float = 3.0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    others: Others | None = None,
) -> Outcome:
    """Run `program` under `meter`; `folder` then holds events and trace. Never raises for what
    the program does. An interrupt ends it and is an outcome; one in front gets it instead. A
    `limit` of the caller's takes the place of the budget's."""
    progress = Progress()
    journal = Journal(folder / "events.jsonl")
    outcome = None
    try:
        with interrupts_raise():
            started = meter.start()
            charges = account.charged(start, started.domains)
            counted = calibration.of_counted(started.domains, charges)
            gauge = Gauge(meter, counted)
            progress.estimated = any(d.level == "M0" for d in counted)
            journal.write("meter", refused=[r.as_dict() for r in started.refusals])
            progress.text = "idle power"
            _idle(gauge, journal, idle_s, progress, on_progress)
            if others:
                others.open()
            journal.write("window_start", t_ns=meter.opening())
            until = limit or Limit(budget, intensity_g_per_kwh)
            outcome = run_child(program, journal, gauge, progress, until, on_progress, others)
            meter.edge()
            progress.phase, progress.text = "tail", "idle power"
            _idle(gauge, journal, idle_s, progress, on_progress)
    except Interrupted as interrupt:  # in the tail it only cuts the idle power short
        outcome = outcome or Outcome("interrupted", f"interrupted by {interrupt}")
        outcome.end_asked = True
    except BenchError as error:  # the sampler did not start
        outcome = Outcome("failed", with_hint(error.message, error.hint))
    except OSError as error:  # no disk, no processes: the window may never have opened
        outcome = Outcome("failed", str(error))
    if outcome.left_running and program.keeps_others:
        text = "the program left others running; what they do from now on is not metered"
        journal.write("warning", id="left-running", message=text)
    if others:
        others.settle(outcome)
    settle(journal, outcome)
    return outcome


def run(
    program: Program,
    folder: Path,
    start: Start,
    meter: Meter,
    grade: Callable[[Outcome], tuple[Metric | None, Outcome]] = lambda outcome: (None, outcome),
    **options: Any,
) -> tuple[Record | Measurement, Outcome]:
    """Measure a program (`options` as of `measure`), grade what it left, and write its record into
    its folder, which interrupts wait for."""
    with undisturbed(), opened(folder, start):
        outcome = measure(program, folder, start, meter, **options)
        program.stop_file.unlink(missing_ok=True)
        trace = meter.stop()
        metric, outcome = grade(outcome)
        return finish(folder, start, trace, metric, outcome), outcome


def settle(journal: Journal, outcome: Outcome) -> None:
    """Write how it ended, into the room that was kept for that on a full disk."""
    (journal.path.parent / "reserve").unlink(missing_ok=True)
    if journal.error:
        journal.write(
            "warning", id="disk", message=f"the disk took no events for a while: {journal.error}"
        )
    journal.write("outcome", status=outcome.status, failure=outcome.failure, code=outcome.code)
    journal.close()


def finish(
    folder: Path,
    start: Start,
    trace: Trace,
    metric: Metric | None = None,
    outcome: Outcome | None = None,
) -> Record | Measurement:
    """Write trace, record and manifest of a run whose child has ended, from its folder."""
    record = concluded(folder, start, trace, metric, outcome)
    keep(folder, trace, record)
    return record


def concluded(
    folder: Path,
    start: Start,
    trace: Trace,
    metric: Metric | None = None,
    outcome: Outcome | None = None,
) -> Record | Measurement:
    """The record of a run whose child has ended, from what its folder holds."""
    events = read_events(folder / "events.jsonl")
    outcome = outcome or _outcome(events)
    fields = account.metered(start, events, trace)
    if start.spec and start.spec.nodes > 1:
        from bench import merging

        fields = merging.merged(folder, start, fields)
    fields |= {"status": outcome.status, "failure": outcome.failure}
    if start.spec is None:
        return Measurement(**fields, command=start.command, exit_code=outcome.code)
    record = Record(
        **fields, spec=start.spec, code_sha256=start.code_sha256,
        model_facts=account.model_facts(events), metric=metric, saved=account.saved(events),
        charged_runs=start.charged_runs, upstream=start.upstream, trial=start.trial,
        tuning=start.tuning,
    )  # fmt: skip
    warnings = [*record.warnings, *lineage.doubts(record)]
    return record.model_copy(update={"reference": _fitting(start, record), "warnings": warnings})


def keep(folder: Path, trace: Trace, record: Metered) -> None:
    """Write them into the run's folder. What they are made from goes last, so that a kill in
    between loses nothing."""
    (folder / "reserve").unlink(missing_ok=True)
    scratch = folder / ".trace.parquet"
    trace.write_parquet(scratch)
    scratch.replace(folder / "trace.parquet")
    _close(folder, record)


def _fitting(start: Start, record: Record) -> Reference | None:
    """The reference whose meters are those of the run."""
    like = (record.level, record.coverage)
    return next((r for r in start.references if (r.level, r.coverage) == like), None)


def _outcome(events: list[dict[str, Any]]) -> Outcome:
    told = next((e for e in reversed(events) if e["event"] == "outcome"), None)
    if told and told["status"] not in ("complete", "budget"):
        return Outcome(told["status"], told["failure"], told.get("code"))
    return Outcome("interrupted", "bench itself was killed; recovered from what it had written")


def _close(folder: Path, record: Metered) -> None:
    records.write(record, folder)
    (folder / "trace.log").unlink(missing_ok=True)
    (folder / "start.json").unlink(missing_ok=True)


@contextmanager
def opened(folder: Path, start: Start) -> Iterator[None]:
    """Hold the run's folder: nobody recovers it meanwhile. It holds `start.json` from now on."""
    (folder / "reserve").write_bytes(b"\0" * RESERVE_BYTES)
    scratch = folder / ".start.json"
    with scratch.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(start.dump(), file, indent=1)
        file.flush()
        scratch.rename(folder / "start.json")  # locked before anybody can see it
        yield


def recover(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Finish every run below `root` whose parent is gone: its folder, and why it can't be
    finished, if it can't. One that is damaged must not stand in the way of the others."""
    for path in sorted(root.glob("*/*/start.json")):
        yield from recover_run(path.parent)


def recover_run(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The same of one run, wherever its folder lies; nothing when it goes on or has ended."""
    path = folder / "start.json"
    try:
        with path.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.exists() or _still_sampled(folder):
                return
            _recover(folder, json.load(file))
    except BlockingIOError:  # it goes on
        return
    except (BenchError, OSError, ValueError, TypeError, KeyError) as error:
        if path.exists():  # else another command was quicker
            yield folder, f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        yield folder, None


def _recover(folder: Path, facts: dict[str, Any]) -> None:
    from bench.power.trace import Trace

    if records.is_written(folder):  # killed between the record and the end
        _close(folder, records.read_any(folder))
        return
    finish(folder, Start.load(facts), Trace.read_log(folder / "trace.log"))


def _still_sampled(folder: Path) -> bool:
    from bench.power import log

    path = folder / log.NAME
    return path.exists() and log.being_written(path)


def _idle(
    gauge: Gauge,
    journal: Journal,
    idle_s: float,
    progress: Progress,
    on_progress: Callable[[Progress], None],
) -> None:
    if not idle_s:
        return
    name = "idle_after" if progress.phase == "tail" else "idle_before"
    journal.write(f"{name}_start")
    deadline = time.monotonic() + idle_s
    while (left := deadline - time.monotonic()) > 0:
        progress.power_w = gauge.power_w()
        on_progress(progress)
        time.sleep(min(TICK_S, left))
    journal.write(f"{name}_stop")
