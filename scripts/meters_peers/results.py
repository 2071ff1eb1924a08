"""What came of a case: its cells, one function for each group of rows."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cases import PEERS, ROOT, Case
from stage import Run, Stage, end_all, left_behind

RIGHT = 0.02  # a window with a fault counts as right if it is no further off than this


@dataclass
class Result:
    """One cell. `score` orders the tools of a row, the least first; None: not offered."""

    group: str
    case: str
    tool: str
    shown: str
    score: float | None
    value: float | None = None
    said: list[str] = field(default_factory=list)


def error_of(run: Run, instants: list[int], joules: float) -> float:
    """Relative, against the truth from just before the opening call to just after the closing one,
    or from the end of the one to the start of the other: whichever is nearer."""
    outer, inner = (instants[0], instants[3]), (instants[1], instants[2])
    errors = [joules / run.world.energy_j(*edges) - 1 for edges in (outer, inner)]
    return min(errors, key=abs)


def failure(run: Run) -> str:
    """Why there is no number."""
    raised = run.out.get("raised", "").partition(":")[0]
    return run.end or (f"raised {raised}" if raised else "missing")


def percent(share: float) -> str:
    number = 100 * share
    return f"{number:+.0f} %" if abs(number) >= 10 else f"{number:+.2f} %"


def accuracy(stage: Stage, case: Case) -> Iterator[Result]:
    for run in stage.together(case):
        yield from _unmetered(case, run)
        result = outcome(case, run, set(), 0.0)
        stage.usual[case.name, run.tool] = set(run.said), abs(result.value or 0.0)
        yield result


def outcome(case: Case, run: Run, usual: set[str], usual_error: float) -> Result:
    """How a window came out, and what was said beyond what is usual."""
    said = [line for line in run.said if line not in usual]
    if run.tool == "bench":
        said = [
            line for line in said if line.startswith(tuple(f"warning {i}:" for i in case.warns))
        ]
    error = value = None
    if run.end or "raised" in run.out:
        shown, score = failure(run), 3.0 if run.end else 2.0
    elif not run.answers or run.answers[0][1] is None:
        shown, score = "missing", 1.0
    else:
        instants, joules = run.answers[0]
        error = value = error_of(run, instants, float(joules or 0.0))
        shown, score = percent(error), abs(error)
    if case.group == "faults" and error is not None:
        score = 0.0 if abs(error) <= usual_error + RIGHT else 1.0 if said else 4.0
        shown += ", said so" if said else "" if score == 0 else ", silent"
    return Result(case.group, case.name, run.tool, shown, score, value, said)


def _unmetered(case: Case, run: Run) -> Iterator[Result]:
    if case.name != "constant, counter" or not run.answers or run.answers[0][1] is None:
        return
    instants, joules = run.answers[0]
    watts = run.world.energy_j(0, 1_000_000_000)
    set_up_s = (run.out["set_up_ns"] - run.out["load_ns"][1]) / 1e9
    missed_j = run.world.energy_j(instants[0], instants[2]) - float(joules or 0.0)
    seconds = max(0.0, set_up_s + missed_j / watts)
    yield Result("start", "unmetered at the start, s", run.tool, f"{seconds:.2f}", seconds, seconds)


def faults(stage: Stage, case: Case) -> Iterator[Result]:
    for run in stage.together(case):
        yield outcome(case, run, *stage.usual.get((case.beside, run.tool), (set(), 0.0)))


def short(stage: Stage, case: Case) -> Iterator[Result]:
    for run in stage.together(case):
        errors = [
            error_of(run, instants, joules)
            for instants, joules in run.answers
            if joules is not None
        ]
        if len(errors) < case.count:
            yield Result(case.group, case.name, run.tool, failure(run), 9.0)
            continue
        rms = statistics.fmean(e**2 for e in errors) ** 0.5
        yield Result(case.group, case.name, run.tool, percent(rms)[1:], rms, rms)


def coverage(stage: Stage, case: Case) -> Iterator[Result]:
    (run,) = stage.once(case, case.tools)
    covered, widths = [], []
    for edges, unsure in zip(run.out.get("windows", []), run.out.get("unsure", []), strict=False):
        for (joules, uncertainty_j), truth in zip(unsure.values(), run.world.truths, strict=True):
            off_j = abs(joules - truth(*edges)) if joules is not None else float("inf")
            covered.append(joules is not None and off_j <= uncertainty_j)
            widths += [uncertainty_j / joules] if joules else []
    share = statistics.fmean(covered) if covered else 0.0
    shown = f"{sum(covered)} of {len(covered)}" if covered else failure(run)
    if widths:
        shown += f", ±{100 * statistics.median(widths):.2g} %"
    yield Result(case.group, case.name, "bench", shown, 1 - share, share)


def cost(stage: Stage, case: Case) -> Iterator[Result]:
    for tool in case.tools:
        (run,) = stage.once(case, (tool,))
        name, tool = case.name, tool.partition("-")[0]
        if "cpu_s" not in run.out:
            yield Result(case.group, name, tool, failure(run), 9.0)
            continue
        share = run.out["cpu_s"] / run.out["cpu_over_s"]
        added_mb = (run.out["memory_after"] - run.out["memory_before"]) / 1e6
        yield Result(case.group, name, tool, f"{100 * share:.3f} %", share, share)
        if case.rate_hz is None:
            gpus = name.rpartition(", ")[2]
            yield Result("memory", f"{gpus}, MB", tool, f"{added_mb:.0f}", added_mb, added_mb)


def start(stage: Stage, case: Case) -> Iterator[Result]:
    for tool in case.tools:
        spans: dict[str, list[float]] = {"import, s": [], "ready, s": [], "stop, s": []}
        for _ in range(case.count):
            (run,) = stage.once(case, (tool,))
            if not run.answers:
                continue
            (began, loaded), set_up = run.out["load_ns"], run.out["set_up_ns"]
            before, opened, closing, closed = run.out["windows"][0]
            spans["import, s"].append((loaded - began) / 1e9)
            spans["ready, s"].append((set_up - loaded + opened - before) / 1e9)
            spans["stop, s"].append((closed - closing) / 1e9)
        for name, several in spans.items():
            if not several:
                yield Result("start", name, tool, failure(run), 1e9)
                continue
            middle = statistics.median(several)
            yield Result("start", name, tool, f"{middle:.2g}", middle, middle)
    yield from _sampler(stage, case)


def _sampler(stage: Stage, case: Case) -> Iterator[Result]:
    """How soon bench's sampler itself is ready, asked by a process that has imported bench."""
    code = (
        "import sys, time, tempfile; from pathlib import Path; from bench.power.meter import Meter;"
        "m = Meter(Path(tempfile.mkdtemp(dir=sys.argv[1]))); a = time.monotonic(); m.start();"
        "print(time.monotonic() - a); m.stop()"
    )
    with (
        tempfile.TemporaryDirectory() as scratch,
        case.world.build(stage.place, Path(scratch), 0.0, 0.0) as world,
    ):
        command = [sys.executable, "-c", code, scratch]
        environment = {**os.environ, **world.environment, "PYTHONPATH": str(ROOT)}
        spans = [
            float(subprocess.run(command, capture_output=True, check=True, text=True,
                                 env=environment).stdout)
            for _ in range(case.count)
        ]  # fmt: skip
    middle = statistics.median(spans)
    yield Result("start", "sampler alone, s", "bench", f"{middle:.2g}", middle, middle)
    for tool in PEERS:
        yield Result("start", "sampler alone, s", tool, "not offered", None)


