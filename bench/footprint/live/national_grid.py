"""Great Britain's half hours, from the National Energy System Operator (before: National Grid ESO):
the Carbon Intensity API, no key, CC BY 4.0.

    GET https://api.carbonintensity.org.uk/intensity/{from}/{to}
    {"data": [{"from": "2018-01-20T12:00Z", "to": "2018-01-20T12:30Z",
               "intensity": {"forecast": 266, "actual": 263, "index": "moderate"}}]}

`actual` is computed from metered generation and is null where it is not known yet; then `forecast`
is taken, and called estimated. It counts the CO2 of burning fuel, in the mix that is consumed:
large power stations, imports, losses of the grid; wind, sun, water and nuclear power are 0, biomass
120 g/kWh (Carbon Intensity Forecast Methodology, 2024). So it compares with no life-cycle figure.
Northern Ireland has a grid of its own.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from bench.footprint.live import _web
from bench.footprint.live._samples import (
    Grams,
    Sample,
    Shape,
    Unanswered,
    ceiling,
    floor,
    ordered,
    shaped,
    stamp,
)
from bench.power.carbon import Kind, Region

ADDRESS = "BENCH_NATIONAL_GRID_URL"
_DEFAULT = "https://api.carbonintensity.org.uk"
_STEP = timedelta(minutes=30)


class _Intensity(Shape):
    forecast: Grams | None = None
    actual: Grams | None = None


class _Period(Shape):
    start: AwareDatetime = Field(alias="from")
    stop: AwareDatetime = Field(alias="to")
    intensity: _Intensity

    def sample(self) -> Sample | None:
        actual, forecast = self.intensity.actual, self.intensity.forecast
        if self.stop - self.start != _STEP:
            raise Unanswered(f"answers with a period that is no half hour: {stamp(self.start)}")
        g_per_kwh = forecast if actual is None else actual
        if g_per_kwh is None:
            return None
        return Sample(self.start, self.stop, g_per_kwh, actual is None)


class _Answer(Shape):
    data: list[_Period]


class Source:
    title = "National Grid (NESO), Great Britain"
    kind: Kind = "combustion"
    unit = "CO2"  # of carbon dioxide alone

    def address(self) -> str:
        return _web.base(ADDRESS, _DEFAULT)

    def covers(self, region: Region) -> str | None:
        return None if region.code == "GB" else "it knows Great Britain alone"

    def between(self, region: Region, start: datetime, stop: datetime) -> list[Sample]:
        """The half hours that meet a span; those that it does not know are left out."""
        first, last = stamp(floor(start, _STEP)), stamp(ceiling(stop, _STEP))
        body = _web.get(f"{self.address()}/intensity/{first}/{last}")
        found = (period.sample() for period in shaped(_Answer, body).data)
        return ordered(filter(None, found), start, stop)
