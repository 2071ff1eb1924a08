"""Time the board's index over synthetic records. See scripts/scale."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import cards, record, submission
from bench.cards import Card
from bench.rank import board, index, render, standing
from bench.rank.board import Filters
from bench.record import Record, Spec
from bench.submission import EntryFile

RUNS_PER_ENTRY = 3
MACHINES = [f"1 x Synthetic GPU {i:02d}" for i in range(20)]
MODELS = [f"synthetic-{size}" for size in ("tiny", "small", "base", "large")]
RECIPES = ["baseline", "bf16", "freeze", "lora", "early-stop", "data-prune", "distill", "prune"]
BITS = record.pack_bits([True] * 872)
CROWDED = 0.05
"""Share of the entries that stand in one cell."""


Times = dict[str, tuple[float, float]]  # what -> wall and CPU seconds


def main() -> None:
    if sys.argv[1:2] == ["--step"]:
        step(sys.argv[2], Path(sys.argv[3]))
        return
    if sys.argv[1:2] == ["--site"]:
        import scale_site

        scale_site.main([int(count) for count in sys.argv[2:]] or [10**3, 10**4])
        return
    counts = [int(count) for count in sys.argv[1:]] or [10**3, 10**4, 10**5]
    tables = {}
    for count in counts:
        folder = Path(tempfile.mkdtemp(prefix="bench-scale-synthetic-"))
        try:
            tables[count] = measured(count, folder)
        finally:
            shutil.rmtree(folder)
    print("| wall s (CPU s) | " + " | ".join(f"{count:,} runs" for count in counts) + " |")
    print("| --- |" + " ---: |" * len(counts))
    for what in tables[counts[-1]]:
        row = [f"{wall:.3g} ({cpu:.3g})" for wall, cpu in (tables[c][what] for c in counts)]
        print(f"| {what} | {' | '.join(row)} |")


def measured(count: int, folder: Path) -> Times:
    told(f"{count:,} runs: writing them")
    size = write(folder / "results", count, random.Random(count))
    told(f"{count:,} runs: {size:,} bytes")
    times: Times = {}
    for name in ("build", "look", "add", "cell", "crowd", "board", "direct"):
        if name == "add":
            write(folder / "runs", 10, random.Random(10))
        times |= run_step(name, folder)
    index_size = sum(f.stat().st_size for f in (folder / "cache" / "bench").iterdir())
    told(f"{count:,} runs: {index_size:,} bytes of index")
    return times


def told(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- synthetic records ---------------------------------------------------------------------------


def write(root: Path, count: int, draw: random.Random) -> int:
    """So many records below `root`, laid out as submissions are; their bytes."""
    ranked = [card for name in cards.names() if (card := cards.load(name)).reference]
    written = 0
    for number in range(-(-count // RUNS_PER_ENTRY)):
        crowded = draw.random() < CROWDED
        card = ranked[0] if crowded else draw.choice(ranked)
        machine = MACHINES[0] if crowded else draw.choice(MACHINES)
        asked = spec(card, machine, number, draw)
        entry = root / card.name / f"synthetic-{number:06d}"
        entry.mkdir(parents=True)
        count_here = min(RUNS_PER_ENTRY, count - RUNS_PER_ENTRY * number)
        merit = draw.gauss(0.85, 0.1), draw.lognormvariate(11, 1)
        runs = [synthetic(asked, card, merit, draw) for _ in range(count_here)]
        (entry / "entry.json").write_text(about(runs).model_dump_json(indent=1) + "\n")
        for made in runs:
            text = made.model_dump_json(indent=1) + "\n"
            (entry / made.run_id).mkdir()
            (entry / made.run_id / "record.json").write_text(text)
            written += len(text)
    return written


def about(runs: list[Record]) -> EntryFile:
    what = runs[0].spec
    return EntryFile(
        edition=what.edition, bench_version="synthetic", submitted_at="2026-12-31T00:00:00Z",
        task=what.task, title="synthetic", authors=["synthetic"], track=what.track,
        runs=[r.run_id for r in runs], attempts=[submission.attempt(r) for r in runs],
    )  # fmt: skip


def spec(card: Card, machine: str, number: int, draw: random.Random) -> dict[str, Any]:
    pinned = card.fingerprints
    prints = {"train": "0" * 64, "scored": "0" * 64}
    if pinned:
        prints = {"train": pinned.train, "scored": pinned.scored}
    return {
        "edition": "1.0", "task": card.name, "task_version": card.version,
        "data": {
            "source": "synthetic", "official": bool(pinned), "fingerprints": prints,
            "labels_sha256": "0" * 64, "rows": {"train": 60000, "tune": 2000, "scored": 872},
        },
        "track": "finetune", "model": draw.choice(MODELS), "checkpoint_sha256": "0" * 64,
        "recipe": draw.choice(RECIPES),
        "settings": {
            "epochs": 3.0, "max_steps": number, "max_tokens": 0, "batch_size": 32,
            "learning_rate": 1e-4, "schedule": "linear", "warmup_share": 0.06, "beta2": 0.999,
            "weight_decay": 0.01, "dropout": 0.1, "clip_norm": 1.0, "max_length": 128,
            "vocabulary_size": 8000, "evaluations": 3,
        },
        "device": "cuda:0", "hardware": machine, "budget": None, "seed_origin": "harness",
    }  # fmt: skip


def synthetic(
    asked: dict[str, Any], card: Card, merit: tuple[float, float], draw: random.Random
) -> Record:
    """A run that nobody made: its numbers are drawn."""
    nonce = f"synthetic {draw.getrandbits(64):016x}"
    started = f"2026-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}T10:00:00.000+00:00"
    what = Spec.model_validate({**asked, "seed": draw.getrandbits(31)})
    skill = min(max(merit[0] + draw.gauss(0, 0.004), 0.01), 0.99)
    energy_j = merit[1] * (1 + draw.gauss(0, 0.02))
    failed = draw.random() < 0.02
    domains = {"gpu:GPU-synthetic": 0.8, "cpu:package-0": 0.15, "dram:package-0": 0.05}
    names = ["prepare", *3 * ["train", "evaluate"], "train", "predict", "other"]
    return Record.model_validate({
        "bench_version": "synthetic", "run_id": record.run_id(what, started, nonce),
        "nonce": nonce, "started_at": started, "status": "failed" if failed else "complete",
        "failure": "MemoryError: synthetic" if failed else None,
        "machine": {
            "cpu": "synthetic", "cores": 2, "processors": 2, "memory_gb": 25.3,
            "system": "synthetic", "kernel": "synthetic", "architecture": "x86_64",
            "virtual": "yes", "container": None, "gpus": ["synthetic"],
        },
        "software": dict.fromkeys(("python", "torch", "tokenizers", "numpy"), "synthetic"),
        "duration_s": 900.0,
        "domains": [
            {
                "domain": name, "kind": name.split(":")[0], "device": "synthetic",
                "method": "counter", "level": "M1", "charged": True,
                "energy_j": share * energy_j, "uncertainty_j": 0.05 * share * energy_j,
                "counter_j": share * energy_j, "integral_j": share * energy_j * draw.gauss(1, 0.01),
                "disagreement": 0.01, "coverage": 0.9999, "samples": 9000,
                "largest_gap_s": draw.uniform(0.1, 0.4), "counter_tick_s": 0.001,
            }
            for name, share in domains.items()
        ],
        "phases": [
            {
                "name": name, "start_s": 90.0 * i, "duration_s": 90.0 * draw.random(),
                "energy_j": {d: share * energy_j / len(names) for d, share in domains.items()},
                "uncertainty_j": {
                    d: 0.05 * share * energy_j / len(names) for d, share in domains.items()
                },
            }
            for i, name in enumerate(names)
        ],
        "idle_before": {"duration_s": 3.0, "power_w": {d: draw.uniform(5, 60) for d in domains}},
        "idle_after": {"duration_s": 3.0, "power_w": {d: draw.uniform(5, 60) for d in domains}},
        "not_covered": ["a disk: synthetic"],
        "warnings": [{"id": "slow", "message": "synthetic: took 0.14 s to answer (3 times)"}],
        "spec": what.model_dump(), "code_sha256": "0" * 64,
        "model_facts": {"name": what.model, "parameters": 22566530, "layers": 6, "width": 384},
        "metric": None if failed else metric(card, skill),
    })  # fmt: skip


def metric(card: Card, skill: float) -> dict[str, Any]:
    chance, best = 0.5, 1.0
    if not isinstance(card.metric.chance, str):
        chance, best = card.metric.chance, card.metric.best
    value = board.score.metric_at(skill, chance, best, card.metric.scale)
    return {
        "name": card.metric.name, "value": value, "n": 872, "chance": chance, "best": best,
        "scale": card.metric.scale, "statistics": {}, "correct": BITS,
    }  # fmt: skip


# --- steps, each in a process of its own ---------------------------------------------------------


def run_step(name: str, folder: Path) -> Times:
    cache = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, __file__, "--step", name, str(folder)]
    done = subprocess.run(command, env=cache, check=True, stdout=subprocess.PIPE, text=True)
    return {what: (wall, cpu) for what, wall, cpu in map(json.loads, done.stdout.splitlines())}


def step(name: str, folder: Path) -> None:
    roots: index.Roots = [(folder / "results", "results"), (folder / "runs", "local")]
    known = {name: cards.load(name) for name in cards.names()}
    ranked = next(name for name, card in known.items() if card.reference)
    match name:
        case "build":
            timed("first build", lambda: index.ask(roots, nothing))
        case "look":
            timed("look for changes, find none", lambda: index.ask(roots, nothing))
        case "add":
            timed("refresh after ten new runs", lambda: index.ask(roots, nothing))
        case "cell":
            ask(roots, known, "a cell", Filters(task=ranked, hardware=MACHINES[1]), 9)
        case "crowd":
            ask(roots, known, "the crowded cell", Filters(task=ranked, hardware=MACHINES[0]), 3)
        case "board":
            ask(roots, known, "everything", Filters(), 1)
        case "direct":
            every = sorted((folder / "results").glob("*/*"))[:300]
            some: index.Roots = [(entry, "results") for entry in every]
            timed("900 runs without the index", lambda: board.load(some))


def nothing(source: index.Source) -> None:
    """A question that is answered when the index agrees with the disk."""


def ask(
    roots: index.Roots, known: dict[str, Card], name: str, filters: Filters, repeats: int
) -> None:
    board.build(board.load(roots[1:])[0], known)  # imports what it imports

    def question(source: index.Source) -> None:
        runs = timed(f"{name}: its runs", lambda: source.board(filters), repeats)
        entries = timed(
            f"{name}: whose they are",
            lambda: standing.of(source.submissions(filters.task, runs), runs), repeats,
        )  # fmt: skip
        cells = timed(
            f"{name}: its board",
            lambda: board.build(runs, known, filters, standings=entries), repeats,
        )  # fmt: skip
        timed(f"{name}: its table", lambda: render.render(cells), repeats)
        shown = sum(len(s.entries) for c in cells for s in c.sections)
        told(f"{name}: {len(runs):,} runs, {shown:,} entries")

    index.ask(roots, question)


def timed(what: str, do: Callable[[], Any], repeats: int = 1) -> Any:
    """The quickest of `repeats`, by CPU time."""
    found = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), _cpu_s()
        value = do()
        found.append((_cpu_s() - cpu, time.perf_counter() - wall))
    cpu, wall = min(found)
    print(json.dumps([what, wall, cpu]), flush=True)
    return value


def _cpu_s() -> float:
    """Of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


if __name__ == "__main__":
    main()
