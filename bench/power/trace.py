"""The trace of a run: the readings of every domain, on disk and in memory, and their energy.

The arithmetic over one domain is in `bench.power.energy`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import BenchError
from bench.power import log
from bench.power.calibration import as_counted, as_read
from bench.power.energy import OF_THE_TRACE, Curve, Series
from bench.power.probes import Domain, Mark, why_unusable

if TYPE_CHECKING:
    import pyarrow

    from bench.record import DomainEnergy, Warn

VERSION = 1
COLUMNS = ("power_w", "energy_j", "utilisation", "clock_mhz", "temperature_c")

Charged = Callable[[str], bool]


def _all(domain: str) -> bool:
    return True


@dataclass
class Trace:
    """What a sampler saw."""

    domains: list[Domain]
    series: dict[str, Series]
    marks: list[Mark] = field(default_factory=list)
    clocks: list[tuple[int, int, int]] = field(default_factory=list)  # monotonic, real, boot (ns)
    facts: dict[str, Any] = field(default_factory=dict)  # rate_hz, damaged_lines, ...

    # --- reading and writing

    @classmethod
    def empty(cls) -> Trace:
        return cls([], {})

    @classmethod
    def read_log(cls, path: Path, rest: bytes = b"") -> Trace:
        """The trace in a sampler's log, followed by `rest`, which its disk did not take.

        A torn tail and damaged lines are left out and counted. A log that is not there is a trace
        of `rest` alone.
        """
        data = path.read_bytes() if path.exists() else b""
        return _from_lines((data + rest).splitlines())

    def write_parquet(self, path: Path) -> None:
        """Write the readings in order of time; domains, marks and clocks go into the metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [d.name for d in self.domains if d.name in self.series]
        several = [self.series[n] for n in names]
        empty = [np.empty(0)]
        t_ns = np.concatenate([s.t_ns for s in several] or [np.empty(0, np.int64)])
        order = np.argsort(t_ns, kind="stable")
        index = np.repeat(np.arange(len(names), dtype=np.int32), [len(s.t_ns) for s in several])
        columns = {
            "t_ns": pa.array(t_ns[order], pa.int64()),
            "domain": pa.DictionaryArray.from_arrays(
                pa.array(index[order], pa.int32()), pa.array(names, pa.string())
            ),
        }
        for name in COLUMNS:
            values = np.concatenate([getattr(s, name) for s in several] or empty)[order]
            columns[name] = pa.array(values, pa.float64(), mask=np.isnan(values))
        about = {
            "version": VERSION, "domains": [d._asdict() for d in self.domains],
            "marks": self.marks, "clocks": self.clocks, "facts": self.facts,
        }  # fmt: skip
        table = pa.table(columns).replace_schema_metadata({"bench": json.dumps(about)})
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def read_parquet(cls, path: Path) -> Trace:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise BenchError(f"{path} is not a trace: {error}") from None
        return cls.of_table(table, str(path))

    @classmethod
    def of_table(cls, table: pyarrow.Table, name: str) -> Trace:
        """The trace in a table as `write_parquet` has it; BenchError, which calls it by `name`,
        when there is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            about = json.loads(table.schema.metadata[b"bench"])
            if about["version"] != VERSION:
                raise ValueError("it is of another version of bench")
            facts = about["facts"]
            if not 0 < float(facts.get("rate_hz", 1.0)) < math.inf:
                raise ValueError(f"nobody reads at {facts['rate_hz']} Hz")
            domains = [Domain(**d) for d in about["domains"]]
            marks = [Mark(*m) for m in about["marks"]]
            clocks = [(c[0], c[1], c[2]) for c in about["clocks"]]
            t_ns = table["t_ns"].to_numpy()
            whose = table["domain"].cast(pa.string())
            values = {c: table[c].to_numpy().astype(np.float64) for c in COLUMNS}
            for why in filter(None, map(why_unusable, domains)):
                raise ValueError(why)
            for domain in domains:  # its facts are numbers where they have to be
                Curve(domain, _series([]), [], 10.0)
        except (pa.ArrowInvalid, LookupError, TypeError, ValueError, AttributeError) as error:
            raise BenchError(f"{name} is not a trace: {error}") from None
        series = {}
        for domain in domains:
            mine = pc.equal(whose, domain.name).to_numpy()
            series[domain.name] = Series(t_ns[mine], **{c: v[mine] for c, v in values.items()})
        return cls(domains, series, marks, clocks, facts)

    # --- what it covers

    @property
    def start_ns(self) -> int:
        """The first reading; 0 when there is none."""
        return min((int(s.t_ns[0]) for s in self.series.values() if len(s.t_ns)), default=0)

    @property
    def stop_ns(self) -> int:
        """The last reading; 0 when there is none."""
        return max((int(s.t_ns[-1]) for s in self.series.values() if len(s.t_ns)), default=0)

    def mark(self, id: str, message: str) -> None:
        """Add a mark at the end."""
        self.marks.append(Mark(self.stop_ns, id, message))

    # --- energy

    def energy(
        self, start_ns: int, stop_ns: int, charged: Charged = _all, expected: Iterable[str] = ()
    ) -> list[DomainEnergy]:
        """Energy of each domain in the window [start_ns, stop_ns], J.

        `charged` says by name which domains count; where a node meter counts, the others are its
        breakdown and don't. Domains that are `expected` but not in the trace come back missing.
        """
        return [energy for energy, _ in self._measured(start_ns, stop_ns, charged, expected)]

    def warnings(
        self, start_ns: int, stop_ns: int, charged: Charged = _all, expected: Iterable[str] = ()
    ) -> list[Warn]:
        """Reasons to doubt the energy of the window, with their numbers."""
        measured = self._measured(start_ns, stop_ns, charged, expected)
        found = [w for energy, warns in measured if energy.charged for w in warns]
        found += _node_warnings([energy for energy, _ in measured])
        return found + self._general_warnings(start_ns, stop_ns)

    def phase_energy_j(
        self, start_ns: int, stop_ns: int, charged: Charged = _all
    ) -> dict[str, float]:
        """Domain -> joules of a part of the window. Parts that tile a window sum to its energy."""
        found = {}
        for domain in self._as_counted(charged):
            curve = self._curve(domain)
            if curve.why_missing(start_ns, stop_ns) is None:
                found[domain.name] = curve.joules(start_ns, stop_ns)
        return found

    def phase_uncertainty_j(
        self, start_ns: int, stop_ns: int, charged: Charged = _all
    ) -> dict[str, float | None]:
        """Domain -> the expanded uncertainty (k = 2) of the joules of a part of the window."""
        curves = {d.name: self._curve(d) for d in self._as_counted(charged)}
        return {
            name: curve.uncertainty_j(start_ns, stop_ns)
            for name, curve in curves.items()
            if curve.why_missing(start_ns, stop_ns) is None
        }

    def mean_power_w(
        self, start_ns: int, stop_ns: int, charged: Charged = _all
    ) -> dict[str, float]:
        """Domain -> mean watts between two instants, for domains that were read there."""
        span_s = (stop_ns - start_ns) / 1e9
        return {
            e.domain: e.energy_j / span_s
            for e in self.energy(start_ns, stop_ns, charged)
            if e.energy_j is not None and span_s > 0
        }

    def _measured(
        self, start_ns: int, stop_ns: int, charged: Charged, expected: Iterable[str]
    ) -> list[tuple[DomainEnergy, list[Warn]]]:
        if stop_ns < start_ns:
            raise ValueError("the window ends before it starts")
        domains = self._as_counted(charged)
        measured = [self._curve(d).energy(start_ns, stop_ns) for d in domains]
        known = {d.name for d in domains}
        measured += [_unseen(name) for name in expected if name not in known]
        node = any(e.kind == "node" and charged(e.domain) for e, _ in measured)
        return [
            (e.model_copy(update={"charged": charged(e.domain) and node == (e.kind == "node")}), w)
            for e, w in measured
        ]

    def _as_counted(self, charged: Charged) -> list[Domain]:
        """The domains, calibrated where all that the calibration is of counts."""
        counted = [d for d in self.domains if charged(d.name)]
        nodes = [d for d in counted if d.kind == "node"]
        return as_counted(self.domains, [d.name for d in nodes or counted])

    def _curve(self, domain: Domain) -> Curve:
        key = domain.name, "calibration" in domain.facts
        if key not in self._curves:
            marks = [m for m in self.marks if m.domain in (None, domain.name)]
            rate_hz = float(self.facts.get("rate_hz", 10.0))
            self._curves[key] = Curve(domain, self.series[domain.name], marks, rate_hz)
        return self._curves[key]

    @cached_property
    def _curves(self) -> dict[tuple[str, bool], Curve]:
        return {}

    def _general_warnings(self, start_ns: int, stop_ns: int) -> list[Warn]:
        """What concerns the whole trace: the sampler, the clocks."""
        from bench.record import Warn

        found = [
            Warn(id=m.id, message=m.message, rankable=OF_THE_TRACE[m.id])
            for m in self.marks
            if m.id in OF_THE_TRACE
        ]
        found += _clock_warnings(_around(self.clocks, start_ns, stop_ns))
        damaged = self.facts.get("damaged_lines", 0)
        if damaged:
            text = f"{damaged} line(s) of the trace's log were damaged and are left out"
            found.append(Warn(id="log-damaged", message=text))
        return found


def _from_lines(lines: list[bytes]) -> Trace:
    domains: dict[int, Domain] = {}
    rows: dict[int, list[list[Any]]] = {}
    trace = Trace.empty()
    trace.facts = {"damaged_lines": 0}
    for number, line in enumerate(lines):
        record = log.decode(line)
        if record is None:
            torn = number == len(lines) - 1  # the last line may be cut short by a kill
            trace.facts["damaged_lines"] += not torn
            continue
        match record[0]:
            case "r":
                for index, *row in log.readings(record):
                    rows.setdefault(index, []).append(row)
            case "domain":
                domains[record[1]] = Domain(**record[2])
            case "mark":
                trace.marks.append(Mark(*record[1:]))
            case "clock":
                trace.clocks.append((record[1], record[2], record[3]))
            case "head":
                trace.facts.update(record[2])
    for index, domain in domains.items():
        if domain.name in trace.series:  # which of them a reading is of, nobody can tell
            text = f"two meters call what they read {domain.name}: the first is taken"
            trace.marks.append(Mark(0, "same-name", text))
            continue
        mine = sorted(rows.get(index, []), key=lambda row: row[0])
        trace.domains.append(domain)
        trace.series[domain.name] = _series(mine)
        trace.marks += _error_marks(domain, mine)
    trace.marks.sort(key=lambda m: m.t_ns)
    replaced = {m.domain for m in trace.marks if m.id == "counter-still" and m.domain}
    trace.domains = as_read(trace.domains, replaced)
    return trace


def _series(rows: list[list[Any]]) -> Series:
    t_ns = np.array([r[0] for r in rows], np.int64)
    values = np.array([r[1:6] for r in rows], np.float64).reshape(len(rows), 5)  # None is NaN
    return Series(t_ns, *np.ascontiguousarray(values.T))


def _error_marks(domain: Domain, rows: list[list[Any]]) -> list[Mark]:
    """One mark for each stretch of readings that failed in the same way."""
    marks: list[Mark] = []
    before = None
    for row in rows:
        error = row[6] if len(row) > 6 else None
        if error is not None and error != before:
            marks.append(Mark(row[0], "unreadable", error, domain.name))
        before = error
    return marks


def _unseen(name: str) -> tuple[DomainEnergy, list[Warn]]:
    from bench.record import DomainEnergy, Warn

    reason = "the child could see it, but no meter reads it"
    energy = DomainEnergy(
        domain=name, kind="gpu", device="unknown", method="missing", level="M1", charged=True,
        energy_j=None, uncertainty_j=None, reason=reason,
    )  # fmt: skip
    return energy, [Warn(id="missing", message=f"{name}: {reason}", rankable=False)]


def _node_warnings(energies: list[DomainEnergy]) -> list[Warn]:
    """A node meter reads all that its parts do; several may be one and the same."""
    from bench.record import Warn

    read = [e for e in energies if e.energy_j is not None and e.level != "M0"]
    nodes = [e for e in read if e.kind == "node" and e.charged]
    parts = [e for e in read if e.kind != "node"]
    names = ", ".join(e.domain for e in nodes)
    node_j, parts_j = (sum(e.energy_j or 0.0 for e in some) for some in (nodes, parts))
    unsure_j = sum(e.expanded_j or 0.0 for e in (*nodes, *parts))
    found = []
    if nodes and parts_j - node_j > unsure_j:
        text = (
            f"{names}: {node_j:.4g} J is less than its parts, {parts_j:.4g} J: it leaves some out"
        )
        found.append(Warn(id="node-omits", message=text, rankable=False))
    if len(nodes) > 1:
        text = f"{names} are added up, as the supplies of one machine; two meters of one are not"
        found.append(Warn(id="several-nodes", message=text))
    return found


def _around(
    clocks: list[tuple[int, int, int]], start_ns: int, stop_ns: int
) -> list[tuple[int, int, int]]:
    """The clocks of a window, the one before and the one after it."""
    before = sum(c[0] < start_ns for c in clocks)
    within = sum(start_ns <= c[0] <= stop_ns for c in clocks)
    return clocks[max(0, before - 1) : before + within + 1]


def _clock_warnings(clocks: list[tuple[int, int, int]]) -> list[Warn]:
    """Suspends (boot time went on, monotonic time did not) and a wall clock that was set."""
    from bench.record import Warn

    if len(clocks) < 2:
        return []
    mono, real, boot = (np.diff(np.array(c, np.int64)) / 1e9 for c in zip(*clocks, strict=True))
    found = []
    asleep_s = float(np.sum(boot - mono))
    if asleep_s > 0.1:
        text = f"the machine was suspended for {asleep_s:.1f} s within the window"
        found.append(Warn(id="suspended", message=text, rankable=False))
    jump_s = float(np.max(np.abs(real - boot)))
    if jump_s > 0.5:
        text = f"the wall clock was set by {jump_s:.1f} s; times of day are off, energy is not"
        found.append(Warn(id="clock-set", message=text))
    return found
