"""Bad submissions for R, protocol."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import record as records
from bench import submission, upstream
from bench.checks import tuning as packed
from bench.checks.bundle import Surroundings
from bench.power.probes import Mark
from bench.power.trace import Trace
from bench.record import Record, RunCost
from bench.submission import Attempt, EntryFile, Reevaluated, Upstream
from tests.checks import bundles, tuned
from tests.checks.bundles import Plan
from tests.checks.corpus import Made, bad
from tests.checks.tuned import Event

MINILM = next(h for h, name in upstream.allowed().items() if name == "all-minilm-l6")
TEACHER = "0123456789abcdef"


def earlier(n: int = 3) -> list[Plan]:
    """Runs of the same spec and code, made by others before."""
    return [
        dataclasses.replace(
            plan, number=10 + i, seed=plan.seed // 2, load_w=plan.load_w - 9,
            start={"machine": {"cpu": "Intel Xeon", "gpus": []}},
            wrong=[(row + 7) % bundles.ROWS for row in plan.wrong],
            events=lambda events: [
                {**e, "loss": e["loss"] * 1.01} if "loss" in e else e for e in events
            ],
        )
        for i, plan in enumerate(bundles.plans(n))
    ]  # fmt: skip


def around(*folders: Path, **changes: Any) -> Surroundings:
    """With these entries submitted before."""
    others = {p.parent.name: p.parent for f in folders for p in f.glob("*/record.json")}
    entries = {submission.place(f): f for f in folders}
    return bundles.around(others=others, entries=entries, **changes)


def with_entry(**changes: Any) -> Callable[[EntryFile], EntryFile]:
    return lambda entry: entry.model_copy(update=changes)


def all_of(change: Callable[[Plan], None]) -> list[Plan]:
    several = bundles.plans()
    for plan in several:
        change(plan)
    return several


# --- one entry


@bad("R1", "an edition of which nobody knows the rules")
def edition(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.spec = {"edition": "0.9"}

    return bundles.write(root, all_of(change), with_entry(edition="0.9"))


@bad("R1", "an entry of another edition than its runs")
def another_edition(root: Path) -> Path:
    return bundles.write(root, change=with_entry(edition="1.1"))


@bad("R2", "one run with another setting")
def another_setting(root: Path) -> Path:
    several = bundles.plans()
    settings = {"epochs": 2.0, "batch_size": 64, "max_length": 256}
    several[1].spec = {"settings": settings}
    return bundles.write(root, several)


@bad("R2", "one run by other code")
def other_code(root: Path) -> Path:
    several = bundles.plans()
    several[2].start = {"code_sha256": "e" * 64}
    return bundles.write(root, several)


@bad("R3", "one seed twice")
def seed_twice(root: Path) -> Path:
    several = bundles.plans()
    several[1].seed = several[0].seed
    return bundles.write(root, several)


@bad("R3", "a seed that was given")
def given_seed(root: Path) -> Path:
    several = bundles.plans()
    several[0].spec = {"seed_origin": "user"}
    return bundles.write(root, several)


@bad("R3", "another seed at the start than in the record")
def other_seed(root: Path) -> Path:
    several = bundles.plans()
    several[0].events = lambda events: [
        {**e, "seed": 1} if e["event"] == "run_start" else e for e in events
    ]
    return bundles.write(root, several)


@bad("R3", "a seed that is never drawn")
def impossible_seed(root: Path) -> Path:
    several = bundles.plans()
    several[0].seed = 2**31
    return bundles.write(root, several)


@bad("R3", "seeds that a person picks", warns=True)
def small_seeds(root: Path) -> Path:
    several = bundles.plans()
    for plan, seed in zip(several, (1, 42, 1337), strict=True):
        plan.seed = seed
    return bundles.write(root, several)


@bad("R3", "seeds side by side", warns=True)
def near_seeds(root: Path) -> Path:
    several = bundles.plans()
    for i, plan in enumerate(several):
        plan.seed = 1_200_000_000 + i
    return bundles.write(root, several)


@bad("R4", "runs picked from those that were made")
def picked_runs(root: Path) -> Path:
    folder = bundles.write(root, bundles.plans(4))
    entry = submission.read(folder)
    shutil.rmtree(folder / entry.runs[0])
    submission.write(entry.model_copy(update={"runs": entry.runs[1:]}), folder)
    return folder


@bad("R4", "a run that is not among the attempts")
def unlisted_run(root: Path) -> Path:
    folder = bundles.write(root)
    entry = submission.read(folder)
    submission.write(entry.model_copy(update={"attempts": entry.attempts[1:]}), folder)
    return folder


@bad("R4", "a failed run that is listed as complete")
def listed_otherwise(root: Path) -> Path:
    several = bundles.plans(4)
    several[3].status = "failed"
    folder = bundles.write(root, several)
    entry = submission.read(folder)
    attempts = [a.model_copy(update={"status": "complete"}) for a in entry.attempts]
    submission.write(entry.model_copy(update={"attempts": attempts}), folder)
    return folder


@bad("R4", "a correction that drops runs of what it corrects")
def dropped_runs(root: Path) -> Made:
    before = bundles.write(root / "before", earlier())
    own = bundles.write(
        root, change=with_entry(supersedes=submission.place(before)), name="corrected"
    )
    return own, around(before)


@bad("R4", "an entry beside one of the same spec, code and machine", warns=True)
def runs_in_two_entries(root: Path) -> Made:
    others = [dataclasses.replace(plan, start={}) for plan in earlier()]
    before = bundles.write(root / "before", others)
    return bundles.write(root, name="better-seeds"), around(before)


@bad("R4", "many more attempts than runs that count", warns=True)
def many_attempts(root: Path) -> Path:
    def change(entry: EntryFile) -> EntryFile:
        lost = [
            Attempt(run_id=f"{i:016x}", started_at="2026-11-18T00:00:00+00:00", seed=i,
                    status="interrupted")
            for i in range(9)
        ]  # fmt: skip
        return entry.model_copy(update={"attempts": [*entry.attempts, *lost]})

    return bundles.write(root, change=change)


@bad("R10", "another track than that of the runs")
def another_track(root: Path) -> Path:
    return bundles.write(root, change=with_entry(track="open"))


@bad("R13", "rows that are not the card's", warns=True)
def other_rows(root: Path) -> Path:
    def change(plan: Plan) -> None:
        data = bundles.spec_of(plan).data
        prints = {**data.fingerprints, "train": "2" * 64}
        changed = data.model_copy(update={"official": False, "fingerprints": prints})
        plan.spec = {"data": changed}

    return bundles.write(root, all_of(change))


@bad("R13", "a version of the task that has no card", warns=True)
def another_version(root: Path) -> Path:
    return bundles.write(root, all_of(lambda plan: setattr(plan, "spec", {"task_version": 2})))


CALIBRATION = {
    "gain": 1.02, "offset_w": 1.0, "uncertainty": 0.02, "date": "2026-11-01T00:00:00+00:00",
    "reference": "a wattmeter", "range_w": [60.0, 700.0], "without": {"level": "M1", "gain": 0.1},
}  # fmt: skip


def _estimated(trace: Trace) -> Trace:
    trace.domains = [
        d._replace(level="M3", gain=0.02, facts={**d.facts, "calibration": CALIBRATION})
        for d in trace.domains
    ]
    return trace


@bad("R15", "a run at another level than the others", warns=True)
def mixed_levels(root: Path) -> Path:
    several = bundles.plans()
    several[0].trace = _estimated
    reference = bundles.REFERENCE.model_copy(update={"level": "M3"})
    several[0].start = {"references": [reference]}
    return bundles.write(root, several)


@bad("R16", "hardware that others write otherwise", warns=True)
def written_otherwise(root: Path) -> Made:
    before = bundles.write(root / "before", earlier())
    name = "nvidia H100-80GB HBM3"
    reference = bundles.REFERENCE.model_copy(update={"hardware": f"1 x {name}"})

    def called(trace: Trace) -> Trace:
        trace.domains = [d._replace(device=name) for d in trace.domains]
        return trace

    def change(plan: Plan) -> None:
        plan.spec, plan.trace = {"hardware": f"1 x {name}"}, called
        plan.start = {"references": [reference]}

    return bundles.write(root, all_of(change), name="mine"), around(before)


# --- where it began


def _finetuned(checkpoint: str = MINILM, model: str = "all-minilm-l6") -> list[Plan]:
    def change(plan: Plan) -> None:
        plan.spec = {"track": "finetune", "model": model, "checkpoint_sha256": checkpoint}

    return all_of(change)


def _declared(sha256: str, energy_kwh: float | None = None) -> Upstream:
    return Upstream(
        what="pretraining", checkpoint_sha256=sha256, energy_kwh=energy_kwh, source="nobody did"
    )


@bad("R5", "weights that are not on the list, as if they were")
def unlisted_weights(root: Path) -> Path:
    change = with_entry(track="finetune", upstream=[_declared("9" * 64)])
    return bundles.write(root, _finetuned("9" * 64), change)


@bad("R5", "from scratch with weights")
def scratch_with_weights(root: Path) -> Path:
    several = _finetuned()
    for plan in several:
        plan.spec["track"] = "scratch"
    return bundles.write(root, several, with_entry(upstream=[_declared(MINILM)]))


@bad("R5", "from scratch, from weights of another run")
def weights_of_a_run(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.start = {"upstream": [_charge("upstream", 4e5)]}

    return bundles.write(root, all_of(change))


@bad("R5", "fine-tuned from nothing")
def from_nothing(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.spec = {"track": "finetune"}

    return bundles.write(root, all_of(change), with_entry(track="finetune"))


@bad("R5", "weights that have seen the task", warns=True)
def seen_before(root: Path) -> Made:
    card = bundles.CARD.model_copy(update={"name": "qqp"})
    several = _finetuned()
    for plan in several:
        plan.spec["task"] = "qqp"
    change = with_entry(task="qqp", track="finetune", upstream=[_declared(MINILM)])
    folder = bundles.write(root, several, change)
    moved = root / "qqp" / folder.name
    moved.parent.mkdir()
    folder.rename(moved)
    return moved, bundles.around(cards={"qqp": card})


def _charge(role: Any, energy_j: float | None) -> RunCost:
    return RunCost(
        role=role, run_id=TEACHER, record_sha256="a" * 64, task="toy", model="all-minilm-l6",
        hardware="1 x NVIDIA H100 80GB HBM3", level="M1", coverage="gpu", energy_j=energy_j,
        uncertainty_j=10.0, duration_s=100.0,
    )  # fmt: skip


def _distilled(teacher: str = "", teacher_model: str = "") -> Callable[[Plan], None]:
    def change(plan: Plan) -> None:
        settings = {
            "epochs": 2.0, "batch_size": 64, "max_length": 128, "teacher": teacher,
            "teacher_model": teacher_model, "alpha": 0.5,
        }  # fmt: skip
        plan.spec = {"recipe": "distill", "settings": settings}

    return change


@bad("R8", "a teacher's run that is not charged")
def uncharged_teacher(root: Path) -> Path:
    return bundles.write(root, all_of(_distilled(teacher=TEACHER)))


@bad("R8", "a teacher that was trained nowhere")
def untrained_teacher(root: Path) -> Path:
    return bundles.write(root, all_of(_distilled(teacher_model="transformer-medium")))


@bad("R8", "a teacher that cost nothing")
def free_teacher(root: Path) -> Path:
    def change(plan: Plan) -> None:
        _distilled(teacher=TEACHER)(plan)
        plan.start = {"charged_runs": [_charge("teacher", 0.0)]}

    return bundles.write(root, all_of(change))


@bad("R8", "a recipe of which nobody knows what it does", warns=True)
def unknown_recipe(root: Path) -> Path:
    return bundles.write(root, all_of(lambda plan: setattr(plan, "spec", {"recipe": "superfast"})))


@bad("R8", "a student of nobody")
def no_teacher(root: Path) -> Path:
    return bundles.write(root, all_of(_distilled()))


@bad("R8", "a model that had a teacher, by a recipe without one")
def hidden_teacher(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.events = lambda events: [
            {**e, "teacher_parameters": 110_000_000} if e["event"] == "model" else e for e in events
        ]

    return bundles.write(root, all_of(change))


@bad("R5", "from scratch, and a pretrained model teaches it")
def pretrained_teacher(root: Path) -> Path:
    def taught(events: list[Event]) -> list[Event]:
        begun = next(e for e in events if e.get("phase") == "train")
        before = {**begun, "phase": "teacher", "t_ns": begun["t_ns"] - 10**9}
        return sorted([*events, before], key=lambda e: e["t_ns"])

    def change(plan: Plan) -> None:
        _distilled(teacher_model="all-minilm-l6")(plan)
        plan.events = taught

    return bundles.write(root, all_of(change))


@bad("R12", "weights of which nothing is declared")
def undeclared(root: Path) -> Path:
    return bundles.write(root, _finetuned(), with_entry(track="finetune"))


@bad("R12", "weights that came of 0 kWh")
def for_nothing(root: Path) -> Path:
    change = with_entry(track="finetune", upstream=[_declared(MINILM, 0.0)])
    return bundles.write(root, _finetuned(), change)


@bad("R12", "less than was published", warns=True)
def less_than_published(root: Path) -> Path:
    bert = next(h for h, name in upstream.allowed().items() if name == "bert-base")
    change = with_entry(track="finetune", upstream=[_declared(bert, 5.0)])
    return bundles.write(root, _finetuned(bert, "bert-base"), change)


# --- tuning


def _without(*trials: int) -> tuned.Lines:
    """Less the events of these trials, however they are told."""

    def change(lines: list[Event]) -> list[Event]:
        cells = {f"trial {n}" for n in trials}
        jobs = {e["job"] for e in lines if e.get("cell") in cells}
        return [e for e in lines if e.get("job") not in jobs and e.get("trial") not in cells]

    return change


@bad("R9", "an attempt cut out of the journal, as it was packed")
def cut_out(root: Path) -> Path:
    folder = tuned.entry(root)
    text = tuned.journal(_without(2)(tuned.events()))
    (folder / packed.NAME).write_bytes(text)
    submission.write(submission.read(folder), folder)
    return folder


@bad("R9", "a trial left out of the ledger, with all that follows")
def left_out(root: Path) -> Path:
    return tuned.entry(root, _without(2))


@bad("R9", "the last trials renumbered over one that is left out")
def renumbered(root: Path) -> Path:
    def change(lines: list[Event]) -> list[Event]:
        text = tuned.journal(_without(2)(lines)).decode()
        for number in range(3, 7):
            text = text.replace(f'"trial {number}"', f'"trial {number - 1}"')
            text = text.replace(f'"proposal":{number - 1}', f'"proposal":{number - 2}')
        return _with_ids([json.loads(line) for line in text.splitlines()])

    return tuned.entry(root, change)


def _with_ids(lines: list[Event]) -> list[Event]:
    """Jobs have the ids that follow from what is asked."""
    from bench.study.job import Job

    ids = {e["job"]: Job.load(e).id for e in lines if e["event"] == "planned"}
    renamed = []
    for event in lines:
        for old, new in ids.items():
            for name in ("job", "took"):
                if str(event.get(name, "")).startswith(old):
                    event = {**event, name: event[name].replace(old, new)}
        renamed.append(event)
    return renamed


@bad("R9", "an attempt of which nobody noted what it took")
def not_noted(root: Path) -> Path:
    return tuned.entry(
        root, lambda lines: [e for e in lines if "took" not in e or e["trial"] != "trial 2"]
    )


@bad("R9", "trials that took nothing")
def free_trials(root: Path) -> Path:
    return tuned.entry(
        root, lambda lines: [{**e, "energy_j": 0.0} if "took" in e else e for e in lines]
    )


@bad("R9", "trials that took less than the runs take for the same", warns=True)
def cheap_trials(root: Path) -> Path:
    return tuned.entry(
        root, lambda lines: [{**e, "energy_j": 9_000.0} if "took" in e else e for e in lines]
    )


@bad("R9", "a failed trial that took less than an idle GPU", warns=True)
def cheap_failure(root: Path) -> Path:
    return tuned.entry(
        root,
        lambda lines: [
            {**e, "energy_j": 9.0} if "took" in e and e["trial"] == "trial 2" else e for e in lines
        ],
    )


@bad("R9", "an attempt noted again, for less")
def noted_twice(root: Path) -> Path:
    def change(lines: list[Event]) -> list[Event]:
        again = next(e for e in lines if "took" in e)
        return [*lines, {**again, "energy_j": 1.0}]

    return tuned.entry(root, change)


@bad("R9", "the journal of another sweep")
def another_sweep(root: Path) -> Path:
    def change(lines: list[Event]) -> list[Event]:
        return _with_ids([
            {**e, "request": {**e["request"], "model": "transformer-tiny"}} if "request" in e else e
            for e in lines
        ])  # fmt: skip

    return tuned.entry(root, change)


@bad("R9", "settings that the sweep did not choose")
def not_chosen(root: Path) -> Path:
    return tuned.entry(root, settings={"learning_rate": 0.5})


@bad("R9", "a journal that ends after the runs began")
def chosen_later(root: Path) -> Path:
    return tuned.entry(
        root, lambda lines: [{**e, "at": "2026-12-24T18:00:00.000+00:00"} for e in lines]
    )


@bad("R9", "a record that says less than the journal")
def says_less(root: Path) -> Path:
    def record(r: Record) -> Record:
        assert r.tuning is not None
        less = r.tuning.model_copy(update={"energy_j": 100.0, "attempts": 1})
        return r.model_copy(update={"tuning": less})

    return tuned.entry(root, record=record)


@bad("R9", "a journal beside runs that say nothing of it")
def tuning_dropped(root: Path) -> Path:
    return tuned.entry(root, record=lambda r: r.model_copy(update={"tuning": None}))


@bad("R9", "tuning without its journal")
def no_journal(root: Path) -> Path:
    folder = tuned.entry(root)
    (folder / packed.NAME).unlink()
    submission.write(submission.read(folder), folder)
    return folder


@bad("R9", "what is no journal")
def no_sweep(root: Path) -> Path:
    several = bundles.plans()
    facts = tuned.plans(tuned.journal(tuned.events()))[0].start["tuning"]
    text = b'{"event":"planned"}\n[]\n'
    about = {"journal_sha256": hashlib.sha256(text).hexdigest(),
             "journal_bytes": len(text)}  # fmt: skip
    for plan in several:
        plan.start = {"tuning": facts.model_copy(update=about)}
    folder = bundles.write(root, several)
    (folder / packed.NAME).write_bytes(text)
    submission.write(submission.read(folder), folder)
    return folder


@bad("R9", "runs of which one alone was tuned")
def one_tuned(root: Path) -> Path:
    folder = tuned.entry(root)
    path = next(folder.glob("*/record.json"))
    record = records.read(path.parent).model_copy(update={"tuning": None})
    path.write_text(record.model_dump_json())
    bundles.reseal(folder)
    return folder


@bad("R9", "a trial as an entry")
def trial_as_entry(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.start = {"trial": "one"}

    return bundles.write(root, all_of(change))


@bad("R9", "settings of another entry's sweep, and no word of it", warns=True)
def tuned_elsewhere(root: Path) -> Made:
    before = tuned.entry(root / "before")
    spec = records.read(next(before.glob("*/record.json")).parent).spec
    several = earlier()
    for plan in several:
        plan.spec = {"settings": spec.settings}
    return bundles.write(root, several, name="found-by-chance"), around(before)


# --- the machine


def _hidden(id: str, text: str) -> Callable[[Plan], None]:
    """The trace says it, and the record does not."""

    def change(plan: Plan) -> None:
        at = bundles.times(plan)[1] + bundles.NS
        plan.marks = [Mark(at, id, text, f"gpu:{bundles.UUID}")]
        plan.record = _silent

    return change


def _silent(record: Record) -> Record:
    return record.model_copy(update={"warnings": []})


@bad("R6", "another program on the GPU, and a record that is silent")
def another_program(root: Path) -> Path:
    return bundles.write(root, all_of(_hidden("contended", "process 4711 used it, too")))


@bad("R7", "a part of a board, and a record that is silent")
def part_of_a_board(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.facts, plan.record = {"mig": True}, _silent

    return bundles.write(root, all_of(change))


@bad("R7", "a power limit, and a record that is silent")
def limited(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.facts = {"power_limit_w": 500.0}

    return bundles.write(root, all_of(change))


@bad("R11", "a recorded trace, played again")
def replayed(root: Path) -> Path:
    return bundles.write(root, all_of(_hidden("replayed", "replayed from x.parquet")))


def _by(probe: str) -> Callable[[Plan], None]:
    def trace(trace: Trace) -> Trace:
        trace.facts["probes"] = ["nvml", probe]
        return trace

    def change(plan: Plan) -> None:
        plan.trace = trace

    return change


@bad("R11", "a recorded trace, and no mark of it")
def replayed_silently(root: Path) -> Path:
    return bundles.write(root, all_of(_by("replay:x.parquet")))


@bad("R11", "a meter of one's own", warns=True)
def own_meter(root: Path) -> Path:
    return bundles.write(root, all_of(_by("mine.py")))


def _estimated_by(names: object) -> Callable[[Path], Path]:
    def trace(trace: Trace) -> Trace:
        trace.facts["probes"] = names
        return trace

    return lambda root: bundles.write(root, all_of(lambda plan: setattr(plan, "trace", trace)))


bad("R11", "readings of a board, and nothing but estimates read", warns=True)(
    _estimated_by(["estimate"])
)
bad("R11", "readings, and no word of what read them", warns=True)(_estimated_by(None))


# --- other entries


def _about(kind: str, **changes: Any) -> EntryFile:
    facts = {
        "edition": "1.0", "bench_version": "0.1.0", "submitted_at": "2026-11-26T12:00:00+00:00",
        "task": "toy", "title": "About another one", "authors": ["Another"], "kind": kind,
        **changes,
    }  # fmt: skip
    return EntryFile.model_validate(facts)


def _alone(root: Path, entry: EntryFile, name: str = "about") -> Path:
    folder = root / entry.task / name
    folder.mkdir(parents=True)
    submission.write(entry, folder)
    return folder


@bad("R14", "a retraction of what is not there")
def retracts_nothing(root: Path) -> Path:
    return _alone(root, _about("retraction", retracts="toy/nothing", reason="it was wrong"))


@bad("R14", "a second retraction")
def retracted_twice(root: Path) -> Made:
    before = bundles.write(root / "before")
    said = _about("retraction", retracts=submission.place(before), reason="it was wrong")
    first = _alone(root, said, "first")
    return _alone(root, said, "second"), around(before, first)


@bad("R14", "a retraction of a retraction")
def retracts_a_retraction(root: Path) -> Made:
    before = bundles.write(root / "before")
    said = _about("retraction", retracts=submission.place(before), reason="it was wrong")
    first = _alone(root, said, "first")
    other = said.model_copy(update={"retracts": submission.place(first)})
    return _alone(root, other, "second"), around(before, first)


@bad("R14", "a retraction of what others have made", warns=True)
def retracts_anothers(root: Path) -> Made:
    before = bundles.write(root / "before")
    said = _about("retraction", retracts=submission.place(before), reason="I do not like it")
    return _alone(root, said), around(before)


@bad("R14", "a correction of what others have made", warns=True)
def corrects_anothers(root: Path) -> Made:
    before = bundles.write(root / "before", [replace_recipe(p) for p in earlier()])
    change = with_entry(supersedes=submission.place(before), authors=["Another"])
    return bundles.write(root, change=change, name="mine"), around(before)


def replace_recipe(plan: Plan) -> Plan:
    return dataclasses.replace(plan, spec={"recipe": "freeze"})


@bad("R14", "a retraction of an entry of another task")
def retracts_another_task(root: Path) -> Made:
    before = bundles.write(root / "before")
    said = _about("retraction", task="other", retracts=submission.place(before), reason="wrong")
    return _alone(root, said), around(before)


@bad("R14", "a correction of itself")
def supersedes_itself(root: Path) -> Path:
    return bundles.write(root, change=with_entry(supersedes="toy/own"), name="own")


@bad("R14", "a correction of what is corrected already")
def corrected_twice(root: Path) -> Made:
    before = bundles.write(root / "before")
    place = submission.place(before)
    first = _alone(root, submission.read(before).model_copy(update={"supersedes": place}), "first")
    others = Surroundings(
        cards={"toy": bundles.CARD}, entries={place: before, submission.place(first): first}
    )
    return bundles.write(root, change=with_entry(supersedes=place), name="second"), others


@bad("R14", "corrections in a circle")
def circle(root: Path) -> Made:
    before = bundles.write(root / "before", change=with_entry(supersedes="toy/own"))
    others = Surroundings(cards={"toy": bundles.CARD}, entries={submission.place(before): before})
    place = submission.place(before)
    return bundles.write(root, change=with_entry(supersedes=place), name="own"), others


@bad("R14", "a verification with other settings")
def another_training(root: Path) -> Made:
    several = earlier()
    for plan in several:
        plan.spec = {"settings": {"epochs": 9.0, "batch_size": 64, "max_length": 128}}
    before = bundles.write(root / "before", several, with_entry(authors=["Another"]))
    place = submission.place(before)
    return bundles.write(root, change=with_entry(verifies=place), name="again"), around(before)


@bad("R14", "a verification by the same authors", warns=True)
def by_themselves(root: Path) -> Made:
    before = bundles.write(root / "before", earlier())
    place = submission.place(before)
    return bundles.write(root, change=with_entry(verifies=place), name="again"), around(before)


def _reevaluation(root: Path, **changes: Any) -> Made:
    """Of an entry whose first run has kept weights."""
    several = bundles.plans()
    kept = {
        "event": "saved", "name": "weights", "file": "weights/model.safetensors", "step": 158,
        "sha256": "b" * 64, "bytes": 1000,
    }  # fmt: skip
    several[0].events = lambda events: [
        *events[:-5],
        {**kept, "t_ns": events[-5]["t_ns"]},
        *events[-5:],
    ]
    before = bundles.write(root / "before", several)
    record = next(r for p in before.glob("*/record.json") if (r := records.read(p.parent)).saved)
    one = {"run_id": record.run_id, "weights_sha256": "b" * 64, "metric": 0.92,
           "same_share": 1.0, "rows": bundles.ROWS, **changes}  # fmt: skip
    said = _about("reevaluation", reevaluates=submission.place(before),
                  reevaluated=[Reevaluated.model_validate(one)])  # fmt: skip
    return _alone(root, said), around(before)


@bad("R14", "a reevaluation of other weights")
def other_weights(root: Path) -> Made:
    return _reevaluation(root, weights_sha256="c" * 64)


@bad("R14", "a reevaluation of a run that is not there")
def no_such_run(root: Path) -> Made:
    return _reevaluation(root, run_id="0" * 16)


@bad("R14", "a reevaluation on some of the rows")
def some_rows(root: Path) -> Made:
    return _reevaluation(root, rows=10)
