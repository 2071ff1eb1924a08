"""A sweep: one setting after the other is tried under the meter, scored on tune, and the best is
trained again with fresh seeds. Taken up again, it goes on as it would have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from bench import metrics, recipes
from bench.child import Progress
from bench.errors import UsageError
from bench.learn import models
from bench.power.carbon import Scenario
from bench.rank import notation
from bench.record import Tuning
from bench.run import Request
from bench.study import grid, ledger, pruning, trials, tuning
from bench.study.choice import FirstWanted
from bench.study.drive import drive
from bench.study.executors import Executor
from bench.study.job import Job, dumped
from bench.study.ledger import Attempt, Ledger
from bench.study.samplers import Sampler, Tried
from bench.study.screen import Lines
from bench.study.space import Space, ends
from bench.study.spending import Cost, Limit, total
from bench.study.trials import FINAL, Evaluation, Following, Trial
from bench.units import show_energy, significant

FOLDER = "sweeps"
"""Below the folder of runs."""

MOST_IMPOSSIBLE = 200  # proposals in a row that can't be, before the space is given up
MOST_FAILED = 5  # trials that fail before any comes to an end
BUDGET = "the budget is spent"


@dataclass(frozen=True)
class Sweep:
    """What is asked."""

    request: Request  # what all trials share
    space: Space
    sampler: Sampler
    prune: str | None  # the rule by which hopeless trials end early
    trials: int
    family: Any  # of the task
    find_run: Callable[[str], Path] = Path

    def settings(self, params: Mapping[str, str]) -> Request:
        """The run of some settings."""
        given = {**self.request.settings, **params}
        return grid.resolved(replace(self.request, settings=given), self.find_run)

    def impossible(self, params: Mapping[str, str]) -> str | None:
        """Why settings can't be, if so."""
        r, given = self.request, {**self.request.settings, **params}
        recipe, model = r.recipe or recipes.DEFAULT, r.model or ""
        try:
            pretrained = models.start(model, self.family, r.pretrained)
            settings = recipes.resolve(recipe, model, given, self.family, pretrained)
            layers = models.layers(model, pretrained, self.family, settings)
            kind = models.describe(model, pretrained, self.family)["kind"]
            use = recipes.Use(self.family, model, kind, pretrained, "", r.nproc or 1, layers)
            recipes.check(recipe, use, settings)
        except UsageError as error:
            return error.message
        return None

    def first(self) -> Request:
        """The first settings that can be. UsageError for a space where none is, and for a value
        that can never be set."""
        self._check_values()
        for number in range(MOST_IMPOSSIBLE):
            params = self.sampler(number, [])
            if params is None:
                break
            why = self.impossible(params)
            if why is None:
                return self.settings(params)
        raise UsageError(f"nothing in the space can be trained: {why}", "bench recipes NAME")

    def _check_values(self) -> None:
        """Each value alone, as far as a setting alone says whether it can be."""
        r = self.request
        for name, dimension in self.space.items():
            if name in r.settings:
                raise UsageError(f"{name} is both in --set and in --space", "leave out one of them")
            for value in ends(dimension):
                given = {**r.settings, name: value}
                recipes.resolve(r.recipe or recipes.DEFAULT, r.model or "", given, self.family)


def asked(
    sweep: Sweep, space: str, sampler: str, seed: int, pairs: list[str]
) -> dict[str, Any]:  # fmt: skip
    """What makes it this sweep: the same command goes on with it, for more trials, too."""
    others = {k: v for k, v in dumped(sweep.request).items() if k != "settings"}
    return {
        **others, "set": list(pairs), "space": space, "sampler": sampler, "seed": seed,
        "prune": sweep.prune or "no",
    }  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """How far it came."""

    planned: int
    tried: int  # trials that came to an end, whatever it was
    final_planned: int
    final_made: int
    interrupted: str | None  # by what
    over_budget: bool
    stopped: str | None  # why no further trial is made, although more were asked for
    so_far: Cost  # final runs included
    left: Cost | None  # what going on would take; None: nothing is known

    @property
    def whole(self) -> bool:
        whole = self.tried >= self.planned and self.final_made == self.final_planned
        return whole and self.stopped is None


