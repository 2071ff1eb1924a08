"""What the checks said, for people, for programs, and for GitHub's annotations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from bench.checks import Report, Verdict

_LEVELS = {"error": "error", "warning": "warning"}


def exit_code(reports: Iterable[Report]) -> int:
    """0 clean, 1 an error, 3 warnings only."""
    worst = {v.status for report in reports for v in report.verdicts}
    return 1 if "error" in worst else 3 if "warning" in worst else 0


def level(report: Report) -> str:
    """How well an entry was checked: T2 where the weights of every run that counts have said the
    same again, T1 where every metric was computed again from its predictions, and nothing fails;
    else T0."""
    rescored = [v for v in report.verdicts if v.rule == "D2" and v.status in ("pass", "warning")]
    unscored = [v for v in report.skipped if v.rule == "D2" and "not re-scored" in v.message]
    nothing = not any(record.metric for record in report.derived)  # that could be computed again
    if report.errors or unscored or nothing or not rescored:
        return "T0"
    again = [v.status for v in report.verdicts if v.rule == "T2"]
    return "T2" if again and set(again) == {"pass"} else "T1"


def as_json(reports: Sequence[Report]) -> str:
    """One object: entries with their verdicts, those that pass as well."""
    return json.dumps(
        {
            "exit_code": exit_code(reports),
            "entries": [
                {"entry": r.where, "level": level(r), "verdicts": [v.as_dict() for v in r.verdicts]}
                for r in reports
            ],
        },
        indent=1,
    )


def as_text(reports: Sequence[Report], verbose: bool = False) -> list[str]:
    """A line an entry, and below it every error and warning; with `verbose` all rules."""
    lines = []
    for report in reports:
        lines.append(_head(report))
        lines += [f"  {text}" for text in _lines(report, verbose)]
    return lines


def _head(report: Report) -> str:
    scored = any(v.rule == "D2" for v in report.verdicts)  # results/ and a retraction have no runs
    return f"{report.where}  {_counts(report)}{f'  {level(report)}' if scored else ''}"


def _counts(report: Report) -> str:
    by = {
        status: {v.rule for v in report.verdicts if v.status == status}
        for status in ("pass", "skipped", *_LEVELS)
    }
    broken = by["error"] | by["warning"]
    held = by["pass"] - broken
    parts = ["1 rule holds" if len(held) == 1 else f"{len(held)} rules hold"]
    if skipped := len(by["skipped"] - held - broken):
        parts.append(f"{skipped} skipped")
    for status, verdicts in (("error", report.errors), ("warning", report.warnings)):
        if verdicts:
            parts.append(f"{len(verdicts)} {status}{'s' if len(verdicts) > 1 else ''}")
    return ", ".join(parts)


def _lines(report: Report, verbose: bool) -> list[str]:
    """The same of several runs once, with how many they are."""
    shown = [v for v in report.verdicts if v.status in _LEVELS or v.rule == "T2" or verbose]
    several = Counter((v.rule, v.status, v.message) for v in shown)
    lines = []
    for verdict in shown:
        key = (verdict.rule, verdict.status, verdict.message)
        if n := several.pop(key, 0):
            where = verdict.where.removeprefix(report.where).strip("/")
            place = f"{n} runs: " if n > 1 else f"{where}: " if where else ""
            text = f"{place}{verdict.message}".rstrip(": ")
            lines.append(f"{verdict.status:<8}{verdict.rule:<4} {verdict.name}: {text}")
    return lines


def as_github(reports: Sequence[Report]) -> list[str]:
    """Workflow commands, which GitHub shows at the files of a pull request."""
    return [
        f"::{v.status} file={_property(_file(v.where))},"
        f"title={_property(f'{v.rule} {v.name}')}::{_data(_said(v))}"
        for report in reports
        for v in report.verdicts
        if v.status in _LEVELS
    ] + [f"::notice title=bench check::{_data(_head(report))}" for report in reports]


def _file(where: str) -> str:
    """One that a pull request has: GitHub shows nothing at a folder. A run lies in an entry, that
    in its task."""
    if where == "results":
        return where
    names = where.split("/")
    return "/".join(["results", *names, "entry.json" if len(names) == 2 else "record.json"])


def _said(verdict: Verdict) -> str:
    return f"{verdict.where}: {verdict.message}"


def _data(text: str) -> str:
    """Escaped, so that no text of a submission is taken for a command."""
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return plain.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
