"""The record of a run: what was asked, what was measured, on what, and how sure that is.

A record stores what was measured and the few *claims* a board needs in a bare clone; everything
else (skill, score, carbon, means) is computed when shown. Records are immutable once written.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from bench.errors import BenchError, UsageError, first_fault

SCHEMA = 1
LOG = "log.txt"  # in a run's folder: what its worker said
PROFILE = "(profile)"  # as `Record.trial`, which no sweep is called: power was looked at

Level = Literal["M0", "M1", "M2", "M3"]
Kind = Literal["gpu", "cpu", "dram", "node"]
Status = Literal["complete", "budget", "failed", "interrupted"]
Scalar = bool | int | float | str | None


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Data(Closed):
    """Which rows a run learned from and is scored on; fingerprints are SHA-256 over rows."""

    source: str  # local, hub-cache, hub, embedded
    official: bool  # the fingerprints are the card's
    fingerprints: dict[str, str]  # split (train, scored) -> SHA-256, hex
    labels_sha256: str  # of the scored split's labels alone
    rows: dict[str, int]  # train, tune, scored; train excludes tune

    def board(self) -> str:
        """What names the board: 'official', or the head of the fingerprints of other data."""
        if self.official:
            return "official"
        joined = self.fingerprints["train"] + self.fingerprints["scored"]
        return hashlib.sha256(joined.encode()).hexdigest()[:8]


class Spec(Closed):
    """What a run was asked to do, frozen before it starts. Runs that differ in `seed` and
    `seed_origin` alone belong to one entry."""

    edition: str
    task: str
    task_version: int
    data: Data
    track: Literal["scratch", "finetune", "open"]
    model: str
    checkpoint_sha256: str | None  # of the weights file; None from scratch
    recipe: str
    settings: dict[str, Scalar]  # every setting of the recipe, defaults included
    device: str  # cpu, cuda:0
    hardware: str  # 1 x NVIDIA H100 80GB HBM3; CPU AMD EPYC, 2 cores
    processes: int = 1  # that train together, each with a part of every batch
    nodes: int = 1  # machines that they are on
    budget: str | None
    seed: int
    seed_origin: Literal["harness", "user"]

    @model_serializer(mode="wrap")
    def _less_ones(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As it was, and was hashed, before there could be several processes or machines."""
        found: dict[str, Any] = dump(self)
        for name in ("processes", "nodes"):
            if found.get(name) == 1:
                del found[name]
        return found

    def sha256(self) -> str:
        return _sha256_of_json(self.model_dump(mode="json"))


def on_node(number: int, domain: str) -> str:
    """What a record calls a domain of that machine; those of the first keep their names."""
    return f"node{number}:{domain}" if number else domain


def part_folder(folder: Path, number: int) -> Path:
    """Where a run's folder has what another machine has metered."""
    return folder / f"node-{number}"


class DomainEnergy(Closed):
    """Energy of one domain over one window. `energy_j` is None when it could not be read: a
    missing domain is never zero. Uncertainties are expanded, k = 2."""

    domain: str  # gpu:GPU-<uuid>, cpu:package-0, cpu:estimate; of a further machine node1:cpu:…
    kind: Kind
    device: str  # the device's name
    method: Literal["counter", "integral", "modelled", "missing"]
    level: Level
    charged: bool  # False: seen by the sampler but not by the child, or a part of another domain
    energy_j: float | None
    uncertainty_j: float | None
    counter_j: float | None = None  # by the energy counter, interpolated at the edges
    integral_j: float | None = None  # by the trapezoid over power
    disagreement: float | None = None  # |counter - integral| / counter
    coverage: float = 0.0  # share of the window between the first and last good reading
    samples: int = 0
    largest_gap_s: float | None = None
    counter_tick_s: float | None = None  # as measured
    reason: str | None = None  # why it is missing or modelled, or the model's formula and inputs
    band_j: tuple[float, float] | None = None  # of an estimate: what it may well be

    @property
    def node(self) -> int:
        """The machine that it is of."""
        of = re.match(r"node(\d+)(:|$)", self.domain)
        return int(of[1]) if of else 0

    @property
    def expanded_j(self) -> float | None:
        """The uncertainty; where only a band is stated, half its width; None when unknown."""
        if self.uncertainty_j is None and self.band_j is not None:
            return (self.band_j[1] - self.band_j[0]) / 2
        return self.uncertainty_j