def make(
    folder: Path,
    wanted: Mapping[str, Any],
    sweep: Sweep,
    final: int,
    executor: Executor,
    scenario: Scenario,
    limit: Limit | None = None,
) -> Ending:
    """Make the trials that are not made yet, then `final` runs of the best settings, and say on the
    screen how it goes."""
    with ledger.opened(folder, wanted) as book:
        trials.write_down(book)  # of attempts whose driver died
        screen = Screen(book, sweep, scenario.g_per_metered_kwh, limit)
        planner = _Planner(book, sweep, final, screen, limit)
        interrupted = drive(book, executor, planner.trial, screen)
        chosen = _Chosen(book, sweep, final, screen, limit)
        stopped = planner.stopped
        if interrupted is None and (planner.done or planner.over_budget):
            interrupted = chosen.make(executor)
            if planner.done and tuning.best(trials.trials(book)) is None:
                stopped = "no trial came to an end with a score on tune"
        over = planner.over_budget or chosen.over_budget
        open_trials = max(0, sweep.trials - planner.ended) if not planner.exhausted else 0
        left = screen.ahead(open_trials, final - chosen.made)
        return Ending(
            planned=planner.ended + open_trials,
            tried=planner.ended,
            final_planned=final,
            final_made=chosen.made,
            interrupted=interrupted,
            over_budget=over,
            stopped=stopped,
            so_far=screen.spending.so_far,
            left=left,
        )


class _Planner:
    """Which trial is next: one that was begun before, else a new one."""

    def __init__(
        self, book: Ledger, sweep: Sweep, final: int, screen: Screen, limit: Limit | None
    ) -> None:
        self._book, self._sweep, self._final = book, sweep, final
        self._screen, self._limit = screen, limit
        self.over_budget = False
        self.exhausted = False  # the space has no further settings
        self.stopped: str | None = None

    @property
    def ended(self) -> int:
        return sum(t.state != "open" for t in trials.trials(self._book))

    @property
    def done(self) -> bool:
        """Whether the best may be chosen."""
        return not self.stopped and (self.exhausted or self.ended >= self._sweep.trials)

    def trial(self) -> Job | None:
        found = trials.trials(self._book)
        if self.over_budget or self._hopeless(found):
            return None
        waiting = [t.job for t in found if t.state == "open" and self._book.wanted(t.job)]
        if not waiting and len(found) >= self._sweep.trials:
            return None
        if self._limit and self._is_over(self._limit):
            self.over_budget = True
            return None
        return self._as_asked(waiting[0]) if waiting else self._new(found)

    def _as_asked(self, job: Job) -> Job:
        """With the paths that are asked for now, where the journal alone was kept."""
        again = replace(job, request=self._request(job.about["params"]), called="")
        if again.id == job.id:
            self._book.plan([again])
        return self._book.jobs[job.id]

    def _request(self, params: Mapping[str, str]) -> Request:
        return replace(self._sweep.settings(params), trial=self._book.name)

    def _hopeless(self, found: list[Trial]) -> bool:
        failed = [t for t in found if t.state == "failed"]
        if len(failed) < MOST_FAILED or any(t.state in ("complete", "pruned") for t in found):
            return False
        self.stopped = f"the first {len(failed)} trials failed, the last one: {failed[-1].why}"
        return True

    def _is_over(self, limit: Limit) -> bool:
        """Whether one more trial, and the final runs after it, would exceed the budget."""
        likely = _likely(self._sweep)
        ahead = [likely] * (len(self._book.open_attempts()) + self._final)
        return self._screen.budget_spent or limit.reached(self._screen.spending, likely, ahead)

    def _new(self, found: list[Trial]) -> Job | None:
        """Plan the next proposal that can be, and write down why those before it can't."""
        number = 1 + max([t.proposal for t in found] + [*map(_proposal_of, self._book.skipped)],
                         default=-1)  # fmt: skip
        past = [Tried(t.params, t.state, t.worth) for t in found]
        for proposal in range(number, number + MOST_IMPOSSIBLE):
            params = self._sweep.sampler(proposal, past)
            if params is None:
                self.exhausted = True
                return None
            why = self._sweep.impossible(params)
            if why is None:
                return self._planned(len(found) + 1, proposal, params)
            self._book.skip(f"{_SKIPPED}{proposal}", f"{shown(params)}: {why}")
        self.stopped = f"{MOST_IMPOSSIBLE} settings in a row can't be, the last one: {why}"
        return None

    def _planned(self, number: int, proposal: int, params: dict[str, str]) -> Job:
        about = {"params": params, "proposal": proposal}
        job = Job(f"trial {number}", 1, self._request(params), about)
        self._book.plan([job])
        return job


