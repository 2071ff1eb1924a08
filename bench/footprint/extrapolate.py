"""From a profile, or any run, to a full training, three ways side by side.

By hours: the mean power of the training phase, times hours (the study's method). By work: what a
step or a token took, times how many there are, with preparation, evaluation and prediction. By
FLOPs: what is to be computed, by the hardware's peak and the share of it that is reached. How far
apart they are is the error bar.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from bench.checks import computing
from bench.errors import UsageError, near_names
from bench.footprint import formulas, published
from bench.footprint.profile import Part, Profile
from bench.footprint.quantity import Quantity, derived, given
from bench.footprint.workloads import Workload
from bench.power.carbon import Scenario
from bench.units import J_PER_KWH

S_PER_H = 3600.0
FLOPS_A_TOKEN = 6.0  # and parameter: Kaplan et al. 2020, arXiv 2001.08361, section 2.1
_KAPLAN = "2 a parameter forward and 4 backward: Kaplan et al. 2020, arXiv 2001.08361"


@dataclass(frozen=True)
class Asked:
    """The full training, as far as somebody says it; at most one of `steps`, `tokens`, `epochs`."""

    hours: float | None = None
    devices: int | None = None
    steps: float | None = None
    tokens: float | None = None
    epochs: float | None = None
    flops: float | None = None
    parameters: float | None = None
    efficiency: float | None = None  # share of the peak
    hardware: str | None = None  # other than the profile's
    workload: Workload | None = None  # what isn't said follows from it

    def check(self) -> None:
        """UsageError for what can't be."""
        named = {
            "--hours": self.hours, "--devices": self.devices, "--steps": self.steps,
            "--tokens": self.tokens, "--epochs": self.epochs, "--flops": self.flops,
            "--parameters": self.parameters,
        }  # fmt: skip
        for option, value in named.items():
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{option} {value:g} is no training", "give a number above 0")
        if self.efficiency is not None and not 0 < self.efficiency <= 1:
            raise UsageError(
                f"an efficiency of {self.efficiency:g} can't be", "a share of the peak: 0.4"
            )
        works = [o for o in ("--steps", "--tokens", "--epochs") if named[o] is not None]
        if len(works) > 1:
            raise UsageError(f"{' and '.join(works)} say the same in two ways", "give one of them")


@dataclass(frozen=True)
class Way:
    """One estimate of the whole. `energy` is that of the building, kWh."""

    key: str  # hours, work, flops, published
    name: str
    energy: Quantity
    emissions: Quantity
    time: Quantity | None
    assumes: str
    cost: Quantity | None = None  # of electricity
    cloud: tuple[Quantity, Quantity] | None = None


@dataclass(frozen=True)
class Extrapolation:
    """`missing`: ways that can't be gone, and why; `notes`: what makes the numbers doubtful."""

    profile: Profile
    asked: Asked
    scenario: Scenario
    ways: tuple[Way, ...]
    missing: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    published: Way | None = None

    @property
    def ordered(self) -> list[Way]:
        """The lowest first."""
        return sorted(self.ways, key=lambda way: way.energy.value)

    @property
    def spread(self) -> float | None:
        """The highest over the lowest; None where there is one way alone."""
        if len(self.ways) < 2:
            return None
        return self.ordered[-1].energy.value / self.ordered[0].energy.value


def extrapolate(
    profile: Profile, asked: Asked, scenario: Scenario, usd_per_kwh: float | None = None
) -> Extrapolation:
    """By all ways that what is known allows; UsageError where it allows none."""
    asked.check()
    _check_power(profile)
    if usd_per_kwh is not None and not 0 <= usd_per_kwh < math.inf:
        raise UsageError(f"{usd_per_kwh:g} USD/kWh is no price", "give a number from 0 up")
    made = _Making(profile, asked, scenario, usd_per_kwh)
    found, missing = [], []
    for name, way in (("hours", made.by_hours), ("work", made.by_work), ("FLOPs", made.by_flops)):
        try:
            found.append(way())
        except _NotKnown as unknown:
            missing.append((f"by {name}", str(unknown)))
    if not found:
        raise UsageError(
            f"the full training is not known: {'; '.join(': '.join(each) for each in missing)}",
            "--hours 84, --steps 1M, --tokens 137G, --epochs 3, --flops 3.1e20, or --as bert-base",
        )
    return Extrapolation(
        profile, asked, scenario, tuple(found), tuple(missing), tuple(made.notes()),
        made.as_published(),
    )  # fmt: skip


class _NotKnown(Exception):
    """What a way needs and nobody has said."""


def _check_power(profile: Profile) -> None:
    if not 0 < profile.power_w.value < math.inf:
        raise UsageError(
            f"a training can't take {profile.power_w.value:g} W", "its meters read nothing useful"
        )


