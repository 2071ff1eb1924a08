"""The study's tables 1, 3 and 4 and later accounts, computed from their inputs beside what was
printed. Rows that a table left blank stay blank."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.footprint import formulas
from bench.footprint.quantity import Quantity, derived, given
from bench.power import carbon
from bench.power.carbon import Scenario


@dataclass(frozen=True)
class Cell:
    """A number of a table. `printed` is None where the table has no such number, `computed` where
    nothing says how it came about. They are compared after rounding to the printed digits."""

    computed: Quantity | None
    printed: float | None
    step: float = 1.0  # of the printed digits
    why: str = ""  # what explains a difference

    @property
    def rounded(self) -> float | None:
        if self.computed is None:
            return None
        return round(self.computed.value / self.step) * self.step

    @property
    def difference(self) -> float | None:
        """Of what is computed, less what is printed; None where one of them is not there."""
        if self.rounded is None or self.printed is None:
            return None
        return self.rounded - self.printed

    @property
    def agrees(self) -> bool | None:
        return None if self.difference is None else abs(self.difference) < self.step / 2


@dataclass(frozen=True)
class Row:
    """`inputs` as printed; `cells` by column: kwh, lb, usd_low, usd_high, electricity_usd, t."""

    name: str
    hardware: str
    inputs: Mapping[str, float | None]  # power_w, hours, models
    cells: Mapping[str, Cell]
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    key: str  # 1, 3, 4, later
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> Iterable[tuple[Row, str, Cell]]:
        return ((r, k, c) for r in self.rows for k, c in r.cells.items() if c.agrees is False)


def tables(keys: Sequence[str] = ("1", "3", "4", "later")) -> list[Table]:
    """The tables asked for, by the study's own constants."""
    made = {"1": _table1, "3": _table3, "4": _table4, "later": _later}
    return [made[key]() for key in keys]


def again(table: Table, scenario: Scenario) -> dict[str, tuple[Quantity, Quantity]]:
    """Of each row whose power is stated: energy and emissions (kg) where it is trained today, by
    the row's name."""
    pue, grid = formulas.pue_of(scenario.pue), formulas.intensity_of(scenario.region)
    found = {}
    for row in table.rows:
        power_w, hours = row.inputs.get("power_w"), row.inputs.get("hours")
        if power_w and hours:
            energy = formulas.energy(
                given("power", power_w, "W", "as printed"),
                given("hours", hours, "h", "as printed"), pue,
            )  # fmt: skip
            found[row.name] = energy, formulas.emissions_kg(energy, grid)
    return found


# --- the study's constants ---------------------------------------------------------------------


@cache
def document() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))


@cache
def _constants() -> tuple[Quantity, Quantity, Quantity]:
    """PUE, lb CO2e/kWh, USD/kWh."""
    study = document()["study"]
    scenario = carbon.scenario(study["scenario"])
    price = given("price", study["usd_per_kwh"], "USD/kWh", f"{study['title']}, {study['source']}")
    return formulas.pue_of(scenario.pue), formulas.intensity_lb_of(scenario.region), price


def prices(device: str) -> tuple[Quantity, Quantity]:
    """USD an hour of a device in 2019, preemptible and on demand."""
    table = document()["prices"]
    low, high = table[device]
    return (
        given("price", low, "USD/h", f"{device} preemptible, {table['source']}"),
        given("price", high, "USD/h", f"{device} on demand, {table['source']}"),
    )


# --- the tables --------------------------------------------------------------------------------


def _table3() -> Table:
    rows = document()["table3"]
    return Table(
        "3", "Table 3: one training", tuple(_training(row) for row in rows),
        (document()["study"]["read"],),
    )  # fmt: skip


def _training(row: Mapping[str, Any]) -> Row:
    printed = row["printed"]
    usd = printed["usd"]
    as_printed = _costs(row, row["hours"])
    meant = row.get("meant")
    other = _costs(row, meant["hours"]) if meant else {}
    values = {"kwh": printed.get("kwh"), "lb": printed.get("lb"),
              "usd_low": usd[0], "usd_high": usd[1]}  # fmt: skip
    cells = {
        key: Cell(as_printed.get(key), value, why=_why(meant, other.get(key), value))
        for key, value in values.items()
    }
    return Row(
        name=row["model"],
        hardware=f"{row['device']} x {row['devices']}",
        inputs={"power_w": row.get("power_w"), "hours": row["hours"]},
        cells=cells,
    )


def _why(meant: Mapping[str, Any] | None, other: Quantity | None, printed: float | None) -> str:
    """What the printed value follows from, if it does."""
    if meant is None or other is None or printed is None or round(other.value) != printed:
        return ""
    return f"{meant['hours']:,g} h give {round(other.value):,} {other.unit} ({meant['why']})"


def _costs(row: Mapping[str, Any], hours: float) -> dict[str, Quantity]:
    """What a training of so many hours took, as far as that is known."""
    pue, intensity, _ = _constants()
    time = given("hours", hours, "h", "as printed" if hours == row["hours"] else "as meant")
    found = {}
    if "power_w" in row:
        power = given("power", row["power_w"], "W", "as printed: GPUs, processors and memory")
        found["kwh"] = formulas.energy(power, time, pue)
        found["lb"] = formulas.emissions_lb(found["kwh"], intensity)
    devices = given("devices", row["devices"], "", row["device"])
    used = formulas.device_hours(devices, time)
    low, high = prices(row["device"])
    found["usd_low"] = formulas.cost_usd("cloud cost", used, low)
    found["usd_high"] = formulas.cost_usd("cloud cost", used, high)
    return found


