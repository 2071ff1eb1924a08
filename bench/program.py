"""A program of the user's own under the meter: alone, or as the one that learns a task."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import EDITION, account, cards, measure, metrics, reference, workfolder
from bench.cards import Card
from bench.child import Outcome, Program
from bench.errors import UsageError
from bench.interrupts import undisturbed
from bench.learn import sources
from bench.power import carbon, machine
from bench.power.meter import Meter
from bench.record import Measurement, Record, Spec
from bench.run import Seed, code_sha256, with_found
from bench.units import Budget, parse_budget

if TYPE_CHECKING:
    from bench.learn.data import Resolved

RECIPE = "program"
Track = Literal["scratch", "finetune", "open"]


@dataclass(frozen=True)
class Options:
    """How a program is metered."""

    scenario: carbon.Scenario
    region: str | None = None  # as typed
    pue: str | None = None
    budget: Budget | None = None
    idle_s: float = 3.0
    rate_hz: float = 10.0
    probes: Sequence[str] | None = None


def options(
    region: str | None,
    pue: str | None,
    budget: str | None,
    idle_s: float,
    rate_hz: float,
    probes: Sequence[str],
) -> Options:
    """Options as they are typed; UsageError for what is none."""
    limit = parse_budget(budget) if budget else None
    return Options(
        carbon.asked(region, pue), region, pue, limit, idle_s, rate_hz, with_found(probes)
    )


@dataclass(frozen=True)
class Learner:
    """A task that a program learns, and what is said of the program on the board."""

    card: Card
    resolved: Resolved
    model: str
    recipe: str
    track: Track
    settings: Mapping[str, str] = field(default_factory=dict)


def learner(
    task: str,
    command: Sequence[str],
    *,
    task_folders: Sequence[Path] = (),
    data: str | None = None,
    model: str | None = None,
    recipe: str | None = None,
    track: str | None = None,
    settings: Mapping[str, str] | None = None,
    code: Sequence[Path] = (),
) -> Learner:
    """The task, with its data; the model's name is the program's where none is given."""
    for path in code:
        if not path.exists():
            raise UsageError(f"there is no {path}", "--code names files or folders of the program")
    card = cards.load(task, task_folders)
    metrics.check(card)
    named: dict[str | None, Track] = {
        None: "open", "scratch": "scratch", "finetune": "finetune", "open": "open",
    }  # fmt: skip
    if track not in named:
        raise UsageError(f"no track is called '{track}'", "scratch, finetune or open")
    files = [Path(a) for a in command if Path(a).is_file()]
    return Learner(
        card=card,
        resolved=sources.resolve(card, data),
        model=model or (files[-1].stem if files else Path(command[0]).stem),
        recipe=recipe or RECIPE,
        track=named[track],
        settings=settings or {},
    )


def meter(
    command: Sequence[str], root: Path, asked: Options
) -> tuple[Measurement, Path, int | None]:
    """Run the command as a shell would, metered; what was measured, where it lies, and the exit
    code (negative: the signal that ended it; None: it never ran). UsageError if there is no such
    command."""
    _find(command[0])
    visible = machine.visible_gpus(os.environ)
    start = account.begin(visible, asked.region, pue=asked.pue, command=command)
    folder = root / "measure" / start.run_id
    folder.mkdir(parents=True)
    program = Program(
        command, os.environ, stop_file=folder.absolute() / "stop", keeps_others=True
    )  # fmt: skip
    with undisturbed(), measure.opened(folder, start):
        sampler = Meter(folder, rate_hz=asked.rate_hz, probes=asked.probes)
        outcome = _metered(program, folder, start, sampler, asked)
        program.stop_file.unlink(missing_ok=True)
        record = measure.finish(folder, start, sampler.stop(), None, outcome)
    assert isinstance(record, Measurement)
    return record, folder, outcome.code


def learn(
    command: Sequence[str], root: Path, work: Path, task: Learner, seed: Seed, asked: Options
) -> tuple[Record, Path, int | None]:
    """Run the command as the learner of a task: it finds the rows under BENCH_TASK_DIR, a seed in
    BENCH_SEED, and leaves predictions in BENCH_OUT. What it leaves running is ended."""
    _find(command[0])
    visible = machine.visible_gpus(os.environ)
    spec = _spec(command, task, seed, asked, visible)
    files = sorted(Path(a) for a in command if Path(a).is_file())
    start = account.begin(
        visible, asked.region, pue=asked.pue, spec=spec, code_sha256=code_sha256(files),
        references=reference.current(spec.hardware, spec.device),
    )  # fmt: skip
    folder = root / spec.task / start.run_id
    folder.mkdir(parents=True)
    out = workfolder.fresh(work / "out")
    given = {**os.environ, "BENCH_SEED": str(seed.value)}
    program = Program(command, workfolder.environment(work, out, given), out / "stop")
    with undisturbed(), measure.opened(folder, start):
        sampler = Meter(folder, rate_hz=asked.rate_hz, probes=asked.probes)
        outcome = _metered(program, folder, start, sampler, asked)
        trace = sampler.stop()
        metric, outcome = workfolder.scored(task.card, task.resolved, out, folder, outcome)
        record = measure.finish(folder, start, trace, metric, outcome)
    assert isinstance(record, Record)
    return record, folder, outcome.code


def _metered(
    program: Program, folder: Path, start: Start, sampler: Meter, asked: Options
) -> Outcome:
    return measure.measure(
        program, folder, start, sampler, budget=asked.budget,
        intensity_g_per_kwh=asked.scenario.g_per_metered_kwh, idle_s=asked.idle_s,
    )  # fmt: skip


def _spec(
    command: Sequence[str], task: Learner, seed: Seed, asked: Options, visible: Sequence[str]
) -> Spec:
    return Spec(
        edition=EDITION,
        task=task.card.name,
        task_version=task.card.version,
        data=task.resolved.identity,
        track=task.track,
        model=task.model,
        checkpoint_sha256=None,
        recipe=task.recipe,
        settings={**task.settings, "command": shlex.join(command)},
        device="cuda" if visible else "cpu",
        hardware=machine.hardware_class(visible),
        budget=asked.budget.text if asked.budget else None,
        seed=seed.value,
        seed_origin=seed.origin,
    )


def _find(command: str) -> None:
    if shutil.which(command) is None:
        raise UsageError(
            f"there is no program '{command}' that can be run",
            f"a file needs its path and the right to be run: ./{Path(command).name}",
        )
