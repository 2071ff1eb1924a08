"""What the JSON of a run has to look like before anything computes with it: every part that is read
has its type, names are known, and what is bounded in life has a bound."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from bench.account import Start
from bench.checks import safe
from bench.checks.safe import Fault
from bench.errors import first_fault
from bench.record import SCHEMA, Closed, Kind, Level, Metric, Record
from bench.submission import RUN_ID, EntryFile

MOST_NODES, MOST_DOMAINS, MOST_MARKS = 1024, 64, 100_000  # domains of one machine
MOST_NS = 1 << 62  # a century or so after the machine was started


def _shaped(kind: Any, text: bytes, rule: str = "S5") -> Any:
    """JSON as what it should be, nothing taken for something else; a Fault where it is not."""
    safe.json_value(text)
    try:
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise Fault(rule, safe.shown(first_fault(error))) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


# --- record and entry


def record(text: bytes) -> Record:
    """A record, with what its schema alone does not say."""
    found: Record = _shaped(Record, text)
    _check_time("started_at", found.started_at)
    if found.schema_version != SCHEMA:
        raise Fault("S5", f"is of schema {found.schema_version}, not {SCHEMA}")
    if not 1 <= found.spec.nodes <= MOST_NODES or found.spec.processes < 1:
        raise Fault("S5", f"is of {found.spec.nodes} machines, {found.spec.processes} processes")
    if found.duration_s < 0:
        raise Fault("S5", f"lasted {found.duration_s:g} s")
    if odd := [c.run_id for c in (*found.charged_runs, *found.upstream) if not _is_id(c.run_id)]:
        raise Fault("S5", f"charged_runs: {safe.shown(odd[0], 60)!r} is no run")
    if found.metric and not _has_bits(found.metric):
        raise Fault("S5", f"metric.correct: no bit for each of {found.metric.n} rows")
    return found


def _is_id(text: str) -> bool:
    return bool(RUN_ID.fullmatch(text))


def _has_bits(metric: Metric) -> bool:
    if metric.n < 0 or metric.correct is None:
        return metric.n >= 0
    length = (metric.n + 7) // 8
    return bool(re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", metric.correct)) and (
        len(metric.correct) == 4 * ((length + 2) // 3)
    )


def entry(text: bytes) -> EntryFile:
    found: EntryFile = _shaped(EntryFile, text)
    _check_time("submitted_at", found.submitted_at)
    for attempt in found.attempts:
        _check_time("attempts.started_at", attempt.started_at)
    return found


def _check_time(name: str, text: str) -> None:
    try:
        in_utc = datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except ValueError:
        in_utc = False
    if not in_utc:
        raise Fault("S5", f"{name}: {safe.shown(text, 60)!r} is no time in UTC by ISO 8601")


# --- manifest

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def manifest(text: bytes) -> dict[str, str]:
    """Path below the folder -> SHA-256."""
    found: dict[str, str] = _shaped(dict[str, Sha256], text)
    return found


# --- trace


class _Open(BaseModel):
    """Facts of a probe: what is computed with has its type, and there may be others."""

    model_config = ConfigDict(extra="allow")


Power = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0)]


class _Without(Closed):
    level: Level
    gain: Power


class _Calibration(_Open):
    gain: Share
    offset_w: float
    uncertainty: Power
    range_w: tuple[float, float]
    without: _Without


class _DomainFacts(_Open):
    period_s: Power | None = None
    counter_period_s: Power | None = None
    counter_dense_s: Annotated[float, Field(gt=0, le=0.05)] | None = None
    power_average_s: Power = 0.0
    power_limit_w: Power | None = None
    default_power_limit_w: Power | None = None
    most_power_limit_w: Power | None = None
    not_calibrated: str | None = None
    calibration: _Calibration | None = None


class _Domain(Closed):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Kind
    device: str
    level: Level
    gain: Power
    uuid: str | None
    reason: str | None
    facts: _DomainFacts


class _TraceFacts(_Open):
    rate_hz: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    damaged_lines: Annotated[int, Field(ge=0)] = 0


Ns = Annotated[int, Field(ge=0, lt=MOST_NS)]


class TraceAbout(Closed):
    """What a trace says beside its readings."""

    version: Literal[1]
    domains: Annotated[list[_Domain], Field(max_length=MOST_DOMAINS)]
    marks: Annotated[
        list[tuple[Ns, str, str, str | None, float | None]], Field(max_length=MOST_MARKS)
    ]
    clocks: list[tuple[Ns, Ns, Ns]]
    facts: _TraceFacts

    @model_validator(mode="after")
    def _distinct(self) -> TraceAbout:
        names = [domain.name for domain in self.domains]
        if len(set(names)) < len(names):
            raise ValueError("two domains have one name")
        return self


def trace_about(text: bytes) -> TraceAbout:
    found: TraceAbout = _shaped(TraceAbout, text, "S7")
    return found


# --- several machines


class Hello(Closed):
    """What a machine said of itself at the start."""

    spec: dict[str, Any]
    code: str
    software: dict[str, str]
    hardware: str
    gpus: list[str]
    boot: str
    say: Literal["hello"] = "hello"
    node: int = 0
    nodes: int = 1


Number = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,3})$")]


def hellos(text: bytes) -> dict[str, Hello]:
    """By the machines' numbers."""
    found: dict[str, Hello] = _shaped(dict[Number, Hello], text)
    return found


