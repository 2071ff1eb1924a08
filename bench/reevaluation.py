"""Weights that a run has shipped predict again, and what they say is compared with what the run
said (T2): that is the proof of an accuracy, and of no energy.

The run's folder is hostile. Its record names a model and a recipe of bench's own registries and
their settings, from which a child builds the model; the only other file that is read is
`weights/model.safetensors`, whose header bench parses itself before any library opens it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from bench import lineage, metrics, recipes, run, workfolder
from bench import record as records
from bench.cards import Card
from bench.checks import safe, weights
from bench.checks.bundle import RunFolder
from bench.checks.safe import Fault
from bench.errors import BenchError
from bench.learn import data, models, objectives, sources
from bench.power import machine
from bench.record import Metric, Record, Saved

Told = Literal["agrees", "disagrees", "not re-evaluated"]

FLOAT32, HALF, INT8 = 0.002, 0.01, 0.02
"""Share of predictions that may be others: two machines add up float32 in other orders, half
precisions round in between, and int8 products are those of the device's own kernels. Of 872 on
SST-2 other kernels and batches turned none, and another precision altogether one or two."""

OF_TEXTS = 4
"""So many times that share of texts: they are written token by token, and each may turn one."""

NEAR = {FLOAT32: 2e-3, HALF: 3e-2, INT8: 0.1}
"""How far two numbers may lie apart that count as one prediction: that share of the scatter of all
predictions, or, of nats, of each."""

PER_FLIP = 4
"""So many times that share may skill move: where half of an accuracy is chance a turned answer
counts twice, and in F1 or a correlation up to about four times."""

WAIT_S = 3600.0


@dataclass(frozen=True)
class Reevaluation:
    """What came of one run. Shares are of predictions: of rows, or of tags."""

    run_id: str
    verdict: Told
    message: str
    weights_sha256: str | None = None
    device: str | None = None
    rows: int | None = None  # that are scored
    predictions: int | None = None
    same_share: float | None = None
    least_share: float | None = None  # that agrees
    metric: str | None = None
    stated: float | None = None
    now: float | None = None
    skill_apart: float | None = None
    most_skill_apart: float | None = None  # that agrees
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "notes": list(self.notes)}

    @property
    def numbers(self) -> dict[str, str | int | float]:
        """What is known of it in numbers."""
        return {k: v for k, v in vars(self).items() if k in _NUMBERS and v is not None}


_NUMBERS = {
    "predictions", "same_share", "least_share", "stated", "now", "skill_apart", "most_skill_apart"
}  # fmt: skip


class _Ended(Exception):
    """It is known what is to be said, before or without predictions."""

    def __init__(self, verdict: Told, message: str) -> None:
        super().__init__(message)
        self.verdict, self.message = verdict, message


def _cannot(why: str) -> _Ended:
    return _Ended("not re-evaluated", why)


def reevaluate(
    folder: Path,
    card: Card,
    data_argument: str | None = None,
    device: str | None = None,
    wait_s: float = WAIT_S,
) -> Reevaluation:
    """Let the weights in a run's folder predict the card's scored split, which is looked for as
    `--data` has it, on a device (auto where none is named). UsageError for a device that is not
    there; whatever the folder holds is a verdict."""
    shipped = RunFolder(folder, folder.name)
    chosen, environment = run.device(device or "auto")
    found = Reevaluation(folder.name[:16], "not re-evaluated", "", device=chosen)
    try:
        if fault := shipped.fault("record"):
            raise _cannot(f"its record can't be read: {fault.message}")
        record = shipped.record
        kept = _kept(record)
        found = replace(
            found, run_id=record.run_id, weights_sha256=kept.sha256, notes=tuple(_notes(record))
        )
        work = _Work(folder, card, environment, wait_s)
        return _compared(found, shipped, work, kept, data_argument)
    except _Ended as ended:
        return replace(found, verdict=ended.verdict, message=safe.shown(ended.message))


def _notes(record: Record) -> list[str]:
    """What else may make a difference."""
    found = []
    here = machine.software()
    for name in ("torch", "tokenizers"):
        then, now = record.software.get(name), here.get(name)
        if then and then != now:
            found.append(f"{name} {safe.shown(then, 40)} then, {now} here")
    if record.code_sha256 != run.code_sha256():
        found.append(f"bench's code was {record.code_sha256[:12]} then, and is another here")
    return found


def _kept(record: Record) -> Saved:
    if record.status not in ("complete", "budget") or record.metric is None:
        raise _cannot(f"the run is {record.status} and has no metric")
    if (kept := lineage.saved(record, "weights")) is None:
        raise _cannot("it kept no weights (--save keeps them)")
    return kept


@dataclass(frozen=True)
class _Work:
    """What a child is started for."""

    folder: Path  # of the run
    card: Card
    environment: Mapping[str, str]  # that the device needs
    wait_s: float


def _compared(
    found: Reevaluation, shipped: RunFolder, asked: _Work, kept: Saved, data_argument: str | None
) -> Reevaluation:
    record, card = shipped.record, asked.card
    if (record.spec.task, record.spec.task_version) != (card.name, card.version):
        raise _cannot(f"it learned {record.spec.task} {record.spec.task_version}, not {card.name}")
    if fault := shipped.fault("predictions"):
        raise _cannot(f"its predictions can't be read: {fault.message}")
    built = _built(record, card)
    tensors = _header(shipped.folder / lineage.WEIGHTS, kept)
    resolved = _resolved(record, card, data_argument)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    said = _predictions(asked, str(found.device), resolved, built, shapes)
    facts = card.metrics.get(built.objective, card.metric)
    scored = metrics.score(
        facts, resolved.scored.labels, said.labels, resolved.parts, resolved.scored.inputs
    )
    assert record.metric
    return _judged(found, card, built, record.metric, scored, shipped.predictions, said.labels)


# --- what is built -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Built:
    """What a child makes the model from: names that are bench's own, and settings in range."""

    model: str
    checkpoint: Path | None
    objective: str
    recipe: str
    settings: Mapping[str, records.Scalar]
    may_turn: float  # share of predictions, by the arithmetic of the recipe


