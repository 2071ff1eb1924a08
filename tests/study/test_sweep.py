"""`bench sweep` with trials that take no time, and with real ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.checks import tuning as packed
from bench.study import drive, ledger, trials, tuning
from tests.command import Command, Said, write_reviews
from tests.study.trainer import EVALUATIONS, FULL_J, Trainer, accuracy

SPACE = "learning_rate=1e-5..1e-1:log,epochs=1|2"
SWEEP = (
    "sweep", "--task", "sst2", "--data", "reviews", "--model", "transformer-tiny", "--name", "one",
)  # fmt: skip
Run = Callable[..., Said]


@pytest.fixture
def reviews(bench: Command, tmp_path: Path) -> Path:
    return write_reviews(tmp_path / "reviews", train=120, scored=40)


@pytest.fixture
def sweep(bench: Command, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, whose trials a Trainer makes."""
    monkeypatch.setattr(drive, "POLL_S", 0.0)

    def run(trainer: Trainer | None, *options: object, space: str = SPACE) -> Said:
        found = trainer or Trainer()
        monkeypatch.setattr("bench.study.executors.named", lambda name, options: found)
        return bench(*SWEEP, "--space", space, *options)

    return run


def shown(bench: Command, name: str = "one") -> dict[str, Any]:
    said = bench("sweep", "show", name, "--json")
    assert said.code == 0
    found: dict[str, Any] = json.loads(said.out)
    return found


def settings(found: dict[str, Any]) -> list[dict[str, str]]:
    return [t["settings"] for t in found["trials"]]


def test_a_sweep_and_its_final_runs(bench: Command, sweep: Run) -> None:
    said = sweep(None, "--trials", 6, "--no-prune", "--final", 2)
    assert said.code == 0, said.err
    found = shown(bench)
    scores = [accuracy(t["settings"]) for t in found["trials"]]
    assert [t["score"] for t in found["trials"]] == pytest.approx(scores)
    best = scores.index(max(scores))
    assert found["best"] == best + 1
    assert (found["metric"], found["split"]) == ("accuracy", "tune")

    t = found["tuning"]
    assert (t["trials"], t["attempts"], t["pruned"], t["failed"]) == (6, 6, 0, 0)
    assert t["energy_j"] == pytest.approx(6 * FULL_J)
    assert t["uncertainty_j"] == pytest.approx(0.6 * FULL_J)  # one gain: they add up
    assert (t["level"], t["coverage"], t["duration_s"]) == ("M1", "gpu", 6 * 95.0)
    assert found["times_training"] == pytest.approx(6)
    assert [s["energy_j"] for s in found["best_so_far"]] == pytest.approx(
        [FULL_J * n for n in range(1, 7)]
    )
    assert [s["best"] for s in found["best_so_far"]] == pytest.approx(
        [max(scores[: n + 1]) for n in range(6)]
    )
    expected = found["expected"]
    assert [e["energy_j"] for e in expected] == pytest.approx([FULL_J * n for n in range(1, 7)])
    assert expected[0]["value"] == pytest.approx(sum(scores) / 6)
    assert expected[-1]["value"] == pytest.approx(max(scores))
    assert len(found["final"]["runs"]) == 2

    for text in ("trial 6 of 6 · ", "on tune; 1 min 35 s, 1.00 Wh", "6.00 times its training",
                 "final run 2", "2 of 2 final runs are made"):  # fmt: skip
        assert text in said.err
    for text in ("tuning cost 6.00 times the final training (1.00 Wh)", "7.00 Wh with tuning",
                 f"best    trial {best + 1}: "):  # fmt: skip
        assert text in said.out


