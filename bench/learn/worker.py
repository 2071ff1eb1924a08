"""The child that learns: `python -m bench.learn.worker JOB.json` under a meter.

Reads the task's folder (BENCH_TASK_DIR), trains as the job's spec says, and writes the
predictions of the scored split (BENCH_OUT), of which it has the inputs alone.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bench import recipes
from bench.errors import BenchError, UsageError
from bench.events import REHEARSAL, Events
from bench.learn import ranks
from bench.record import Spec
from bench.units import parse_budget

if TYPE_CHECKING:
    import numpy as np
    import torch

    from bench.learn.batches import Rows
    from bench.learn.keeper import Keeper
    from bench.learn.loop import Training
    from bench.learn.state import State


@dataclass(frozen=True)
class Keep:
    """Where a run keeps its state and weights, and how often the state."""

    folder: Path
    run_id: str
    every_s: float


@dataclass(frozen=True)
class Job:
    """What the parent asks for. With `plan_steps`, at most so many steps, thrown away."""

    spec: Spec
    objective: str
    checkpoint: Path | None
    plan_steps: int | None
    keep: Keep | None  # None: nothing is kept
    state: Path | None  # of the run that this one goes on with
    weights: dict[str, Path]  # that settings of the recipe name, by setting
    score_tune: bool = False  # at the end
    profile: bool = False  # a few predictions stand for all, and are thrown away

    @classmethod
    def read(cls, path: Path) -> Job:
        facts = json.loads(path.read_bytes())
        checkpoint, keep, state = (facts.get(name) for name in ("checkpoint", "keep", "state"))
        recipes.know(facts.get("own_recipes", {}))
        return cls(
            spec=Spec.model_validate(facts["spec"]),
            objective=facts["objective"],
            checkpoint=Path(checkpoint) if checkpoint else None,
            plan_steps=facts["plan_steps"],
            keep=Keep(**{**keep, "folder": Path(keep["folder"])}) if keep else None,
            state=Path(state) if state else None,
            weights={name: Path(folder) for name, folder in facts.get("weights", {}).items()},
            score_tune=facts.get("score_tune", False),
            profile=facts.get("profile", False),
        )


@dataclass(frozen=True)
class Prepared:
    training: Training
    scored: Rows
    keeper: Keeper | None


def main(arguments: list[str]) -> int:
    events = Events()
    try:
        job = Job.read(Path(arguments[0]))
        if job.spec.processes > 1:
            ranks.end_with_launcher()
            events = ranks.RankEvents()
        events.send("run_start", seed=job.spec.seed, spec_sha256=job.spec.sha256())
        run(job, Path(os.environ["BENCH_TASK_DIR"]), Path(os.environ["BENCH_OUT"]), events)
    except BenchError as error:
        return _fail(events, type(error).__name__, error.message, error.hint)
    except OSError as error:
        return _fail(events, type(error).__name__, str(error), None)
    except MemoryError as error:
        return _fail(events, "OutOfMemory", str(error) or "out of memory", _MEMORY_HINT)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        return _fail(events, "OutOfMemory", str(error).splitlines()[0], _MEMORY_HINT)
    return 0


_MEMORY_HINT = "a smaller --set batch_size=..., batch_tokens=... or max_length=... needs less"


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _fail(events: Events, kind: str, message: str, hint: str | None) -> int:
    events.send("failure", kind=kind, message=message, hint=hint)
    print(f"error: {message}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    return 1


def run(job: Job, task_folder: Path, out: Path, events: Events) -> None:
    """Prepare, train and predict, each in its phase."""
    events.send("phase_start", phase="prepare")
    together = job.spec.processes > 1
    device = start(ranks.device(job.spec.device) if together else job.spec.device, job.spec.seed)
    events.send("devices", uuids=_uuids(device))
    from bench.learn import parallel

    if together:
        parallel.begin(device)
    _learn(job, task_folder, out, device, events)
    parallel.end()


def _learn(job: Job, task_folder: Path, out: Path, device: torch.device, events: Events) -> None:
    from bench.learn import parallel

    prepared = prepare(job, task_folder, device, events)
    if job.plan_steps is not None:
        plan(prepared, job.plan_steps, events)
        return
    from bench.learn.loop import score_tune, synchronise, train

    training, keeper = prepared.training, prepared.keeper
    synchronise(device)
    events.send("phase_start", phase="train")
    reason = train(training, training.batches())
    if reason == "budget" and training.step >= training.budget_ends:
        message = f"the budget of {job.spec.budget} is spent"
        events.send("warning", id="budget", message=message)
    if keeper:
        keeper.keep_state(training)  # before the recipe makes of it what can't be trained on
        events.send("phase_start", phase="train")
    if job.profile:
        synchronise(device)
        _end_profile(prepared, reason, events)
        return
    training.recipe.finish(training)
    synchronise(device)
    if job.score_tune:
        score_tune(training)
    if keeper:
        keeper.keep_weights(training)
    events.send("phase_start", phase="predict")
    predictions = training.objective.predict(training.model, prepared.scored)
    events.send("phase_stop", phase="predict")
    if parallel.rank() == 0:
        predictions.write(out / "predictions.parquet")
    if done := training.recipe.facts(training):
        events.send("model", **training.model.facts(), **done)
    events.send("run_stop", reason=reason)


def start(device_name: str, seed: int) -> torch.device:
    """Import torch and set what holds for the whole process."""
    keep_freed_memory()
    import torch

    device = torch.device(device_name)
    if device.type == "cuda":
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            why = str(error).splitlines()[0]
            raise UsageError(f"{device_name} can't be used: {why}", "--device cpu") from None
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for each length of a batch
    torch.manual_seed(seed)
    if device.type == "cpu":
        torch.set_num_threads(min(torch.get_num_threads(), len(os.sched_getaffinity(0))))
        torch.set_flush_denormal(True)
    return device


def keep_freed_memory() -> None:
    """Ask glibc to keep what is freed: otherwise each step's buffers are mapped and cleared by
    the kernel again."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**30)