def _built(record: Record, card: Card) -> _Built:
    spec = record.spec
    if spec.model not in models.names():
        raise _cannot(
            "its model is not in `bench models`: nothing is built from the files of a submission"
        )
    parts = spec.recipe.split("+")
    if not set(parts) <= set(recipes.names()):
        raise _cannot("its recipe is not in `bench recipes`: no code of a submission is run")
    try:
        pretrained = models.start(spec.model, card.family, spec.checkpoint_sha256 is not None)
        kind = models.describe(spec.model, pretrained, card.family)["kind"]
        given = {name: str(value) for name, value in spec.settings.items() if value is not None}
        settings = recipes.resolve(spec.recipe, spec.model, given, card.family, pretrained)
        objective = objectives.name_of(card.family, kind, spec.model, card.kind)
        models.layers(spec.model, pretrained, card.family, settings)
        located = models.locate(spec.model, pretrained)
    except BenchError as error:
        raise _cannot(error.message) from None
    if located.sha256 != spec.checkpoint_sha256:
        raise _cannot("the checkpoint that it began with is not the one here")
    made = recipes.build(spec.recipe, settings)
    return _Built(
        spec.model, located.folder, objective, spec.recipe, settings,
        _may_turn(parts, made.precision),
    )  # fmt: skip


def _may_turn(parts: Sequence[str], precision: str) -> float:
    if "quantise" in parts:
        return INT8
    return FLOAT32 if precision == "float32" and "tf32" not in parts else HALF


def _header(path: Path, kept: Saved) -> dict[str, weights.Tensor]:
    """The tensors of the file, which is what the run kept, and safe to open."""
    if path.parent.is_symlink():
        raise _Ended("disagrees", f"{path.parent.name} is a link")
    try:
        found = weights.header(path)
    except Fault as fault:
        if fault.rule == "S10":
            raise _cannot(f"it ships no {lineage.WEIGHTS}") from None
        raise _Ended("disagrees", f"{lineage.WEIGHTS} {fault.message}") from None
    if odd := next((t.dtype for t in found.values() if t.dtype != "F32"), None):
        raise _Ended("disagrees", f"{lineage.WEIGHTS} has numbers of {odd}; bench keeps F32")
    if records.file_sha256(path) != kept.sha256:
        raise _Ended("disagrees", f"{lineage.WEIGHTS} is not what the run kept: another SHA-256")
    return found


def _resolved(record: Record, card: Card, data_argument: str | None) -> data.Resolved:
    try:
        resolved = sources.resolve(card, data_argument)
    except BenchError as error:
        raise _cannot(f"the data is not at hand: {error.message}") from None
    if resolved.identity.fingerprints != record.spec.data.fingerprints:
        raise _cannot("the data at hand is not the run's: other fingerprints")
    return resolved


# --- what it says --------------------------------------------------------------------------------


def _predictions(
    asked: _Work,
    device: str,
    resolved: data.Resolved,
    built: _Built,
    shapes: Mapping[str, tuple[int, ...]],
) -> data.Predictions:
    """What the child says of the scored split."""
    card = asked.card
    with (
        tempfile.TemporaryDirectory(prefix="bench-again-") as root,
        workfolder.work_folder(card, resolved, Path(root)) as work,
    ):
        out = workfolder.fresh(work / "out")
        job = {
            "model": built.model,
            "checkpoint": str(built.checkpoint) if built.checkpoint else None,
            "objective": built.objective,
            "recipe": built.recipe,
            "settings": dict(built.settings),
            "device": device,
            "weights": str((asked.folder / lineage.WEIGHTS).absolute()),
            "shapes": {name: list(shape) for name, shape in shapes.items()},
            "memory_bytes": _half_of_memory() if device == "cpu" else None,
        }
        path = work / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        _wait_for(path, _environment(work, out, asked.environment), out, asked.wait_s)
        try:
            return data.read_predictions(out, len(resolved.scored), card.kind, card.classes)
        except BenchError as error:
            raise _Ended("disagrees", f"what the weights say is none: {error.message}") from None


