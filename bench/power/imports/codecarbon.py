"""CodeCarbon's `emissions.csv`: what each run took in sum. Columns as of 3.3, from 2.0 on.

The file has totals and no readings. Where `flush()` was called it has several rows of a run, each
with all since its start: they become parts of the run. How the processor was read (RAPL, its rated
power, a constant) is written nowhere, so that it counts as an estimate, and so does memory, which
CodeCarbon always estimates. GPUs are read through NVML or amdsmi; Apple's are estimated by macOS.
Energies there contain the PUE, which is taken out again. Source: CodeCarbon 3.3.2,
output_methods/emissions_data.py and emissions_tracker.py.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError, UsageError
from bench.power import carbon
from bench.power.imports import GAINS, Imported, Part, text_of
from bench.power.imports._readings import LATEST_NS
from bench.power.probes import Domain
from bench.power.trace import Trace
from bench.record import Warn
from bench.units import J_PER_KWH, NS_PER_S, significant

_ENERGIES = {"gpu": "gpu_energy", "cpu": "cpu_energy", "dram": "ram_energy"}
_NEEDED = ("run_id", "timestamp", "duration", "energy_consumed", *_ENERGIES.values())
_APART = 0.01  # of a sum that is not the sum of its parts
_READ_ELSEWHERE = "whether by a counter or by power, CodeCarbon's file does not tell"
_ESTIMATES = {
    "gpu": "macOS's own estimate of an Apple GPU (powermetrics)",
    "cpu": "CodeCarbon's file does not tell whether RAPL, a load or a constant stands behind it",
    "dram": "CodeCarbon estimates memory from its size",
}


class Row(NamedTuple):
    """A line of the file, for messages, and its fields."""

    where: str
    fields: dict[str, str]

    def text(self, column: str) -> str:
        return (self.fields.get(column) or "").strip()

    def known(self, column: str) -> float:
        """The number, 0 where there is none."""
        return self.number(column) if self.text(column) else 0.0

    def number(self, column: str, least: float = 0.0, most: float = 1e9) -> float:
        said = self.text(column)
        try:
            value = float(said)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise BenchError(f"{self.where}: {column} is {said[:40]!r}, which it can't be")
        return value


def read(paths: Sequence[Path], *, run: str | None = None) -> list[Imported]:
    """Each run of the files, or the one whose id begins with `run`."""
    rows = [row for path in paths for row in _rows(path)]
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(row.text("run_id"), []).append(row)
    chosen = [i for i in runs if i.startswith(run or "")]
    if not chosen:
        raise UsageError(f"no run's id begins with '{run}'", f"such as {next(iter(runs))[:40]!r}")
    return [_imported(i, runs[i]) for i in chosen]


def _rows(path: Path) -> list[Row]:
    try:
        table = list(csv.reader(io.StringIO(text_of(path), newline="")))
    except csv.Error as error:
        raise BenchError(f"{path} is no CSV file: {error}") from None
    header = [c.strip() for c in table[0]] if table else []
    if "task_name" in header:
        raise UsageError(
            f"{path} is about CodeCarbon's tasks, not about a run", "give the run's emissions.csv"
        )
    lacking = [c for c in _NEEDED if c not in header]
    if lacking:
        raise BenchError(
            f"{path} lacks the column {lacking[0]} of CodeCarbon's emissions.csv",
            "versions before 2 do not tell GPU, processor and memory apart",
        )
    rows = []
    for number, cells in enumerate(table[1:], 2):
        where = f"{path}, row {number}"
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise BenchError(f"{where} has {len(cells)} cells, its header {len(header)}")
        row = Row(where, dict(zip(header, cells, strict=True)))
        if "bench" in row.text("codecarbon_version"):
            raise UsageError(f"{where} was written by bench, not by CodeCarbon", "bench show RUN")
        rows.append(row)
    if not rows:
        raise BenchError(f"{path} holds no run")
    return rows


def _imported(run_id: str, rows: list[Row]) -> Imported:
    last = rows[-1]
    pue = carbon.pue(last.text("pue") or "1").value
    duration_s = last.number("duration")
    if not duration_s:
        raise BenchError(f"{last.where}: the run took no time", "nothing was measured in it")
    start_ns = _ended_ns(last) - round(duration_s * NS_PER_S)
    if not 0 <= start_ns <= LATEST_NS:
        raise BenchError(f"{last.where}: nothing was metered in {last.text('timestamp')[:40]}")
    domains = _domains(last)
    missing = {
        d.name: "CodeCarbon says 0 kWh of what is there: it could not read it"
        for d in domains
        if not last.known(_ENERGIES[d.kind])
    }
    return Imported(
        trace=Trace(domains, {}),
        start_ns=start_ns,
        stop_ns=start_ns + round(duration_s * NS_PER_S),
        parts=_parts(rows, [d for d in domains if d.name not in missing], start_ns, pue),
        name=run_id,
        missing=missing,
        doubts=_doubts(rows, domains),
        machine=_machine(last),
        software={
            name: last.text(column)
            for name, column in {"python": "python_version", "codecarbon": "codecarbon_version"}
            .items() if last.text(column)
        },
        region=_region(last),
        pue=f"{pue:g}" if pue > 1 else None,
        stated={c: last.text(c) for c in ("energy_consumed", "emissions", "tracking_mode")},
    )  # fmt: skip


def _domains(row: Row) -> list[Domain]:
    """Of each kind that the row has an energy of; a GPU that it names is expected to have one."""
    model = row.text("gpu_model")
    kinds = [kind for kind, column in _ENERGIES.items() if row.text(column)]
    if not (model or row.known("gpu_count") or row.known("gpu_energy")):
        kinds = [kind for kind in kinds if kind != "gpu"]
    elif "gpu" not in kinds:
        kinds.insert(0, "gpu")
    memory = f"{row.number('ram_total_size'):.4g} GB" if row.text("ram_total_size") else "memory"
    devices = {"gpu": model or "GPU", "cpu": row.text("cpu_model") or "unknown", "dram": memory}
    return [_domain(kind, devices[kind]) for kind in kinds]


def _domain(kind: str, device: str) -> Domain:
    measured = kind == "gpu" and not device.casefold().startswith("apple")
    name = f"{kind}:codecarbon" if measured else f"{kind}:estimate"
    reason = _READ_ELSEWHERE if measured else _ESTIMATES[kind]
    return Domain(name, kind, device, "M1" if measured else "M0", GAINS[kind], reason=reason)


def _parts(rows: list[Row], domains: list[Domain], start_ns: int, pue: float) -> list[Part]:
    """From row to row of a run; BenchError where one has less than the one before."""
    parts: list[Part] = []
    since_ns, before = start_ns, {d.name: 0.0 for d in domains}
    for number, row in enumerate(rows, 1):
        until_ns = start_ns + round(row.number("duration") * NS_PER_S)
        now = {d.name: row.number(_ENERGIES[d.kind]) * J_PER_KWH / pue for d in domains}
        if until_ns <= since_ns or any(now[d] < before[d] for d in now):
            raise BenchError(
                f"{row.where}: the rows of a run hold all since its start, and this one holds less "
                "than the one before",
                "rows of two runs under one id can't be told apart",
            )
        energy_j = {d: now[d] - before[d] for d in now}
        name = f"part {number}" if len(rows) > 1 else "other"
        parts.append(Part(name, since_ns, until_ns, energy_j))
        since_ns, before = until_ns, now
    return parts


def _doubts(rows: list[Row], domains: list[Domain]) -> list[Warn]:
    last = rows[-1]
    text = (
        "CodeCarbon's file holds totals, no readings: there is no trace, and gaps, resets and the "
        "uncertainty of what it read can't be checked"
    )
    doubts = [Warn(id="totals-only", message=text, rankable=False)]
    whole, parts = last.number("energy_consumed"), [last.known(c) for c in _ENERGIES.values()]
    if abs(whole - sum(parts)) > _APART * max(whole, sum(parts)):
        text = f"{last.where}: energy_consumed is {whole:g} kWh, its parts add up to {sum(parts):g}"
        doubts.append(Warn(id="stated-sum", message=text, rankable=False))
    measured = [d for d in domains if d.level != "M0"]
    if measured:
        text = (
            f"CodeCarbon's own sum, {significant(whole)} kWh, adds estimates of processor and "
            "memory to what was measured; here they stand beside it"
        )
        doubts.append(Warn(id="stated-sum-mixed", message=text))
    return doubts


def _ended_ns(row: Row) -> int:
    """When the row was written, by that machine's clock, whose zone is not told."""
    try:
        at = datetime.fromisoformat(row.text("timestamp"))
        return round(at.replace(tzinfo=at.tzinfo or UTC).timestamp()) * NS_PER_S
    except (ValueError, OverflowError):
        raise BenchError(
            f"{row.where}: the timestamp is {row.text('timestamp')[:40]!r}, which is no time"
        ) from None


def _machine(row: Row) -> dict[str, str]:
    columns = {"system": "os", "cpu": "cpu_model", "cores": "cpu_count", "gpu": "gpu_model",
               "memory_gb": "ram_total_size"}  # fmt: skip
    return {name: row.text(c)[:200] for name, c in columns.items() if row.text(c)}


def _region(row: Row) -> str | None:
    """The grid, if bench has one of that country."""
    try:
        return carbon.region(row.text("country_iso_code")).code
    except UsageError:
        return None
