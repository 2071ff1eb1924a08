"""A real training under the meter until its power is stable, and what any training's phases show.

`of` reads a run's folder, while it is written or when its record is whole: a profile is a function
of trace and events, so that an interrupted one shows what it has.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import account, workfolder
from bench import record as records
from bench.account import Start, Window
from bench.child import Limit, Progress
from bench.errors import BenchError, UsageError
from bench.footprint import stable
from bench.footprint.quantity import Quantity, given
from bench.footprint.stable import Block, Mean, Told, Verdict
from bench.record import DomainEnergy, Record, Warn
from bench.units import NS_PER_S, show_duration, significant

if TYPE_CHECKING:
    from bench.power.trace import Trace
    from bench.run import Plan, Request

LOOK_S, LOOK_COST = 5.0, 100  # how often the trace is judged: it takes a hundredth of the time
_SMALL_BLOCKS = 20  # of a training that is too short for whole blocks


@dataclass(frozen=True)
class Part:
    """What a phase took, of all its times; `share` of what a training does of it, if known."""

    energy_j: float
    duration_s: float
    times: int = 1
    share: float | None = None


@dataclass(frozen=True)
class Profile:
    """The training phase of a run, and what was around it."""

    record: Record
    folder: Path
    train_s: float  # of the whole training phase
    train_j: float
    steps: int  # that were told of, within it
    per_epoch: float | None
    total_steps: int  # as the run had planned
    blocks: tuple[Block, ...]
    block_s: float
    verdict: Verdict
    by_domain: Mapping[str, Mean]
    domains: tuple[DomainEnergy, ...]  # charged, over what was not left out
    before: Part  # all until the training began
    evaluate: Part | None
    predict: Part | None
    teacher: Part | None = None

    @property
    def settled(self) -> list[Block]:
        """The blocks that count: what is left out at the beginning is in none."""
        return stable.settled(self.blocks, self.verdict.left_out_s) or list(self.blocks)

    @property
    def estimated(self) -> bool:
        return self.record.level == "M0"

    @property
    def devices(self) -> int:
        """Accelerators that it ran on; 1 where it ran on processors."""
        return max(1, sum(d.kind == "gpu" for d in self.record.charged))

    @property
    def device(self) -> str:
        """The name of one."""
        gpus = [d.device for d in self.record.charged if d.kind == "gpu"]
        return gpus[0] if gpus else str(self.record.spec.hardware)

    @property
    def source(self) -> str:
        how = "estimated" if self.estimated else "measured"
        return f"{how} in run {self.record.run_id} on {self.record.spec.hardware}"

    # --- what it says

    @property
    def power_w(self) -> Quantity:
        return self._said("power", "W", lambda b: (b.energy_j, b.duration_s), of_meter=True)

    @property
    def steps_per_s(self) -> Quantity:
        return self._said("steps a second", "1/s", lambda b: (b.steps, b.duration_s))

    @property
    def step_j(self) -> Quantity:
        return self._said("energy a step", "J", lambda b: (b.energy_j, b.steps), of_meter=True)

    @property
    def tokens_per_s(self) -> Quantity | None:
        if self.tokens_a_step is None:
            return None
        return self._said("tokens a second", "1/s", lambda b: (b.tokens or 0, b.duration_s))

    @property
    def token_j(self) -> Quantity | None:
        if self.tokens_a_step is None:
            return None
        return self._said(
            "energy a token", "J", lambda b: (b.energy_j, b.tokens or 1), of_meter=True
        )

    @property
    def tokens_a_step(self) -> float | None:
        """None where the run does not tell of its tokens."""
        kept = self.settled
        if any(b.tokens is None for b in kept) or not sum(b.steps for b in kept):
            return None
        return sum(b.tokens or 0 for b in kept) / sum(b.steps for b in kept) or None

    def _said(
        self,
        name: str,
        unit: str,
        pair: Callable[[Block], tuple[float, float]],
        of_meter: bool = False,
    ) -> Quantity:
        """A ratio over the blocks, sure by their scatter and by what the meter may be off."""
        found = stable.mean([pair(b) for b in self.settled])
        off = self.meter_share * found.value if of_meter else 0.0
        unsure = math.hypot(found.half_width or 0.0, off)
        known = found.half_width is not None or off
        return given(name, found.value, unit, self.source, unsure if known else None)

    @property
    def meter_share(self) -> float:
        """What the meter may be off (k = 2), as a share; of an estimate, its band."""
        energy_j = sum(d.energy_j or 0.0 for d in self.domains)
        unsure_j = records.combined([(d, d.expanded_j) for d in self.domains])
        return unsure_j / energy_j if unsure_j and energy_j else 0.0


# --- from a run's folder -------------------------------------------------------------------------


def of(folder: Path) -> Profile:
    """What a run's training phase shows; UsageError where it has none."""
    from bench.power.trace import Trace

    record = records.read_any(folder)
    if not isinstance(record, Record):
        raise UsageError(
            f"{folder} is of a program that was metered: nothing says what it trained",
            "a run of `bench run`, or a profile",
        )
    if record.status == "failed":
        raise UsageError(f"run {record.run_id} failed: {record.failure}", "a run that ended well")
    if record.nodes:
        raise UsageError(f"run {record.run_id} is of several machines, whose traces lie apart")
    path = folder / "trace.parquet"
    if not path.is_file():
        raise UsageError(f"{folder} has no trace", "a run's folder has a trace.parquet")
    return read(record, folder, Trace.read_parquet(path), account.read_events(folder / _EVENTS))