def test_an_entry_carries_its_tuning(bench: Command, sweep: Run) -> None:
    assert sweep(None, "--trials", 5, "--no-prune", "--final", 3).code == 0
    book = ledger.read(Path("runs/sweeps/one"))
    finals = [a.record() for a in book.ended() if a.job.cell == trials.FINAL]
    tried = [a.record() for a in book.ended() if a.job.cell != trials.FINAL]
    assert {r.trial for r in tried if r} == {"one"}
    assert not any(r.tuning for r in tried if r)
    kept = [r.tuning for r in finals if r]
    assert len(kept) == 3
    assert kept[0] is not None
    assert kept == [kept[0]] * 3
    journal = (book.folder / ledger.JOURNAL).read_bytes()[: kept[0].journal_bytes]
    assert hashlib.sha256(journal).hexdigest() == kept[0].journal_sha256
    assert b'"took"' in journal
    assert b'"final"' not in journal
    copied = ledger.of_lines(Path("one"), journal.split(b"\n"))  # by itself, wherever it lies
    found = trials.trials(copied)
    chosen = tuning.best(found)
    assert tuning.tuning(copied, found, trials.taken(copied), chosen, journal) == kept[0]

    said = bench("leaderboard", "--format", "json", "--results", "none")
    entries = [
        e for c in json.loads(said.out)["cells"] for s in c["sections"] for e in s["entries"]
    ]
    (entry,) = entries  # trials are no entries
    assert entry["values"]["tuned_energy"] == pytest.approx((FULL_J * 6) / 3.6e6)
    assert entry["values"]["trials"] == 5
    csv = bench("leaderboard", "--format", "csv", "--results", "none").out
    assert "energy with tuning (kWh)" in csv
    said = bench("show", finals[0].run_id[:8] if finals[0] else "")
    assert "sweep one: 5 trials, 5.00 Wh ± 0.500 Wh (M1)" in said.out
    assert "5.00 times this training; 6.00 Wh with it" in said.out
    said = bench("show", tried[0].run_id[:8] if tried[0] else "")
    assert "of the sweep one: no entry of any board" in said.out


def test_failed_and_pruned_trials_are_paid_for(bench: Command, sweep: Run) -> None:
    def diverges(params: Any) -> bool:
        return float(params["learning_rate"]) > 2e-2

    trainer = Trainer(fails=diverges)
    said = sweep(trainer, "--trials", 14)
    assert said.code == 0
    found = shown(bench)
    states = [t["state"] for t in found["trials"]]
    assert {"complete", "pruned", "failed"} == set(states)
    assert len(trainer.started) == 14  # none twice
    spent = sum(t["energy_j"] for t in found["trials"])
    assert found["tuning"]["energy_j"] == pytest.approx(spent)
    assert found["tuning"]["failed"] == states.count("failed")
    assert found["tuning"]["pruned"] == states.count("pruned")
    for t in found["trials"]:
        if t["state"] == "failed":
            assert (t["score"], t["energy_j"]) == (None, FULL_J / EVALUATIONS)
        if t["state"] == "pruned":
            assert t["why"].startswith("pruned at step ")
            assert " of 40: accuracy " in t["why"]
            assert "on tune, below the median of" in t["why"]
            assert 0 < t["energy_j"] < FULL_J
    scored = [t for t in found["trials"] if t["score"] is not None]
    assert found["expected"][-1]["energy_j"] == pytest.approx(spent)
    assert len(found["expected"]) == len(scored)
    assert "in trials that did not end" in said.out

    whole = sweep(Trainer(fails=diverges), "--trials", 14, "--no-prune", "--name", "whole")
    assert whole.code == 0
    unpruned = shown(bench, "whole")
    assert settings(unpruned) == settings(found)
    assert unpruned["best"] == found["best"]
    assert unpruned["tuning"]["energy_j"] > found["tuning"]["energy_j"] + FULL_J


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_sweep_goes_on_after_a_kill(bench: Command, sweep: Run, sampler: str) -> None:
    options = ("--trials", 13, "--sampler", sampler, "--seed", 5)
    assert sweep(None, *options, "--name", "whole").code == 0
    wanted = settings(shown(bench, "whole"))

    with pytest.raises(RuntimeError, match="the driver is gone"):
        sweep(Trainer(dies_at="trial 12"), *options)
    journal = Path("runs/sweeps/one/journal.jsonl")
    lines = journal.read_text().splitlines()
    started = max(i for i, line in enumerate(lines) if '"started"' in line)
    journal.write_text("\n".join(lines[: started + 1]) + "\n")  # a kill leaves no last words
    second = Trainer()
    said = sweep(second, *options)
    assert said.code == 0, said.err
    assert second.started == ["trial 12, run 1", "trial 13, run 1"]
    found = shown(bench)
    assert settings(found) == wanted
    assert [t["attempts"] for t in found["trials"]] == [1] * 11 + [2, 1]
    more = sweep(Trainer(), "--trials", 14, *options[2:])
    assert more.code == 0
    assert settings(shown(bench))[:13] == wanted