@dataclass
class _Making:
    profile: Profile
    asked: Asked
    scenario: Scenario
    usd_per_kwh: float | None
    _notes: list[str] = field(default_factory=list)

    # --- what is known

    @property
    def pue(self) -> Quantity:
        return formulas.pue_of(self.scenario.pue)

    @property
    def devices(self) -> Quantity:
        count = self.asked.devices or self.profile.devices
        source = "as given" if self.asked.devices else "as in the profile"
        return given("devices", count, "", source)

    @property
    def device_w(self) -> Quantity:
        """Of one device, with its share of what else is metered."""
        own = given("devices of the profile", self.profile.devices, "", self.profile.source)
        return derived("power of one device", "W", "power / devices of the profile",
                       lambda w, n: w / n, self.profile.power_w, own)  # fmt: skip

    @property
    def steps(self) -> Quantity | None:
        """Of the profile's batch."""
        asked, workload = self.asked, self.asked.workload
        if asked.steps is not None:
            return given("steps", asked.steps, "", "as given")
        if asked.epochs is not None:
            if self.profile.per_epoch is None:
                raise UsageError("the run does not say how many steps an epoch has", "--steps N")
            each = given("steps an epoch", self.profile.per_epoch, "", self.profile.source)
            epochs = given("epochs", asked.epochs, "", "as given")
            return derived("steps", "", "epochs x steps an epoch", lambda e, s: e * s, epochs, each)
        if asked.tokens is not None or workload or self.profile.record.is_profile:
            return None
        planned = self.profile.total_steps
        return given("steps", planned, "", "as the run had planned") if planned else None

    @property
    def tokens(self) -> Quantity | None:
        asked, workload = self.asked, self.asked.workload
        if asked.tokens is not None:
            return given("tokens", asked.tokens, "", "as given")
        each = self.profile.tokens_a_step
        if (steps := self.steps) is not None:
            if each is None:
                return None
            a_step = given("tokens a step", each, "", self.profile.source)
            return derived("tokens", "", "steps x tokens a step", lambda s, t: s * t, steps, a_step)
        return workload.tokens if workload else None

    @property
    def whole_task(self) -> bool:
        """Whether it is the run's own task to its end, with its evaluations and prediction."""
        return self.asked.tokens is not None or self.steps is not None

    # --- by hours

    def _own_hardware(self) -> None:
        if self.asked.hardware not in (None, self.profile.device):
            raise _NotKnown(f"{self.asked.hardware} was not profiled: by FLOPs alone")

    def by_hours(self) -> Way:
        self._own_hardware()
        if self.asked.hours is None:
            raise _NotKnown("--hours says how long it trains")
        hours = given("hours", self.asked.hours, "h", "as given")
        power_w = derived("power", "W", "devices x power of one device", lambda n, w: n * w,
                          self.devices, self.device_w)  # fmt: skip
        return self._way(
            "hours", "by hours", formulas.energy(power_w, hours, self.pue), hours,
            "the whole takes the power of the profile's training phase, and as many hours as said",
        )  # fmt: skip

    # --- by steps or tokens

    def by_work(self) -> Way:
        self._own_hardware()
        profile, steps, tokens = self.profile, self.steps, self.tokens
        if steps is not None:
            unit, count, one, pace = "step", steps, profile.step_j, profile.steps_per_s
        elif tokens is not None and profile.token_j and profile.tokens_per_s:
            unit, count, one, pace = "token", tokens, profile.token_j, profile.tokens_per_s
        elif tokens is not None:
            raise _NotKnown("the run does not say how many tokens a step has: --steps")
        elif self.asked.workload:
            raise _NotKnown(f"how many steps {self.asked.workload.key} took was not published")
        else:
            raise _NotKnown("--steps, --tokens or --epochs says how much it learns from")
        trained_j = derived("training", "J", f"{count.name} x energy a {unit}",
                            lambda n, j: n * j, count, one)  # fmt: skip
        spent = derived("seconds of training", "s", f"{count.name} / {pace.name} / devices x own",
                        lambda n, r, k: n / r / k, count, pace, self._times)  # fmt: skip
        around = self._around()
        parts_j = [trained_j, *(j for j, _ in around)]
        energy = derived(
            "energy", "kWh", f"PUE x ({' + '.join(q.name for q in parts_j)}) / {J_PER_KWH:g}",
            lambda p, *js: p * sum(js) / J_PER_KWH, self.pue, *parts_j,
        )  # fmt: skip
        parts_s = [spent, *(s for _, s in around)]
        time = derived("hours", "h", f"({' + '.join(q.name for q in parts_s)}) / 3600",
                       lambda *ss: sum(ss) / S_PER_H, *parts_s)  # fmt: skip
        besides = ", ".join(q.name for q, _ in around)
        assumes = f"every {unit} takes what one of the profile took; {besides} as measured there"
        if self._times.value != 1:
            assumes += "; more devices are faster by as much as there are more, and take no more"
        return self._way("work", f"by {unit}s", energy, time, assumes)

    @property
    def _times(self) -> Quantity:
        """As many devices as the profile had, so often."""
        own = self.profile.devices
        return derived("times its devices", "", "devices / devices of the profile",
                       lambda n: n / own, self.devices)  # fmt: skip

    def _around(self) -> list[tuple[Quantity, Quantity]]:
        """Joules and seconds of what is no training."""
        profile = self.profile
        found = [self._part("preparation", profile.before, 1)]
        if not self.whole_task:
            return found
        evaluations = profile.record.spec.settings.get("evaluations")
        if profile.evaluate and isinstance(evaluations, int) and evaluations:
            found.append(self._part("evaluation", profile.evaluate, evaluations))
        if profile.predict:
            found.append(self._part("prediction", profile.predict, 1))
        return found

    def _part(self, name: str, part: Part, times: int) -> tuple[Quantity, Quantity]:
        scale = times / part.times / (part.share or 1.0)
        how = self.profile.source + ("" if part.share is None else ", from a sample")
        unsure_j = self.profile.meter_share * part.energy_j * scale
        return (
            given(name, part.energy_j * scale, "J", how, unsure_j),
            given(f"seconds of {name}", part.duration_s * scale, "s", how),
        )

    # --- by FLOPs

    def by_flops(self) -> Way:
        flops, peak = self._flops(), self._peak()
        share = self._efficiency(peak)
        device_w = self._device_w()
        seconds = derived("device-seconds", "s", "FLOPs / peak / efficiency",
                          lambda f, p, e: f / p / e, flops, peak, share)  # fmt: skip
        energy = derived("energy", "kWh", f"PUE x device-seconds x {device_w.name} / {J_PER_KWH:g}",
                         lambda u, s, w: u * s * w / J_PER_KWH, self.pue, seconds,
                         device_w)  # fmt: skip
        time = derived("hours", "h", "device-seconds / devices / 3600",
                       lambda s, n: s / n / S_PER_H, seconds, self.devices)  # fmt: skip
        reached = "as given" if self.asked.efficiency else "as in the profile"
        assumes = (
            f"{100 * share.value:.2g} % of the peak is reached, {reached}; the training alone, "
            "without preparation and evaluation"
        )
        return self._way("flops", "by FLOPs", energy, time, assumes)

    def _flops(self) -> Quantity:
        workload = self.asked.workload
        if self.asked.flops is not None:
            return given("FLOPs", self.asked.flops, "", "as given")
        own_work = self.asked.steps or self.asked.tokens or self.asked.epochs
        if workload and workload.flops and not own_work:
            return given("FLOPs", workload.flops, "", workload.source)
        tokens, parameters = self.tokens, self._parameters()
        if tokens is None or parameters is None:
            raise _NotKnown("--flops, or tokens and parameters, say what is computed")
        return derived("FLOPs", "", f"{FLOPS_A_TOKEN:g} x parameters x tokens ({_KAPLAN})",
                       lambda n, d: FLOPS_A_TOKEN * n * d, parameters, tokens)  # fmt: skip

    def _parameters(self) -> Quantity | None:
        workload = self.asked.workload
        if self.asked.parameters is not None:
            return given("parameters", self.asked.parameters, "", "as given")
        if workload and workload.parameters:
            return given("parameters", workload.parameters, "", workload.source)
        return self._own_parameters()

    def _own_parameters(self) -> Quantity | None:
        count = self.profile.record.model_facts.get("parameters")
        if not isinstance(count, int | float) or count <= 0:
            return None
        return given("parameters", count, "", self.profile.source)

    def _peak(self, own: bool = False) -> Quantity:
        """FLOP/s of one device, in the format that the recipe computes in."""
        profile = self.profile
        name = profile.device if own or not self.asked.hardware else self.asked.hardware
        recipes = computing.recipes_of(profile.record.spec.recipe) or set()
        found = computing.peak(name, recipes)
        if found is None and (cores := re.search(r"(\d+) cores?$", profile.record.spec.hardware)):
            found = computing.processor(int(cores[1]), recipes) if name == profile.device else None
        if found is None:
            raise _NotKnown(f"nothing is known of the peak of {name}")
        return given("peak", found.flops, "FLOP/s", f"{name}, its maker's data sheet")

    def _efficiency(self, peak: Quantity) -> Quantity:
        """Given, or as the profile reached it."""
        if self.asked.efficiency is not None:
            return given("efficiency", self.asked.efficiency, "", "as given")
        pace, parameters = self.profile.tokens_per_s, self._own_parameters()
        if pace is None or parameters is None:
            raise _NotKnown(
                "the run does not tell of its tokens: --efficiency says what it reached"
            )
        own = given("devices of the profile", self.profile.devices, "", self.profile.source)
        return derived(
            "efficiency", "", f"{FLOPS_A_TOKEN:g} x parameters x tokens a second / peak / devices",
            lambda n, r, p, k: FLOPS_A_TOKEN * n * r / p / k, parameters, pace,
            self._peak(own=True), own,
        )  # fmt: skip

    def _device_w(self) -> Quantity:
        """Of one device; of other hardware the limit of its board."""
        name = self.asked.hardware
        if name is None or name == self.profile.device:
            return self.device_w
        row = computing.accelerator(name)
        if row is None:
            raise _NotKnown(f"nothing is known of the power of {name}")
        return given("power limit", row["power_w"], "W", f"{name}, {row['source']}")

    # --- the rest

    def as_published(self) -> Way | None:
        """The study's own row of the same training, on other hardware."""
        workload = self.asked.workload
        row = workload.as_run if workload else None
        if not row or not row.get("power_w"):
            return None
        hours = given("hours", row["hours"], "h", "the study's table 3")
        power_w = given("power", row["power_w"], "W", "the study's table 3")
        where = f"{row['device']} x {row['devices']}"
        return self._way("published", f"as published, on {where}",
                         formulas.energy(power_w, hours, self.pue), hours,
                         "the study's power and hours, on its hardware: in no spread",
                         row["device"], row["devices"])  # fmt: skip

    def _way(
        self,
        key: str,
        name: str,
        energy: Quantity,
        time: Quantity,
        assumes: str,
        device: str = "",
        devices: int = 0,
    ) -> Way:
        emissions = formulas.emissions_kg(energy, formulas.intensity_of(self.scenario.region))
        cost = None
        if self.usd_per_kwh is not None:
            price = given("price", self.usd_per_kwh, "USD/kWh", "as given")
            cost = formulas.cost_usd("electricity", energy, price)
        count = given("devices", devices, "", "the study's table 3") if devices else self.devices
        prices = _prices(device or self.asked.hardware or self.profile.device)
        spent = formulas.device_hours(count, time)
        cloud = None
        if prices:
            low, high = (formulas.cost_usd("cloud", spent, each) for each in prices)
            cloud = low, high
        return Way(key, name, energy, emissions, time, assumes, cost, cloud)

    def notes(self) -> list[str]:
        profile, asked = self.profile, self.asked
        said = []
        if profile.estimated:
            said.append("the profile's power is estimated, not measured: so is all of this")
        if not profile.verdict.stable:
            said.append(f"the profile's power was not stable: {profile.verdict.why}")
        if asked.hardware and asked.hardware != profile.device:
            said.append(
                f"{asked.hardware} is not what the profile ran on ({profile.device}): its power is "
                "the limit of its board, its efficiency that of another device unless it is given"
            )
        if asked.workload and profile.record.spec.model not in asked.workload.models:
            said.append(
                f"{profile.record.spec.model} was profiled, and is not what {asked.workload.key} is"
            )
        if asked.workload:
            said.append(f"{asked.workload.key}: {' '.join(asked.workload.note.split())}")
        if profile.record.not_covered and not profile.estimated:
            said.append(f"only {profile.record.coverage} is metered: the machine takes more")
        return said


