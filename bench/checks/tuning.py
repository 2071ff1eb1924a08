"""What a sweep took, recomputed from the journal that an entry has beside its runs."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import recipes
from bench.checks import Problem
from bench.errors import BenchError
from bench.lineage import LIMITS
from bench.record import Record, Scalar, Tuning
from bench.units import show_energy, significant

if TYPE_CHECKING:
    from bench.study.ledger import Ledger
    from bench.study.trials import Taken, Trial

NAME = "tuning.jsonl"
LEAST_OF_IDLE, LEAST_OF_A_RUN = 0.5, 0.5
CLOCK_S = 60.0  # that a wall clock may be set back between a sweep and its final runs


def problems(journal: bytes, stated: Tuning, record: Record) -> list[Problem]:
    """Why the journal is not that of the sweep which chose the settings of `record`, or does not
    hold all that the sweep took."""
    digest = hashlib.sha256(journal).hexdigest()
    if (len(journal), digest) != (stated.journal_bytes, stated.journal_sha256):
        text = f"it is not the journal that the runs name, {stated.journal_sha256[:12]}"
        return [Problem(f"{text} of {stated.journal_bytes:,} bytes", file=NAME)]
    try:
        return list(_found(journal, stated, record))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, BenchError,
            RecursionError) as error:  # fmt: skip
        return [Problem(f"it is no journal of a sweep: {type(error).__name__}", file=NAME)]


def _found(journal: bytes, stated: Tuning, record: Record) -> Iterator[Problem]:
    from bench.study import ledger, trials, tuning

    lines = journal.split(b"\n")
    book = ledger.of_lines(Path(stated.sweep), lines)
    found, took = trials.trials(book), trials.taken(book)
    chosen = tuning.best(found)
    derived = tuning.tuning(book, found, took, chosen, journal)
    faults = [
        *_misread(book, lines), *_differing(stated, derived), *_attempts(book, took),
        *_proposals(book, found), *_another_sweep(book, stated, record),
        *_another_choice(chosen, record), *_too_late(lines, record),
    ]  # fmt: skip
    yield from (Problem(text, file=NAME) for text in faults)
    yield from (Problem(text, warns=True, file=NAME) for text in _too_little(took, chosen, record))


def _misread(book: Ledger, lines: Sequence[bytes]) -> Iterator[str]:
    """A line may have been cut off by a kill; one that is whole says something."""
    for number in book.damaged:
        try:
            json.loads(lines[number - 1])
        except ValueError:
            continue
        yield f"line {number} does not follow from those before it"


def _differing(stated: Tuning, derived: Tuning) -> Iterator[str]:
    for name in Tuning.model_fields:
        said, found = getattr(stated, name), getattr(derived, name)
        if not _same(said, found):
            yield f"{name} is {_shown(found)} by the journal, and {_shown(said)} in the record"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)


def _shown(value: Any) -> str:
    return significant(value, 5) if isinstance(value, float) else str(value)


def _attempts(book: Ledger, took: Sequence[Taken]) -> Iterator[str]:
    """Each attempt has ended, and what it took is noted once."""
    from bench.study.trials import FINAL

    noted = Counter(str(note["took"]) for note in book.notes if "took" in note)
    energies = {each.attempt: each for each in took}
    tried = [a for job, each in book.attempts.items() if book.jobs[job].cell != FINAL for a in each]
    for name in noted - Counter(a.name for a in tried):
        yield f"what {name} took is noted, and it is no attempt, or noted twice"
    for job, each in book.attempts.items():
        planned = book.jobs[job]
        if job not in planned.ids or [a.number for a in each] != list(range(1, len(each) + 1)):
            yield f"the attempts at {planned.cell} are not 1, 2, 3, ..."
    for attempt in tried:
        of = f"attempt {attempt.number} at {attempt.job.cell}"
        note = energies.get(attempt.name)
        if attempt.status is None:
            yield f"{of} has no end"
        elif note is None:
            yield f"what {of} took is not noted"
        elif attempt.good and attempt.run is None:
            yield f"{of} came to its end without a run"
        elif attempt.run and note.energy_j is not None and not note.energy_j > 0:
            yield f"{of} had a run, and took {note.energy_j:g} J"


def _proposals(book: Ledger, found: Sequence[Trial]) -> Iterator[str]:
    """None is left out: trials and proposals are numbered without a gap, and, where that can be
    told without what was tried before, are those of the sampler."""
    if [t.name for t in found] != [f"trial {n}" for n in range(1, len(found) + 1)]:
        yield "the trials are not 1, 2, 3, ..."
    skipped = [int(cell.removeprefix("proposal ")) for cell in book.skipped]
    numbers = sorted([*skipped, *(t.proposal for t in found)])
    if numbers != list(range(len(numbers))):
        yield "the proposals of the sampler are not 0, 1, 2, ..."
    asked, given = book.asked, str(book.asked["space"])
    if asked["sampler"] not in ("random", "grid") or re.search(r":\d{5}", given):
        return
    if not set(str(asked["recipe"]).split("+")) <= set(recipes.names()):
        return
    yield from _not_sampled(asked, found)


def _not_sampled(asked: Mapping[str, Any], found: Sequence[Trial]) -> Iterator[str]:
    from bench.study import samplers, space

    fields = recipes.describe(asked["recipe"])["settings"]
    kinds = {field["name"]: field["type"] for field in fields}
    sampler = samplers.named(
        asked["sampler"], space.parse(asked["space"], kinds, asked["recipe"]), asked["seed"]
    )
    for trial in found:
        if sampler(trial.proposal, []) != trial.params:
            yield f"{trial.name} is not what the sampler proposes with seed {asked['seed']}"
            return


def _another_sweep(book: Ledger, stated: Tuning, record: Record) -> Iterator[str]:
    """All of its trials are of the task, model and recipe of the run."""
    spec = record.spec
    wanted = (spec.task, spec.model, sorted(spec.recipe.split("+")), stated.sweep)
    for job in book.jobs.values():
        asked = job.request
        name = asked.trial or (asked.tuning or {}).get("sweep")
        if (asked.task, asked.model, sorted(str(asked.recipe).split("+")), name) != wanted:
            yield f"it is of another sweep: {job.cell} trains {asked.model} for {asked.task}"
            return


def _another_choice(chosen: Trial | None, record: Record) -> Iterator[str]:
    if chosen is None:
        yield "no trial of it came to an end with a score, so it has chosen nothing"
        return
    settings = record.spec.settings
    changed = {"teacher", *(LIMITS if record.parts else ())}  # as it was found; when it went on
    for name, text in chosen.job.request.settings.items():
        if name in settings and name not in changed and not _means(text, settings[name]):
            yield f"its best trial has {name}={text}, and the runs have {settings[name]}"


def _means(text: str, value: Scalar) -> bool:
    """Whether a setting that was typed has this value."""
    if isinstance(value, bool):
        return (text.lower() in ("true", "yes", "1")) == value
    return float(text) == value if isinstance(value, int | float) else text == str(value)


def _too_little(took: Sequence[Taken], chosen: Trial | None, record: Record) -> Iterator[str]:
    """What the same meters would hardly have read: less than an idle machine takes, or much less
    for the chosen settings than the runs took for them."""
    alike = [
        t for t in took
        if (t.level, t.coverage) == (record.level, record.coverage) and t.energy_j and t.duration_s
    ]  # fmt: skip
    idle_w = record.idle_w(record.idle_before) or 0.0
    powers_w = [t.energy_j / t.duration_s for t in alike if t.energy_j]
    if low := [w for w in powers_w if w < LEAST_OF_IDLE * idle_w]:
        text = f"{len(low)} attempts took {significant(min(low))} W"
        yield f"{text}, and the machine of the runs {significant(idle_w)} W when idle"
    best, run_j = chosen.decisive if chosen else None, record.window_energy_j
    if best not in alike or not run_j or record.parts:
        return
    if best and best.energy_j and best.energy_j < LEAST_OF_A_RUN * run_j:
        text = f"the chosen trial took {show_energy(best.energy_j)}"
        yield f"{text}, and a run with the same settings {show_energy(run_j)}"


def _too_late(lines: Sequence[bytes], record: Record) -> Iterator[str]:
    last = json.loads(next(line for line in reversed(lines) if line.strip()))["at"]
    before = datetime.fromisoformat(record.started_at) - datetime.fromisoformat(last)
    if before < -timedelta(seconds=CLOCK_S):
        yield f"it ends at {last}, after run {record.run_id} began: it can't have chosen for it"
