"""An entry's training is made again, with fresh seeds and under the meter of whoever looks, and
what it comes to is held against what the entry says (T3): the only proof of an energy.

The runs are ordinary runs below `runs/`. Every run there that was asked for the same counts,
whenever it was made, and those that failed are counted too: nobody picks, and a call that was cut
short is gone on with by the same call.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from bench import EDITION, recipes, reference, run, submission
from bench import record as records
from bench.checks import safe
from bench.checks.bundle import EntryFolder
from bench.checks.others import own_runs
from bench.child import Outcome, Progress
from bench.errors import BenchError, UsageError
from bench.learn import models
from bench.rank.entry import energy_uncertainty_j, hardware_class, usable_energy_j, usable_metric
from bench.rank.score import LEAST_SCATTER, skill
from bench.record import Metric, Record, Spec
from bench.run import Plan, Request
from bench.units import parse_budget, show_duration, show_energy
from bench.workfolder import work_folder

SKILL_APART = 0.05
"""Mean skills of one training, by whoever makes it, lie nearer than that (on SST-2 it is 2.4 points
of accuracy). Its entries scatter by 0.01 to 0.03 between seeds, so that three runs against three
show it; tiers are further apart."""

SCATTERS_APART = 2.0
"""Or than so many standard deviations between the seeds of the new runs, where these scatter more:
of two runs of a noisy task nobody can tell less. An entry can't widen it by its own numbers."""

ENERGY_APART = 0.10
"""Energies on one class of hardware lie nearer than that, however well they were measured: two
devices of one name differ, in the silicon, cooling and the share that their host takes."""

MOST_UNSURE = 0.20
"""An entry can't widen that bound either: its meters' uncertainty counts as no more than this
share of its energy (k = 2)."""

LEVEL = 0.95
"""One-sided: a training that differs by a bound agrees by chance in at most a twentieth of cases,
and one that lies within it disagrees in as few."""

FORMAT = "bench.verify/1"
MOST_RUNS = 50  # that anybody is told to make

Told = Literal["agrees", "disagrees", "undecided", "not compared"]


# --- what an entry says --------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """An entry: runs of one spec and one code that count."""

    place: str  # task/name
    runs: tuple[Record, ...]

    @property
    def spec(self) -> Spec:
        """But for the seed, that of all runs."""
        return self.runs[0].spec

    @property
    def code_sha256(self) -> str:
        return self.runs[0].code_sha256

    def mean(self, of: Callable[[Record], float | None]) -> float | None:
        found = [value for r in self.runs if (value := of(r)) is not None]
        return fmean(found) if found else None


def find(entry: str, roots: Sequence[Path]) -> Path:
    """The folder of an entry, named by itself or below one of the roots."""
    for folder in (Path(entry), *(root / entry for root in roots)):
        if folder.is_dir():
            return folder
    raise UsageError(f"there is no entry {entry}", "its folder, or TASK/NAME below results/")


def claim(folder: Path) -> Claim:
    """What the entry in a folder says, or one run of it; UsageError where no run counts."""
    is_run = (folder / "record.json").exists()
    whole = folder.resolve().parent if is_run else folder.resolve()
    place = safe.shown(submission.place(whole))
    entry = (EntryFolder.of_run if is_run else EntryFolder.of)(folder, place)
    if not is_run and (folder / submission.NAME).exists():
        if fault := entry.fault("entry"):
            raise BenchError(f"{folder / submission.NAME} can't be read: {fault.message}")
        if entry.entry.kind != "runs":
            raise UsageError(f"{place} is a {entry.entry.kind}: it has no runs of its own")
        entry.runs = own_runs(entry)
    counting = tuple(r.record for r in entry.counting if r.record.spec.seed_origin == "harness")
    if not counting:
        raise UsageError(f"{place} holds no run that counts", "bench check says what is wrong")
    if len({record.entry_key() for record in counting}) > 1:
        raise UsageError(f"{place} holds runs of several specs or codes", "name one of its runs")
    return Claim(place, counting)


