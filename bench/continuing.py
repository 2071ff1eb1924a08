"""Going on with a run that ended before its training was over: the same training, in parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bench import lineage, recipes, run
from bench import record as records
from bench.errors import BenchError, UsageError
from bench.lineage import LIMITS
from bench.power import machine
from bench.record import Record, Spec, Warn
from bench.run import Plan, Request, Seed


def prepare(folder: Path, asked: Request) -> tuple[Plan, Seed]:
    """What goes on with the run in `folder`: its own spec, with the budget that is `asked` for and
    the limits among its settings. UsageError where that is not the same training."""
    record = records.read(folder)
    _check_asked(record, asked)
    state = _state(record, folder)
    spec = record.spec
    settings = {name: str(value) for name, value in spec.settings.items() if value is not None}
    planned = run.prepare(
        replace(
            asked,
            task=spec.task,
            model=spec.model,
            recipe=asked.recipe or spec.recipe,
            pretrained=spec.checkpoint_sha256 is not None,
            settings={**settings, **asked.settings},
            device=asked.device or spec.device,
            nproc=asked.nproc or spec.processes // spec.nodes,
        )
    )
    seed = Seed(spec.seed, spec.seed_origin)
    for difference in _differences(record, planned, planned.spec(seed)):
        raise UsageError(f"run {record.run_id} can't be continued: {difference}")
    lineage.sweep(folder)
    charged = [*record.charged_runs, lineage.part(record, folder)]  # a teacher was charged then
    notes = [*planned.notes, *_other_software(record)]
    return replace(
        planned,
        state=state,
        charged_runs=charged,
        upstream=record.upstream,
        notes=notes,
        tuning=record.tuning,
    ), seed


def _other_software(record: Record) -> list[Warn]:
    """What may make the parts differ, in the last bit or more, from a training in one piece."""
    now = machine.software()
    changed = [
        f"{name} {old} then, {now.get(name, 'none')} now"
        for name, old in record.software.items()
        if now.get(name) != old
    ]
    if not changed:
        return []
    text = f"an earlier part ran with other software: {', '.join(changed)}"
    return [Warn(id="parts-software", message=text)]


def _check_asked(record: Record, asked: Request) -> None:
    """Whether what was typed fits the run; an empty name was not typed."""
    spec = record.spec
    named = replace(asked, recipe=recipes.named(asked.recipe) if asked.recipe else None)
    for name in ("task", "model", "recipe"):
        given, own = getattr(named, name), getattr(spec, name)
        if given and given != own:
            raise UsageError(
                f"run {record.run_id} is of {name} {own}, not {given}", f"omit --{name}"
            )
    for name in asked.settings:
        if name not in LIMITS:
            raise UsageError(
                f"{name} can't change in the middle of a training", f"--set {' or '.join(LIMITS)}"
            )
    if record.status == "complete" and not _changed(spec, asked.settings):
        raise UsageError(
            f"run {record.run_id} is complete: it was not cut short",
            "--set epochs=... or max_steps=... goes further",
        )


def _changed(spec: Spec, limits: Mapping[str, str]) -> bool:
    return any(str(spec.settings.get(name)) != value for name, value in limits.items())


def _state(record: Record, folder: Path) -> Path:
    """The state that the run has kept, as it kept it."""
    kept = lineage.saved(record, "state")
    if kept is None:
        raise UsageError(
            f"run {record.run_id} kept no state to go on from",
            "a run with --save can be continued",
        )
    path, wanted = folder / kept.file, kept.sha256
    try:
        found = records.file_sha256(path)
    except OSError as error:
        raise BenchError(f"{path} can't be read: {error.strerror}") from None
    if found != wanted:
        raise BenchError(
            f"{path} is not what run {record.run_id} kept: its SHA-256 is {found[:12]}…, "
            f"not {wanted[:12]}…"
        )
    return path


def _differences(record: Record, planned: Plan, spec: Spec) -> Iterator[str]:
    """Where the training that would go on is another one."""
    was = record.spec
    if spec.data.fingerprints != was.data.fingerprints:
        yield (
            f"it learned from other data (fingerprint {_head(was)}, now {_head(spec)}); "
            "--data names it"
        )
    fields = ("edition", "task_version", "track", "model", "checkpoint_sha256", "recipe")
    for name in (*fields, "processes", "nodes"):
        old, new = getattr(was, name), getattr(spec, name)
        if old != new:
            yield f"its {name} was {old}, now {new}"
    for name, old in was.settings.items():
        if name not in LIMITS and spec.settings.get(name) != old:
            yield f"its {name} was {old}, now {spec.settings.get(name)}"
    code = run.code_sha256(run.own_files(planned))
    if code != record.code_sha256:
        yield (
            f"bench's code was {record.code_sha256[:12]}, now {code[:12]} "
            f"(bench {record.bench_version} made it)"
        )


def _head(spec: Spec) -> str:
    return spec.data.fingerprints.get("train", "")[:12]
