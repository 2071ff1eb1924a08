"""D: every number that a record states follows from the files beside it.

The record is made again from trace and events by the code that makes records, and compared. What
was refined in that code since a record was written moves energies by less than 1e-4 of themselves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import lineage, metrics, submission
from bench import record as records
from bench.cards import Card, MetricFacts
from bench.checks import Found, Problem, Skipped, rule
from bench.checks.bundle import EntryFolder, RunFolder, Surroundings
from bench.checks.labels import Scored
from bench.errors import BenchError
from bench.learn import data
from bench.record import Data, DomainEnergy, Idle, Metric, Phase, Record, RunCost
from bench.units import significant

if TYPE_CHECKING:
    from bench.cards import Kind

_ENERGY, _IDLE, _UNSURE = 1e-4, 1e-2, 1e-2  # shares
_TIME_S, _EXACT = 1e-6, 1e-9
_MOST_TUNED = 0.25  # `carve_tune` takes a fifth, and what is alike goes together

OWNED = {
    "too-few-samples": "P2", "gap": "P3", "counter": "P5", "unmetered": "P6",
    "disagreement": "D7", "contended": "R6", "mig": "R7", "replayed": "R11",
}  # fmt: skip
"""Doubts that a rule of their own refuses where a record leaves them out."""

_DERIVED = ("record", "events", "trace", "derived")


def apart(stated: float | None, derived: float | None, share: float, least: float = 0.0) -> bool:
    """Whether two numbers differ by more than a share of the second, or than `least`; one that is
    missing differs from one that is not."""
    if stated is None or derived is None:
        return stated is not derived
    return abs(stated - derived) > max(share * abs(derived), least)


def _differs(what: str, stated: Any, derived: Any, unit: str = "") -> Problem:
    def text(value: Any) -> str:
        return significant(value, 5) if isinstance(value, float) else str(value)[:200]

    said = f"{what}: {text(stated)}{unit} stated, {text(derived)}{unit} by its files"
    plain = (str, int, float, bool, type(None))
    numbers = {"stated": stated, "derived": derived}
    return Problem(said, numbers if all(isinstance(v, plain) for v in numbers.values()) else {})


@rule(
    "D1", "derivable", "Events and trace are whole enough to make the record again.",
    needs=("record", "events", "trace"),
)  # fmt: skip
def derivable(run: RunFolder, around: Surroundings) -> Found:
    fault = run.fault("nodes") or run.fault("derived")
    if fault and fault.rule == "D1":
        yield Problem(fault.message, fault.numbers)


# --- the metric


@rule(
    "D2", "metric",
    "The metric is that of the predictions: by the labels, where they are at hand or follow from "
    "what was right, and only labels with the digest that the task pins are.",
    needs=("record",),
)  # fmt: skip
def metric(run: RunFolder, around: Surroundings) -> Found:
    stated, card = run.record.metric, around.card(run.record)
    if stated is None:
        yield Skipped("it was not scored")
        return
    if card is None or run.fault("predictions"):
        yield Skipped("no card of this task and version" if card is None else "no predictions")
        return
    facts = _facts(stated, card)
    if facts is None or list(_claims(run, card)):
        yield Skipped("what it claims does not hold together")
        return
    if odd := _odd_prediction(run.predictions, card):
        yield Problem(odd)
        return
    scored = _at_hand(run.record.spec.data, card, around)
    if scored is None:
        labels = _implied(run, stated, card)
        if labels is None:
            yield Skipped("not re-scored here: the labels are not at hand")
            return
        if data.labels_digest(labels) != run.record.spec.data.labels_sha256:
            yield Problem("the labels that follow from predictions and what is said to be right "
                          "are not the task's")  # fmt: skip
            return
        scored = Scored(labels)
    yield from _rescored(stated, facts, run.predictions, scored, card)


def _facts(metric: Metric, card: Card) -> MetricFacts | None:
    return next((f for f in (card.metric, *card.metrics.values()) if f.name == metric.name), None)


def _odd_prediction(predictions: Sequence[Any], card: Card) -> str | None:
    """Why a prediction is none of this task."""
    number = card.kind in ("number", "words")
    for i, said in enumerate(predictions):
        if isinstance(said, float) != number or (number and not np.isfinite(said)):
            return f"row {i} is predicted to be {str(said)[:40]!r}: no {_WHAT[card.kind]}"
        if card.kind == "class" and said not in card.classes:
            return f"row {i} is predicted to be {str(said)[:40]!r}: none of the classes"
    return None


_WHAT: dict[Kind, str] = {
    "class": "class", "number": "number", "tags": "tags", "text": "text", "words": "nats",
}  # fmt: skip


def _at_hand(stated: Data, card: Card, around: Surroundings) -> Scored | None:
    """The scored split, if the labels found are those of the record."""
    found = (around.embedded if stated.source == "embedded" else around.scored)(card)
    if found is None or data.labels_digest(found.labels) != stated.labels_sha256:
        return None
    return found


def _implied(run: RunFolder, metric: Metric, card: Card) -> list[str] | None:
    """The labels, if what is right and what is wrong leaves one for each row: of two classes."""
    said = run.predictions
    if card.kind != "class" or metric.correct is None or metric.n != len(said):
        return None
    right = records.unpack_bits(metric.correct, metric.n)
    if len(card.classes) != 2:
        return [str(s) for s in said] if all(right) else None
    if not set(map(str, said)) <= set(card.classes):
        return None
    other = dict(zip(card.classes, reversed(card.classes), strict=True))
    return [str(s) if ok else other[str(s)] for s, ok in zip(said, right, strict=True)]


def _rescored(
    stated: Metric, facts: MetricFacts, predictions: Sequence[Any], scored: Scored, card: Card
) -> Found:
    if _has_parts(card) and not scored.parts:
        yield Skipped("not re-scored here: which rows are of which part is not at hand")
        return
    untold = facts.chance == "unigram" and not scored.texts
    if untold:
        facts = facts.model_copy(update={"chance": stated.chance})
    try:
        again = metrics.score(facts, scored.labels, predictions, scored.parts, scored.texts)
    except (BenchError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        yield Problem(f"the predictions can't be scored: {(str(error).splitlines() or [''])[0]}")
        return
    for name in ("n", "value", "chance"):
        if apart(getattr(stated, name), getattr(again, name), _EXACT):
            yield _differs(name, getattr(stated, name), getattr(again, name))
    for what in ("statistics", "also"):
        said, found = getattr(stated, what), getattr(again, what)
        for name in sorted(set(said) | set(found)):
            if apart(said.get(name), found.get(name), _EXACT, _EXACT):
                yield _differs(f"{what}, {name[:60]}", said.get(name), found.get(name))
    if stated.correct != again.correct:
        yield Problem("which rows are right does not follow from predictions and labels")
    if untold:
        yield Skipped("the value is right; its chance was not derived: the texts are not at hand")


def _has_parts(card: Card) -> bool:
    named = [source.scored for source in (card.local, card.hub) if source]
    return any(isinstance(scored, dict) and len(scored) > 1 for scored in named)


@rule(
    "D3", "claims",
    "A metric's value follows from its statistics, these from what is right, and what it is held "
    "against is the card's; official data has the fingerprints and rows that the card pins.",
    needs=("record",),
)  # fmt: skip
def claims(run: RunFolder, around: Surroundings) -> Found:
    card = around.card(run.record)
    if card is None:
        yield Skipped("no card of this task and version")
        return
    yield from _claims(run, card)


def _claims(run: RunFolder, card: Card) -> Iterator[Problem]:
    yield from _data(run.record.spec.data, card)
    if run.record.metric:
        yield from _held_against(run.record.metric, card)
        yield from _statistics(run, run.record.metric, card)


def _data(stated: Data, card: Card) -> Iterator[Problem]:
    pinned = card.fingerprints
    own = {**stated.fingerprints, "labels": stated.labels_sha256}
    official = pinned is not None and own == pinned.model_dump()
    if stated.official != official:
        is_not = "" if official else "not "
        yield Problem(f"its fingerprints are {is_not}those of the official data")
    if official and card.rows:
        rows = stated.rows
        learned = rows.get("train", 0) + rows.get("tune", 0)
        if learned != card.rows.train:
            yield _differs("rows to learn from and to tune on", learned, card.rows.train)
        elif rows.get("tune", 0) > _MOST_TUNED * learned:
            text = f"{rows.get('tune'):,} of {learned:,} rows to tune on: a fifth is the most"
            yield Problem(text, {"tune": rows.get("tune"), "learned": learned})
        if rows.get("scored") != card.rows.scored:
            yield _differs("scored rows", rows.get("scored"), card.rows.scored)


def _held_against(metric: Metric, card: Card) -> Iterator[Problem]:
    facts = _facts(metric, card)
    if facts is None:
        yield Problem(f"{metric.name[:60]} is no metric of this task")
        return
    for name in ("best", "scale"):
        if getattr(metric, name) != getattr(facts, name):
            yield _differs(name, getattr(metric, name), getattr(facts, name))
    if not isinstance(facts.chance, str) and metric.chance != facts.chance:
        yield _differs("chance", metric.chance, facts.chance)
    if facts.chance == "majority":
        rows = metric.chance * metric.n
        least = 1 / len(card.classes) if card.classes else 0.0
        if apart(rows, round(rows), 0.0, 1e-6) or not least <= metric.chance + _EXACT <= 1:
            yield Problem(f"no class is {significant(metric.chance)} of {metric.n} rows")


def _statistics(run: RunFolder, metric: Metric, card: Card) -> Iterator[Problem]:
    rows = run.record.spec.data.rows.get("scored", 0)
    said = None if run.fault("predictions") else len(run.predictions)
    if said is not None and said != rows:
        yield _differs("predicted rows", said, rows)
    if not 0 < metric.n <= rows or (metric.n < rows and not _has_parts(card)):
        yield _differs("rows of the metric", metric.n, rows)
        return
    try:
        value: float | None = metrics.recompute(metric)
        bits = None if metric.correct is None else records.unpack_bits(metric.correct, metric.n)
    except (BenchError, LookupError, TypeError, ValueError, ArithmeticError):
        yield Problem("its statistics, or the bits of what is right, are not whole")
        return
    if apart(metric.value, value, _EXACT, _EXACT):
        yield _differs("value", metric.value, value)
    correct = metric.statistics.get("correct")
    if bits is not None and correct is not None and sum(bits) != correct:
        yield _differs("right rows", correct, sum(bits))


# --- time and energy


@rule(
    "D4", "duration", "A run lasted as long as its window.",
    needs=_DERIVED,
)  # fmt: skip
def duration(run: RunFolder, around: Surroundings) -> Found:
    stated, derived = run.record.duration_s, run.derived.duration_s
    if abs(stated - derived) > _TIME_S:
        text = f"{significant(stated)} s stated, {significant(derived)} s between its events"
        yield Problem(text, {"stated_s": stated, "derived_s": derived})


@rule(
    "D5", "phases",
    "Phases have the names, times and energies that events and trace give them; they tile the "
    "window, so that their energies add up to its.",
    needs=_DERIVED,
)  # fmt: skip
def phases(run: RunFolder, around: Surroundings) -> Found:
    stated, derived = run.record.phases, run.derived.phases
    if [p.name for p in stated] != [p.name for p in derived]:
        yield _differs("phases", _names(stated), _names(derived))
        return
    whole_j = {d.domain: abs(d.energy_j or 0.0) for d in run.derived.domains}
    for i, (said, found) in enumerate(zip(stated, derived, strict=True), 1):
        what = f"phase {i} ({found.name[:40]})"
        for name in ("start_s", "duration_s"):
            if apart(getattr(said, name), getattr(found, name), 0.0, _TIME_S):
                yield _differs(f"{what}, {name}", getattr(said, name), getattr(found, name), " s")
        yield from _phase_energies(what, said, found, whole_j)


def _names(phases: Sequence[Phase]) -> str:
    return ", ".join(p.name for p in phases)


def _phase_energies(
    what: str, said: Phase, found: Phase, whole_j: dict[str, float]
) -> Iterator[Problem]:
    for domain in sorted(set(said.energy_j) | set(found.energy_j)):
        stated, derived = said.energy_j.get(domain), found.energy_j.get(domain)
        if apart(stated, derived, 0.0, _ENERGY * whole_j.get(domain, 0.0)):
            yield _differs(f"{what}, {domain}", stated, derived, " J")
    for domain in sorted(said.uncertainty_j):  # older records have none
        stated, derived = said.uncertainty_j[domain], found.uncertainty_j.get(domain)
        if apart(stated, derived, _UNSURE, _ENERGY * whole_j.get(domain, 0.0)):
            yield _differs(f"{what}, uncertainty of {domain}", stated, derived, " J")


_SHARES = {
    "energy_j": _ENERGY, "counter_j": _ENERGY, "integral_j": _ENERGY, "uncertainty_j": _UNSURE,
    "counter_tick_s": _UNSURE, "disagreement": _UNSURE, "coverage": _ENERGY,
    "largest_gap_s": _ENERGY,
}  # fmt: skip
"""How far a number of a domain may be from the one derived."""
_LEAST = {"disagreement": 1e-4, "energy_j": 1e-6, "counter_j": 1e-6, "integral_j": 1e-6}
_SAME = ("kind", "device", "method", "level", "charged", "samples")


@rule(
    "D6", "energy",
    "Each domain has the energy that its readings give, with its uncertainty, method, level and "
    "coverage; none is left out or added.",
    needs=_DERIVED,
)  # fmt: skip
def energy(run: RunFolder, around: Surroundings) -> Found:
    stated, derived = run.record.domains, run.derived.domains
    if sorted(d.domain for d in stated) != sorted(d.domain for d in derived):
        named = [", ".join(sorted(d.domain for d in some)) for some in (stated, derived)]
        yield _differs("domains", *named)
        return
    found = {d.domain: d for d in derived}
    for domain in stated:
        yield from _domain(domain, found[domain.domain])


def _domain(said: DomainEnergy, found: DomainEnergy) -> Iterator[Problem]:
    for name in _SAME:
        if getattr(said, name) != getattr(found, name):
            yield _differs(f"{said.domain}, {name}", getattr(said, name), getattr(found, name))
    for name, share in _SHARES.items():
        stated, derived = getattr(said, name), getattr(found, name)
        if apart(stated, derived, share, _LEAST.get(name, 0.0)):
            yield _differs(f"{said.domain}, {name}", stated, derived)
    bands = [said.band_j or (None, None), found.band_j or (None, None)]
    if any(apart(a, b, _ENERGY) for a, b in zip(*bands, strict=True)):
        yield _differs(f"{said.domain}, band_j", said.band_j, found.band_j)


@rule(
    "D7", "counter and integral",
    "The energy counter and the integral of power agree within 5 %, or three times what the edges "
    "of the window leave unsure; an accelerator with a counter has readings of power, too, and a "
    "node's meter boards that were read.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def agreement(run: RunFolder, around: Surroundings) -> Found:
    for doubt in run.derived.warnings:
        if doubt.id == "disagreement" and not doubt.rankable:
            yield Problem(doubt.message)
    for domain in run.derived.charged:
        alone = domain.counter_j is not None and domain.integral_j is None
        if domain.kind == "gpu" and domain.level == "M1" and alone:
            yield Problem(f"{domain.domain}: nothing to hold its counter against", warns=True)
    nodes = {d.node for d in run.derived.charged if d.kind == "node"}
    for domain in run.derived.domains:
        unread = domain.energy_j is None or domain.level == "M0"
        if domain.kind == "gpu" and domain.node in nodes and unread:
            text = f"{domain.domain} was not read: nothing to hold the node's meter against"
            yield Problem(text, warns=True)


@rule(
    "D8", "idle power", "Power before and after the window is what was read there.",
    needs=_DERIVED,
)  # fmt: skip
def idle_power(run: RunFolder, around: Surroundings) -> Found:
    for name in ("idle_before", "idle_after"):
        said: Idle | None = getattr(run.record, name)
        found: Idle | None = getattr(run.derived, name)
        if said is None or found is None:
            if said is not found:
                yield _differs(name, *("none" if i is None else "some" for i in (said, found)))
            continue
        if apart(said.duration_s, found.duration_s, 0.0, _TIME_S):
            yield _differs(f"{name}, duration", said.duration_s, found.duration_s, " s")
        for domain in sorted(set(said.power_w) | set(found.power_w)):
            stated, derived = said.power_w.get(domain), found.power_w.get(domain)
            if apart(stated, derived, _IDLE, 1e-6):
                yield _differs(f"{name}, {domain}", stated, derived, " W")


@rule(
    "D9", "hidden doubts", "A record says every doubt that follows from its trace and events.",
    needs=_DERIVED,
)  # fmt: skip
def hidden(run: RunFolder, around: Surroundings) -> Found:
    said = Counter((w.id, w.rankable) for w in run.record.warnings)
    found = Counter((w.id, w.rankable) for w in run.derived.warnings)
    for (id_, rankable), times in sorted(found.items()):
        missing = times - said[id_, rankable]
        if missing > 0 and (rankable or id_ not in OWNED):
            message = next(
                w.message for w in run.derived.warnings if (w.id, w.rankable) == (id_, rankable)
            )
            yield Problem(f"left out: {id_}: {message}", {"missing": missing})


@rule(
    "D10", "what else follows",
    "How a run ended, its model's facts, what it kept, what was not covered, its machines and its "
    "reference are as its files say.",
    needs=_DERIVED,
)  # fmt: skip
def others(run: RunFolder, around: Surroundings) -> Found:
    stated, derived = run.record, run.derived
    for name in ("model_facts", "saved", "not_covered"):
        said, found = (_json(getattr(r, name)) for r in (stated, derived))
        if said != found:
            yield _differs(name, said, found)
    yield from _machines(run)
    if stated.reference and not derived.reference:
        yield Problem("its reference was measured at another level, or covers something else")
    told = [e for e in run.events if e["event"] == "outcome"]
    ended = told[-1].get("status") if told else "interrupted"
    graded = stated.status == "failed" and ended in ("complete", "budget")  # failed when scored
    if stated.status != ended and not graded:
        yield _differs("how it ended", stated.status, ended)


def _machines(run: RunFolder) -> Iterator[Problem]:
    """Of several: what each handed over, and what all had said of themselves at the start."""
    record, derived = run.record, run.derived
    said, found = (
        [(n.number, n.machine, n.software, round(n.duration_s, 6)) for n in r.nodes]
        for r in (record, derived)
    )
    if said != found:
        yield Problem("its machines are not as they were handed over")
        return
    for number, hello in run.hellos.items():
        gpus = {d.domain.rpartition("gpu:")[2] for d in derived.domains
                if d.node == number and d.kind == "gpu" and d.charged}  # fmt: skip
        whole = any(d.node == number and d.kind == "node" for d in derived.charged)
        if hello.code != record.code_sha256:
            yield Problem(f"node {number} ran other code: {hello.code[:16]}")
        if gpus != set(hello.gpus) and not whole:
            text = f"node {number} could see {len(hello.gpus)} GPUs; charged: {len(gpus)}"
            yield Problem(text, {"visible": len(hello.gpus), "charged": len(gpus)})


def _json(value: Any) -> str:
    plain = [v.model_dump() for v in value] if isinstance(value, list) and hasattr(
        next(iter(value), None), "model_dump"
    ) else value  # fmt: skip
    return json.dumps(plain, sort_keys=True)


# --- other runs


@rule(
    "D11", "charged runs",
    "What earlier parts and teachers cost is what their own records say.",
    needs=("record",),
)  # fmt: skip
def charged_runs(run: RunFolder, around: Surroundings) -> Found:
    for cost in run.record.charged_runs:
        other = _other(cost.run_id, run, around)
        if other is None:
            text = f"the record of {cost.run_id[:40]} is not at hand: its cost can't be checked"
            yield Problem(text, warns=True)
        else:
            yield from _charge(cost, other.record, other)
            for doubt in [w for w in other.record.warnings if not w.rankable]:
                text = f"{cost.role} {cost.run_id}, by its own record: {doubt.message}"
                yield Problem(text, warns=True)


def _other(run_id: str, run: RunFolder, around: Surroundings) -> RunFolder | None:
    """Another run of the entry, or one that was submitted before, if its record can be read."""
    if not submission.RUN_ID.fullmatch(run_id):
        return None
    beside = RunFolder(run.folder.parent / run_id, run_id)
    return next((r for r in (beside, around.run(run_id)) if r and not r.fault("record")), None)


def _charge(cost: RunCost, record: Record, other: RunFolder) -> Iterator[Problem]:
    make = lineage.part if cost.role == "part" else lineage.teacher
    derived = make(record, other.folder)
    for name in RunCost.model_fields:
        said, found = getattr(cost, name), getattr(derived, name)
        number = isinstance(said, float) and isinstance(found, float)
        if apart(said, found, _EXACT) if number else said != found:
            yield _differs(f"{cost.role} {cost.run_id}, {name}", said, found)


@rule(
    "D12", "same labels",
    "What the runs of an entry say to be right or wrong can be so of one set of labels.",
    scope="entry",
)  # fmt: skip
def same_labels(entry: EntryFolder, around: Surroundings) -> Found:
    """Of two classes, and where labels are at hand, D2 says it of each run alone."""
    label: dict[int, str] = {}
    told: list[tuple[RunFolder, list[str], list[bool]]] = []
    for run in entry.read_runs:
        card, metric = around.card(run.record), run.record.metric
        if card is None or metric is None or run.fault("predictions") or list(_claims(run, card)):
            continue
        if card.kind != "class" or metric.correct is None or _at_hand(
            run.record.spec.data, card, around
        ) or _implied(run, metric, card):  # fmt: skip
            continue
        said = [str(s) for s in run.predictions[: metric.n]]
        told.append((run, said, records.unpack_bits(metric.correct, metric.n)))
    for _, said, right in told:
        for i, (prediction, ok) in enumerate(zip(said, right, strict=True)):
            if ok:
                label.setdefault(i, prediction)
    for run, said, right in told:
        rows = [
            i for i, (prediction, ok) in enumerate(zip(said, right, strict=True))
            if i in label and (label[i] == prediction) != ok
        ]  # fmt: skip
        if rows:
            text = f"run {run.folder.name}: row {rows[0]} can't be as other runs say it is"
            yield Problem(f"{text} ({len(rows)} rows)", {"rows": len(rows)})
