"""Logs of other tools -> folders like those that `bench measure` leaves, at the level that they
deserve. A folder is whole or not there, and files that were imported before are not again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import account, measure
from bench import record as records
from bench.account import Start
from bench.child import Outcome
from bench.errors import UsageError
from bench.power import imports
from bench.power.energy import BAND
from bench.power.imports import Imported
from bench.power.trace import Trace
from bench.record import DomainEnergy, Measurement, Phase
from bench.units import NS_PER_S


def bring(
    name: str,
    paths: Sequence[Path],
    asked: Mapping[str, Any],
    root: Path,
    folder: Path | None = None,
    region: str | None = None,
    pue: str | None = None,
) -> list[tuple[Measurement, Path]]:
    """Import files by the format of that name, with the options that were asked for: each
    measurement, and its folder. That is below `root`, as for `bench measure`; else `folder`, or,
    where the files hold several, in `folder`. `region` and `pue` take the place of the log's."""
    found = imports.read(name, paths, asked)
    facts = {
        "format": name,
        "files": {p.name: records.file_sha256(p) for p in paths},
        "asked": {k: str(v) if isinstance(v, Path) else v for k, v in asked.items()},
    }
    starts = [
        replace(start, region=region or start.region, pue=pue or start.pue)
        for start in (_start(imported, facts) for imported in found)
    ]
    places = [_place(start, root, folder, len(found) > 1) for start in starts]
    for place in places:
        if place.exists():
            raise UsageError(
                f"{place} is there already", f"`bench show {place}` shows it; -o names another"
            )
    return [
        (_write(imported, start, facts, place), place)
        for imported, start, place in zip(found, starts, places, strict=True)
    ]


def _place(start: Start, root: Path, folder: Path | None, several: bool) -> Path:
    if folder is None:
        return root / "measure" / start.run_id
    return folder / start.run_id if several else folder


def _start(imported: Imported, facts: Mapping[str, Any]) -> Start:
    """The id is of the files' content and of what was asked: the same import is the same run."""
    at = datetime.fromtimestamp(imported.start_ns / NS_PER_S, UTC)
    started_at = at.isoformat(timespec="milliseconds")
    command = ["bench", "import", facts["format"], *facts["files"]]
    told = json.dumps([facts, imported.name], sort_keys=True, default=str)
    nonce = hashlib.sha256(told.encode()).hexdigest()[:16]
    return Start(
        run_id=records.run_id(command, started_at, nonce),
        nonce=nonce,
        started_at=started_at,
        machine=imported.machine,
        software=imported.software,
        visible_gpus=[],
        region=imported.region,
        pue=imported.pue,
        command=command,
        notes=imported.doubts,
    )


def _write(imported: Imported, start: Start, facts: Mapping[str, Any], place: Path) -> Measurement:
    with _whole(place) as folder:
        lines = [json.dumps(e, default=str) + "\n" for e in _events(imported, facts)]
        (folder / "events.jsonl").write_text("".join(lines), encoding="utf-8")
        trace = Trace.empty() if imported.parts else imported.trace
        made = measure.concluded(folder, start, trace, outcome=Outcome("complete"))
        assert isinstance(made, Measurement)
        kept = [w for w in made.warnings if w.id not in imported.settled]
        made = made.model_copy(update={"warnings": kept})
        if imported.parts:
            made = _of_totals(imported, start, made)
            records.write(made, folder)
        else:
            measure.keep(folder, trace, made)
    return made


def _events(imported: Imported, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The window, as a meter's own; and where it comes from."""
    by = {"by": "import"}
    yield {"event": "imported", "t_ns": imported.start_ns, **by, **facts,
           "stated": imported.stated}  # fmt: skip
    yield {"event": "window_start", "t_ns": imported.start_ns, **by}
    yield {"event": "window_stop", "t_ns": imported.stop_ns, **by}
    yield {"event": "outcome", "t_ns": imported.stop_ns, **by, "status": "complete",
           "failure": None, "code": None}  # fmt: skip


@contextmanager
def _whole(place: Path) -> Iterator[Path]:
    """A folder beside `place` that takes its name when all is written, and goes when it is not."""
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = place.with_name(f".{place.name}.{os.getpid()}")
    scratch.mkdir()
    try:
        yield scratch
        scratch.rename(place)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


# --- totals


def _of_totals(imported: Imported, start: Start, made: Measurement) -> Measurement:
    """With the energies that a log states in sum, of which there is no trace."""
    domains = imported.trace.domains
    counts = account.charged(start, domains)
    energies = [_energy(imported, d.name, counts(d.name)) for d in domains]
    charged = {e.domain for e in energies if e.charged and e.energy_j is not None}
    phases = [
        Phase(
            name=part.name,
            start_s=(part.start_ns - imported.start_ns) / NS_PER_S,
            duration_s=(part.stop_ns - part.start_ns) / NS_PER_S,
            energy_j={d: j for d, j in part.energy_j.items() if d in charged},
        )
        for part in imported.parts
    ]
    return made.model_copy(update={"domains": energies, "phases": phases})


def _energy(imported: Imported, name: str, charged: bool) -> DomainEnergy:
    domain = next(d for d in imported.trace.domains if d.name == name)
    why = imported.missing.get(name)
    joules = None if why else sum(part.energy_j[name] for part in imported.parts)
    modelled = domain.level == "M0"
    band_j = (joules * BAND[0], joules * BAND[1]) if modelled and joules is not None else None
    gain = BAND[1] - 1 if modelled else domain.gain
    return DomainEnergy(
        domain=name,
        kind=domain.kind,  # type: ignore[arg-type]
        device=domain.device,
        method="missing" if why else "modelled" if modelled else "counter",
        level=domain.level,  # type: ignore[arg-type]
        charged=charged,
        energy_j=joules,
        uncertainty_j=None if joules is None else gain * joules,
        reason=why or domain.reason,
        band_j=band_j,
    )