_EVENTS = "events.jsonl"


def read(record: Record, folder: Path, trace: Trace, events: Sequence[dict[str, Any]]) -> Profile:
    """The same from its parts."""
    window = account.window_of(list(events), trace)
    seen = Seen.of(events, window, trace, {d.domain for d in record.charged}.__contains__)
    if not seen.spans:
        raise UsageError(f"run {record.run_id} never began to train")
    if seen.steps < 2 or not seen.blocks:
        raise UsageError(
            f"run {record.run_id} tells of {seen.steps} steps: that is too few",
            "let it train for longer: --minutes",
        )
    if sum(b.energy_j for b in seen.blocks) <= 0:
        raise UsageError(f"run {record.run_id}: its meters read no energy while it trained")
    kept = stable.settled(seen.blocks, seen.verdict.left_out_s) or seen.blocks
    start_ns, stop_ns = round(kept[0].start_s * NS_PER_S), round(kept[-1].stop_s * NS_PER_S)
    domains = [d for d in trace.energy(start_ns, stop_ns, seen.charges) if d.charged]
    return Profile(
        record=record, folder=folder, train_s=seen.train_s, train_j=seen.train_j,
        steps=seen.steps, per_epoch=seen.per_epoch, total_steps=seen.total_steps,
        blocks=tuple(seen.blocks), block_s=seen.block_s, verdict=seen.verdict,
        by_domain=seen.by_domain(kept), domains=tuple(domains), before=seen.before(),
        evaluate=seen.part("evaluate"), predict=seen.part("predict"),
        teacher=seen.part("teacher"),
    )  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """Phases and blocks of a run, so far."""

    events: Sequence[dict[str, Any]]
    window: Window
    trace: Trace
    charges: Callable[[str], bool]
    phases: Sequence[tuple[str, int, int]]
    spans: Sequence[tuple[int, int]]  # of the training phase
    told: Sequence[Told]
    blocks: list[Block]
    block_s: float
    verdict: Verdict

    @classmethod
    def of(
        cls,
        events: Sequence[dict[str, Any]],
        window: Window,
        trace: Trace,
        charges: Callable[[str], bool],
    ) -> Seen:
        phases = account.phase_spans(events, window)
        spans = [(a, b) for name, a, b in phases if name == "train"]
        told = [
            Told(e["t_ns"] / NS_PER_S, e["step"], e.get("tokens"))
            for e in events
            if e["event"] == "step"
        ]
        train_s = sum(b - a for a, b in spans) / NS_PER_S
        block_s, fewest = stable.BLOCK_S, stable.BLOCK_STEPS
        blocks = list(_blocks(spans, told, trace, charges, block_s, fewest))
        if len(blocks) < 4 and told:  # a short training, whose blocks are what they can be
            block_s, fewest = min(block_s, train_s / _SMALL_BLOCKS), 1
            blocks = list(_blocks(spans, told, trace, charges, block_s, fewest))
        verdict = stable.judge(blocks, train_s)
        if block_s < stable.BLOCK_S:
            verdict = replace(verdict, stable=False, why="it trained for too short a time")
        return cls(events, window, trace, charges, phases, spans, told, blocks, block_s, verdict)

    @property
    def train_s(self) -> float:
        return sum(b - a for a, b in self.spans) / NS_PER_S

    @property
    def train_j(self) -> float:
        return sum(self._joules(a, b) for a, b in self.spans)

    @property
    def steps(self) -> int:
        return self.told[-1].step - self._first if self.told else 0

    @property
    def _first(self) -> int:
        """Steps that earlier parts had made."""
        steps = [e for e in self.events if e["event"] == "step"]
        return int(steps[0].get("first_step") or 0) if steps else 0

    @property
    def total_steps(self) -> int:
        steps = [e for e in self.events if e["event"] == "step"]
        return int(steps[-1].get("total_steps") or 0) if steps else 0

    @property
    def per_epoch(self) -> float | None:
        """Steps of an epoch."""
        steps = [e for e in self.events if e["event"] == "step" and e.get("epoch")]
        return steps[-1]["step"] / steps[-1]["epoch"] if steps else None

    def before(self) -> Part:
        """All until the training began."""
        start_ns = self.window.start_ns
        stop_ns = self.spans[0][0] if self.spans else self.window.stop_ns
        return Part(self._joules(start_ns, stop_ns), (stop_ns - start_ns) / NS_PER_S)

    def part(self, name: str) -> Part | None:
        """The phases of a name after the training began."""
        found = [(a, b) for n, a, b in self.phases if n == name and b > a]
        told = [e for e in self.events if e["event"] == "profile"]
        if not found:
            return self._sampled(told[-1]) if told and name == "evaluate" else None
        joules = sum(self._joules(a, b) for a, b in found)
        share = told[-1].get("predict_share") if told and name == "predict" else None
        return Part(joules, sum(b - a for a, b in found) / NS_PER_S, len(found), share)

    def _sampled(self, told: Mapping[str, Any]) -> Part | None:
        """What a scoring of tune takes, from the sample that was predicted."""
        sample = self.part("predict")
        share = told.get("evaluate_share")
        return replace(sample, share=share) if sample and share else None

    def by_domain(self, blocks: Sequence[Block]) -> dict[str, Mean]:
        """The power of each domain."""
        found: dict[str, list[tuple[float, float]]] = {}
        for block in blocks:
            start_ns, stop_ns = (round(s * NS_PER_S) for s in (block.start_s, block.stop_s))
            joules = self.trace.phase_energy_j(start_ns, stop_ns, self.charges)
            for domain, energy_j in joules.items():
                if self.charges(domain):
                    found.setdefault(domain, []).append((energy_j, block.duration_s))
        return {domain: stable.mean(pairs) for domain, pairs in found.items()}

    def _joules(self, start_ns: int, stop_ns: int) -> float:
        return _joules(self.trace, self.charges, start_ns, stop_ns)


