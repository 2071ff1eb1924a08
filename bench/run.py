"""A task card, a model and a recipe become a frozen spec; a spec becomes a metered run.

Everything that may need the network or the user's attention (data, checkpoint, device) happens in
`prepare`, before any window opens.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import (
    EDITION,
    account,
    cards,
    lineage,
    measure,
    merging,
    metrics,
    nodes,
    recipes,
    workfolder,
)
from bench import record as records
from bench.account import Start
from bench.cards import Card
from bench.child import Limit, Outcome, Program, Progress
from bench.errors import BenchError, MissingExtra, UsageError
from bench.events import REHEARSAL
from bench.interrupts import undisturbed
from bench.learn import models, objectives, sources
from bench.learn.models.download import TRACKS, Track
from bench.nodes import First, Other, Place
from bench.power import carbon, gpus, limit, machine
from bench.power.meter import Meter
from bench.power.probes import with_found
from bench.record import Metric, Record, Reference, RunCost, Spec, Tuning, Warn
from bench.units import Budget, parse_budget
from bench.workfolder import fresh, scored

if TYPE_CHECKING:
    from bench.learn.data import Resolved

PLAN_STEPS = 20


@dataclass(frozen=True)
class Request:
    """What the user typed."""

    task: str
    model: str | None = None  # None: the default of the task's family
    recipe: str | None = None  # None: the default
    pretrained: bool | None = None  # None: as suits the task
    settings: Mapping[str, str] = field(default_factory=dict)
    data: str | None = None
    device: str | None = None  # None: auto
    nproc: int | None = None  # processes that train together; None: 1, or as the run continued
    place: Place | None = None  # of this machine among several, each with nproc processes
    region: str | None = None
    pue: str | None = None
    budget: str | None = None
    task_folders: Sequence[Path] = ()
    replay: Path | None = None
    probes: Sequence[str] = ()  # beside those that are found
    idle_s: float = 3.0
    save_every_s: float | None = None  # None: nothing is kept
    trial: str | None = None  # of a sweep of this name: tune is scored at the end, too; or PROFILE
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """What the sweep took that chose the settings, as `record.Tuning` has it."""
    find_run: Callable[[str], Path] = Path
    """The folder of a run that a setting names, as the user did."""


@dataclass(frozen=True)
class Seed:
    value: int
    origin: Literal["harness", "user"]


def seeds(runs: int, given: int | None) -> list[Seed]:
    """Distinct seeds drawn here, or the one that the user gives to replay a run."""
    if given is not None:
        return [Seed(given, "user")]
    drawn: dict[int, None] = {}
    while len(drawn) < runs:
        drawn[secrets.randbelow(2**31)] = None
    return [Seed(value, "harness") for value in drawn]


@dataclass(frozen=True)
class Plan:
    """What will run: resolved, checked, and the same for every seed."""

    card: Card
    resolved: Resolved
    model: str
    objective: str
    located: models.Located
    track: Track
    recipe: str
    settings: dict[str, records.Scalar]
    device: str
    environment: dict[str, str]
    visible_gpus: list[str]
    hardware: str
    scenario: carbon.Scenario
    region_asked: str | None
    pue_asked: str | None
    budget: Budget | None
    notes: list[Warn]
    replay: Path | None
    probes: Sequence[str] | None
    idle_s: float
    save_every_s: float | None
    upstream: list[RunCost]
    weights: Mapping[str, Path]  # that settings of the recipe name, by setting
    processes: int  # of all machines
    own_recipes: Mapping[str, str]  # files of the user's, by recipe
    charged_runs: list[RunCost]
    trial: str | None = None
    tuning: Tuning | None = None
    limits_w: Mapping[str, float] = field(default_factory=dict)
    """The power limits that the recipe asks for, by the GPU's UUID."""
    state: Path | None = None  # of the run that this one goes on with
    place: Place | None = None  # of this machine among several

    @property
    def nodes(self) -> int:
        return self.place.nodes if self.place else 1

    @property
    def processes_here(self) -> int:
        return self.processes // self.nodes

    def spec(self, seed: Seed) -> Spec:
        return Spec(
            edition=EDITION,
            task=self.card.name,
            task_version=self.card.version,
            data=self.resolved.identity,
            track=self.track,
            model=self.model,
            checkpoint_sha256=self.located.sha256,
            recipe=self.recipe,
            settings=self.settings,
            device=self.device,
            hardware=self.hardware,
            processes=self.processes,
            nodes=self.nodes,
            budget=self.budget.text if self.budget else None,
            seed=seed.value,
            seed_origin=seed.origin,
        )