# --- making it again -----------------------------------------------------------------------------


def prepare(claimed: Claim, asked: Request, root: Path) -> Plan:
    """What will be trained: the entry's own spec, with data, device and meters as they are `asked`
    for, and a teacher below `root`. UsageError, before anything is trained, where that can't be
    made here."""
    record, spec = claimed.runs[0], claimed.spec
    for why in refusals(record, *at_hand()):
        raise UsageError(f"{claimed.place} can't be made again here: {why}")
    budget = parse_budget(spec.budget, counted=True) if spec.budget else None
    of_grid = budget is not None and budget.emissions_g is not None
    planned = run.prepare(
        replace(
            asked,
            task=spec.task,
            model=spec.model,
            recipe=spec.recipe,
            pretrained=spec.checkpoint_sha256 is not None,
            settings={n: str(value) for n, value in spec.settings.items() if value is not None},
            device=asked.device or spec.device,
            nproc=spec.processes,
            budget=spec.budget,
            region=record.region if of_grid else asked.region,
            pue=record.pue if of_grid else asked.pue,
            find_run=lambda name: _teacher(name, root),
        )
    )
    for why in _differences(spec, planned):
        raise UsageError(f"{claimed.place} can't be made again here: {why}")
    return replace(planned, tuning=record.tuning)


def at_hand() -> tuple[set[str], set[str]]:
    """The recipes and the models that can be trained here."""
    return set(recipes.names()), set(models.names())


def refusals(record: Record, known_recipes: set[str], known_models: set[str]) -> Iterator[str]:
    """What no plan of this machine's can be."""
    spec = record.spec
    texts = [spec.model, spec.recipe, spec.budget, spec.hardware, *spec.settings.values()]
    if not all(str(text).isprintable() for text in texts):
        yield "its spec has signs that can't be shown"
    if spec.edition != EDITION:
        yield f"it is of edition {safe.shown(spec.edition)} of the rules, and this is {EDITION}"
    if not set(spec.recipe.split("+")) <= known_recipes:
        yield (
            "its recipe is not in `bench recipes`: a program of its own, which "
            "`bench measure --task` runs"
        )
    if spec.model not in known_models:
        yield "its model is not in `bench models`, and weights of a stranger's are not loaded"
    if spec.nodes > 1:
        yield f"it was trained on {spec.nodes} machines together"
    if record.parts:
        yield f"it was trained in {len(record.parts) + 1} parts, and here it would be in one"


def _teacher(name: str, root: Path) -> Path:
    """The folder of a run that a setting names, by its id and among one's own runs alone: of a
    submission nothing is loaded."""
    if not submission.RUN_ID.fullmatch(name):
        raise UsageError(f"'{safe.shown(name, 40)}' is not the id of a run")
    folder = next((f for f in root.glob(f"*/{name}") if records.is_written(f)), None)
    if folder is None:
        raise UsageError(
            f"its teacher, run {name}, is not below {root}",
            "put its folder there, with its weights, if you trust who has made it",
        )
    return folder


def _differences(spec: Spec, planned: Plan) -> Iterator[str]:
    """Where it would be another training."""
    mine = planned.spec(run.Seed(0, "user"))
    if mine.data.fingerprints != spec.data.fingerprints:
        yield "the data at hand has other fingerprints; --data names it"
    for name in ("task_version", "track", "model", "checkpoint_sha256", "recipe", "processes"):
        then, now = getattr(spec, name), getattr(mine, name)
        if then != now:
            yield f"its {name} was {safe.shown(str(then), 80)}, and here it is {now}"
    for name, value in mine.settings.items():
        if name in spec.settings and spec.settings[name] != value:
            yield f"its {name} was {spec.settings[name]}, and here it is {value}"
    budget = parse_budget(spec.budget, counted=True) if spec.budget else None
    if budget and budget.metered and not _same_hardware(spec.hardware, planned.hardware):
        yield (
            f"its budget of {spec.budget} is more or less of a training on {planned.hardware} "
            f"than on {spec.hardware}"
        )


