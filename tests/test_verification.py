"""T3: `bench verify` trains an entry again and says whether it agrees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import record as records
from bench import run as running
from bench import verification
from bench.record import Record, RunCost
from bench.run import Request, Seed
from bench.submission import EntryFile
from tests.command import Command, Said, write_reviews
from tests.rank.records import make_record

SETTINGS = {"vocabulary_size": "300", "epochs": "1", "batch_size": "32"}
PLACE = "sst2/mine"
ACCURACIES, WATT_HOURS = (0.780, 0.784, 0.776), (5.0, 5.1, 4.9)


class World:
    """A folder with the data, an entry below `results` and runs below `runs`: records alone."""

    def __init__(self, folder: Path, bench: Command) -> None:
        self._bench = bench
        write_reviews(folder / "reviews", train=200, scored=40)
        request = Request("sst2", "transformer-tiny", data="reviews", device="cpu")
        self.plan = running.prepare(replace(request, settings=SETTINGS))

    def record(self, seed: int, **facts: Any) -> Record:
        spec = self.plan.spec(Seed(seed, "harness")).model_dump() | facts.pop("spec", {})
        facts = {
            "code_sha256": running.code_sha256(),
            "accuracy": 0.78,
            "energy_j": 18_000.0,
        } | facts
        return make_record(spec=spec, hardware=self.plan.hardware, **facts)

    def entry(self, made: Sequence[Record], name: str = "mine") -> None:
        for one in made:
            self._write(one, Path("results") / "sst2" / name / one.run_id)

    def made(self, made: Sequence[Record]) -> None:
        for one in made:
            self._write(one, Path("runs") / "sst2" / one.run_id)

    def _write(self, one: Record, folder: Path) -> None:
        folder.mkdir(parents=True)
        records.write(one, folder)

    def three(
        self, first_seed: int, better: float = 0.0, times: float = 1.0, **facts: Any
    ) -> list[Record]:
        """Runs that are `better` by so much accuracy, at so many times the energy."""
        return [
            self.record(first_seed + i, accuracy=a + better, energy_j=3600 * w * times, **facts)
            for i, (a, w) in enumerate(zip(ACCURACIES, WATT_HOURS, strict=True))
        ]

    def verify(self, *arguments: object, entry: str = PLACE) -> Said:
        given = ("--data", "reviews", "--device", "cpu", "--idle", 0)
        return self._bench("verify", entry, *given, *arguments)

    def report(self, code: int, *arguments: object) -> dict[str, Any]:
        said = self.verify("--json", *arguments)
        assert said.code == code, said.out + said.err
        found: dict[str, Any] = json.loads(said.out)
        return found


@pytest.fixture
def world(bench: Command, tmp_path: Path) -> World:
    return World(tmp_path, bench)


def test_an_honest_entry_agrees(world: World) -> None:
    world.entry(world.three(1))
    world.made(world.three(11))
    said = world.verify()
    assert said.code == 0, said.out + said.err
    text = " ".join(said.out.split())
    assert "agrees in accuracy and energy" in text
    assert "code the entry's own" in text
    assert f"--verifies {PLACE} --title" in text
    found = world.report(0)
    assert (found["verdict"], found["covers"]) == ("agrees", ["accuracy", "energy"])
    assert (len(found["made_runs"]), found["attempts"]) == (3, 3)
    assert found["accuracy"]["bound"] == verification.SKILL_APART
    assert found["energy"]["bound"] == pytest.approx(0.132, abs=0.001)  # ln(1 + 0.1 * sqrt(2))


@pytest.mark.parametrize(
    ("better", "times", "what"), [(0.05, 1.0, "accuracy"), (0.0, 0.5, "energy")]
)
def test_an_entry_that_claims_more_disagrees(
    world: World, better: float, times: float, what: str
) -> None:
    """Five points more, or half the energy."""
    world.entry(world.three(1, better, times))
    world.made(world.three(11))
    found = world.report(1)
    assert found["verdict"] == found[what]["verdict"] == "disagrees"
    other = {"accuracy", "energy"} - {what}
    assert found["covers"] == list(other)
    assert abs(found[what]["difference"]) - found[what]["half"] > found[what]["bound"]


def test_what_scatters_too_much_is_undecided_and_says_how_many_runs_would_tell(
    world: World,
) -> None:
    world.entry(world.three(1))
    for seed, watt_hours in ((11, 4.4), (12, 5.0), (13, 5.6)):
        world.made([world.record(seed, accuracy=0.78, energy_j=3600 * watt_hours)])
    found = world.report(3)
    assert (found["verdict"], found["energy"]["verdict"]) == ("undecided", "undecided")
    wanted = found["energy"]["runs_wanted"]
    assert wanted > 3
    assert f"--runs {wanted} would tell" in " ".join(world.verify().out.split())


def test_an_entry_that_scatters_too_much_can_not_be_told(world: World) -> None:
    world.entry([world.record(i, energy_j=3600 * wh) for i, wh in ((1, 3.0), (2, 5.0), (3, 8.0))])
    world.made(world.three(11))
    found = world.report(3)
    assert (found["energy"]["verdict"], found["energy"]["runs_wanted"]) == ("undecided", None)
    assert "no number of runs here would tell" in " ".join(world.verify().out.split())


def test_one_run_is_undecided(world: World) -> None:
    world.entry(world.three(1))
    world.made([world.record(11)])
    found = world.report(3, "--runs", 1)
    assert found["accuracy"]["reason"] == "one run tells nothing of its scatter"


def test_the_entry_may_be_one_run(world: World) -> None:
    world.entry([world.record(1)])
    world.made(world.three(11))
    assert world.report(0)["verdict"] == "agrees"
    (folder,) = Path("results/sst2/mine").iterdir()
    assert world.verify(entry=str(folder)).code == 0


def unsure(record: Record) -> Record:
    domains = [d.model_copy(update={"uncertainty_j": 1e9}) for d in record.domains]
    return record.model_copy(update={"domains": domains})


def test_an_entry_can_not_widen_its_bounds(world: World) -> None:
    """By wild accuracies of its own, or a meter that knows nothing."""
    wild = [world.record(i, accuracy=a) for i, a in ((1, 0.95), (2, 0.70), (3, 0.95))]
    far = [unsure(r) for r in world.three(1, times=0.5)]
    here = world.three(11)
    assert verification.accuracy(wild, here).bound == verification.SKILL_APART
    assert verification.energy(far, here).verdict == "disagrees"
    best = [
        r.model_copy(update={"metric": r.metric.model_copy(update={"chance": 0.62})})
        for r in world.three(1, better=0.05)
        if r.metric
    ]
    assert verification.accuracy(best, here).verdict == "disagrees"


def test_a_noisy_task_has_a_wider_bound(world: World) -> None:
    noisy = [world.record(20 + i, accuracy=a) for i, a in enumerate((0.70, 0.78, 0.86))]
    bound = verification.accuracy(world.three(1), noisy).bound
    assert bound is not None
    assert bound > 2 * verification.SKILL_APART


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"spec": {"hardware": "1 x Another GPU"}}, "the hardware is another"),
        ({"level": "M2"}, "the level of the meters is another: M1 here, M2 there"),
        ({"level": "M0"}, "the level of the meters is another: M1 here, M0 there"),
    ],
)
def test_energies_that_do_not_compare_are_not_compared(
    world: World, facts: dict[str, Any], said: str
) -> None:
    world.entry(world.three(1, times=0.5, **facts))
    world.made(world.three(11))
    found = world.report(0)
    assert (found["verdict"], found["covers"]) == ("agrees", ["accuracy"])
    assert found["energy"]["verdict"] == "not compared"
    assert said in found["energy"]["reason"]
    assert "nothing is shown of the energy" in " ".join(world.verify().out.split())


def test_two_estimates_show_nothing(world: World) -> None:
    energy = verification.energy(world.three(1, level="M0"), world.three(11, level="M0"))
    assert (energy.verdict, "estimates" in energy.reason) == ("not compared", True)


def test_other_code_is_said(world: World) -> None:
    world.entry(world.three(1, code_sha256="0" * 64))
    world.made(world.three(11))
    found = world.report(0)
    assert found["same_code"] is False
    text = " ".join(world.verify().out.split())
    assert "bench's code was 000000000000" in text
    assert "agreement is weaker" in text


def test_names_of_a_stranger_s_are_shown_as_they_can_be_seen(world: World) -> None:
    facts = {"code_sha256": "\x1b[2J" + "0" * 60, "bench_version": "\x1b[31m0.1"}
    world.entry(world.three(1, **facts))
    text = "".join(world.verify("--plan").out.split())
    assert "\x1b" not in text
    assert "\\u001b[31m0.1" in text
    world.entry([world.record(9, spec={"checkpoint_sha256": "\x1b[2J"})], "other")
    assert "\x1b" not in world.verify(entry="sst2/other").err


def test_every_run_of_the_same_counts_and_no_other(world: World) -> None:
    """Failed ones as attempts; none of the entry's, of its seeds, of given seeds, of a sweep."""
    entry, fresh = world.three(1), world.three(11)
    world.entry(entry)
    given = world.record(30, spec={"seed_origin": "user"})
    others = [
        world.record(31, spec={"settings": world.plan.settings | {"epochs": 2.0}}),
        world.record(32, code_sha256="0" * 64),
        world.record(33, trial="sweep"),
        world.record(2),
        given,
    ]
    world.made([*entry, *fresh, *others, world.record(34, status="failed")])
    found = world.report(0)
    assert found["made_runs"] == [r.run_id for r in fresh]
    assert found["attempts"] == 4
    assert "1 that came to no end" in " ".join(world.verify().out.split())