def prepare(request: Request, elsewhere: bool = False) -> Plan:
    """Resolve everything that a run needs; UsageError for what the user got wrong. What will run
    `elsewhere` has a device that nobody knows yet: the processor stands in for it."""
    card = cards.load(request.task, request.task_folders)
    metrics.check(card)
    if request.replay and not request.replay.is_file():
        raise UsageError(f"there is no trace {request.replay}", "a run's trace.parquet")
    model = request.model or models.default(card.family, card.kind)
    pretrained = models.start(model, card.family, request.pretrained)
    kind = models.describe(model, pretrained, card.family)["kind"]
    objective = objectives.name_of(card.family, kind, model, card.kind)
    recipe = recipes.named(request.recipe or recipes.DEFAULT)
    settings = recipes.resolve(recipe, model, request.settings, card.family, pretrained)
    layers = models.layers(model, pretrained, card.family, settings)
    budget = parse_budget(request.budget, counted=True) if request.budget else None
    scenario = carbon.asked(request.region, request.pue)
    if not importlib.util.find_spec("torch"):
        raise MissingExtra("training")
    here = request.nproc or 1
    processes = here * (request.place.nodes if request.place else 1)
    asked = "cpu" if elsewhere else request.device or "auto"
    device, environment, visible, notes = _device(asked, here, processes)
    kept = request.save_every_s is not None
    _check_processes(processes, kept and (kind, card.family) == ("elmo", "language-modelling"))
    known = "" if elsewhere else device.partition(":")[0]
    use = recipes.Use(card.family, model, kind, pretrained, known, processes, layers)
    recipes.check(recipe, use, settings)
    limits_w = _limits_w(recipe, settings, visible)
    resolved = sources.resolve(card, request.data)
    located = models.locate(model, pretrained)
    others = _others(card, recipe, settings, request)
    return Plan(
        card=card,
        resolved=resolved,
        model=model,
        objective=objective,
        located=located,
        track=max([located.track, *others.tracks], key=TRACKS.index),
        recipe=recipe,
        settings=settings | others.settings,
        device=device,
        environment=environment,
        visible_gpus=visible,
        hardware=machine.hardware_class(visible),
        scenario=scenario,
        region_asked=request.region,
        pue_asked=request.pue,
        budget=budget,
        notes=notes,
        replay=request.replay,
        probes=with_found(request.probes),
        idle_s=request.idle_s,
        save_every_s=request.save_every_s,
        upstream=_upstream(located, others),
        weights=others.weights,
        processes=processes,
        own_recipes=recipes.own_files(recipe),
        charged_runs=others.charged,
        limits_w=limits_w,
        trial=request.trial,
        tuning=Tuning.model_validate(request.tuning) if request.tuning else None,
        place=request.place,
    )


def _limits_w(
    recipe: str, settings: Mapping[str, records.Scalar], visible: Sequence[str]
) -> dict[str, float]:
    """What the recipe wants each GPU limited to; UsageError where that can't be."""
    built = recipes.build(recipe, settings)
    found = {}
    for gpu in gpus.listed() if visible else ():
        default_w = gpu.facts["default_power_limit_w"]
        watts = built.power_limit_w(default_w or 0.0)
        if gpu.uuid not in visible or watts is None:
            continue
        least_w, most_w = (gpu.facts[f"{end}_power_limit_w"] for end in ("least", "most"))
        if None in (default_w, least_w, most_w):
            why = gpu.facts["not_given"].get("default_power_limit_w", "its range is not given")
            raise UsageError(f"{gpu.name} takes no power limit: {why}")
        if gpu.facts["mig"]:
            raise UsageError(f"{gpu.name} is shared: a power limit would be that of others, too")
        if not least_w <= watts <= most_w:
            raise UsageError(
                f"a power limit of {watts:g} W is not what {gpu.name} takes",
                f"it takes {least_w:g} to {most_w:g} W, and {default_w:g} W by default",
            )
        limit.check(gpu.uuid)
        found[gpu.uuid] = watts
    return found