_HALVES = {
    "bfloat16": ("slow-bf16", {"avx512_bf16", "amx_bf16", "bf16"}),
    "float16": ("slow-fp16", {"avx512_fp16", "amx_fp16", "asimdhp"}),
}
"""The warning where a processor emulates products in it, and what Linux says of one that does not
(AVX-512, AMX, or Arm's), by precision."""


def has_products(precision: str) -> bool:
    """Whether this processor multiplies numbers of a precision below float32."""
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True  # unknown: no ground for a warning
    return not _HALVES[precision][1].isdisjoint(facts.split())


def _uuids(device: torch.device) -> list[str]:
    import torch

    if device.type != "cuda":
        return []
    return [f"GPU-{torch.cuda.get_device_properties(device).uuid}"]


def prepare(job: Job, task_folder: Path, device: torch.device, events: Events) -> Prepared:
    """Read the texts, make or load tokenizer and model, tokenise, and let the recipe prepare."""
    from bench.learn import data
    from bench.learn.assembly import Parts, assemble
    from bench.learn.loop import Training

    spec = job.spec
    recipe = recipes.build(spec.recipe, spec.settings)
    half = recipe.precision
    if half in _HALVES and device.type == "cpu" and not has_products(half):
        message = f"this processor emulates {half}: it will be slower than float32 here"
        events.send("warning", id=_HALVES[half][0], message=message)
    state = _state(job)
    made = assemble(
        Parts(
            data.read_task_folder(task_folder), job.objective, recipe, spec.model, job.checkpoint,
            spec.seed, device, state,
        ),
        lambda what, done: events.send("progress", text=what, done=done, total=2),
    )  # fmt: skip
    for id_, message in getattr(made.objective, "warnings", ()):
        events.send("warning", id=id_, message=message)
    keeper = _keeper(job, made.tokenizer)
    training = Training(
        recipe, made.objective, made.model, made.splits["train"], made.splits["tune"], spec.seed,
        events, keeper, made, job.weights, job.plan_steps,
    )  # fmt: skip
    if state:
        go_on(training, state)
    training.budget_ends = training.step + _steps_of_budget(spec.budget, training)
    events.send("model", name=spec.model, **training.model.facts())
    events.send("progress", text="ready", done=2, total=2)
    return Prepared(training, made.splits["scored"], keeper)


def _state(job: Job) -> State | None:
    if job.state is None:
        return None
    from bench.learn.state import State

    return State(job.state)