def _joules(trace: Trace, charges: Callable[[str], bool], start_ns: int, stop_ns: int) -> float:
    found = trace.phase_energy_j(start_ns, stop_ns, charges)
    return sum(energy_j for domain, energy_j in found.items() if charges(domain))


def _blocks(
    spans: Sequence[tuple[int, int]],
    told: Sequence[Told],
    trace: Trace,
    charges: Callable[[str], bool],
    block_s: float,
    fewest: int,
) -> Iterator[Block]:
    """Of each stretch of training."""
    for start_ns, stop_ns in spans:
        inside = [t for t in told if start_ns <= t.t_s * NS_PER_S <= stop_ns]
        for since, until in stable.edges(inside, block_s, fewest):
            a, b = round(since.t_s * NS_PER_S), round(until.t_s * NS_PER_S)
            known = since.tokens is not None and until.tokens is not None
            tokens = (until.tokens or 0) - (since.tokens or 0) if known else None
            energy_j = _joules(trace, charges, a, b)
            yield Block(since.t_s, until.t_s, energy_j, until.step - since.step, tokens)


# --- making one ----------------------------------------------------------------------------------


class Watch(Limit):
    """Ends a training when its power is stable, or its time is up: as a budget does."""

    def __init__(self, minutes: float) -> None:
        super().__init__(None, 0.0)
        self._most_s = 60 * minutes
        self._next_s = LOOK_S
        self.folder: Path | None = None
        self.found: Verdict | None = None

    def spent(self, progress: Progress) -> str | None:
        began = progress.train_started
        if began and progress.elapsed_s - began[0] >= self._most_s:
            return f"{show_duration(self._most_s)} of training are over"
        if progress.phase == "train" and progress.elapsed_s >= self._next_s:
            self._look(progress.elapsed_s)
        progress.total_steps = None  # it ends before: no forecast of the whole
        found = self.found
        if progress.phase == "train":
            progress.text = self._text()
        return f"power is stable: {found.why}" if found and found.stable else None

    def _look(self, elapsed_s: float) -> None:
        """Judge what the sampler has written so far; a look that takes longer comes less often."""
        began_s = time.monotonic()
        self.found = so_far(self.folder) if self.folder else None
        took_s = time.monotonic() - began_s
        self._next_s = elapsed_s + max(LOOK_S, LOOK_COST * took_s)

    def _text(self) -> str:
        power_w = self.found.power_w if self.found else None
        if power_w is None or power_w.half_width is None:
            return "settling"
        return f"{significant(power_w.value)} W ± {100 * power_w.share:.1f} %"


