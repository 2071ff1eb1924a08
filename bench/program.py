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
from bench.learn import sources
from bench.power import carbon, machine
from bench.power.meter import Meter
from bench.power.probes import with_found
from bench.record import Measurement, Record, Spec, Warn
from bench.run import Seed, code_sha256
from bench.units import Budget, parse_budget

if TYPE_CHECKING:
    from bench.learn.data import Resolved

RECIPE = "program"
_MOST_FILES = 20_000  # that are looked at below one folder
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

    def sampler(self, folder: Path) -> Meter:
        return Meter(folder, rate_hz=self.rate_hz, probes=self.probes)

    def measuring(self) -> dict[str, Any]:
        """As `bench.measure` takes them."""
        return {
            "budget": self.budget, "idle_s": self.idle_s,
            "intensity_g_per_kwh": self.scenario.g_per_metered_kwh,
        }  # fmt: skip


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
    code: Sequence[Path] = ()  # files and folders of the program; none: as found


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
        code=code,
    )


def meter(command: Sequence[str], root: Path, asked: Options) -> tuple[Measurement, Path, Outcome]:
    """Run the command as a shell would, metered; what was measured, where it lies, and how the
    command ended. UsageError if there is no such command."""
    _find(command[0])
    visible = machine.visible_gpus(os.environ)
    start = account.begin(
        visible, asked.region, pue=asked.pue, command=command, notes=machine.unmetered(os.environ)
    )
    folder = root / "measure" / start.run_id
    folder.mkdir(parents=True)
    program = Program(
        command, os.environ, stop_file=folder.absolute() / "stop", keeps_others=True
    )  # fmt: skip
    record, outcome = measure.run(
        program, folder, start, asked.sampler(folder), **asked.measuring()
    )
    assert isinstance(record, Measurement)
    return record, folder, outcome


def learn(
    command: Sequence[str], root: Path, work: Path, task: Learner, seed: Seed, asked: Options
) -> tuple[Record, Path, Outcome]:
    """Run the command as the learner of a task: it finds the rows under BENCH_TASK_DIR, a seed in
    BENCH_SEED, and leaves predictions in BENCH_OUT. What it leaves running is ended."""
    _find(command[0])
    visible = machine.visible_gpus(os.environ)
    spec = _spec(command, task, seed, asked, visible)
    files, doubts = _code(command, task.code, root)
    start = account.begin(
        visible, asked.region, pue=asked.pue, spec=spec, code_sha256=code_sha256(files),
        references=reference.current(spec.hardware, spec.device),
        notes=[*doubts, *machine.unmetered(os.environ)],
    )  # fmt: skip
    folder = root / spec.task / start.run_id
    folder.mkdir(parents=True)
    out = workfolder.fresh(work / "out")
    given = {**os.environ, "BENCH_SEED": str(seed.value)}
    record, outcome = measure.run(
        Program(command, workfolder.environment(work, out, given), out / "stop"),
        folder,
        start,
        asked.sampler(folder),
        lambda ended: workfolder.scored(task.card, task.resolved, out, folder, ended),
        **asked.measuring(),
    )
    assert isinstance(record, Record)
    return record, folder, outcome


def _code(
    command: Sequence[str], named: Sequence[Path], root: Path
) -> tuple[list[Path], list[Warn]]:
    """The files that tell one program from another, and why they may not. Those in the command;
    with them what is `named`, or where Python runs, the modules beside and below the script or
    the working folder. Not `root`, which holds the runs."""
    files = {Path(a) for a in command if Path(a).is_file()}
    module = "-m" in command
    scripts = sorted({f.parent for f in files if f.suffix == ".py"})
    places = named or ([Path()] if module else scripts)
    try:
        for place in places:
            files |= _below(place, "" if named else ".py", root) if place.is_dir() else {place}
    except _TooMany as error:
        return sorted(files), [_unknown(f"more than {_MOST_FILES:,} files lie below {error}")]
    known = files - {Path(command[0])} if module else files  # the interpreter is no module
    return sorted(files), [] if known else [_unknown("no file of the program is known")]


def _unknown(why: str) -> Warn:
    text = f"{why}: --code names the program's own files, which tell its versions apart"
    return Warn(id="code-unknown", message=text, rankable=False)


class _TooMany(Exception):
    """Files below a folder, which may be somebody's home."""


def _below(folder: Path, suffix: str, root: Path) -> set[Path]:
    """Files of a kind, but not what is hidden, compiled or installed."""
    found: set[Path] = set()
    seen = 0
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [f for f in folders if not _passed_over(here / f, root)]
        found |= {here / n for n in names if n.endswith(suffix) and not n.startswith(".")}
        seen += len(names) + len(folders)
        if seen > _MOST_FILES:
            raise _TooMany(folder)
    return found


def _passed_over(folder: Path, root: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in ("__pycache__", "site-packages")
    return hidden or (folder / "pyvenv.cfg").exists() or folder.resolve() == root.resolve()


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
        hardware=machine.hardware_class(visible, len(machine.unmetered(os.environ))),
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
