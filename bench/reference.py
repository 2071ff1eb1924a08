"""The reference job: a fixed small training, and what it took on this machine by its meters.

It is the same everywhere: model, data, seed and number of steps are constants of this module. Two
machines, or one machine before and after a change of driver, kernel or meter, differ in nothing
else. What it took is kept in the user's data folder, one reference for each kind of hardware,
device, meter level and coverage.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bench import record as records
from bench import run as running
from bench.child import Progress
from bench.errors import BenchError, first_fault
from bench.power import calibration, machine
from bench.record import Closed, Idle, Record, Reference, Repetition, Scalar
from bench.run import Plan, Request, Seed
from bench.workfolder import work_folder

SCHEMA = 1

SETTINGS = {
    "epochs": "1",  # 305 steps: some 16 s on two cores, so that a minute holds four repetitions
    "batch_size": "64",
    "learning_rate": "0.001",
    "warmup_share": "0.06",
    "weight_decay": "0.01",
    "dropout": "0.1",
    "clip_norm": "1.0",
    "max_length": "128",
    "vocabulary_size": "16000",
    "evaluations": "0",  # nobody looks at the accuracy
}
"""Every setting, so that a recipe's defaults may change without this job."""

REQUEST = Request(
    task="sst2", model="transformer-small", recipe="baseline", settings=SETTINGS,
    data="embedded",  # at hand everywhere, and the same rows everywhere
    idle_s=5.0,  # a card needs some seconds to come to rest
)  # fmt: skip
SEED = Seed(1, "user")  # any; the same one, so that every repetition does the same work
LEAST = 3  # repetitions: fewer show no scatter
FILL_S = 60.0  # a card that is quick repeats until its power was seen for about a minute


class _Stored(Closed):
    schema_version: Literal[1] = 1
    references: list[Reference]


# --- measuring