def kill(stage: Stage, case: Case) -> Iterator[Result]:
    runs = stage.together(case)
    time.sleep(3.0)
    for run in runs:
        pids = left_behind(run.folder)
        before = {pid: _cpu_s(pid) for pid in pids}
        time.sleep(1.0)
        spent_s = sum(_cpu_s(pid) - before[pid] for pid in pids)
        end_all(pids)
        text = f"{len(pids)}, {100 * spent_s:.0f} % CPU" if pids else "none"
        kept_s = kept_after_kill(run)
        yield Result("kill", f"{case.name}: processes left", run.tool, text, float(len(pids)))
        if kept_s is None:
            yield Result("kill", f"{case.name}: energy on disk", run.tool, "nothing", 1e9)
            continue
        lost_s = max(0.0, run.killed_s - kept_s)
        text = f"but for the last {lost_s:.1f} s"
        yield Result("kill", f"{case.name}: energy on disk", run.tool, text, lost_s, lost_s)


def _cpu_s(pid: int) -> float:
    with suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def kept_after_kill(run: Run) -> float | None:
    """CLOCK_MONOTONIC up to which the energy of the window can be had from the tool's files."""
    if run.tool == "bench":
        from bench.power.trace import Trace

        trace = Trace.read_log(run.folder / "kept" / "trace.log")
        energies = trace.energy(trace.start_ns, trace.stop_ns)
        known = any(e.energy_j is not None for e in energies if e.kind == "gpu")
        return trace.stop_ns / 1e9 if known else None
    results = {"zeus": "zeus.csv", "codecarbon": "emissions.csv", "carbontracker": "logs/*.log"}
    for path in run.folder.glob(results[run.tool]):
        text = path.read_text()
        numbers = len(text.splitlines()) > 1 if path.suffix == ".csv" else "Average power" in text
        if numbers:
            return path.stat().st_mtime - time.time() + time.monotonic()
    return None