def test_another_space_is_another_sweep(sweep: Run) -> None:
    assert sweep(None, "--trials", 1).code == 0
    said = sweep(None, "--trials", 1, space="learning_rate=1e-4..1e-3")
    assert said.code == 2
    assert "space was learning_rate=1e-5..1e-1:log,epochs=1|2, now" in said.err
    assert "prune was median, now no" in sweep(None, "--trials", 1, "--no-prune").err


def test_a_budget_ends_it_in_time(bench: Command, sweep: Run) -> None:
    said = sweep(None, "--trials", 10, "--no-prune", "--budget", "4.5Wh", "--final", 1)
    assert said.code == 0
    found = shown(bench)
    assert found["tuning"]["trials"] == 3  # a fourth, and the final run, would not fit
    assert len(found["final"]["runs"]) == 1
    assert "the budget allows no more: 3 of 10 trials have ended" in said.err
    assert "1 of 1 final runs are made, 6 min 20 s, 4.00 Wh in all" in said.err
    assert "which would take about 11 min 05 s, 7.00 Wh more" in said.err
    again = sweep(None, "--trials", 10, "--no-prune", "--budget", "20Wh", "--final", 1)
    assert "10 of 10 trials have ended" in again.err
    assert shown(bench)["final"]["tuning"]["trials"] == 10


def test_a_trial_that_exceeds_the_budget_is_ended(bench: Command, sweep: Run) -> None:
    said = sweep(None, "--trials", 2, "--budget", "0.6Wh")
    assert "interrupted: the budget is spent" in said.err
    assert "0 of 2 trials have ended, 1 min 11 s, 0.750 Wh in all" in said.err
    (trial,) = shown(bench)["trials"]
    assert (trial["state"], trial["energy_j"]) == ("open", 0.75 * FULL_J)


def test_trials_that_run_at_once_use_up_one_budget(bench: Command, sweep: Run) -> None:
    sweep(Trainer(slots=3), "--trials", 3, "--no-prune", "--budget", "2Wh")
    assert {t["state"] for t in shown(bench)["trials"]} == {"open"}
    assert 2 * FULL_J <= shown(bench)["tuning"]["energy_j"] <= 2.5 * FULL_J


def test_settings_that_cant_be_are_not_tried(bench: Command, sweep: Run) -> None:
    trainer = Trainer(score=lambda params: 0.5)
    said = sweep(trainer, "--sampler", "grid", space="width=32|48,heads=2|5")
    assert said.code == 0
    found = shown(bench)
    assert sorted(t["settings"]["width"] for t in found["trials"]) == ["32", "48"]
    assert {t["settings"]["heads"] for t in found["trials"]} == {"2"}
    assert len(found["skipped"]) == 2
    assert "a width of 32 can't be cut into 5 heads" in str(found["skipped"])
    assert "2 of 2 trials have ended" in said.err
    assert "not tried: proposal" in said.out