def _likely(sweep: Sweep) -> Job:
    """One more, of which nothing is known: it costs what the others did."""
    return Job("", 1, sweep.request)


_SKIPPED = "proposal "


def _proposal_of(cell: str) -> int:
    return int(cell.removeprefix(_SKIPPED))


def shown(params: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())


class _Chosen:
    """The runs of the best settings, with fresh seeds and what tuning cost."""

    def __init__(
        self, book: Ledger, sweep: Sweep, runs: int, screen: Screen, limit: Limit | None
    ) -> None:
        self._book, self._sweep, self._runs = book, sweep, runs
        self._screen, self._limit = screen, limit
        self._jobs: list[Job] = []
        self.over_budget = False

    @property
    def made(self) -> int:
        return sum(map(self._book.done, self._jobs))

    def make(self, executor: Executor) -> str | None:
        """What interrupted it."""
        best = tuning.best(trials.trials(self._book))
        if not self._runs or best is None:
            return None
        facts = self._tuning(best)
        request = replace(self._sweep.settings(best.params), trial=None, tuning=facts)
        about = {"params": best.params}
        self._jobs = [Job(FINAL, n + 1, request, about) for n in range(self._runs)]
        self._book.plan(self._jobs)
        chooser = FirstWanted(self._book, self._jobs, self._screen.spending, self._limit)
        interrupted = drive(self._book, executor, chooser, self._screen)
        self.over_budget = chooser.over_budget
        return interrupted

    def _tuning(self, best: Trial) -> dict[str, Any]:
        """As it was when these settings were chosen, if nothing was tried since."""
        took = trials.taken(self._book)
        for job in reversed(self._book.jobs.values()):
            same = job.cell == FINAL and job.about["params"] == best.params
            if same and job.request.tuning["attempts"] == len(took) and self._is_named(job):
                return dict(job.request.tuning)
        found = tuning.tuning(self._book, trials.trials(self._book), took, best)
        return found.model_dump(mode="json")

    def _is_named(self, final: Job) -> bool:
        """Whether it names this journal, and not one of an older bench that was written again."""
        stated = Tuning.model_validate(final.request.tuning)
        return stated.is_of((self._book.folder / ledger.JOURNAL).read_bytes())


# --- while it runs -------------------------------------------------------------------------------


