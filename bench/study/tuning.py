"""What tuning cost and what it bought: the figures of a sweep, by its journal alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from bench import metrics
from bench.errors import BenchError
from bench.rank.entry import usable_energy_j
from bench.record import Record, Tuning
from bench.study import trials
from bench.study.ledger import JOURNAL, Ledger
from bench.study.trials import FINAL, Taken, Trial

JSON_SCHEMA = "bench.sweep/1"


@dataclass(frozen=True)
class Step:
    """After one more attempt: what had been spent, and the best score on tune until then."""

    trial: str
    energy_j: float  # of all attempts so far, as far as it is known
    best: float | None


@dataclass(frozen=True)
class Expected:
    """The best score on tune that so many trials come to on average."""

    trials: int
    energy_j: float  # that they take on average
    value: float


@dataclass(frozen=True)
class Final:
    """The runs of the best settings with fresh seeds."""

    runs: tuple[Record, ...]  # that ended well
    tuning: Tuning

    @property
    def energy_j(self) -> float | None:
        """Of one training: the mean."""
        known = [e for r in self.runs if (e := usable_energy_j(r)) is not None]
        return fmean(known) if known else None

    def metered_as(self, tuning: Tuning) -> bool:
        """Whether its energy and that of tuning are of one kind."""
        return all(tuning.adds_to(r.level, r.coverage) for r in self.runs)

    @property
    def value(self) -> float | None:
        """On the scored split: the mean."""
        known = [r.metric.value for r in self.runs if r.metric]
        return fmean(known) if known else None


@dataclass(frozen=True)
class Result:
    name: str
    asked: dict[str, Any]
    metric: str | None
    trials: tuple[Trial, ...]
    best: Trial | None
    tuning: Tuning  # as far as it has come
    known_j: float  # of those attempts whose energy is known
    steps: tuple[Step, ...]
    expected: tuple[Expected, ...]
    final: Final | None
    skipped: dict[str, str]  # settings that can't be, and why
    damaged: tuple[int, ...]

    @property
    def training_j(self) -> float | None:
        """One training with the best settings: of the final runs, until then the best trial's;
        None where it was metered otherwise than the trials were."""
        if self.final and self.final.energy_j is not None:
            return self.final.energy_j if self.final.metered_as(self.tuning) else None
        found = self.best.decisive if self.best else None
        if found is None or not self.tuning.adds_to(found.level or "M0", found.coverage or ""):
            return None
        return found.energy_j or None

    @property
    def times(self) -> float | None:
        """How many times one training the tuning cost: the central figure of Strubell et al. 2019,
        table 4."""
        total_j = self.tuning.energy_j
        return total_j / self.training_j if total_j and self.training_j else None

    @property
    def estimated(self) -> bool:
        return self.tuning.level == "M0" and self.tuning.coverage != "nothing"


def result(book: Ledger, journal: bytes | None = None, final: Final | None = None) -> Result:
    """As the journal is now, whether the sweep goes on or has ended. `journal`: what the book was
    read from, where that is not its folder; `final`: the runs that came of it, where they are not
    beside it."""
    found = trials.trials(book)
    took = trials.taken(book)
    top = best(found)
    cost = tuning(book, found, took, top, journal)
    known = [t.energy_j for t in took if t.energy_j is not None]
    return Result(
        name=book.name,
        asked=book.asked,
        metric=next((t.metric for t in found if t.metric), None),
        trials=tuple(found),
        best=top,
        tuning=cost,
        known_j=sum(known),
        steps=tuple(_steps(found, took)),
        expected=tuple(_expected(found, sum(known))),
        final=final or _final(book),
        skipped=dict(book.skipped),
        damaged=tuple(book.damaged),
    )


def best(found: Sequence[Trial]) -> Trial | None:
    """The complete trial with the best score on tune, the first of equal ones."""
    whole = [t for t in found if t.state == "complete" and t.worth is not None]
    return max(whole, key=lambda t: t.worth or 0.0, default=None)


# --- what it cost --------------------------------------------------------------------------------


def tuning(
    book: Ledger,
    found: Sequence[Trial],
    took: Sequence[Taken],
    chosen: Trial | None = None,
    journal: bytes | None = None,
) -> Tuning:
    """What all attempts at trials took. A teacher that several are charged for was trained once,
    and the run that comes of `chosen` is charged for its own. `journal`: what the book was read
    from, where that is not its folder."""
    states = [t.state for t in found]
    own = chosen.decisive.charged_j if chosen and chosen.decisive else {}
    charged = {run: j for t in took for run, j in t.charged_j.items() if run not in own}
    metered = [t for t in took if t.level is not None]
    if journal is None:
        journal = (book.folder / JOURNAL).read_bytes()
    teachers_j = _sum(list(charged.values()))
    return Tuning(
        sweep=book.name,
        journal_sha256=hashlib.sha256(journal).hexdigest(),
        journal_bytes=len(journal),
        trials=len(found),
        attempts=len(took),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        level=min((t.level for t in metered if t.level), default="M0"),
        coverage=_common([t.coverage or "" for t in metered]),
        energy_j=_sum([*(t.energy_j for t in took), teachers_j]),
        uncertainty_j=_sum([t.uncertainty_j for t in took]) if not charged else None,
        band_j=_band(took) if not charged else None,
        duration_s=sum(t.duration_s for t in took),
    )


def _sum(parts: Sequence[float | None]) -> float | None:
    """None where one is missing: unknown is not zero."""
    known = [p for p in parts if p is not None]
    return sum(known) if len(known) == len(parts) else None


def _common(each: Sequence[str]) -> str:
    """The kinds that were covered throughout."""
    if not each:
        return "nothing"
    kinds = set.intersection(*(set(c.split("+")) for c in each))
    return "+".join(k for k in ("node", "gpu", "cpu", "dram") if k in kinds) or "nothing"


def _band(took: Sequence[Taken]) -> tuple[float, float] | None:
    """Between what and what an energy may lie, where some of it is estimated and all is known."""
    if not any(t.band_j for t in took) or any(t.energy_j is None for t in took):
        return None
    bands = [t.band_j or (t.energy_j or 0.0, t.energy_j or 0.0) for t in took]
    return sum(low for low, _ in bands), sum(high for _, high in bands)


def _steps(found: Sequence[Trial], took: Sequence[Taken]) -> Iterator[Step]:
    """In the order in which attempts ended."""
    by_name = {t.name: t for t in found}
    spent_j, top = 0.0, None
    for each in took:
        spent_j += each.energy_j or 0.0
        trial = by_name.get(each.trial)
        if trial and trial.state == "complete" and trial.decisive == each:
            top = best([t for t in (top, trial) if t])
        yield Step(each.trial, spent_j, top.score if top else None)


# --- what it bought ------------------------------------------------------------------------------


def _expected(found: Sequence[Trial], spent_j: float) -> Iterator[Expected]:
    """For 1, 2, ... trials, those that have a score. Each of them bears its share of what the
    others cost: who tries settings pays for those that fail, too."""
    metric = next((t.metric for t in found if t.metric), None)
    worths = [t.worth for t in found if t.worth is not None]
    sign = -1 if metric and metrics.falls(metric) else 1
    for count in range(1, len(worths) + 1):
        value = sign * expected_best(worths, count)
        yield Expected(count, count * spent_j / len(worths), value)


def expected_best(values: Sequence[float], count: int) -> float:
    """The mean of the largest of `count` values over all subsets of so many of `values`.

    It estimates without bias what `count` independent trials come to (the U-statistic of Tang et
    al. 2020; Dodge et al. 2019, whose expected validation performance this is, drew with
    replacement, which comes out too low: Dodge et al. 2021).
    """
    ordered, n = sorted(values), len(values)
    # of the C(n, count) subsets, C(i, count - 1) have the i-th (from 0) as their largest
    weights = [math.comb(i, count - 1) / math.comb(n, count) for i in range(n)]
    return math.fsum(w * v for w, v in zip(weights, ordered, strict=True))


# --- the final runs ------------------------------------------------------------------------------


def _final(book: Ledger) -> Final | None:
    """Those that were planned last."""
    jobs = [job for job in book.jobs.values() if job.cell == FINAL]
    if not jobs:
        return None
    last = jobs[-1].request.tuning
    runs = []
    for job in jobs:
        if job.request.tuning == last:
            runs += list(_records(book, job.id))
    return Final(tuple(runs), Tuning.model_validate(last))


def _records(book: Ledger, job_id: str) -> Iterator[Record]:
    for attempt in book.attempts.get(job_id, ()):
        try:
            record = attempt.record() if attempt.good else None
        except (BenchError, OSError):
            continue
        if record is not None:
            yield record


# --- as JSON -------------------------------------------------------------------------------------


def as_dict(found: Result) -> dict[str, Any]:
    """With full numbers; None is what is not known."""
    final = found.final
    return {
        "schema": JSON_SCHEMA,
        "name": found.name,
        "asked": found.asked,
        "metric": found.metric,
        "split": "tune",
        "trials": [_trial_object(t) for t in found.trials],
        "best": found.best and found.best.number,
        "tuning": found.tuning.model_dump(mode="json"),
        "known_energy_j": found.known_j,
        "best_so_far": [asdict(step) for step in found.steps],
        "expected": [asdict(each) for each in found.expected],
        "training_energy_j": found.training_j,
        "times_training": found.times,
        "final": final and {
            "runs": [r.run_id for r in final.runs],
            "energy_j": final.energy_j,
            "value": final.value,
            "tuning": final.tuning.model_dump(mode="json"),
        },
        "skipped": found.skipped,
    }  # fmt: skip


def _trial_object(t: Trial) -> dict[str, Any]:
    return {
        "number": t.number,
        "settings": t.params,
        "state": t.state,
        "why": t.why,
        "score": t.score,
        "attempts": t.attempts,
        "energy_j": _sum([each.energy_j for each in t.taken]) if t.taken else None,
        "curve": [[e.step, e.total_steps, _finite(e.value)] for e in t.curve],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
