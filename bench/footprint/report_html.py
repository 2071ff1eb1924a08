"""A report as one page of HTML that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.footprint import chart
from bench.footprint.amounts import grid_text
from bench.footprint.chart import Bar
from bench.footprint.report import ROWS, Report, appendix, like, plain_line, summary
from bench.footprint.trainings import row
from bench.power.carbon import Scenario
from bench.rank.render import plain

if TYPE_CHECKING:
    from jinja2 import Environment


WIDE, NARROW = chart.Look(430), chart.Look(338, names=0)


def html(report: Report, explain: bool = False) -> str:
    """A page that loads nothing: its style is known to its policy by a digest."""
    style = (Path(__file__).with_name("report.css")).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        _environment()
        .get_template("report.html")
        .render(
            style=_markup(style), policy=policy, report=report, summary=summary(report),
            plot=_markup("".join(drawings(report.bars, report.scenario))),
            caption=chart.caption(report.scenario), grid=grid_text(report.scenario), row=row,
            like=like(report), appendix=_lines(appendix(report)) if explain else "", most=ROWS,
        )
    )  # fmt: skip


def drawings(bars: Sequence[Bar], scenario: Scenario) -> list[str]:
    """In the colours of the page."""
    from bench.plot import inline

    looks = [replace(look, inks=inline.INKS, accent="var(--c1)") for look in (WIDE, NARROW)]
    return chart.svg(bars, scenario, looks[0], looks[1], inline.inline)


def _markup(text: str) -> Any:
    """Of what this package made: shapes and a style."""
    from markupsafe import Markup

    return Markup(text)


def _lines(texts: Iterable[str]) -> Any:
    """With their indents."""
    from markupsafe import escape

    return escape("\n".join(map(plain_line, texts)))


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("bench.footprint", "."), autoescape=True, undefined=StrictUndefined,
        finalize=_shown, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def _shown(value: Any) -> Any:
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return plain(value, 1000)
    return value