@contextmanager
def _limited(plan: Plan) -> Iterator[None]:
    """With the power limits that the recipe asks for, or those that were before a crash."""
    if plan.visible_gpus:
        limit.put_back_left()
    with limit.held(plan.limits_w):
        yield


@dataclass(frozen=True)
class _Others:
    """The models that settings of a recipe name."""

    settings: dict[str, records.Scalar] = field(default_factory=dict)  # as a spec has them
    weights: dict[str, Path] = field(default_factory=dict)
    tracks: list[Track] = field(default_factory=list)
    charged: list[RunCost] = field(default_factory=list)


def _others(
    card: Card, recipe: str, settings: Mapping[str, records.Scalar], request: Request
) -> _Others:
    """Where they are: a model's checkpoint, and the saved weights of a run, which is charged. What
    is asked of models that have both holds for these, too."""
    found = _Others()
    for name in recipes.found_before(recipe, "model"):
        if model := str(settings[name] or ""):
            asked = request.pretrained if models.has_both(model) else None
            located = models.locate(model, models.start(model, card.family, asked))
            found.tracks.append(located.track)
            if located.folder:
                found.weights[name] = located.folder
    for name in recipes.found_before(recipe, "run"):
        if run := str(settings[name] or ""):
            folder = request.find_run(run)
            teacher = records.read(folder)
            lineage.check_teacher(teacher, folder, card.name)
            found.settings[name] = teacher.run_id
            found.weights[name] = (folder / lineage.WEIGHTS).parent
            found.tracks.append(teacher.spec.track)
            found.charged.append(lineage.teacher(teacher, folder))
    return found


def _upstream(located: models.Located, others: _Others) -> list[RunCost]:
    """What made the weights that a run begins with, but for what is charged to it."""
    folders = [f for f in (located.folder, *others.weights.values()) if f]
    charged = {cost.run_id for cost in others.charged}
    found = {c.run_id: c for folder in folders for c in lineage.upstream(folder)}
    return [cost for run_id, cost in found.items() if run_id not in charged]


def run(
    plan: Plan,
    work: Path,
    root: Path,
    seed: Seed,
    *,
    references: Sequence[Reference] = (),
    on_folder: Callable[[Path], None] = lambda folder: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    others: First | None = None,
    limit: Limit | None = None,
) -> tuple[Record, Path, Outcome]:
    """One metered run in a fresh folder below `root`, which `on_folder` is told before it starts;
    its record is written whatever happens. With `others`, it is theirs, too. A `limit` takes the
    place of the budget's. A profile is not scored."""
    spec = plan.spec(seed)
    with _limited(plan):
        start = account.begin(
            plan.visible_gpus, plan.region_asked, pue=plan.pue_asked, spec=spec, notes=plan.notes,
            code_sha256=code_sha256(own_files(plan)), references=references,
            charged_runs=plan.charged_runs, upstream=plan.upstream, trial=plan.trial,
            tuning=plan.tuning,
        )  # fmt: skip
        folder = root / spec.task / start.run_id
        folder.mkdir(parents=True)
        on_folder(folder)
        if others:
            records.write_file(folder / merging.HELLOS, json.dumps(others.hellos, indent=1) + "\n")
            others.begin(run_id=start.run_id, spec=spec.model_dump(mode="json"))
        out = fresh(work / "out")

        def graded(ended: Outcome) -> tuple[Metric | None, Outcome]:
            if others:
                others.collect(folder)
            if plan.trial == records.PROFILE:
                return None, ended
            return scored(plan.card, plan.resolved, out, folder, ended, plan.objective)

        record, outcome = measure.run(
            _worker(plan, work, out, spec, folder, keep=_keep(plan, folder, start)),
            folder,
            start,
            Meter(folder, probes=plan.probes, replay=plan.replay),
            graded,
            budget=plan.budget if plan.budget and plan.budget.metered else None,
            limit=limit,
            intensity_g_per_kwh=plan.scenario.g_per_metered_kwh,
            idle_s=plan.idle_s,
            on_progress=on_progress,
            others=others,
        )
    assert isinstance(record, Record)
    lineage.settle(folder, record)
    if others:
        others.conclude(record.model_dump_json(), folder)
    return record, folder, outcome