def so_far(folder: Path) -> Verdict | None:
    """What the folder of a run that goes on shows; None where it can't be read yet."""
    from bench.power import log
    from bench.power.trace import Trace

    try:
        facts = json.loads((folder / "start.json").read_text(encoding="utf-8"))
        trace = Trace.read_log(folder / log.NAME)
        events = account.read_events(folder / _EVENTS)
        charges = account.charged(Start.load(facts), trace.domains)
        return Seen.of(events, account.window_of(events, trace), trace, charges).verdict
    except (OSError, ValueError, KeyError, BenchError):
        return None


def planned(request: Request) -> Plan:
    """The plan of a profile: a training that does not end by itself, unless that is asked for."""
    from bench import run as running

    ends = {"epochs", "max_steps", "max_tokens"} & set(request.settings)
    settings = dict(request.settings) | ({} if ends else {"epochs": str(_WITHOUT_END)})
    plan = running.prepare(replace(request, settings=settings, trial=records.PROFILE))
    note = Warn(
        id="profile", rankable=False, message="a profile: it ended when its power was known, and "
        "what it learned is not scored",
    )  # fmt: skip
    return replace(plan, notes=[*plan.notes, note])


_WITHOUT_END = 10_000  # epochs


def make(
    plan: Plan,
    root: Path,
    seed: int,
    minutes: float,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Record, Path, bool]:
    """Train under the meter until power is stable, or so many minutes are over; the record, its
    folder, and whether somebody asked for an end."""
    from bench import run as running

    watch = Watch(minutes)

    def begun(folder: Path) -> None:
        watch.folder = folder

    with workfolder.work_folder(plan.card, plan.resolved, root) as work:
        record, folder, outcome = running.run(
            plan, work, root, running.Seed(seed, "harness"), on_folder=begun,
            on_progress=on_progress, limit=watch,
        )  # fmt: skip
    return record, folder, outcome.end_asked or record.status == "interrupted"


@dataclass(frozen=True)
class Shape:
    """A batch, as a recipe's settings, and where it comes from."""

    settings: Mapping[str, str]
    said: str