def test_settings_that_a_recipe_refuses_are_not_tried(bench: Command, sweep: Run) -> None:
    trainer = Trainer(score=lambda params: 0.5)
    said = sweep(
        trainer, "--recipe", "prune", "--sampler", "grid", space="begins=0.1|0.6,ends=0.3|0.8"
    )
    assert said.code == 0
    assert len(trainer.started) == 3
    assert "begins=0.6 ends=0.3: prune can't be used here: begins must be at most" in said.out


def test_what_fails_every_time_is_stopped(bench: Command, sweep: Run) -> None:
    said = sweep(Trainer(fails=lambda params: True), "--trials", 20, "--final", 1)
    assert said.code == 1
    assert "stopped: the first 5 trials failed, the last one: the loss is nan" in said.err
    assert shown(bench)["best"] is None


def test_without_a_score_nothing_is_chosen(bench: Command, sweep: Run) -> None:
    said = sweep(Trainer(score=lambda params: math.nan), "--trials", 2, "--final", 1)
    assert said.code == 1
    assert "stopped: no trial came to an end with a score on tune" in said.err
    found = shown(bench)
    assert (found["best"], found["expected"], found["final"]) == (None, [], None)
    assert found["tuning"]["energy_j"] == pytest.approx(2 * FULL_J)


def test_three_at_once(bench: Command, sweep: Run) -> None:
    trainer = Trainer(slots=3)
    assert sweep(trainer, "--trials", 12, "--sampler", "tpe", "--final", 2).code == 0
    assert trainer.most == 3
    found = shown(bench)
    assert found["tuning"]["attempts"] == 12
    assert found["best_so_far"][-1]["energy_j"] == pytest.approx(found["tuning"]["energy_j"])


def test_less_may_be_better(bench: Command, sweep: Run) -> None:
    trainer = Trainer(metric="perplexity", score=lambda p: 100 * accuracy(p))
    assert sweep(trainer, "--trials", 9).code == 0
    found = shown(bench)
    whole = [t["score"] for t in found["trials"] if t["state"] == "complete"]
    assert found["trials"][found["best"] - 1]["score"] == min(whole)
    assert found["best_so_far"][-1]["best"] == min(whole)
    values = [e["value"] for e in found["expected"]]
    assert values == sorted(values, reverse=True)


def test_an_energy_that_is_unknown_is_not_zero(bench: Command, sweep: Run) -> None:
    from tests.rank.records import make_domain

    missing = [make_domain(None)]
    said = sweep(Trainer(domains=missing), "--trials", 2)
    assert said.code == 0
    assert "energy unknown: that of some attempts is not known" in said.out
    found = shown(bench)
    assert (found["tuning"]["energy_j"], found["times_training"]) == (None, None)


def test_a_training_that_was_metered_otherwise_is_no_measure_of_tuning(
    bench: Command, sweep: Run
) -> None:
    assert sweep(None, "--trials", 2).code == 0
    said = sweep(Trainer(level="M0"), "--trials", 2, "--final", 1)
    assert said.code == 0
    found = shown(bench)
    assert (found["times_training"], found["training_energy_j"]) == (None, None)
    assert "price   no multiple of a training that was metered otherwise than trials" in said.out
    assert "with tuning" not in said.out


def test_what_a_teacher_may_be_off_by_is_in_no_band_of_the_trials(
    bench: Command, sweep: Run
) -> None:
    """Nor are trials covered better than the teacher that they are charged for."""
    from bench.record import RunCost
    from tests.rank.records import make_domain

    teacher = RunCost(
        role="teacher", run_id="t" * 16, record_sha256=None, task="sst2", model="m", hardware="h",
        level="M0", coverage="gpu", energy_j=1e6, uncertainty_j=None, band_j=(1e5, 2e6),
        duration_s=1.0,
    )  # fmt: skip
    both = [make_domain(FULL_J, "M0", kind) for kind in ("gpu", "cpu")]
    assert sweep(Trainer(domains=both), "--trials", 2, "--no-prune").code == 0
    found = shown(bench)["tuning"]
    assert (found["coverage"], len(found["band_j"])) == ("gpu+cpu", 2)
    name = ("--name", "taught")
    made = Trainer(domains=both, charged_runs=[teacher])
    assert sweep(made, "--trials", 2, "--no-prune", *name).code == 0
    book = ledger.read(Path("runs/sweeps/taught"))
    cost = tuning.tuning(book, trials.trials(book), trials.taken(book))
    assert cost.energy_j == pytest.approx(1e6 + 4 * FULL_J)
    assert (cost.coverage, cost.band_j) == ("gpu", None)