def _same_hardware(one: str, other: str) -> bool:
    """By class; the first records say '1 cores'."""
    return re.sub(r"\b1 cores\b", "1 core", one) == re.sub(r"\b1 cores\b", "1 core", other)


def code_sha256(planned: Plan) -> str:
    return run.code_sha256(run.own_files(planned))


def made(planned: Plan, claimed: Claim, root: Path) -> list[tuple[Record, Path]]:
    """Every run below `root` of this plan by this code with a drawn seed, but those of the entry
    and of its seeds, whatever became of it, in order of their start."""
    wanted, code = _but_seed(planned.spec(run.Seed(0, "user"))), code_sha256(planned)
    ids = {r.run_id for r in claimed.runs}
    seeds = {r.spec.seed for r in claimed.runs}
    found = []
    for folder in records.folders([root / planned.card.name]):
        try:
            one = records.read(folder)
        except BenchError:  # of another version: it is not one of these
            continue
        same = _but_seed(one.spec) == wanted and one.code_sha256 == code and not one.parts
        apart = one.run_id not in ids and one.spec.seed not in seeds
        drawn = one.spec.seed_origin == "harness" and one.trial is None
        if same and apart and drawn and one.tuning == planned.tuning:
            found.append((one, folder))
    return sorted(found, key=lambda pair: pair[0].started_at)


def _but_seed(spec: Spec) -> dict[str, Any]:
    left_out: Any = {"seed": True, "seed_origin": True, "data": {"source"}}
    return spec.model_dump(mode="json", exclude=left_out)


def counts(record: Record) -> bool:
    """Whether it has come to an end that can be compared."""
    return record.status in ("complete", "budget") and usable_metric(record) is not None


