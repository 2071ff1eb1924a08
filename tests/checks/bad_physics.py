"""Bad submissions for P, physics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.checks.bundle import Surroundings
from bench.power.energy import Series
from bench.power.probes import Domain
from bench.power.trace import Trace
from tests.checks import bundles, several
from tests.checks.bad_derivation import silent, with_first
from tests.checks.bad_protocol import CALIBRATION, earlier
from tests.checks.bundles import NS, UUID, Plan
from tests.checks.corpus import bad

Events = list[dict[str, Any]]
GPU = f"gpu:{UUID}"
OTHER = "GPU-77777777-5eed-4000-8000-000000000007"
TWO = "2 x NVIDIA H100 80GB HBM3"
OF_TWO = bundles.REFERENCE.model_copy(update={"hardware": TWO})


def reading(change: Callable[[Series], Series]) -> Callable[[Trace], Trace]:
    """A trace whose GPU was read otherwise."""

    def changed(trace: Trace) -> Trace:
        return dataclasses.replace(trace, series={GPU: change(trace.series[GPU])})

    return changed


def powered(change: Callable[[Series], NDArray[np.float64]]) -> Callable[[Trace], Trace]:
    """A trace of another power, with a counter that counts it."""

    def changed(series: Series) -> Series:
        power_w = change(series)
        step_j = (power_w[1:] + power_w[:-1]) / 2 * np.diff(series.t_ns) / NS
        energy_j = 1e6 + np.concatenate([[0.0], np.cumsum(step_j)])
        return dataclasses.replace(series, power_w=power_w, energy_j=energy_j)

    return reading(changed)


def busy(series: Series) -> NDArray[np.bool_]:
    return series.utilisation > 0.5


def all_with(root: Path, **changes: Any) -> Path:
    """The good one, with something else in the plans of all runs."""
    return bundles.write(root, [dataclasses.replace(p, **changes) for p in bundles.plans()])


def at(events: Events, name: str, **changes: Any) -> Events:
    """The events with one of that name changed."""
    return [{**e, **changes} if e["event"] == name else e for e in events]


def time_of(events: Events, name: str) -> int:
    return next(int(e["t_ns"]) for e in events if e["event"] == name)


# --- time and readings


@bad("P1", "a wall clock that is three hours off")
def other_day(root: Path) -> Path:
    def late(trace: Trace) -> Trace:
        off_ns = 3 * 3600 * NS
        clocks = [(t, real + off_ns, boot) for t, real, boot in trace.clocks]
        return dataclasses.replace(trace, clocks=clocks)

    return with_first(root, trace=late)


@bad("P1", "a run that is still to come")
def to_come(root: Path) -> Path:
    return with_first(root, number=2_000_000)


@bad("P1", "a clock that goes back")
def clock_back(root: Path) -> Path:
    def back(trace: Trace) -> Trace:
        clocks = list(trace.clocks)
        clocks[3], clocks[4] = clocks[4], clocks[3]
        return dataclasses.replace(trace, clocks=clocks)

    return with_first(root, trace=back)


@bad("P1", "readings that no clock joins to a time of day")
def timeless(root: Path) -> Path:
    return with_first(root, trace=lambda t: dataclasses.replace(t, clocks=[]))


@bad("P1", "two readings at once")
def at_once(root: Path) -> Path:
    def twice(series: Series) -> Series:
        t_ns = series.t_ns.copy()
        t_ns[300] = t_ns[299]
        return dataclasses.replace(series, t_ns=t_ns)

    return with_first(root, trace=reading(twice))


@bad("P1", "a step that was made before the one before it")
def step_back(root: Path) -> Path:
    def back(events: Events) -> Events:
        steps = [i for i, e in enumerate(events) if e["event"] == "step"]
        events[steps[20]] = {**events[steps[20]], "t_ns": events[steps[10]]["t_ns"]}
        return events

    return with_first(root, events=back)


@bad("P2", "samples too sparse: one in two seconds")
def sparse(root: Path) -> Path:
    return with_first(root, rate_hz=0.5, record=silent("too-few-samples"))


@bad("P2", "samples too sparse, of a meter that calls itself slow")
def slow_by_itself(root: Path) -> Path:
    return with_first(root, rate_hz=0.5, facts={"period_s": 2.0}, record=silent("too-few-samples"))


@bad("P3", "eight seconds without a reading")
def hole(root: Path) -> Path:
    def cut(series: Series) -> Series:
        kept = np.ones(len(series.t_ns), bool)
        kept[400:480] = False
        return Series(*(getattr(series, f.name)[kept] for f in dataclasses.fields(Series)))

    return with_first(root, trace=reading(cut), record=silent("gap"))


@bad("P4", "a board that draws a third more than its limit")
def over_limit(root: Path) -> Path:
    return with_first(root, facts={"power_limit_w": 300.0, "default_power_limit_w": 300.0})


@bad("P5", "a counter that goes back")
def counter_back(root: Path) -> Path:
    def back(series: Series) -> Series:
        energy_j = series.energy_j.copy()
        energy_j[600:] -= 20_000.0
        return dataclasses.replace(series, energy_j=energy_j)

    return with_first(root, trace=reading(back), record=silent("counter"))


# --- devices


def with_other(change: Callable[[Series], Series]) -> Callable[[Trace], Trace]:
    """A trace of two boards."""

    def both(trace: Trace) -> Trace:
        other = trace.domains[0]._replace(name=f"gpu:{OTHER}", uuid=OTHER)
        series = {**trace.series, other.name: change(trace.series[GPU])}
        return dataclasses.replace(trace, domains=[*trace.domains, other], series=series)

    return both


@bad("P6", "a second accelerator that is not charged")
def not_charged(root: Path) -> Path:
    return all_with(
        root, spec={"hardware": TWO}, start={"references": [OF_TWO]},
        trace=with_other(lambda s: dataclasses.replace(s, power_w=s.power_w + 1.5)),
    )  # fmt: skip


@bad("P6", "an accelerator that works when the run does, and is not charged", warns=True)
def works_along(root: Path) -> Path:
    return with_first(
        root, trace=with_other(lambda s: dataclasses.replace(s, power_w=s.power_w + 1))
    )


@bad("P6", "an accelerator that was used and is not metered")
def not_metered(root: Path) -> Path:
    return with_first(
        root, events=lambda e: at(e, "devices", uuids=[OTHER]), record=silent("unmetered")
    )


@bad("P6", "a training that does not say where it was")
def nowhere(root: Path) -> Path:
    return with_first(root, events=lambda e: at(e, "devices", uuids=[]))


@bad("P11", "one board's readings as those of two")
def copied(root: Path) -> Path:
    return all_with(
        root, spec={"hardware": TWO},
        start={"visible_gpus": [UUID, OTHER], "references": [OF_TWO]},
        trace=with_other(lambda s: s),
    )  # fmt: skip


@bad("P11", "one board under two names")
def two_names(root: Path) -> Path:
    def named_again(trace: Trace) -> Trace:
        both = with_other(lambda s: dataclasses.replace(s, power_w=s.power_w + 1.5))(trace)
        domains = [d._replace(uuid=UUID) for d in both.domains]
        return dataclasses.replace(both, domains=domains)

    return all_with(
        root, spec={"hardware": TWO}, trace=named_again,
        start={"visible_gpus": [UUID, OTHER], "references": [OF_TWO]},
    )  # fmt: skip


@bad("P11", "one machine's file as that of two")
def copied_node(root: Path) -> Path:
    def copied(part: Trace, of: Trace) -> Trace:
        return several.second(of)

    return bundles.write(root, several.plans(copied))


# --- computing


def shape(layers: int) -> Callable[[Events], Events]:
    return lambda events: at(events, "model", layers=layers, width=16_384)


@bad("P7", "a model that takes longer to train")
def no_time(root: Path) -> Path:
    return with_first(root, events=shape(200))


@bad("P8", "a model that takes more energy to train")
def no_energy(root: Path) -> Path:
    return with_first(root, events=shape(100), load_w=100.0)


# --- the window


@bad("P9", "a window of nearly zero length")
def no_window(root: Path) -> Path:
    def short(events: Events) -> Events:
        return at(events, "window_stop", t_ns=time_of(events, "window_start") + NS // 5)

    return with_first(root, events=in_order(short))


def in_order(change: Callable[[Events], Events]) -> Callable[[Events], Events]:
    return lambda events: sorted(change(events), key=lambda e: e["t_ns"])


@bad("P9", "a window that is cut short")
def cut_short(root: Path) -> Path:
    def half(events: Events) -> Events:
        begin, end = time_of(events, "window_start"), time_of(events, "window_stop")
        return at(events, "window_stop", t_ns=(begin + end) // 2)

    return with_first(root, events=in_order(half))


@bad("P9", "a window that opens when training has begun")
def late_window(root: Path) -> Path:
    def late(events: Events) -> Events:
        return at(events, "window_start", t_ns=time_of(events, "window_start") + 30 * NS)

    return with_first(root, events=in_order(late))


@bad("P9", "seconds between the power at rest and the window, which nobody has metered", warns=True)
def unseen(root: Path) -> Path:
    def late(events: Events) -> Events:
        return at(events, "idle_before_stop", t_ns=time_of(events, "idle_before_start") + NS)

    return with_first(root, events=late)


@bad("P9", "an end that is not in the window")
def no_end(root: Path) -> Path:
    return with_first(root, events=lambda es: [e for e in es if e["event"] != "run_stop"])


@bad("P9", "a run that ends long after its window")
def long_after(root: Path) -> Path:
    return with_first(
        root, events=lambda e: at(e, "outcome", t_ns=time_of(e, "outcome") + 600 * NS)
    )


@bad("P9", "work before the window")
def before(root: Path) -> Path:
    def warm(trace: Trace) -> Trace:
        changed = powered(lambda s: np.where(_before(s), s.power_w + 320.0, s.power_w))(trace)
        series = changed.series[GPU]
        utilisation = np.where(_before(series), 0.95, series.utilisation)
        series = dataclasses.replace(series, utilisation=utilisation)
        return dataclasses.replace(changed, series={GPU: series})

    return with_first(root, trace=warm)


def _before(series: Series) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.arange(len(series.t_ns)) < int(np.argmax(busy(series)))
    return found


# --- meters that are none


@bad("P10", "an estimate by utilisation that is labelled as measured")
def estimate(root: Path) -> Path:
    def by_use(trace: Trace) -> Trace:
        series = trace.series[GPU]
        moving = 0.75 + 0.2 * np.sin(np.arange(len(series.t_ns)))
        utilisation = np.where(busy(series), np.round(moving, 2), 0.0)
        changed = dataclasses.replace(series, utilisation=utilisation)
        found = dataclasses.replace(trace, series={GPU: changed})
        return powered(lambda s: 70.0 + 440.0 * s.utilisation)(found)

    return with_first(root, trace=by_use)


@bad("P10", "an estimate of processors that is labelled as measured")
def processor(root: Path) -> Path:
    def with_processor(trace: Trace) -> Trace:
        cpu = Domain("cpu:estimate", "cpu", "AMD EPYC 9B14", "M1", 0.1)
        series = trace.series[GPU]
        counted = series.energy_j / 5 + np.linspace(0, 9, len(series.t_ns))
        other = dataclasses.replace(
            series, power_w=series.power_w / 5 + 0.1, energy_j=counted,
            utilisation=series.utilisation / 2,
        )  # fmt: skip
        return dataclasses.replace(
            trace, domains=[*trace.domains, cpu], series={**trace.series, cpu.name: other}
        )

    reference = bundles.REFERENCE.model_copy(update={"coverage": "gpu+cpu"})
    return all_with(root, trace=with_processor, start={"references": [reference]})


@bad("P10", "a meter that says one value", warns=True)
def one_value(root: Path) -> Path:
    return with_first(root, trace=powered(lambda s: np.where(busy(s), 400.0, s.power_w)))


def by_meter(level: str = "M1", gain: float = 0.1, **facts: Any) -> Callable[[Trace], Trace]:
    """A trace whose board says something else of its meter."""

    def changed(trace: Trace) -> Trace:
        board = trace.domains[0]
        told = board._replace(level=level, gain=gain, facts={**board.facts, **facts})
        return dataclasses.replace(trace, domains=[told])

    return changed


def at_level(level: str) -> Callable[[Path], Path]:
    reference = bundles.REFERENCE.model_copy(update={"level": level})
    return lambda root: all_with(
        root, trace=by_meter(level), start={"references": [reference]}
    )  # fmt: skip


bad("P17", "a calibrated board, and no calibration")(at_level("M3"))
bad("P17", "a board by NVML that is said to be read by a meter outside")(at_level("M2"))


@bad("P17", "a calibration that halves what was read, and says M1 all the same")
def halved_by_a_line(root: Path) -> Path:
    line = {**CALIBRATION, "gain": 0.5}
    return all_with(root, idle_w=140.0, trace=by_meter(calibration=line))


@bad("P17", "a calibration that takes away what a board draws at rest")
def taken_away(root: Path) -> Path:
    line = {**CALIBRATION, "offset_w": -60.0}
    reference = bundles.REFERENCE.model_copy(update={"level": "M3"})
    return all_with(
        root, idle_w=120.0, trace=by_meter("M3", 0.02, calibration=line),
        start={"references": [reference]},
    )  # fmt: skip


@bad("P17", "a board that is said to be read once in ten minutes")
def slow_board(root: Path) -> Path:
    return all_with(root, trace=by_meter(period_s=600.0))


@bad("P17", "a board whose counter nobody doubts")
def certain(root: Path) -> Path:
    return all_with(root, trace=by_meter(gain=0.0))


# --- what only looks odd


@bad("P12", "less power than at rest", warns=True)
def below_rest(root: Path) -> Path:
    return with_first(root, idle_w=480.0)


@bad("P12", "nothing read before the window", warns=True)
def unread_before(root: Path) -> Path:
    return with_first(
        root, events=lambda es: [e for e in es if not e["event"].startswith("idle_before")]
    )


@bad("P13", "a board that goes on when the run has ended", warns=True)
def goes_on(root: Path) -> Path:
    def after(series: Series) -> NDArray[np.float64]:
        last = len(series.t_ns) - int(np.argmax(busy(series)[::-1]))
        return np.where(np.arange(len(series.t_ns)) >= last, series.power_w + 330.0, series.power_w)

    return with_first(root, trace=powered(after))


@bad("P14", "energy halved, counter and power alike", warns=True)
def halved(root: Path) -> Path:
    return all_with(root, load_w=200.0, idle_w=35.0)


# --- what was learned


@bad("P15", "a score too good for three steps")
def three_steps(root: Path) -> Path:
    def few(events: Events) -> Events:
        return [e for e in events if e["event"] != "step" or e["step"] <= 4]

    return with_first(root, events=few)


@bad("P15", "four steps where the settings ask for two epochs")
def few_planned(root: Path) -> Path:
    def few(events: Events) -> Events:
        kept = [e for e in events if e["event"] != "step" or e["step"] <= 4]
        return at(kept, "step", total_steps=4)

    return with_first(root, events=few)


@bad("P15", "a tenth of the steps, and ten times as many epochs that a limit cuts short")
def limited_by_nothing(root: Path) -> Path:
    settings = {"epochs": 20.0, "batch_size": 64, "max_length": 128, "max_steps": 10**9}
    return all_with(root, spec={"settings": settings})


@bad("P15", "settings that do not say for how long to train")
def no_epochs(root: Path) -> Path:
    return all_with(root, spec={"settings": {"batch_size": 64, "max_length": 128}})


@bad("P15", "batches of nobody knows how many rows")
def no_batches(root: Path) -> Path:
    return all_with(root, spec={"settings": {"epochs": 2.0, "batch_size": "64"}})


def ended_by(budget: str | None) -> Callable[[Path], Path]:
    def made(root: Path) -> Path:
        def early(events: Events) -> Events:
            kept = [e for e in events if e["event"] != "step" or e["step"] <= 60]
            return at(at(kept, "outcome", status="budget"), "run_stop", reason="budget")

        return all_with(
            root, spec={"budget": budget}, events=early,
            record=lambda r: r.model_copy(update={"status": "budget"}),
        )  # fmt: skip

    return made


bad("P15", "a run that ended with a budget that it does not have")(ended_by(None))
bad("P15", "a budget that was not spent", warns=True)(ended_by("2kWh"))


@bad("P15", "a step that was made twice")
def again(root: Path) -> Path:
    def twice(events: Events) -> Events:
        steps = [i for i, e in enumerate(events) if e["event"] == "step"]
        events[steps[20]] = {**events[steps[20]], "step": events[steps[19]]["step"]}
        return events

    return with_first(root, events=twice)


@bad("P15", "no step at all")
def no_step(root: Path) -> Path:
    return with_first(root, events=lambda es: [e for e in es if e["event"] != "step"])


@bad("P15", "fewer batches than its rows fill")
def few_rows(root: Path) -> Path:
    own = bundles.spec_of(bundles.plans()[0]).data
    rows = {**own.rows, "train": 50_000}
    return all_with(root, spec={"data": own.model_copy(update={"rows": rows})})


@bad("P16", "a score too good for what was computed", warns=True)
def too_good(root: Path) -> tuple[Path, Surroundings]:
    settings = {"epochs": 60.0, "batch_size": 64, "max_length": 128}
    earlier = [
        Plan(seed=p.seed + 1, number=50 + i, wrong=[7 * k + i for k in range(30)],
             spec={"settings": settings})
        for i, p in enumerate(bundles.plans())
    ]  # fmt: skip
    others = bundles.write(root / "before", earlier, name="others")
    runs = {p.parent.name: p.parent for p in others.glob("*/record.json")}
    return bundles.write(root / "after"), bundles.around(others=runs)


@bad("P18", "a third of the energy that everybody else takes, readings and all", warns=True)
def thrifty(root: Path) -> tuple[Path, Surroundings]:
    before = bundles.write(root / "before", earlier())
    others = {path.parent.name: path.parent for path in before.glob("*/record.json")}
    return all_with(root, load_w=110.0), bundles.around(others=others)


@bad("P10", "a GPU that was estimated, among the estimates")
def estimated_gpu(root: Path) -> Path:
    def change(trace: Trace) -> Trace:
        (domain,) = trace.domains
        trace.domains = [domain._replace(level="M0", gain=0.4, reason="made up")]
        return trace

    several = bundles.plans()
    for plan in several:
        plan.trace = change
    return bundles.write(root, several)