class Screen(Lines):
    """Prints a line a trial, with what tuning has cost so far; ends hopeless trials."""

    def __init__(
        self,
        book: Ledger,
        sweep: Sweep,
        g_per_kwh: float,
        limit: Limit | None,
        stream: TextIO | None = None,
    ) -> None:
        super().__init__(book, g_per_kwh, stream)
        self._sweep, self._limit = sweep, limit
        self._rule = pruning.named(sweep.prune) if sweep.prune else None
        self._following: dict[str, Following] = {}
        self._going: dict[str, Cost] = {}  # what attempts have taken so far, by name
        self.budget_spent = False  # a trial was ended by it

    def begun(self, attempt: Attempt, found: bool) -> None:
        job, again = attempt.job, self._ledger.tries(attempt.job)
        is_final = job.cell == FINAL
        name = f"final run {job.number}" if is_final else f"{job.cell} of {self._sweep.trials}"
        said = [name, shown(job.about["params"])]
        if found:
            said.append("goes on since its driver ended")
        elif again:
            said.append(f"attempt {again + 1} of {ledger.MOST_ATTEMPTS}")
        self._say(" · ".join(said))

    def running(self, attempt: Attempt, progress: Progress) -> str | None:
        if not self._show(progress, attempt.job.cell) or attempt.job.cell == FINAL:
            return None
        self._going[attempt.name] = Cost(progress.elapsed_s, progress.energy_j)
        now = self.spending.so_far + total(self._going.values())
        if self._limit and self._limit.used_up_by(now):
            self.budget_spent = True
            return BUDGET
        return self._hopeless(attempt)

    def _hopeless(self, attempt: Attempt) -> str | None:
        """Why it is ended early, if so: looked at whenever tune was scored."""
        if self._rule is None:
            return None
        follows = self._following.setdefault(attempt.name, Following(attempt))
        if not follows.look() or follows.metric is None or follows.curve[-1].share >= 1:
            return None
        others = [
            _worths(t.metric, t.curve)
            for t in trials.trials(self._ledger)
            if t.job.id != attempt.job.id and t.state in ("complete", "pruned") and t.curve
        ]
        reason = self._rule(_worths(follows.metric, follows.curve), others)
        if reason is None:
            return None
        last = follows.curve[-1]
        scored = notation.named(follows.metric, last.value)
        why = f"pruned at step {last.step} of {last.total_steps}: {scored} on tune, {reason}"
        trials.prune(self._ledger, attempt, why)
        return why

    def ended(self, attempt: Attempt) -> None:
        self._going.pop(attempt.name, None)
        taken = self.spending.ended(attempt)
        trials.write_down(self._ledger)
        found = tuning.result(self._ledger)
        if attempt.job.cell == FINAL:
            self._say(f"  {_scored(attempt)}{taken}" if attempt.good else f"  {_failure(attempt)}")
            return
        trial = next(t for t in found.trials if t.job.id == attempt.job.id)
        said = [_of_trial(trial, attempt), str(taken)]
        if found.best and found.best.score is not None and found.metric:
            best = notation.of(found.metric).text(found.best.score)
            said.append(f"best {best} ({found.best.name}) after {show_energy(found.known_j)}")
        if found.times is not None:
            said.append(f"{significant(found.times)} times its training")
        self._say("  " + "; ".join(said))
        if attempt.status == "failed":
            self._say(f"  its log: {attempt.log}")

    def ahead(self, more: int, finals: int) -> Cost | None:
        """What so many trials and final runs would take, as those so far."""
        return self.spending.left([_likely(self._sweep)] * (more + finals))


def _worths(metric: str | None, curve: Sequence[Evaluation]) -> pruning.Curve:
    """Higher is better; what is no number is worst."""
    sign = -1 if metric and metrics.falls(metric) else 1
    return [(e.share, sign * e.value if math.isfinite(e.value) else -math.inf) for e in curve]


def _of_trial(trial: Trial, attempt: Attempt) -> str:
    if trial.state == "pruned":
        return trial.why or "pruned"
    if trial.score is not None and trial.metric:
        return f"{notation.named(trial.metric, trial.score)} on tune"
    return _failure(attempt) if not attempt.good else "tune was not scored"


def _failure(attempt: Attempt) -> str:
    return f"{attempt.status}: {attempt.told or attempt.failure}"


def _scored(attempt: Attempt) -> str:
    record = attempt.record()
    if record is None or record.metric is None:
        return ""
    return f"{notation.named(record.metric.name, record.metric.value)}, "