def shaped(request: Request, batch: int | None, length: int | None) -> tuple[Request, Shape]:
    """The request with its task, where none was named, and a batch as published for the model,
    unless it is given."""
    from bench import cards
    from bench.footprint import workloads

    known = workloads.of_model(request.model or "")
    task = request.task or (known.task if known else "wikitext2")
    family = cards.load(task, request.task_folders).family
    translates = family == "translation"
    if translates and length is not None:
        raise UsageError("batches of translations are counted in tokens", "leave out --length")
    published = known.settings(family) if known else {}
    names = ("batch_tokens", "") if translates else ("batch_size", "max_length")
    asked = {name: str(n) for name, n in zip(names, (batch, length), strict=True) if n is not None}
    said = dict(request.settings)
    for name in asked.keys() & said.keys():
        raise UsageError(f"{name} is given twice", f"--set {name}=... or the option alone")
    if not known or not published:
        where = "bench's own for this model and task: none was published"
    else:
        where = f"as published ({known.source})"
    changed = published.keys() & (asked.keys() | said.keys())
    if asked or changed:
        where = f"{where}, but for what was given"
    settings = {**published, **asked, **said}
    return replace(request, task=task, settings=settings), Shape(published | asked, where)


def shown(shape: Shape) -> str:
    """For people."""
    return f"{shown_settings(shape.settings)}{', ' if shape.settings else ''}{shape.said}"


def shown_settings(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def check_minutes(minutes: float) -> None:
    """UsageError for a time in which nothing can be trained."""
    if not 0 < minutes < math.inf:
        raise UsageError(f"{minutes:g} minutes are no time to train", "--minutes 10")


def fitting(plan: Plan) -> dict[str, str] | None:
    """A batch that the memory of this machine holds, as settings, where a training on processors
    would need more than a half of it: the kernel ends others, too, when memory ends. None where
    the batch fits, or nothing is known. On a GPU the training itself finds out."""
    each, free = _bytes_a_token(plan), _free_bytes()
    if plan.device != "cpu" or each is None or free is None:
        return None
    settings, length = plan.settings, int(plan.settings["max_length"] or 1)
    name = "batch_tokens" if settings.get("batch_tokens") else "batch_size"
    size = int(settings[name] or 1)
    tokens = 1 if name == "batch_tokens" else length
    fits = size
    while fits > 1 and fits * tokens * each > free / 2:
        fits //= 2
    return {name: str(fits)} if fits < size else None


def _bytes_a_token(plan: Plan) -> float | None:
    """What a training keeps for its backward pass of each token, in float32: twice what Korthikanti
    et al. 2022 (arXiv 2205.05198, section 4) count in half precision, and the scores of a
    vocabulary with their gradients where each token is predicted."""
    from bench.learn import models
    from bench.learn.models.scratch import sized

    settings = plan.settings
    entry = models.entry(plan.model, plan.track != "scratch", plan.card.family)
    shape = sized(entry, settings)
    layers, width, heads = (getattr(shape, n, None) for n in ("layers", "width", "heads"))
    if not (layers and width and heads):
        return None
    length = int(settings["max_length"] or 1)
    predicts = plan.objective in ("causal", "masked", "translation")
    words = int(settings["vocabulary_size"] or 0) if predicts else 0
    return float(2 * layers * (34 * width + 5 * heads * length) + 3 * 4 * words)


def _free_bytes() -> float | None:
    from bench.power import processor

    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return float(min(1024 * int(sizes[0]), processor.memory_bytes())) if sizes else None


def smaller(record: Record) -> dict[str, str] | None:
    """Of a training that did not fit into memory: half its batch, as settings; None of others."""
    if record.status != "failed" or not _IS_MEMORY.search(record.failure or ""):
        return None
    for name in ("batch_tokens", "batch_size"):
        size = record.spec.settings.get(name)
        if isinstance(size, int) and size > 1:
            return {name: str(size // 2)}
    return None


_IS_MEMORY = re.compile(r"out of ?memory|SIGKILL|not enough memory|can't allocate", re.IGNORECASE)