def _prices(device: str) -> tuple[Quantity, Quantity] | None:
    """Of 2019, of the devices that the study has prices of."""
    known = [k for k in published.document()["prices"] if k != "source" and k in device]
    return published.prices(known[0]) if known else None


def other_hardware(name: str, profile: Profile) -> str | None:
    """The name of a device that is known, for FLOPs; None for the profile's own."""
    if name == profile.device:
        return None
    row = computing.accelerator(name)
    if row is None:
        near = near_names(name, computing.names())
        hint = f"did you mean {' or '.join(near)}?" if near else ", ".join(computing.names())
        raise UsageError(f"nothing is known of the hardware '{name}'", hint)
    return name


_COUNT = re.compile(r"\s*([0-9][0-9,]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?)\s*([kMGBT]?)\s*")
_TIMES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


def count(option: str, text: str | None) -> float | None:
    """1M, 137G, 3.1e20, 1,000; UsageError else."""
    if text is None:
        return None
    match = _COUNT.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} {text} is no number above 0", "such as 1M, 137G, 3.1e20")
    value = float(match[1].replace(",", "")) * _TIMES[match[2]]
    if not 0 < value < math.inf:
        raise UsageError(f"{option} {text} is no number above 0", "such as 1M, 137G, 3.1e20")
    return value