def hello(plan: Plan, runs: int) -> dict[str, Any]:
    """What this machine says of itself to others that make the same runs."""
    spec = plan.spec(Seed(0, "user"))
    facts = spec.model_dump(mode="json", exclude={"hardware", "data", "settings"})
    return {
        "spec": {**spec.settings, **facts, "data": spec.data.fingerprints, "runs": runs},
        "code": code_sha256(own_files(plan)),
        "software": machine.software(),
        "hardware": plan.hardware,
        "gpus": plan.visible_gpus,
        "boot": machine.boot(),
    }


def together(plan: Plan, others: First) -> Plan:
    """The plan of all machines, for the first of them."""
    return replace(plan, hardware=nodes.hardware(others.hellos))


def take_part(
    plan: Plan,
    work: Path,
    root: Path,
    first: Other,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Record, str, Outcome]:
    """This machine's part of the next run of several: what it has metered is handed over to the
    first, whose record of the whole, and its folder there, come back."""
    assert plan.place
    begun = first.begun()
    spec = Spec.model_validate(begun["spec"])
    start = replace(
        account.begin(plan.visible_gpus, None, spec=spec, notes=plan.notes), run_id=begun["run_id"]
    )
    folder = records.part_folder(root / spec.task / start.run_id, plan.place.number)
    folder.mkdir(parents=True)
    records.write_file(folder / "node.json", json.dumps(start.dump(), indent=1) + "\n")
    meter = Meter(folder, probes=plan.probes)
    with undisturbed():
        with _limited(plan):
            outcome = measure.measure(
                _worker(plan, work, fresh(work / "out"), spec, folder), folder, start, meter,
                idle_s=plan.idle_s, on_progress=on_progress, others=first,
            )  # fmt: skip
            meter.stop().write_parquet(folder / "trace.parquet")
        (folder / "trace.log").unlink(missing_ok=True)
        first.hand_over(folder)
    told = first.concluded()
    return Record.model_validate_json(told["record"]), told["folder"], outcome


def _keep(plan: Plan, folder: Path, start: Start) -> dict[str, Any] | None:
    """What the worker is told of keeping."""
    if plan.save_every_s is None:
        return None
    every_s = plan.save_every_s
    return {"folder": str(folder.absolute()), "run_id": start.run_id, "every_s": every_s}


def last_words(log: Path) -> str | None:
    """The last line of what a process said, if it was started."""
    said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return said[-1] if said else None


@dataclass(frozen=True)
class Forecast:
    """What a run would come to, from a few throw-away steps."""

    steps: int
    total_steps: int
    duration_s: float
    energy_j: float | None  # None: a meter that counts could not be read
    level: str


def forecast(
    plan: Plan, work: Path, *, on_progress: Callable[[Progress], None] = lambda progress: None
) -> Forecast:
    """Run at most PLAN_STEPS steps under the meter, keep nothing, and extrapolate."""
    spec = plan.spec(Seed(0, "user"))
    folder = fresh(work / "plan")
    meter = Meter(folder, probes=plan.probes, replay=plan.replay)
    out = fresh(work / "out")
    start = account.begin(plan.visible_gpus, None, spec=spec)
    with undisturbed(), _limited(plan):
        outcome = measure.measure(
            _worker(plan, work, out, spec, folder, PLAN_STEPS), folder, start, meter,
            idle_s=0.0, on_progress=on_progress,
        )  # fmt: skip
        trace = meter.stop()
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    if outcome.status != "complete":
        raise BenchError(
            f"the trial steps failed: {outcome.failure}", last_words(folder / records.LOG)
        )
    return _extrapolate(folder, start, trace)