@dataclass(frozen=True)
class Group:
    title: str
    about: str
    run: Callable[[Stage, Case], Iterator[Result]]


GROUPS = {
    "accuracy": Group(
        "Error of one window",
        "One window of 10.5 s with a GPU's counter, of 8 s without (6 s with --quick). Square: 100 "
        "and 400 W, period 1.37 s; in step: 1.3 s. Ramp: 100 to 400 W in 7.3 s, again and again. "
        "Counters tick every 100 ms; the registers of power are an H100's, without a counter a "
        "P100's. RAPL: package 60 and 150 W, memory 10 and 25 W.",
        accuracy,
    ),
    "short": Group(
        "Error of short windows",
        "Root mean square over windows at random phases of the square, with counter.",
        short,
    ),
    "coverage": Group(
        "Truth within the stated uncertainty",
        "Random windows over 16 cards of different curves. The 10 % of an uncalibrated meter's "
        "gain are left out: what is left is what edges and gaps leave unsure (k = 2; the median).",
        coverage,
    ),
    "faults": Group(
        "Faults",
        "A window of 6 s. A card's fault comes in its middle, where its power falls from 400 to "
        "100 W. Right: at most 2 % further off than without the fault. *Said so*: a warning or an "
        "error that the same tool does not give without the fault; of bench, one of its ids for "
        "this fault. Missing: no value instead of a wrong one. Raised: the user's call raises, the "
        "window is lost. Silent: a wrong value, and "
        "no word. A GPU that is lost is taken to draw on. Best is a right value, then a warned or "
        "missing one, then a call that raises, then a program hung or ended, then silence.",
        faults,
    ),
    "cost": Group(
        "CPU, share of one core",
        "CPU time of all threads and processes while the program waits. By default Zeus and "
        "CodeCarbon read the counter, and bench samples at 10 Hz; at a rate, Zeus is its "
        "PowerMonitor.",
        cost,
    ),
    "memory": Group("Memory", "Proportional set size added, over all processes of the tool.", cost),
    "start": Group(
        "Start and stop",
        "Import; from the first call until the window is open (*ready*); the call that closes it. "
        "Unmetered: what of the time from the first call on is not in the energy of a window at "
        "constant power, the wait of the case left out.",
        start,
    ),
    "kill": Group(
        "After SIGKILL",
        "The program is killed in the middle of a window. What it left 3 s later.",
        kill,
    ),
}
