"""What a training that somebody plans would take: energy, emissions, money and time.

It rests on runs that exist (`basis`). Every step away from them adds a factor to the spread, and
each factor says where it comes from (`factors`). Measured and estimated runs are never added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from bench.footprint import formulas, prices
from bench.footprint.basis import nearest
from bench.footprint.factors import of_trials, per_unit, s_per_unit
from bench.footprint.known import Known
from bench.footprint.planned import Asked, Band, Basis, Cost, Factor, Plan
from bench.footprint.quantity import Quantity, derived, given


def plan(asked: Asked, found: Sequence[Known]) -> Plan:
    """UsageError where nothing here says anything of such a training."""
    basis = nearest(asked, found)
    factors = (*basis.factors, *asked.extra)
    share = of_trials(found, basis.estimated)
    one = _one(asked, basis, factors)
    if not asked.trials:
        return Plan(asked, basis, one, None, one, factors)
    trials = _times(one, asked.trials, share)
    return Plan(asked, basis, one, trials, _sum(one, trials), (*factors, share))


# --- arithmetic ----------------------------------------------------------------------------------


def _one(asked: Asked, basis: Basis, factors: Sequence[Factor]) -> Cost:
    runs, unit = basis.runs, asked.unit
    ids = ", ".join(r.run_id[:8] for r in runs[:4]) + (", …" if len(runs) > 4 else "")
    kind = "estimated" if basis.estimated else "measured"
    source = f"{kind}, mean of {len(runs)} run{'' if len(runs) == 1 else 's'}: {ids}"
    time_s = _time(asked, basis, factors, source)
    if asked.power_w:
        power = given("power", asked.power_w, "W", "as given, of one device")
        train = time_s.map(lambda t: formulas.work(power, t))
    else:
        amount = _amount(asked)
        each = given(f"energy of a {unit}", fmean(per_unit(r, unit) for r in runs), "J", source)
        train = _spread(factors, "energy").map(
            lambda f: formulas.training_j(each, amount, f)
        )  # fmt: skip
    around_j, around_s = _around(asked, runs)
    pue, usd = formulas.pue_of(asked.scenario.pue), _price(asked)
    energy = train.with_(around_j, lambda t, a: formulas.whole_kwh(t, a, pue))
    hours = time_s.with_(around_s, lambda t, a: formulas.wall_hours(t, a, _devices(asked)))
    return _cost(asked, energy, hours, usd)


def _cost(asked: Asked, energy: Band, hours: Band, usd: Quantity) -> Cost:
    grid = formulas.intensity_of(asked.scenario.region)
    return Cost(
        energy=energy,
        emissions=energy.map(lambda e: formulas.emissions_kg(e, grid)),
        electricity=energy.map(lambda e: formulas.cost_usd("electricity", e, usd)),
        hours=hours,
        cloud=_cloud(asked, hours),
    )


def _amount(asked: Asked) -> Quantity:
    if asked.unit != "second":
        return given(f"{asked.unit}s", asked.amount, "", "as asked")
    hours = given("hours", asked.hours or 0.0, "h", "as asked")
    return derived(
        "device-seconds", "s", "hours x devices x 3600", lambda h, n: h * n * 3600,
        hours, _devices(asked),
    )  # fmt: skip


def _devices(asked: Asked) -> Quantity:
    return given("devices", asked.devices, "", "as asked")


def _time(asked: Asked, basis: Basis, factors: Sequence[Factor], source: str) -> Band:
    """Device-seconds of the training phase."""
    amount = _amount(asked)
    if asked.unit == "second":
        return Band(amount, amount, amount)
    each_s = fmean(s_per_unit(r, asked.unit) for r in basis.runs)
    each = given(f"device-time of a {asked.unit}", each_s, "s", source)
    return _spread(factors, "time").map(
        lambda f: formulas.training_s(each, amount, f)
    )  # fmt: skip


def _spread(factors: Sequence[Factor], of: str) -> Band:
    """All factors: middles multiplied, and what they spread taken as independent, in quadrature of
    logarithms."""
    some = [f for f in factors if f.of in (of, "both")]
    middle = math.prod(f.middle for f in some)
    low = math.exp(-math.hypot(*(math.log(f.middle / f.low) for f in some)))
    high = math.exp(math.hypot(*(math.log(f.high / f.middle) for f in some)))
    names = ", ".join(f.name for f in some) or "none"
    each = tuple(given(f.name, f.middle, "", f.source) for f in some if f.middle != 1)
    product = derived(
        "factor", "", "what is other than in the runs, multiplied", lambda *v: math.prod(v), *each
    )
    if not each:
        product = given("factor", middle, "", "as in the runs")
    ends = [
        derived("factor", "", "factor x spread", lambda a, b: a * b, product, given(
            "spread", value, "", f"{names}: logarithms added in quadrature"))
        for value in (low, high)
    ]  # fmt: skip
    return Band(ends[0], product, ends[1])


def _around(asked: Asked, runs: Sequence[Known]) -> tuple[Band, Band]:
    """Preparation and evaluation of a training: as in the runs; in hours they are included."""
    if asked.unit == "second" or not runs:
        zero_j, zero_s = given("around it", 0, "J", "included"), given("around it", 0, "s", "so")
        return Band(zero_j, zero_j, zero_j), Band(zero_s, zero_s, zero_s)
    kind = "estimated" if runs[0].estimated else "measured"
    many = f"of {len(runs)} run{'' if len(runs) == 1 else 's'}, {kind}"

    def band(each: Sequence[float], unit: str) -> Band:
        ends = (("least", min(each)), ("mean", fmean(each)), ("most", max(each)))
        name = "preparation and evaluation"
        return Band(*(given(name, v, unit, f"{which} {many}") for which, v in ends))

    return band([r.around_j for r in runs], "J"), band([r.around_s for r in runs], "s")


def _price(asked: Asked) -> Quantity:
    if asked.usd_per_kwh is not None:
        return given("price", asked.usd_per_kwh, "USD/kWh", "as given")
    return given("price", prices.STUDY_USD_PER_KWH, "USD/kWh", "as the study: the US of 2018")


def _cloud(asked: Asked, hours: Band) -> Band | None:
    """Device-hours at what a cloud asks, lowest to highest."""
    if asked.usd_per_hour is not None:
        price = given("price", asked.usd_per_hour, "USD/h", "as given, of one device")
        asks = Band(price, price, price)
    elif row := prices.cloud_price(asked.device):
        low, high = row["usd_per_hour"]
        said = f"{row['name']}: {row['source']}"
        ends = [given("price", v, "USD/h", said) for v in (low, high)]
        middle = derived(
            "price", "USD/h", "mean of the lowest and the highest", lambda a, b: (a + b) / 2, *ends
        )
        asks = Band(ends[0], middle, ends[1])
    else:
        return None
    return hours.with_(
        asks,
        lambda h, p: formulas.cost_usd(
            "cloud", formulas.device_hours(_devices(asked), h), p
        ),
    )  # fmt: skip


def _times(one: Cost, trials: int, share: Factor) -> Cost:
    """So many trials, each a share of a training."""
    count = given("trials", trials, "", "as asked")
    shares = Band(
        *(given("a trial", v, "", share.source) for v in (share.low, share.middle, share.high))
    )

    def of(band: Band) -> Band:
        return band.with_(shares, lambda q, s: formulas.many(count, s, q))

    return Cost(
        of(one.energy), of(one.emissions), of(one.electricity), of(one.hours),
        of(one.cloud) if one.cloud else None,
    )  # fmt: skip


def _sum(one: Cost, trials: Cost) -> Cost:
    def of(a: Band, b: Band) -> Band:
        return a.with_(b, formulas.added)

    return Cost(
        of(one.energy, trials.energy), of(one.emissions, trials.emissions),
        of(one.electricity, trials.electricity), of(one.hours, trials.hours),
        of(one.cloud, trials.cloud) if one.cloud and trials.cloud else None,
    )  # fmt: skip