def start(text: bytes) -> Start:
    """What another machine knew before its window opened."""
    found: Start = _shaped(Start, text)
    if odd := safe.json_value(text).keys() - Start.__dataclass_fields__.keys():
        raise Fault("S5", f"{safe.shown(min(odd), 60)}: extra inputs are not permitted")
    return found


# --- events

Types = tuple[type, ...]
_NUMBER: Types = (int, float)
_NEEDED: dict[str, dict[str, Types]] = {
    "meter": {"refused": (list,)},
    "window_start": {}, "window_stop": {},
    "idle_before_start": {}, "idle_before_stop": {}, "idle_after_start": {}, "idle_after_stop": {},
    "outcome": {"status": (str,)},
    "budget_spent": {"message": (str,)},
    "bad_event": {"text": (str,), "why": (str,)},
    "run_start": {"seed": (int,), "spec_sha256": (str,)},
    "devices": {"uuids": (list,)},
    "phase_start": {"phase": (str,)}, "phase_stop": {"phase": (str,)},
    "progress": {"text": (str,)},
    "step": {"step": (int,)},
    "eval": {"metric": (str,), "value": _NUMBER},
    "saved": {"name": (str,), "file": (str,), "sha256": (str,)},
    "warning": {"id": (str,), "message": (str,)},
    "failure": {"kind": (str,), "message": (str,)},
}  # fmt: skip
"""What an event must say. Programs send events of their own, which may say what they like."""
_MAY: dict[str, dict[str, Types]] = {
    "step": {"loss": _NUMBER, "learning_rate": _NUMBER, "epoch": _NUMBER, "total_steps": (int,),
             "first_step": (int,)},
    "failure": {"hint": (str,)},
    "outcome": {"failure": (str,), "code": (int,)},
    "run_stop": {"reason": (str,)},
}  # fmt: skip
"""What has a type where it is said."""
_THE_METERS = ("phase", "window", "idle_")  # no other events begin so
_MOST = {
    "meter": 1, "window_start": 1, "phase_start": 1000, "phase_stop": 1000, "warning": 2000,
    "devices": 2000, "model": 2000, "saved": 2000,
}  # fmt: skip
"""How often an event may be sent: each phase, say, is a sum over the trace."""


def events(text: bytes) -> list[dict[str, Any]]:
    """The events of a run, in the order of their lines."""
    found: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()
    for number, value in safe.json_lines(text):
        if why := _why_no_event(value):
            raise Fault("S6", f"line {number} {why}")
        name = value["event"]
        seen[name] += 1
        if seen[name] > (most := _MOST.get(name, safe.MOST_LINES)):
            why = f"is {name} once more: {most:,} are the most"
            raise Fault("S6", f"line {number} {why}", {"most": most})
        found.append(value)
    return found


def _why_no_event(value: Any) -> str | None:
    if not isinstance(value, dict) or type(name := value.get("event")) is not str:
        return "is no event"
    if type(t_ns := value.get("t_ns")) is not int or not 0 <= t_ns < MOST_NS:
        return "has no time"
    if name.startswith(_THE_METERS) and name not in _NEEDED:
        return f"is {safe.shown(name, 60)!r}, which nobody sends"
    if value.get("by", "meter") != "meter":
        return "is by nobody known"
    for key, types in _NEEDED.get(name, {}).items():
        if type(value.get(key, ...)) not in types:
            return f"is {name} without {key}, or with another kind of it"
    for key, types in _MAY.get(name, {}).items():
        if value.get(key) is not None and type(value[key]) not in types:
            return f"is {name} with another kind of {key}"
    if name == "devices" and not all(type(uuid) is str for uuid in value["uuids"]):
        return "is devices with what is no UUID"
    if name == "meter" and not all(_is_refusal(one) for one in value["refused"]):
        return "is meter with what is no refusal"
    return None


def _is_refusal(value: Any) -> bool:
    return isinstance(value, dict) and type(value.get("text")) is str
