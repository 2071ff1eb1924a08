"""Hours of grids all over the world, from Electricity Maps: API version 3, with a key.

    GET https://api.electricitymaps.com/v3/carbon-intensity/past-range
        ?zone=DE&start=2019-05-21T00:00Z&end=2019-05-22T00:00Z&emissionFactorType=lifecycle
    {"zone": "DE", "data": [{"zone": "DE", "carbonIntensity": 322, "isEstimated": false,
      "datetime": "2019-05-21T00:00:00.000Z", "emissionFactorType": "lifecycle"}]}

A free key may not ask for it: then `/v3/carbon-intensity/history?zone=DE` is asked, which has the
last 24 hours in the field `history`. Figures are of the mix that is consumed, life-cycle, g CO2e.
A country is a zone by its code; the US has areas of operators, not states. `datetime` is taken to
be when an hour begins, which its pages don't say in so many words. It has not met the real service.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from datetime import datetime, timedelta

from pydantic import AwareDatetime

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

ADDRESS, KEY = "BENCH_ELECTRICITY_MAPS_URL", "ELECTRICITYMAPS_API_KEY"
_DEFAULT = "https://api.electricitymaps.com"
_API = "/v3/carbon-intensity"
_STEP = timedelta(hours=1)
_REFUSED, _UNKNOWN = (401, 403), (400, 404, 422)


class _Hour(Shape):
    """Fields as the service calls them."""

    zone: str | None = None
    carbonIntensity: Grams | None
    datetime: AwareDatetime
    isEstimated: bool | None = None
    emissionFactorType: str | None = None


class _Answer(Shape):
    zone: str
    temporalGranularity: str | None = None
    data: list[_Hour] | None = None
    history: list[_Hour] | None = None

    def samples(self, zone: str) -> list[Sample]:
        hours = self.data if self.data is not None else self.history
        if hours is None:
            raise Unanswered("answers what makes no sense: neither data nor history")
        zones = {self.zone, *(h.zone for h in hours if h.zone is not None)}
        if zones != {zone}:
            raise Unanswered(f"answers for another zone than {zone}: {min(zones - {zone})[:20]!r}")
        if self.temporalGranularity not in (None, "hourly"):
            raise Unanswered(f"answers by {self.temporalGranularity[:20]!r}, not by the hour")
        if any(h.emissionFactorType not in (None, "lifecycle") for h in hours):
            raise Unanswered("answers with figures that are not life-cycle")
        return [
            Sample(h.datetime, h.datetime + _STEP, h.carbonIntensity, bool(h.isEstimated))
            for h in hours
            if h.carbonIntensity is not None
        ]


class Source:
    title = "Electricity Maps"
    kind: Kind = "life-cycle"
    unit = "CO2e"

    def address(self) -> str:
        return _web.base(ADDRESS, _DEFAULT)

    def covers(self, region: Region) -> str | None:
        if not re.fullmatch(r"[A-Z]{2}", region.code):
            return f"it has no zone {region.code}: countries, and operators' areas in the US"
        key = os.environ.get(KEY, "")
        if not key:
            return f"no key: export {KEY}=… (electricitymaps.com has free ones)"
        if not re.fullmatch(r"[!-~]{1,500}", key):
            return f"what {KEY} holds is no key"
        return None

    def between(self, region: Region, start: datetime, stop: datetime) -> list[Sample]:
        """The hours that meet a span; those that it does not know are left out."""
        span = {"start": stamp(floor(start, _STEP)), "end": stamp(ceiling(stop, _STEP))}
        try:
            found = self._ask("past-range", region.code, span)
        except Unanswered as refused:
            if refused.status not in _REFUSED:
                raise
            found = self._recent(region.code, refused)
        return ordered(found, start, stop)

    def _recent(self, zone: str, refused: Unanswered) -> list[Sample]:
        """What a free key may ask for."""
        try:
            return self._ask("history", zone, {})
        except Unanswered as error:
            raise (refused if error.status in _REFUSED else error) from None

    def _ask(self, what: str, zone: str, span: dict[str, str]) -> list[Sample]:
        query = urllib.parse.urlencode(
            {"zone": zone, **span, "emissionFactorType": "lifecycle",
             "temporalGranularity": "hourly"}
        )  # fmt: skip
        try:
            body = _web.get(
                f"{self.address()}{_API}/{what}?{query}", {"auth-token": os.environ.get(KEY, "")}
            )
        except Unanswered as error:
            raise self._meant(error, zone) from None
        return shaped(_Answer, body).samples(zone)

    @staticmethod
    def _meant(error: Unanswered, zone: str) -> Unanswered:
        if error.status in _REFUSED:
            why = f"refuses the key, or that it asks for this (HTTP {error.status})"
            return Unanswered(why, error.status)
        if error.status in _UNKNOWN:
            return Unanswered(f"has no zone {zone} (HTTP {error.status})", error.status)
        return error
