"""A report as a file, in the kind that its name ends in."""

from __future__ import annotations

from pathlib import Path

from bench.errors import MissingExtra, UsageError
from bench.footprint.report import Report
from bench.footprint.report_html import html
from bench.footprint.report_markdown import markdown

KINDS = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}


def kind_of(path: Path) -> str:
    """html or markdown, by the name's end; UsageError for another, or where it can't be."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"'{path.name}' names no kind of report", "a name that ends in .html or .md"
        )
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path} can't be written", "name a file in a folder that exists")
    if kind == "html":
        require()
    return kind


def require() -> None:
    """MissingExtra where HTML or its drawing can't be made."""
    try:
        import altair  # noqa: F401
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError:
        raise MissingExtra("a report in HTML", "plot") from None


def written(report: Report, kind: str, explain: bool = False) -> str:
    return html(report, explain) if kind == "html" else markdown(report, explain)