def train(
    planned: Plan,
    claimed: Claim,
    root: Path,
    wanted: int,
    *,
    on_start: Callable[[int], None] = lambda seed: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[tuple[Record, Path, Outcome]]:
    """So many runs with fresh seeds, one after another; the first that does not end well is the
    last."""
    taken = {r.spec.seed for r in claimed.runs}
    drawn = [s for s in run.seeds(wanted + len(taken), None) if s.value not in taken][:wanted]
    references = reference.current(planned.hardware, planned.device)
    with work_folder(planned.card, planned.resolved, root) as work:
        for seed in drawn:
            on_start(seed.value)
            record, folder, outcome = run.run(
                planned, work, root, seed, references=references, on_progress=on_progress
            )
            yield record, folder, outcome
            if not counts(record) or outcome.end_asked:
                return


# --- how far apart -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """What was claimed, and what was found. The difference is of means, found less claimed: of
    skills, or of the logarithms of energies; with `half` on either side it is a 90 % interval."""

    verdict: Told
    reason: str
    claimed: float | None = None
    found: float | None = None
    difference: float | None = None
    half: float | None = None
    bound: float | None = None
    runs_wanted: int | None = None  # in all, that would tell if they scatter as these


@dataclass(frozen=True)
class Verification:
    """What came of making an entry again."""

    place: str
    claimed: tuple[str, ...]  # run ids
    made: tuple[str, ...]  # of those that are compared
    attempts: int
    same_code: bool
    same_hardware: bool
    accuracy: Agreement
    energy: Agreement
    folders: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def verdict(self) -> Told:
        """That of all that was compared: one disagreement is one, and accuracy must be."""
        said = {self.accuracy.verdict, self.energy.verdict}
        if "disagrees" in said:
            return "disagrees"
        if self.accuracy.verdict != "agrees" or "undecided" in said:
            return "undecided"
        return "agrees"

    @property
    def covers(self) -> list[str]:
        """What has been shown, if it agrees."""
        each = {"accuracy": self.accuracy, "energy": self.energy}
        return [name for name, one in each.items() if one.verdict == "agrees"]

    @property
    def exit_code(self) -> int:
        return {"agrees": 0, "disagrees": 1}.get(self.verdict, 3)

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": FORMAT, "entry": self.place, "verdict": self.verdict, "covers": self.covers,
            "claimed_runs": list(self.claimed), "made_runs": list(self.made),
            "attempts": self.attempts, "same_code": self.same_code,
            "same_hardware": self.same_hardware, "accuracy": vars(self.accuracy),
            "energy": vars(self.energy),
        }  # fmt: skip


def compare(claimed: Claim, found: Sequence[tuple[Record, Path]], planned: Plan) -> Verification:
    """The entry's runs against those that were made here (`made`)."""
    compared = [(record, folder) for record, folder in found if counts(record)]
    here = [record for record, _ in compared]
    return Verification(
        place=claimed.place,
        claimed=tuple(r.run_id for r in claimed.runs),
        made=tuple(r.run_id for r in here),
        attempts=len(found),
        same_code=claimed.code_sha256 == code_sha256(planned),
        same_hardware=_same_hardware(claimed.spec.hardware, planned.hardware),
        accuracy=accuracy(claimed.runs, here),
        energy=energy(claimed.runs, here),
        folders=tuple(folder for _, folder in compared),
    )


def submitted(claimed: Claim, found: Sequence[Record], attempts: int) -> Verification:
    """The entry's runs against those that somebody has submitted as the same training made
    again."""
    here = [r for r in found if counts(r) and r.spec.seed_origin == "harness"]
    return Verification(
        place=claimed.place,
        claimed=tuple(r.run_id for r in claimed.runs),
        made=tuple(r.run_id for r in here),
        attempts=attempts,
        same_code={r.code_sha256 for r in here} == {claimed.code_sha256},
        same_hardware=all(_same_hardware(claimed.spec.hardware, r.spec.hardware) for r in here),
        accuracy=accuracy(claimed.runs, here),
        energy=energy(claimed.runs, here),
    )


def accuracy(claimed: Sequence[Record], here: Sequence[Record]) -> Agreement:
    """Of mean skills. Chance and best are those found here, on the same scored rows."""
    if not here:
        return Agreement("undecided", "no run was made here")
    scale = here[0].metric
    assert scale
    for record in claimed:
        metric = usable_metric(record)
        if metric is None or (metric.name, metric.n) != (scale.name, scale.n):
            return Agreement("undecided", "the entry is not scored as it is here")
    then, now = ([_skill(r, scale) for r in runs] for runs in (claimed, here))
    if not all(map(math.isfinite, then)):
        return Agreement("disagrees", f"no model has the {scale.name} that it states")
    bound = max(SKILL_APART, SCATTERS_APART * _scatter(now))
    return _judged(then, now, bound)


def _skill(record: Record, scale: Metric) -> float:
    assert record.metric
    value = record.metric.value
    if scale.scale == "log" and value <= 0:
        return math.inf
    return skill(value, scale.chance, scale.best, scale.scale)


def energy(claimed: Sequence[Record], here: Sequence[Record]) -> Agreement:
    """Of mean energies, as a ratio, where both were measured at one level over the same parts of
    one class of hardware."""
    if not here:
        return Agreement("undecided", "no run was made here")
    if why := _apart(claimed, here):
        return Agreement("not compared", why)
    shares = [_relative(records) for records in (claimed, here)]
    if shares[0] is None or shares[1] is None:
        return Agreement("not compared", "the uncertainty of a meter is not known")
    bound = math.log1p(max(ENERGY_APART, math.hypot(min(shares[0], MOST_UNSURE), shares[1])))
    then, now = ([math.log(usable_energy_j(r) or 0) for r in runs] for runs in (claimed, here))
    judged = _judged(then, now, bound, LEAST_SCATTER)
    return replace(judged, claimed=math.exp(fmean(then)), found=math.exp(fmean(now)))


def _apart(claimed: Sequence[Record], here: Sequence[Record]) -> str | None:
    """Why energies don't compare."""
    every = [*claimed, *here]
    if any(usable_energy_j(r) is None or not r.rankable for r in every):
        return "the energy of a run is not known, or in doubt"
    facts: dict[str, Callable[[Record], str]] = {
        "the hardware": hardware_class,
        "the level of the meters": lambda r: r.level,
        "what the meters cover": lambda r: r.coverage,
    }
    for what, of in facts.items():
        then, now = sorted({of(r) for r in claimed}), sorted({of(r) for r in here})
        if then != now or len(now) > 1:
            return f"{what} is another: {', '.join(now)} here, {', '.join(then)} there"
    if every[0].level == "M0":
        return "both are estimates, which agree with their own formula"
    return None


def _relative(runs: Sequence[Record]) -> float | None:
    """The expanded uncertainty (k = 2) of the mean, of which the gain is common to all, as a
    share."""
    shares = [
        u / e for r in runs if (u := energy_uncertainty_j(r)) is not None and (e := r.energy_j)
    ]
    return fmean(shares) if len(shares) == len(runs) else None


def _judged(
    then: Sequence[float], now: Sequence[float], bound: float, least: float = 0.0
) -> Agreement:
    """Whether the interval of the difference lies within the bound, beyond it, or across it."""
    difference = fmean(now) - fmean(then)
    said = Agreement("undecided", "", fmean(then), fmean(now), difference, bound=bound)
    if len(now) < 2:
        return replace(said, reason="one run tells nothing of its scatter", runs_wanted=3)
    spread = max(_pooled(then, now), least)
    half = _half(spread, len(then), len(now))
    said = replace(said, half=half)
    if abs(difference) + half <= bound:
        return replace(said, verdict="agrees", reason="the difference lies within the bound")
    if abs(difference) - half > bound:
        return replace(said, verdict="disagrees", reason="the difference lies beyond the bound")
    more = (n for n in range(len(now) + 1, MOST_RUNS + 1)
            if abs(abs(difference) - bound) >= _half(spread, len(then), n))  # fmt: skip
    return replace(said, reason="the runs scatter too much to tell", runs_wanted=next(more, None))


def _scatter(values: Sequence[float]) -> float:
    return math.sqrt(_squares(values) / (len(values) - 1)) if len(values) > 1 else 0.0


def _squares(values: Sequence[float]) -> float:
    middle = fmean(values)
    return sum((value - middle) ** 2 for value in values)


def _pooled(then: Sequence[float], now: Sequence[float]) -> float:
    """One standard deviation of both: they are said to be runs of one training."""
    return math.sqrt((_squares(then) + _squares(now)) / (len(then) + len(now) - 2))


def _half(spread: float, then: int, now: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(then + now - 2, LEVEL)) * spread * math.sqrt(1 / then + 1 / now)


# --- for people ----------------------------------------------------------------------------------

Lines = list[tuple[str, str]]
"""As `bench.show` has them."""


def plan_lines(claimed: Claim, planned: Plan) -> Lines:
    """What is made again, and in what it will differ."""
    spec, first = claimed.spec, claimed.runs[0]
    said = [
        ("entry", f"{claimed.place}: {_runs(len(claimed.runs))} of {spec.model}, {spec.recipe}"),
        ("", f"{spec.hardware}; {first.level}, {first.coverage}"),
    ]
    if claimed.code_sha256 != code_sha256(planned):
        said.append(("warning", _other_code(claimed, planned)))
    if not _same_hardware(spec.hardware, planned.hardware):
        text = f"this is {planned.hardware}: accuracy alone can be compared"
        said.append(("warning", text))
    return said


def _other_code(claimed: Claim, planned: Plan) -> str:
    return (
        f"bench's code was {safe.shown(claimed.code_sha256[:12])} (bench "
        f"{safe.shown(claimed.runs[0].bench_version, 40)}), and here it is "
        f"{code_sha256(planned)[:12]}: agreement is weaker, and so is disagreement"
    )


def cost_lines(claimed: Claim, planned: Plan, at_hand: int, left: int) -> Lines:
    """What the runs that are left would take by what the entry says of its own."""
    energy_j, duration_s = claimed.mean(usable_energy_j), claimed.mean(lambda r: r.duration_s)
    there = "" if _same_hardware(claimed.spec.hardware, planned.hardware) else " on its hardware"
    said = [("runs", f"{at_hand} at hand, {left} to make")]
    if left and duration_s is not None:
        cost = "" if energy_j is None else f"{show_energy(left * energy_j)} and "
        said.append(("cost", f"about {cost}{show_duration(left * duration_s)}{there}, as it says"))
    return said


def report_lines(found: Verification) -> Lines:
    """What was compared, what came of it, and what to do with it."""
    made = f"{made_line(found)} {' '.join(found.made)}"
    entry = f"{found.place}: {_runs(len(found.claimed))}"
    return [("entry", entry), ("made", made), *compared_lines(found), *_next(found)]


def made_line(found: Verification) -> str:
    failed = found.attempts - len(found.made)
    besides = f", and {failed} that came to no end" if failed > 0 else ""
    return f"{_runs(len(found.made))} with fresh seeds{besides}"


def compared_lines(found: Verification) -> Lines:
    return [
        ("code", "the entry's own" if found.same_code else "another than the entry's: weaker"),
        ("accuracy", _accuracy_line(found.accuracy)),
        ("energy", _energy_line(found.energy)),
        ("verdict", _verdict(found)),
    ]


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _accuracy_line(one: Agreement) -> str:
    if one.difference is None:
        return f"{one.verdict}: {one.reason}"
    half = "" if one.half is None else f" ± {one.half:.3f}"
    return (
        f"{one.verdict}: skill {one.claimed:.3f} stated, {one.found:.3f} here, "
        f"{one.difference:+.3f}{half}; {one.bound:.3f} is the bound; {one.reason}"
    )


def _energy_line(one: Agreement) -> str:
    if one.difference is None or one.claimed is None or one.found is None or one.bound is None:
        return f"{one.verdict}: {one.reason}"
    low, high = (math.exp(one.difference + sign * (one.half or 0.0)) for sign in (-1, 1))
    interval = "" if one.half is None else f" ({low:.3f} to {high:.3f})"
    return (
        f"{one.verdict}: {show_energy(one.claimed)} stated, {show_energy(one.found)} here, "
        f"{math.exp(one.difference):.3f} times as much{interval}; "
        f"{math.exp(-one.bound):.3f} to {math.exp(one.bound):.3f} is the bound; {one.reason}"
    )


def _verdict(found: Verification) -> str:
    if found.verdict == "agrees":
        missing = "" if "energy" in found.covers else "; nothing is shown of the energy"
        return f"agrees in {' and '.join(found.covers)}{missing}"
    return found.verdict


def _next(found: Verification) -> Lines:
    """How a report becomes evidence, or what would tell."""
    if found.verdict == "undecided":
        return [("next", _what_would_tell(found))]
    folders = " ".join(map(str, found.folders))
    text = f"bench submit {folders} --verifies {found.place} --title … --authors …"
    return [("next", text), ("", "puts these runs beside the entry, as evidence of somebody else")]


def _what_would_tell(found: Verification) -> str:
    open_ = [one for one in (found.accuracy, found.energy) if one.verdict == "undecided"]
    wanted = [one.runs_wanted for one in open_]
    if None in wanted and found.made:
        return "no number of runs here would tell: the entry's own are too few, or scatter too much"
    most = max((n for n in wanted if n), default=3)
    return f"--runs {most} would tell, if they scatter as these do"
