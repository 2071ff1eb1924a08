"""Time `bench site build` over synthetic runs with events and traces. See scripts/scale."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scale

from bench import cards
from bench.learn.data import Predictions
from bench.power.energy import Series
from bench.power.probes import Domain
from bench.power.trace import Trace

NS = 10**9
WINDOW_S, BEFORE_S = 900.0, 3.0
SHAPES = 8  # different traces, which the runs take in turn
SHARES = {"gpu:GPU-synthetic": 0.8, "cpu:package-0": 0.15, "dram:package-0": 0.05}


def main(counts: list[int]) -> None:
    rows = {}
    for count in counts:
        folder = Path(tempfile.mkdtemp(prefix="bench-scale-synthetic-"))
        try:
            rows[count] = list(measured(count, folder))
        finally:
            shutil.rmtree(folder)
    print("| | " + " | ".join(f"{count:,} runs" for count in counts) + " |")
    print("| --- |" + " ---: |" * len(counts))
    for several in zip(*rows.values(), strict=True):
        print(f"| {several[0][0]} | {' | '.join(value for _, value in several)} |")


def measured(count: int, folder: Path) -> Iterator[tuple[str, str]]:
    """What, and how much."""
    results, out = folder / "results", folder / "site"
    scale.told(f"{count:,} runs: writing them")
    scale.write(results, count, random.Random(count))
    furnish(results, folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    size, _ = told_size(results)
    scale.told(f"{count:,} runs: {size / 1e6:,.0f} MB")
    yield "first build", built(results, out)
    size, files = told_size(out)
    yield "files of the site", f"{files:,} ({size / 1e6:,.0f} MB)"
    yield "largest page of a task", largest(out / "boards")
    yield "largest page of a run", largest(out / "runs")
    yield "build where nothing is new", built(results, out)
    add(results, folder)
    yield "build after one new run", built(results, out)


def built(results: Path, out: Path) -> str:
    """Wall and CPU seconds of a build in a process of its own, most memory at once, files."""
    options = [f"--results={results}", f"--out={out}", "--no-check"]
    command = [sys.executable, "-P", "-m", "bench", "site", "build", *options]
    before, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        most = max(_memory(process), default=0)
        assert process.stdout is not None
        said = process.stdout.read()
    wall_s = time.perf_counter() - wall_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode:  # 3: a page could not be made, and its time is none of a page
        raise SystemExit(process.returncode)
    scale.told(said.strip())
    changed = re.search(r"([\d,]+) changed", said)
    written = changed.group(1) if changed else "?"
    return f"{wall_s:.3g} s ({cpu_s:.3g} s), {most / 1e6:,.0f} MB, {written} files"


def _memory(process: subprocess.Popen[str]) -> Iterator[int]:
    """Bytes that a process and those that it has started hold, now and again, what they share
    counted once."""
    while process.poll() is None:
        total = 0
        for pid in (process.pid, *_children(process.pid)):
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            found = re.search(r"Pss:\s+(\d+) kB", text)
            total += int(found.group(1)) * 1024 if found else 0
        yield total
        time.sleep(0.5)


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


def told_size(folder: Path) -> tuple[int, int]:
    """Bytes and files below a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def largest(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*.html")]
    return f"{max(sizes, default=0) / 1e3:,.0f} kB"


# --- synthetic files beside the records --------------------------------------------------------


def furnish(results: Path, folder: Path) -> None:
    """Give each run that has none events, a trace and predictions: copies of a few shapes, whose
    numbers are drawn."""
    shapes = folder / "shapes"
    if not shapes.is_dir():
        for number in range(SHAPES):
            write_shape(shapes / str(number), random.Random(number))
    for number, record in enumerate(sorted(results.glob("*/*/*/record.json"))):
        if not (record.parent / "events.jsonl").exists():
            shutil.copytree(shapes / str(number % SHAPES), record.parent, dirs_exist_ok=True)


def write_shape(folder: Path, draw: random.Random) -> None:
    folder.mkdir(parents=True)
    begin = 10**12
    lines = "".join(json.dumps(event) + "\n" for event in events(begin, draw))
    (folder / "events.jsonl").write_text(lines)
    trace(begin, draw).write_parquet(folder / "trace.parquet")
    labels = [draw.choice(["negative", "positive"]) for _ in range(872)]
    Predictions(labels, None).write(folder / "predictions.parquet")
    (folder / "manifest.json").write_text('{"synthetic": "no digests"}\n')


def events(begin: int, draw: random.Random) -> list[dict[str, object]]:
    opened = begin + int(BEFORE_S * NS)

    def at(share: float) -> int:
        return opened + int(share * WINDOW_S * NS)

    said: list[dict[str, object]] = [
        {"event": "meter", "t_ns": begin, "by": "meter", "refused": []},
        {"event": "window_start", "t_ns": opened, "by": "meter"},
    ]
    phases = ["prepare", *3 * ["train", "evaluate"], "train", "predict"]
    for i, phase in enumerate(phases):
        said.append({"event": "phase_start", "t_ns": at(i / 10), "phase": phase})
        if phase == "evaluate":
            value = 0.7 + 0.02 * i + draw.gauss(0, 0.01)
            said.append({
                "event": "eval", "t_ns": at(i / 10 + 0.05), "step": 50 * i, "split": "tune",
                "metric": "accuracy", "value": value, "n": 2000,
            })  # fmt: skip
        if phase == "train":
            said += [
                {
                    "event": "step", "t_ns": at(i / 10 + step / 500), "step": 50 * i + step,
                    "total_steps": 500, "epoch": i / 3, "first_step": 0,
                    "loss": 0.7 - 0.05 * i + draw.gauss(0, 0.02), "learning_rate": 1e-4,
                }
                for step in range(1, 45)
            ]  # fmt: skip
    said.append({"event": "window_stop", "t_ns": at(1), "by": "meter"})
    return said


def trace(begin: int, draw: random.Random) -> Trace:
    """Of one to four readings a second, so that its file has the size of real ones."""
    rng = np.random.default_rng(draw.getrandbits(32))
    rate_hz = 1.0 + draw.random() * 3
    end = begin + int((WINDOW_S + 2 * BEFORE_S) * NS)
    t_ns = np.arange(begin, end, int(NS / rate_hz), dtype=np.int64)
    busy = (t_ns > begin + BEFORE_S * NS) & (t_ns < end - BEFORE_S * NS)
    domains, series = [], {}
    for name, share in SHARES.items():
        power_w = np.where(busy, 400 * share, 60 * share) + rng.normal(0, 10 * share, len(t_ns))
        steps_j = (power_w[1:] + power_w[:-1]) / 2 / rate_hz
        energy_j = np.round(np.concatenate([[0.0], np.cumsum(steps_j)]), 3)
        kind, _, uuid = name.partition(":")
        none = np.full(len(t_ns), np.nan)
        gpu = kind == "gpu"
        domains.append(Domain(name, kind, "synthetic", "M1", 0.05, uuid if gpu else None))
        series[name] = Series(
            t_ns, np.round(power_w, 3), energy_j, np.where(busy, 0.95, 0.0) if gpu else none,
            np.full(len(t_ns), 1980.0) if gpu else none, np.full(len(t_ns), 45.0) if gpu else none,
        )  # fmt: skip
    clocks = [(int(t), int(t), int(t)) for t in t_ns[:: len(t_ns) // 10]]
    return Trace(domains, series, [], clocks, {"rate_hz": rate_hz, "damaged_lines": 0})


def add(results: Path, folder: Path) -> None:
    """An entry of one run, in a cell that has others."""
    new = folder / "new"
    draw = random.Random(7)
    card = next(card for name in cards.names() if (card := cards.load(name)).reference)
    made = scale.synthetic(
        scale.spec(card, scale.MACHINES[1], 10**6, draw), card, (0.85, 60000.0), draw
    )
    entry = new / card.name / "synthetic-new"
    (entry / made.run_id).mkdir(parents=True)
    (entry / "entry.json").write_text(scale.about([made]).model_dump_json(indent=1) + "\n")
    (entry / made.run_id / "record.json").write_text(made.model_dump_json(indent=1) + "\n")
    furnish(new, folder)
    shutil.copytree(new, results, dirs_exist_ok=True)