class Phase(Closed):
    name: str
    start_s: float  # from the start of the window
    duration_s: float
    energy_j: dict[str, float]  # charged domain -> joules
    uncertainty_j: dict[str, float | None] = {}  # the same, expanded (k = 2); none in older records


class Idle(Closed):
    """Power before and after the window, when nothing was asked of the machine."""

    duration_s: float
    power_w: dict[str, float]  # domain -> mean watts


class Node(Closed):
    """One of several machines that made a run."""

    number: int
    machine: dict[str, Any]
    software: dict[str, str]
    duration_s: float  # of its window


class Warn(Closed):
    """A reason to doubt a result: `id` is stable, `message` is for people and has the numbers."""

    id: str
    message: str
    rankable: bool = True  # False: the run is not ranked because of this


class Metric(Closed):
    """A metric with what it takes to recompute it without the data."""

    name: str
    value: float
    n: int
    chance: float
    best: float
    scale: Literal["linear", "log"] = "linear"  # what skill is linear in
    also: dict[str, float] = {}  # other metrics, which never rank
    signature: str | None = None  # of the tool whose definition it is
    statistics: dict[str, float]  # sufficient statistics, such as correct
    correct: str | None = None  # one bit an example in order, packed big-endian, base64


def pack_bits(bits: Iterable[bool]) -> str:
    """Booleans as base64 over bytes, first example in the highest bit."""
    flags = [bool(b) for b in bits]
    number = int("".join("1" if f else "0" for f in flags) or "0", 2) << (-len(flags) % 8)
    return base64.b64encode(number.to_bytes((len(flags) + 7) // 8, "big")).decode()


def unpack_bits(text: str, n: int) -> list[bool]:
    data = base64.b64decode(text)
    return [bool(data[i // 8] >> (7 - i % 8) & 1) for i in range(n)]


class Metered(Closed):
    """What was measured over one window, and how sure that is."""

    schema_version: int = SCHEMA
    bench_version: str
    run_id: str
    nonce: str
    started_at: str  # UTC, ISO 8601
    status: Status
    failure: str | None = None  # one line, when failed or interrupted
    machine: dict[str, Any]
    software: dict[str, str]
    duration_s: float
    domains: list[DomainEnergy]  # over the window
    phases: list[Phase]
    idle_before: Idle | None = None
    idle_after: Idle | None = None
    region: str | None = None  # asked for with --region; a scenario, not a measurement
    pue: str | None = None  # asked for with --pue; a scenario too
    not_covered: list[str] = []  # kinds that no meter covered, each with its reason
    warnings: list[Warn] = []
    nodes: list[Node] = []  # of several machines: those that handed over what they metered

    @property
    def charged(self) -> list[DomainEnergy]:
        return [d for d in self.domains if d.charged]

    @property
    def window_energy_j(self) -> float | None:
        """Gross energy of the charged domains; None when one of them is missing."""
        return _sum([d.energy_j for d in self.charged])

    @property
    def window_uncertainty_j(self) -> float | None:
        """Expanded uncertainty (k = 2) of `window_energy_j`. Domains of one kind and level share
        their gain, as estimates share their model and calibrated ones their reference: those add
        up; different meters are independent."""
        if self.window_energy_j is None:
            return None
        return combined([(d, d.expanded_j) for d in self.charged])

    @property
    def energy_j(self) -> float | None:
        """What the whole cost."""
        return self.window_energy_j

    @property
    def uncertainty_j(self) -> float | None:
        return self.window_uncertainty_j

    @property
    def level(self) -> Level:
        """The lowest level among the charged domains."""
        return min((d.level for d in self.charged), default="M0")

    @property
    def coverage(self) -> str:
        """The kinds covered, such as 'gpu+cpu+dram'."""
        return _coverage({d.kind for d in self.charged if d.energy_j is not None})

    def energy_of(self, phase: Phase) -> float | None:
        """None where a meter that counts was not read in this phase."""
        charged, read_j = self.charged, phase.energy_j
        if not charged or any(d.domain not in read_j for d in charged):
            return None
        return sum(read_j.values())

    def idle_w(self, idle: Idle | None) -> float | None:
        """Of the charged domains before or after the window; None where one was not read."""
        return _sum([idle.power_w.get(d.domain) if idle else None for d in self.charged])

    def phase_energy_j(self, name: str) -> float | None:
        """Of all phases of this name; None when one is not known, or when there are none."""
        return _sum([self.energy_of(p) for p in self.phases if p.name == name])


def combined(unsure: Iterable[tuple[DomainEnergy, float | None]]) -> float | None:
    """The uncertainty of a sum over domains, each with its own in any one unit; None when one is
    not known. What is alike in kind and level adds up."""
    alike: dict[tuple[str, ...], float] = {}
    for d, u in unsure:
        if u is None:
            return None
        key = (d.level,) if d.level in ("M0", "M3") else (d.level, d.kind)
        alike[key] = alike.get(key, 0.0) + u
    return float(sum(u**2 for u in alike.values()) ** 0.5)


def _sum(parts: list[float | None]) -> float | None:
    """None when one is missing, or when there are none."""
    known = [p for p in parts if p is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _coverage(kinds: set[str]) -> str:
    return "+".join(k for k in ("node", "gpu", "cpu", "dram") if k in kinds) or "nothing"


class Measurement(Metered):
    """A program that was metered and not scored; it is no entry of any board."""

    command: list[str]  # as typed; empty: a part of a Python program
    exit_code: int | None = None  # negative: the number of the signal that ended it


class Repetition(Closed):
    """One run of the job; energy of the charged domains, expanded uncertainty (k = 2)."""

    energy_j: float
    uncertainty_j: float | None
    duration_s: float


class Reference(Closed):
    """What the reference job (`bench reference`) took on one machine, as measured."""

    schema_version: Literal[1] = 1
    bench_version: str
    measured_at: str  # UTC, ISO 8601
    hardware: str  # as in a run's spec
    device: str
    level: Level
    coverage: str  # gpu+cpu+dram
    workload: dict[str, Scalar]
    code_sha256: str  # of the code that trains and meters, with the workload
    repetitions: list[Repetition]
    idle: Idle | None  # before the first
    machine: dict[str, Any]
    software: dict[str, str]
    warnings: list[str]

    @property
    def key(self) -> tuple[str, ...]:
        """What a new reference takes the place of an old one by."""
        return (self.hardware, self.device, self.level, self.coverage)

    @property
    def energy_j(self) -> float:
        """Mean of the repetitions."""
        return statistics.fmean(r.energy_j for r in self.repetitions)

    @property
    def scatter_j(self) -> float:
        """Standard deviation between repetitions."""
        return statistics.stdev(r.energy_j for r in self.repetitions)

    @property
    def uncertainty_j(self) -> float | None:
        """Of the mean, expanded (k = 2): the meters', which repeating does not lessen, and that of
        the scatter, which it does."""
        known = [r.uncertainty_j for r in self.repetitions if r.uncertainty_j is not None]
        if len(known) < len(self.repetitions):
            return None
        return math.hypot(statistics.fmean(known), 2 * self.scatter_j / math.sqrt(len(known)))

    @property
    def duration_s(self) -> float:
        return statistics.fmean(r.duration_s for r in self.repetitions)

    @property
    def power_w(self) -> float:
        return self.energy_j / self.duration_s

    @property
    def idle_w(self) -> float | None:
        """Before the first repetition, of the domains that the energy is of."""
        return sum(self.idle.power_w.values()) if self.idle and self.idle.power_w else None


class Saved(Closed):
    """The last state, or the weights, that a run has kept: a file in its folder."""

    name: Literal["state", "weights"]
    file: str
    sha256: str
    bytes: int
    step: int  # updates that had been made


class RunCost(Closed):
    """What another run took that this one rests on, as the record of that run says it. A part's
    numbers are of its own window; those of others are of all that is charged to them."""

    role: Literal["part", "teacher", "upstream"]
    run_id: str
    record_sha256: str | None  # of its record.json; None: the record was not at hand
    task: str | None
    model: str | None
    hardware: str | None
    level: Level | None
    coverage: str | None
    energy_j: float | None
    uncertainty_j: float | None  # expanded, k = 2
    band_j: tuple[float, float] | None = None  # of an estimate
    duration_s: float | None
    step: int | None = None  # of what it kept and this run took
    limits: dict[str, Scalar] = {}  # of a part: its budget, and the settings that end a training


class Tuning(Closed):
    """What the sweep took that chose the settings of a run: all its attempts, those that failed or
    were ended early, too. It is in no sum of the run itself."""

    sweep: str  # its name
    journal_sha256: str  # of the first bytes of its journal, as they were when it had chosen
    journal_bytes: int
    trials: int  # settings that were tried
    attempts: int  # at them
    pruned: int  # trials that were ended early
    failed: int  # trials that came to nothing
    level: Level
    coverage: str  # of the kinds that were covered throughout
    energy_j: float | None  # None: that of an attempt is not known
    uncertainty_j: float | None  # expanded, k = 2
    band_j: tuple[float, float] | None = None  # of an estimate
    duration_s: float

    def is_of(self, journal: bytes) -> bool:
        """Whether it names the first bytes of this journal."""
        first = journal[: self.journal_bytes]
        return hashlib.sha256(first).hexdigest() == self.journal_sha256

    def adds_to(self, level: str, coverage: str) -> bool:
        """Whether its energy may be added to one of this level and coverage: both are of the same
        kinds of device, and both are measured or both estimated."""
        return self.coverage == coverage and (self.level == "M0") == (level == "M0")


class Record(Metered):
    """A run of a task. What it cost is what its own window took, and the `charged_runs`."""

    spec: Spec
    code_sha256: str  # of the code that can change a number
    model_facts: dict[str, Any] = {}  # what the child said: parameters, ...
    metric: Metric | None = None
    reference: Reference | None = None  # of this hardware, device, level and coverage
    saved: list[Saved] = []
    charged_runs: list[RunCost] = []  # earlier parts of this training in order, teachers
    upstream: list[RunCost] = []  # what made the weights that it began with: shown, in no sum
    trial: str | None = None  # the sweep that tries settings by it, or PROFILE: it is no entry
    tuning: Tuning | None = None  # what chose its settings

    @property
    def is_profile(self) -> bool:
        """Whether it ended when its power was known, and is neither scored nor an entry."""
        return self.trial == PROFILE

    @property
    def parts(self) -> list[RunCost]:
        """The earlier parts of this training, the first one first."""
        return [c for c in self.charged_runs if c.role == "part"]

    @property
    def continues(self) -> str | None:
        """The id of the run that this one goes on with."""
        return self.parts[-1].run_id if self.parts else None

    @property
    def energy_j(self) -> float | None:
        """None when that of the window, or of a charged run, is missing."""
        return _sum([self.window_energy_j, *(c.energy_j for c in self.charged_runs)])

    @property
    def uncertainty_j(self) -> float | None:
        """Expanded (k = 2). Runs share their meters' gain, so that their uncertainties add up."""
        if self.energy_j is None:
            return None
        return _sum([self.window_uncertainty_j, *(c.uncertainty_j for c in self.charged_runs)])

    @property
    def total_duration_s(self) -> float | None:
        """Of the window and all charged runs, one after the other."""
        return _sum([self.duration_s, *(c.duration_s for c in self.charged_runs)])

    @property
    def level(self) -> Level:
        """The lowest level that anything was measured at."""
        return min([super().level, *(c.level or "M0" for c in self.charged_runs)])

    @property
    def coverage(self) -> str:
        """The kinds that were covered throughout."""
        if not self.charged_runs:
            return super().coverage
        each = [super().coverage, *(c.coverage or "" for c in self.charged_runs)]
        return _coverage(set.intersection(*(set(c.split("+")) for c in each)))

    @property
    def rankable(self) -> bool:
        return (
            self.status in ("complete", "budget")
            and self.metric is not None
            and self.energy_j is not None
            and all(w.rankable for w in self.warnings)
        )

    def entry_key(self) -> str:
        """Equal for runs whose spec (all but the seed) and code are equal, that were cut into
        parts in the same way, and whose settings the same sweep chose."""
        spec = self.spec.model_dump(
            mode="json", exclude={"seed": True, "seed_origin": True, "data": {"source"}}
        )  # the same rows are the same data, wherever they came from
        facts: list[Any] = [spec, self.code_sha256]
        if self.parts:
            facts.append([part.limits for part in self.parts])
        if self.trial:
            facts.append(["trial", self.trial])
        if self.tuning:
            facts.append(["tuning", self.tuning.sweep, self.tuning.journal_sha256])
        return _sha256_of_json(facts)[:12]


def run_id(asked: Spec | list[str], started_at: str, nonce: str) -> str:
    """The id of a run: 16 hex digits of SHA-256 over what was asked (a spec, or a program's
    command), start and nonce."""
    what = asked.model_dump(mode="json") if isinstance(asked, Spec) else asked
    return _sha256_of_json([what, started_at, nonce])[:16]


def _sha256_of_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, text: str) -> None:
    """Write whole or not at all: a reader never sees half a file."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


WHILE_RUNNING = {"start.json", "trace.log", "reserve"}
"""Files of a run's folder that are gone once its record is whole."""


def write(record: Metered, folder: Path) -> None:
    """Write the record and then `manifest.json` (SHA-256 of every file): the run is whole."""
    left_out = {"manifest.json", *WHILE_RUNNING}
    write_file(folder / _FILES[type(record)], record.model_dump_json(indent=1) + "\n")
    digests = {
        p.relative_to(folder).as_posix(): file_sha256(p)
        for p in sorted([*folder.iterdir(), *folder.glob("node-*/*")])
        if p.is_file()
        and p.name not in left_out
        and not p.name.startswith(".")
        and p.suffix != ".safetensors"  # the record has its hash; who needs the room removes it
    }
    write_file(folder / "manifest.json", json.dumps(digests, indent=1) + "\n")


_FILES: dict[type[Metered], str] = {Record: "record.json", Measurement: "measurement.json"}


def is_written(folder: Path) -> bool:
    return any((folder / name).exists() for name in _FILES.values())


def read(folder: Path) -> Record:
    """The record in a run's folder; BenchError when there is none or it can't be read."""
    record = _read(folder, Record)
    assert isinstance(record, Record)
    return record


def read_any(folder: Path) -> Record | Measurement:
    """The record of a run of a task, or the measurement of a program."""
    kind = Measurement if (folder / _FILES[Measurement]).is_file() else Record
    record = _read(folder, kind)
    assert isinstance(record, Record | Measurement)
    return record


def _read(folder: Path, kind: type[Metered]) -> Metered:
    path = folder / _FILES[kind]
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no run", "give a run's folder, or a run id") from None
    except ValidationError as error:
        raise BenchError(
            f"{path} is not a record of schema {SCHEMA}: {first_fault(error)}",
            "written by a newer bench? `pip install -U wattbench`",
        ) from None


def folders(roots: Iterable[Path]) -> Iterator[Path]:
    """The folders below `roots` that hold a record, in order of name; none that is hidden, which
    nobody has finished."""
    for root in roots:
        found = sorted(p.parent for p in root.glob("**/record.json"))
        yield from (f for f in found if not any(n[0] == "." for n in f.relative_to(root).parts))