def measure(
    device: str = "auto",
    probes: Sequence[str] = (),
    *,
    on_repetition: Callable[[int], None] = lambda number: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Reference:
    """Run the job once to warm up, then as often as it takes. BenchError when it fails or a meter
    that counts can't be read. `on_repetition` is told the number of each; the warm-up is 0."""
    plan = running.prepare(replace(REQUEST, device=device, probes=probes))
    with tempfile.TemporaryDirectory(prefix="bench-reference-") as folder:
        root = Path(folder)
        with work_folder(plan.card, plan.resolved, root) as work:
            on_repetition(0)  # fills caches, and brings a card to its temperature
            warm_up = _once(plan, work, root, on_progress)
            counted: list[Record] = []
            at_once = replace(plan, idle_s=0.0)
            while len(counted) < LEAST or sum(r.duration_s for r in counted) < FILL_S:
                on_repetition(len(counted) + 1)
                counted.append(_once(at_once, work, root, on_progress))
    return _reference(warm_up, counted)


def _once(plan: Plan, work: Path, root: Path, on_progress: Callable[[Progress], None]) -> Record:
    record, folder, outcome = running.run(plan, work, root, SEED, on_progress=on_progress)
    if record.status == "interrupted" or outcome.end_asked:
        raise KeyboardInterrupt
    if record.status != "complete":
        said = running.last_words(folder / records.LOG)
        raise BenchError(f"the reference job failed: {record.failure}", said)
    if record.energy_j is None:
        missing = "; ".join(f"{d.domain}: {d.reason}" for d in record.charged if d.reason)
        raise BenchError(
            f"a meter that counts could not be read: {missing}", "`bench doctor` looks at each"
        )
    if doubts := [w.message for w in record.warnings if not w.rankable]:
        raise BenchError(
            f"nothing compares with such a run: {doubts[0]}", "mend that and try again"
        )
    return record


def _reference(warm_up: Record, counted: Sequence[Record]) -> Reference:
    last = counted[-1]
    if len({(r.level, r.coverage) for r in counted}) > 1:
        raise BenchError("the meters changed between repetitions", "`bench doctor` looks at each")
    return Reference(
        bench_version=last.bench_version,
        measured_at=last.started_at,
        hardware=last.spec.hardware,
        device=last.spec.device,
        level=last.level,
        coverage=last.coverage,
        workload=workload(),
        code_sha256=code_sha256(),
        repetitions=[
            Repetition(
                energy_j=r.energy_j or 0.0, uncertainty_j=r.uncertainty_j, duration_s=r.duration_s
            )
            for r in counted
        ],
        idle=_charged_idle(warm_up),
        machine=last.machine,
        software=last.software,
        warnings=list(dict.fromkeys(w.message for r in counted for w in r.warnings)),
    )


def _charged_idle(record: Record) -> Idle | None:
    """Of the domains that count; None where one of them was not read."""
    idle = record.idle_before
    if idle is None or record.idle_w(idle) is None:
        return None
    power_w = {d.domain: idle.power_w[d.domain] for d in record.charged}
    return Idle(duration_s=idle.duration_s, power_w=power_w)


# --- what the job is


def workload() -> dict[str, Scalar]:
    """What is trained, in full."""
    return {
        "task": REQUEST.task, "data": REQUEST.data, "model": REQUEST.model,
        "recipe": REQUEST.recipe, **REQUEST.settings, "seed": SEED.value,
    }  # fmt: skip


def code_sha256() -> str:
    """SHA-256 of the code that trains and meters, and of the workload: of equal ones, references
    compare. A meter that reads otherwise would stand in the ratio of a run and its reference."""
    package = Path(__file__).parent
    alone = ("recipes/__init__", f"recipes/{REQUEST.recipe}", "account", "child", "measure")
    used = [package / f"{name}.py" for name in alone]
    used += [p for side in ("learn", "power") for p in (package / side).rglob("*.py")]
    digest = hashlib.sha256(json.dumps(workload(), sort_keys=True).encode())
    for path in sorted(used):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def why_stale(reference: Reference) -> str | None:
    """Why a reference says nothing of what is installed now; None when it does."""
    if reference.code_sha256 != code_sha256():
        return f"the code that trains or meters has changed since bench {reference.bench_version}"
    then, now = (s.get("torch") for s in (reference.software, machine.software()))
    if then != now:
        return f"it was made with torch {then}, not {now}"
    return "the meters were calibrated since" if _calibrated_since(reference) else None


def _calibrated_since(reference: Reference) -> bool:
    """A gain that the runs have and the reference does not would stand in their ratio."""
    if reference.level != "M3":  # runs by calibrated meters are not held against it
        return False
    try:
        made = calibration.Calibration.read()
    except BenchError:
        return False
    return datetime.fromisoformat(made.date) > datetime.fromisoformat(reference.measured_at)


# --- keeping


def path() -> Path:
    """Where references are kept: BENCH_REFERENCE, else the user's data folder."""
    if "BENCH_REFERENCE" in os.environ:
        return Path(os.environ["BENCH_REFERENCE"])
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "wattbench" / "reference.json"


def stored() -> list[Reference]:
    """All that are kept, the newest first. BenchError when the file can't be read."""
    file = path()
    if not file.is_file():
        return []
    try:
        found = _Stored.model_validate_json(file.read_bytes()).references
    except ValidationError as error:
        raise BenchError(
            f"{file} holds no references of schema {SCHEMA}: {first_fault(error)}",
            "move it away, and `bench reference` makes it anew",
        ) from None
    return sorted(found, key=lambda r: r.measured_at, reverse=True)


def store(reference: Reference) -> Path:
    """Keep a reference, in the place of one of the same hardware, device, level and coverage."""
    kept = [r for r in stored() if r.key != reference.key]
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True)
    text = _Stored(references=[reference, *kept]).model_dump_json(indent=1)
    records.write_file(file, text + "\n")
    return file


def current(hardware: str, device: str) -> list[Reference]:
    """Those that speak for this hardware and device as they are now, the newest first; none when
    what is kept can't be read, which is no reason not to run."""
    try:
        kept = stored()
    except BenchError:
        return []
    mine = [r for r in kept if (r.hardware, r.device) == (hardware, device)]
    return [r for r in mine if why_stale(r) is None]