def test_a_plan_trains_nothing(world: World) -> None:
    world.entry(world.three(1))
    said = world.verify("--plan", "--runs", 4)
    assert said.code == 0, said.err
    text = " ".join(said.out.split())
    assert "0 at hand, 4 to make" in text
    assert "about 20.0 Wh and 6 min 20 s, as it says" in text
    assert not Path("runs").exists()


def part() -> RunCost:
    facts: dict[str, Any] = dict.fromkeys(RunCost.model_fields)
    return RunCost(**facts | {"role": "part", "run_id": "a" * 16, "energy_j": 1.0, "limits": {}})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"spec": {"recipe": "./mine.py"}}, "its recipe is not in `bench recipes`"),
        ({"spec": {"recipe": "program"}}, "bench measure --task"),
        ({"spec": {"model": "/tmp/model"}}, "its model is not in `bench models`"),
        ({"spec": {"recipe": "baseline\x1b[2J"}}, "its spec has signs that can't be shown"),
        ({"spec": {"edition": "0.9"}}, "it is of edition 0.9"),
        ({"spec": {"nodes": 2, "processes": 2}}, "trained on 2 machines together"),
        ({"spec": {"task_version": 2}}, "its task_version was 2, and here it is 1"),
        ({"spec": {"track": "finetune"}}, "its track was finetune"),
        ({"spec": {"budget": "1min", "hardware": "1 x GPU"}}, "its budget of 1min is more or less"),
        ({"charged_runs": [part()]}, "trained in 2 parts"),
    ],
)  # fmt: skip
def test_what_can_not_be_made_again_is_said_before_anything_is_trained(
    world: World, facts: dict[str, Any], said: str
) -> None:
    world.entry([world.record(1, **facts)])
    refused = world.verify()
    assert refused.code == 2, refused.out
    assert f"error: {PLACE} can't be made again here: " in refused.err
    assert said in refused.err
    assert not Path("runs").exists()