def _table4() -> Table:
    facts = document()["table4"]
    rows = tuple(_development(row, facts) for row in facts["rows"])
    notes = (facts["about"] + ".", f"Power {facts['power_w']:g} W: {facts['power_source']}.")
    return Table("4", "Table 4: the research behind one paper", rows, notes)


def _development(row: Mapping[str, Any], facts: Mapping[str, Any]) -> Row:
    printed, costs = row["printed"], _research(row, facts)
    step = float(row.get("printed_to", 1))
    return Row(
        name=f"{row['models']:,} {'model' if row['models'] == 1 else 'models'}: {row['what']}",
        hardware="one GPU at a time",
        inputs={"models": row["models"], "hours": row["gpu_hours"]},
        cells={
            "usd_low": Cell(costs["usd_low"], printed["usd"][0], step),
            "usd_high": Cell(costs["usd_high"], printed["usd"][1], step),
            "electricity_usd": Cell(costs["electricity_usd"], printed["electricity_usd"]),
        },
    )


def _research(row: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Quantity]:
    pue, intensity, price = _constants()
    hours = given("hours", row["gpu_hours"], "h", "GPU-hours, as printed")
    power = given("power", facts["power_w"], "W", facts["power_source"])
    kwh = formulas.energy(power, hours, pue)
    low, high = prices(facts["device"])
    return {
        "kwh": kwh,
        "lb": formulas.emissions_lb(kwh, intensity),
        "usd_low": formulas.cost_usd("cloud cost", hours, low),
        "usd_high": formulas.cost_usd("cloud cost", hours, high),
        "electricity_usd": formulas.cost_usd("electricity cost", kwh, price),
    }


def _table1() -> Table:
    found = []
    for row in document()["table1"]:
        lb = _of(row["of"]) if "of" in row else None
        cell = Cell(lb, row["printed"])
        found.append(Row(row["what"], "", {}, {"lb": cell}, source=row.get("cited", "")))
    notes = tuple(note["text"] for note in document()["notes"][:1])
    return Table("1", "Table 1: what is emitted, consumption and training", tuple(found), notes)


def _of(place: Mapping[str, int]) -> Quantity:
    """The emissions of a row of another table."""
    ((table, number),) = place.items()
    if table == "table3":
        row = document()["table3"][number]
        return _costs(row, row["hours"])["lb"]
    facts = document()["table4"]
    return _research(facts["rows"][number], facts)["lb"]


def _later() -> Table:
    rows = tuple(_account(row) for row in document()["later"])
    notes = tuple(note["text"] for note in document()["notes"][1:])
    return Table("later", "Later accounts", rows, notes)


def _account(row: Mapping[str, Any]) -> Row:
    printed = row["printed"]
    kwh, tonnes = _energy_of(row), None
    if "g_per_kwh" in row and kwh:
        grid = given("intensity", row["g_per_kwh"], "g CO2e/kWh", row["source"])
        tonnes = derived(
            "emissions", "t CO2e", "energy x intensity / 1,000,000", lambda e, g: e * g / 1e6,
            kwh, grid,
        )  # fmt: skip
    cells = {"kwh": Cell(None if "energy_kwh" in row else kwh, printed.get("kwh"),
                         _step(printed.get("kwh")), row.get("why", ""))}  # fmt: skip
    if "t" in printed:
        cells["t"] = Cell(tonnes, printed["t"], _step(printed["t"]), row.get("why", ""))
    hardware = f"{row['device']} x {row['devices']:,}" if "device" in row else ""
    one_w = row.get("power_w")
    whole_w = one_w * row["devices"] if one_w else None  # as in table 3
    inputs = {"power_w": whole_w, "hours": row.get("hours")}
    return Row(row["what"], hardware, inputs, cells, row["source"], row.get("note", ""))


def _energy_of(row: Mapping[str, Any]) -> Quantity | None:
    if "energy_kwh" in row:
        return given("energy", row["energy_kwh"], "kWh", f"as printed, {row['source']}")
    if not {"power_w", "hours", "devices"} <= set(row):
        return None
    power = derived(
        "power", "W", "devices x power of one", lambda n, w: n * w,
        given("devices", row["devices"], "", row["source"]),
        given("power of one", row["power_w"], "W", row["source"]),
    )  # fmt: skip
    pue = given("PUE", row.get("pue", 1.0), "", row["source"] if "pue" in row else "none applied")
    return formulas.energy(power, given("hours", row["hours"], "h", row["source"]), pue)


def _step(printed: float | None) -> float:
    """Of the last digit of a printed number: thousands of kWh where it ends in three noughts."""
    if printed is None or printed == 0:
        return 1.0
    text = f"{printed:.6g}" if printed % 1 else f"{printed:.0f}"
    if "." in text:
        return 10.0 ** -len(text.partition(".")[2])
    return 1000.0 if printed % 1000 == 0 else 1.0