def _extrapolate(folder: Path, start: Start, trace: Any) -> Forecast:
    """Preparation as measured; training and prediction scaled by their shares."""
    events = account.read_events(folder / "events.jsonl")
    told = next(e for e in events if e["event"] == "plan")
    at = {e["event"]: e["t_ns"] for e in events}
    window = account.Window(at["window_start"], at["window_stop"])
    charges = account.charged(start, trace.domains)
    scale = {"train": 1 / told["share_of_training"], "predict": 1 / told["predict_share"]}
    scale[REHEARSAL] = 0.0
    scale |= {e["phase"]: 1 / e["share"] for e in events if e["event"] == "plan_part"}
    duration_s = energy_j = 0.0
    for name, begin, end in account.phase_spans(events, window):
        factor = scale.get(name, 1.0)
        joules = sum(j for d, j in trace.phase_energy_j(begin, end, charges).items() if charges(d))
        duration_s += factor * (end - begin) / 1e9
        energy_j += factor * joules
    expected = account.expected(start)
    domains = trace.energy(window.start_ns, window.stop_ns, charges, expected)
    counted = [d for d in domains if d.charged]
    known = counted and all(d.energy_j is not None for d in counted)
    return Forecast(
        steps=told["steps"], total_steps=told["total_steps"], duration_s=duration_s,
        energy_j=energy_j if known else None, level=min((d.level for d in counted), default="M0"),
    )  # fmt: skip


_ONLY_SHOWN = ("carbon", "doctor", "watch", "naming", "reevaluate")  # they change no number


def code_sha256(others: Iterable[Path] = ()) -> str:
    """SHA-256 over what can change a number: metering, learning, recipes, and the `others`; not
    what only shows."""
    package = Path(__file__).parent
    alone = (
        "run",
        "program",
        "workfolder",
        "measure",
        "child",
        "account",
        "lineage",
        "nodes",
        "merging",
    )
    files = [package / f"{name}.py" for name in alone]
    for side in ("power", "learn", "recipes", "metrics"):
        found = [p for p in (package / side).rglob("*.*") if p.suffix in (".py", ".toml")]
        files += [p for p in found if p.stem not in _ONLY_SHOWN]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    for path in others:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def own_files(plan: Plan) -> list[Path]:
    """The recipe's files outside the package."""
    files = [Path(recipes.file(part)) for part in plan.recipe.split("+")]
    return [f for f in files if not f.is_relative_to(Path(__file__).parent)]


def _worker(
    plan: Plan,
    work: Path,
    out: Path,
    spec: Spec,
    folder: Path,
    plan_steps: int | None = None,
    keep: dict[str, Any] | None = None,
) -> Program:
    """The learning process: its job, and a log in the run's folder."""
    checkpoint = plan.located.folder
    job = {
        "spec": spec.model_dump(mode="json"),
        "objective": plan.objective,
        "checkpoint": str(checkpoint) if checkpoint else None,
        "plan_steps": plan_steps,
        "keep": keep,
        "state": str(plan.state.absolute()) if plan.state else None,
        "weights": {name: str(folder.absolute()) for name, folder in plan.weights.items()},
        "own_recipes": dict(plan.own_recipes),
        "score_tune": plan.trial not in (None, records.PROFILE),
        "profile": plan.trial == records.PROFILE,
    }
    path = work / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return Program(
        [*_launcher(plan), sys.executable, "-P", "-m", "bench.learn.worker", str(path)],
        _environment(plan, work, out),
        stop_file=out / "stop",
        log=folder / records.LOG,
    )


def _launcher(plan: Plan) -> list[str]:
    """What starts several processes, and ends all when one of them fails."""
    if plan.processes == 1:
        return []
    torchrun = [sys.executable, "-P", "-m", "torch.distributed.run", "--no-python"]
    torchrun += [f"--nproc-per-node={plan.processes_here}"]
    if (at := plan.place) is None:
        return [*torchrun, "--standalone", "--local-addr=127.0.0.1"]
    return [
        *torchrun, f"--nnodes={at.nodes}", f"--node-rank={at.number}",
        f"--master-addr={at.host}", f"--master-port={at.port}",
    ]  # fmt: skip