def test_other_data_a_device_that_is_not_there_and_a_teacher_by_path_are_said(
    world: World, tmp_path: Path
) -> None:
    world.entry([world.record(1)])
    write_reviews(tmp_path / "other", train=200, scored=30)
    other = world.verify("--data", "other")
    assert "the data at hand has other fingerprints" in other.err
    assert world.verify("--device", "cuda:9").code == 2
    settings = world.plan.settings | {
        "teacher": "../teacher", "teacher_model": "", "teacher_epochs": 0.0,
        "teacher_learning_rate": 0.0, "alpha": 0.5, "temperature": 2.0, "hidden_loss": 0.0,
    }  # fmt: skip
    taught = {"recipe": "distill", "settings": settings}
    world.entry([world.record(5, spec=taught)], "taught")
    assert "'../teacher' is not the id of a run" in world.verify(entry="sst2/taught").err
    taught["settings"] = settings | {"teacher": "a" * 16}
    world.entry([world.record(6, spec=taught)], "missing")
    world.entry([world.record(7, run_id="a" * 16)], "others")  # and not among the user's own
    assert f"its teacher, run {'a' * 16}, is not below runs" in (
        world.verify(entry="sst2/missing").err
    )


def test_what_is_no_entry_is_said(world: World) -> None:
    assert "there is no entry sst2/mine" in world.verify().err
    Path("results/sst2/mine").mkdir(parents=True)
    assert "holds no run that counts" in world.verify().err
    world.entry([world.record(1), world.record(2, code_sha256="0" * 64)], "two")
    assert "runs of several specs or codes" in world.verify(entry="sst2/two").err
    gone = EntryFile(
        edition="1.0", bench_version="0.1.0", submitted_at="2026-01-01T00:00:00Z",
        kind="retraction", task="sst2", title="t", authors=["a"], retracts="sst2/two", reason="r",
    )  # fmt: skip
    Path("results/sst2/mine/entry.json").write_text(gone.model_dump_json())
    assert "is a retraction" in world.verify().err


def test_what_can_not_be_read_does_not_disagree(world: World) -> None:
    world.entry(world.three(1))
    Path("results/sst2/mine/entry.json").write_text("{}")
    said = world.verify()
    assert (said.code, "can't be read" in said.err) == (3, True)


def test_it_trains_what_is_left_and_goes_on_after_an_interrupt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = world.three(1)
    world.entry(claimed)
    trained = running.run

    def interrupted(*arguments: Any, **options: Any) -> Any:
        record, folder, outcome = trained(*arguments, **options)
        return record, folder, replace(outcome, end_asked=True)

    monkeypatch.setattr(running, "run", interrupted)
    said = world.verify("--runs", 3)
    assert said.code == 130, said.out + said.err
    assert "the same command goes on" in said.out
    monkeypatch.setattr(running, "run", trained)
    said = world.verify("--runs", 2)
    assert "1 at hand, 1 to make" in " ".join(said.out.split())
    made = [records.read(f) for f in records.folders([Path("runs")])]
    assert len(made) == len({r.spec.seed for r in made}) == 2
    for one in made:
        assert one.status == "complete"
        assert one.spec.seed_origin == "harness"
        assert one.spec.settings == claimed[0].spec.settings
        assert one.entry_key() == claimed[0].entry_key()