def _keeper(job: Job, tokenizer: Any) -> Keeper | None:
    from bench.learn import parallel

    if job.keep is None or parallel.rank():
        return None
    from bench.learn.keeper import Keeper

    return Keeper(job.keep.folder, job.keep.run_id, job.keep.every_s, tokenizer)


def go_on(training: Training, state: State) -> None:
    """Continue where the state was kept; UsageError when nothing is left to do."""
    planned = state.facts["total_steps"]
    state.restore(training)
    training.first_step, total = training.step, training.total_steps
    if training.step >= total:
        raise UsageError(
            f"{training.step} steps were made, and {total} are asked for",
            "more: --set epochs=... or max_steps=...",
        )
    if planned != total:
        training.events.send(
            "warning",
            id="schedule",
            message=f"the learning rate was planned for {planned} steps until step "
            f"{training.step}, and for {total} since: no run in one piece is like that",
        )


def _steps_of_budget(text: str | None, training: Training) -> float:
    """The steps of this run that a budget of steps or tokens allows."""
    budget = parse_budget(text, counted=True) if text else None
    if budget is None or budget.metered:
        return math.inf
    if budget.tokens is not None:
        return max(1, training.steps_of(budget.tokens))
    return math.ceil(budget.steps or 0.0)


def plan(prepared: Prepared, most_steps: int, events: Events) -> None:
    """Time a few throw-away steps and predictions that stand for the whole run."""
    from bench.learn import sampling
    from bench.learn.loop import representative, synchronise, train

    training = prepared.training
    training.total_steps = min(training.total_steps, int(min(training.budget_ends, 2**62)))
    total, evaluations = training.total_steps, training.recipe.evaluations
    chosen, share = representative(training, min(most_steps, total))
    _rehearse(training, chosen, events)
    training.total_steps, training.recipe.evaluations = len(chosen), 0
    synchronise(training.model.device)
    events.send("phase_start", phase="train")
    started = time.monotonic()
    train(training, iter(chosen))
    synchronise(training.model.device)
    train_s = time.monotonic() - started

    predict_share = sampling.predict(training, prepared.scored, events)
    events.send(
        "plan",
        total_steps=total,
        steps=len(chosen),
        train_seconds=train_s,
        share_of_training=share,
        predict_share=predict_share / _times_predicted(prepared, evaluations),
    )
    events.send("run_stop", reason="done")


def _times_predicted(prepared: Prepared, evaluations: int) -> float:
    """What a run predicts in all, evaluations included, in predictions of the scored split."""
    return 1 + evaluations * _tune_share(prepared)


def _tune_share(prepared: Prepared) -> float:
    """What a scoring of tune takes, in predictions of the scored split."""
    cost = getattr(prepared.training.objective, "evaluation_cost", 1.0)
    return cost * float(prepared.training.tune.lengths.sum() / prepared.scored.lengths.sum())


def _end_profile(prepared: Prepared, reason: str, events: Events) -> None:
    """Predict a sample, and say what share it is of a scoring of tune and of the prediction."""
    from bench.learn import sampling

    training = prepared.training
    share = sampling.predict(training, prepared.scored, events)
    tune = _tune_share(prepared)
    events.send(
        "profile", steps_per_epoch=training.steps_per_epoch, predict_share=share,
        evaluate_share=share / tune if tune else None,
    )  # fmt: skip
    events.send("run_stop", reason=reason)


def _rehearse(training: Training, batches: Sequence[np.ndarray], events: Events) -> None:
    """Steps that are not timed: the first is slower than the others, and on a GPU the first dozens
    are (on an H200 the first 20 took 1.5 to 2.5 times as long)."""
    from bench.learn.loop import step, synchronise
    from bench.learn.parallel import first_says
    from bench.learn.sampling import LONG_S

    events.send("phase_start", phase=REHEARSAL)
    end_s = time.monotonic() + LONG_S
    for rows in cycle(batches):
        step(training, rows, 0.0)
        synchronise(training.model.device)
        training.step = training.tokens = 0
        if first_says(time.monotonic() >= end_s):
            return


def end(code: int) -> NoReturn:
    """End this process at once. Python's own end, which takes torch to pieces, is 0.7 s of a window
    for nothing; what a run leaves has been written and closed by now."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main(sys.argv[1:]))