_TF32 = {"NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"}  # float32 is float32


def _environment(plan: Plan, work: Path, out: Path) -> dict[str, str]:
    given = {k: v for k, v in os.environ.items() if k not in _TF32}
    available = machine.processors()  # with a container's quota, which libraries don't see
    processors = str(max(1, available // plan.processes_here))
    alone = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    package = str(Path(__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {
        "OMP_NUM_THREADS": processors,
        "RAYON_NUM_THREADS": processors,
        **workfolder.environment(work, out, given),
        **plan.environment,
        **(alone if plan.processes > 1 and plan.place is None else {}),
        "PYTHONPATH": f"{package}{os.pathsep}{path}" if path else package,
        "HF_HUB_OFFLINE": "1",  # no network inside the window
    }


def _check_processes(processes: int, keeps_streams: bool) -> None:
    if processes > 1 and not sys.platform.startswith("linux"):
        raise UsageError("--nproc trains on Linux alone")
    if processes > 1 and keeps_streams:
        raise UsageError(
            "--nproc and --save don't combine here: each process reads streams of its own, and one "
            "state has those of one process"
        )


def device(asked: str) -> tuple[str, dict[str, str]]:
    """What auto, cpu or cuda:N is for one process, and what its environment needs for it;
    UsageError where there is no such device."""
    found, environment, _, _ = _device(asked, 1, 1)
    return found, environment


def _device(
    asked: str, here: int, processes: int
) -> tuple[str, dict[str, str], list[str], list[Warn]]:
    """(device, child's environment, UUIDs of the GPUs it sees, notes) for auto, cpu or cuda:N. Of
    several processes each of those `here` has a GPU of its own, of the visible ones the first."""
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", asked)
    if not match:
        raise UsageError(f"'{asked}' is not a device", "auto, cpu, cuda or cuda:0")
    if asked == "cpu":
        return "cpu", {"CUDA_VISIBLE_DEVICES": ""}, [], []
    visible = machine.visible_gpus(os.environ)
    if asked == "auto" and not visible:
        return "cpu", {"CUDA_VISIBLE_DEVICES": ""}, [], []  # nor one that bench can't read
    if not _torch_has_cuda():
        if asked != "auto":
            raise UsageError(
                "this torch was built without CUDA",
                "install a CUDA build of torch, or --device cpu",
            )
        note = Warn(
            id="gpu-unused",
            message=f"{len(visible)} GPU(s) are visible, but this torch was built without CUDA: "
            "the training uses the CPU and the idle GPUs are charged (--device cpu hides them)",
        )
        return "cpu", {}, visible, [note, *machine.unmetered(os.environ)]
    if processes > 1:
        if match[1]:
            raise UsageError(
                f"{asked} is one GPU, and each process takes one of its own",
                "--device cuda; CUDA_VISIBLE_DEVICES says which they are",
            )
        if here > len(visible):
            raise UsageError(f"--nproc {here}: {len(visible)} GPU(s) are visible here")
        chosen = visible[:here]
        return "cuda", {"CUDA_VISIBLE_DEVICES": ",".join(chosen)}, chosen, []
    if len(visible) == 1 and not match[1]:
        notes = machine.unmetered(os.environ)
        return "cuda", {}, visible, notes  # as the user set it: a part of a board stays that part
    index = int(match[1] or 0)
    if index >= len(visible):
        raise UsageError(f"there is no {asked}", f"{len(visible)} GPU(s) are visible here")
    uuid = visible[index]
    return "cuda", {"CUDA_VISIBLE_DEVICES": uuid}, [uuid], []


def _torch_has_cuda() -> bool:
    """Whether the installed torch is a CUDA build, without the seconds that importing it takes."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    return bool(re.search(r"^cuda\b[^=]*=\s*['\"]", text, re.MULTILINE))