def test_markdown_and_plot(bench: Command, sweep: Run) -> None:
    assert sweep(None, "--trials", 6, "--plot", "sweep.svg").code == 0
    picture = Path("sweep.svg").read_text()
    for text in ("best so far", "expected", "one training", "accuracy % on tune"):
        assert text in picture
    said = bench("sweep", "show", "one", "--markdown")
    assert "| trial | accuracy |  | Wh | in all | best | settings |" in said.out
    assert "| trials | Wh | times a training | expected best accuracy |" in said.out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--space", "lr=1|2"), "the recipe 'baseline' has no setting 'lr'"),
        (("--space", "epochs=0..2"), "epochs=0.0: must be above 0"),
        (("--space", "schedule=linear|cosine"), "schedule=cosine: it is linear or inverse-sqrt"),
        (("--space", "beam_size=1|2"), "beam_size is a setting of translation"),
        (("--space", "epochs=1|2", "--set", "epochs=1"), "both in --set and in --space"),
        (("--space", "heads=5|7"), "nothing in the space can be trained: a width of 64"),
        (("--space", SPACE, "--sampler", "grid"), "a grid has no end"),
        (("--space", SPACE, "--budget", "5steps"), "'5steps' is not a budget"),
        (("--space", SPACE, "--name", "../x"), "can't name a folder"),
        ((), "which settings are tried?"),
    ],
)
def test_a_slip_is_one_line(
    bench: Command, reviews: Path, asked: tuple[str, ...], said: str
) -> None:
    found = bench(*SWEEP, *asked)
    assert found.code == 2
    assert said in found.err
    assert "Traceback" not in found.err
    assert not Path("runs/sweeps").exists()


def test_a_sweep_needs_a_task(bench: Command) -> None:
    assert "which task?" in bench("sweep").err
    assert "holds no ledger" in bench("sweep", "show", "none").err


def test_real_trials_are_scored_on_tune_at_their_end(bench: Command, reviews: Path) -> None:
    quick = ("--set", "max_steps=3", "--set", "vocabulary_size=200", "--set", "evaluations=1")
    said = bench(*SWEEP, *quick, "--space", "layers=1|2", "--sampler", "grid", "--trials", 1,
                 "--final", 1, "--idle", 0)  # fmt: skip
    assert said.code == 0, said.err
    found = shown(bench)
    (trial,) = found["trials"]
    assert [step for step, total, _ in trial["curve"]] == [2, 3]
    assert trial["curve"][-1][2] == trial["score"]
    assert trial["energy_j"] > 0
    book = ledger.read(Path("runs/sweeps/one"))
    tried, final = (a.record() for a in book.ended())
    assert tried is not None
    assert final is not None
    layers = int(trial["settings"]["layers"])
    assert final.spec.settings["layers"] == final.model_facts["layers"] == layers
    assert (tried.trial, final.trial) == ("one", None)
    assert final.tuning is not None
    assert final.tuning.energy_j == pytest.approx(tried.window_energy_j)
    journal = (book.folder / ledger.JOURNAL).read_bytes()[: final.tuning.journal_bytes]
    assert not [p for p in packed.problems(journal, final.tuning, final) if not p.warns]
    assert tuning.result(book).times == pytest.approx(tried.energy_j / final.energy_j)
    assert final.spec.seed_origin == "harness"