def _environment(work: Path, out: Path, of_device: Mapping[str, str]) -> dict[str, str]:
    package = str(Path(__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {
        **workfolder.environment(work, out, os.environ),
        **of_device,
        "PYTHONPATH": f"{package}{os.pathsep}{path}" if path else package,
        "HF_HUB_OFFLINE": "1",
    }


def _wait_for(job: Path, environment: Mapping[str, str], out: Path, wait_s: float) -> None:
    """Until it has predicted; _Ended where it has not."""
    from bench.learn.reevaluate import SAID

    command = [sys.executable, "-P", "-m", "bench.learn.reevaluate", str(job)]
    try:
        ended = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, timeout=wait_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _cannot(f"it had not predicted after {wait_s:g} s") from None
    if ended.returncode == 0:
        return
    try:
        said = json.loads((out / SAID).read_bytes())
    except (OSError, ValueError):
        last = (ended.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise _cannot(f"the model ended with {ended.returncode}: {last[:200]}") from None
    verdict: Told = "disagrees" if said["kind"] == "Misfit" else "not re-evaluated"
    raise _Ended(verdict, said["message"][:300])


def _half_of_memory() -> int:
    """So that a record can't have the machine run out of it."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


# --- how far apart -------------------------------------------------------------------------------


def _judged(
    found: Reevaluation,
    card: Card,
    built: _Built,
    stated: Metric,
    now: Metric,
    then: Sequence[Any],
    here: Sequence[Any],
) -> Reevaluation:
    if len(then) != len(here):
        raise _Ended("disagrees", f"it has {len(then)} predictions for {len(here)} rows")
    if stated.name != now.name or stated.n != now.n:
        raise _Ended(
            "disagrees", f"it states {stated.name} of {stated.n}, not {now.name} of {now.n}"
        )
    numbers = card.kind in ("number", "words")
    if not all(_is_number(v) if numbers else isinstance(v, str) for v in then):
        raise _Ended("disagrees", f"its predictions are not all of kind {card.kind}")
    alike = same(card.kind, then, here, NEAR[built.may_turn])
    turns = built.may_turn * (OF_TEXTS if card.kind == "text" else 1)
    may_differ = max(1, math.floor(turns * len(alike)))
    share, least = sum(alike) / len(alike), 1 - may_differ / len(alike)
    apart, most = _skill_apart(stated, now), PER_FLIP * may_differ / len(alike)
    agrees = share >= least and apart <= most
    message = (
        f"{sum(alike)} of {len(alike)} predictions are the same ({100 * share:.2f} %; "
        f"{100 * least:.2f} % must be), {now.name} is {now.value:.4f} here and was stated as "
        f"{stated.value:.4f}"
    )
    return replace(
        found,
        verdict="agrees" if agrees else "disagrees",
        message=message,
        rows=len(here),
        predictions=len(alike),
        same_share=share,
        least_share=least,
        metric=now.name,
        stated=stated.value,
        now=now.value,
        skill_apart=apart,
        most_skill_apart=most,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def same(kind: str, then: Sequence[Any], here: Sequence[Any], near: float) -> list[bool]:
    """Whether each prediction is what it was: of tags each tag, of numbers up to what is `near`."""
    if kind == "number":
        middle = sum(then) / len(then)
        scatter = math.sqrt(sum((value - middle) ** 2 for value in then) / len(then))
        return [abs(a - b) <= near * scatter for a, b in zip(then, here, strict=True)]
    pairs = zip(then, here, strict=True)
    if kind == "words":
        return [abs(a - b) <= near * max(1.0, abs(a)) for a, b in pairs]
    if kind == "tags":
        tags = (zip_longest(a.split(), b.split()) for a, b in pairs)
        return [a == b for row in tags for a, b in row]
    return [data.canonical(a) == b for a, b in pairs]


def _skill_apart(stated: Metric, now: Metric) -> float:
    """The distance of both values in skill, by what is chance here; infinite where that fails."""
    values = [stated.value, now.value, now.chance, now.best]
    if now.scale == "log":
        if min(values) <= 0:
            return math.inf
        values = [math.log(value) for value in values]
    then, here, chance, best = values
    apart = abs(then - here) / abs(best - chance) if best != chance else math.inf
    return apart if math.isfinite(apart) else math.inf
