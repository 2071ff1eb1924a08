"""Results in rows and tables: as text, or as the page of the docs."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cases import TOOLS

from results import GROUPS, Result

AIMS: list[tuple[str, str, str, float]] = [  # group, rows, what, at most
    ("accuracy", "*, counter", "error of windows over 10 s with a counter", 0.001),
    ("short", "1 s", "RMS error at 1 s", 0.01),
    ("coverage", "*", "share of windows not covered", 0.05),
    ("cost", "10 Hz, 8 GPUs", "share of a core at 10 Hz and 8 GPUs", 0.005),
    ("start", "sampler alone, s", "seconds until the sampler is ready", 0.05),
    ("faults", "*", "the worst fault, where 1 is no value and 4 a wrong value and no word", 1.0),
]


@dataclass
class Row:
    group: str
    case: str
    results: dict[str, Result]

    @property
    def best(self) -> list[str]:
        offered = {t: r.score for t, r in self.results.items() if r.score is not None}
        least = min(offered.values(), default=0.0)
        shown = {self.results[t].shown.lstrip("+-") for t, s in offered.items() if s == least}
        return [
            t
            for t, s in offered.items()
            if s == least or self.results[t].shown.lstrip("+-") in shown
        ]

    def cells(self) -> list[str]:
        texts = [self.results[t].shown if t in self.results else "" for t in TOOLS]
        best = (
            "" if len(self.results) < 2 else "all" if len(self.best) == 4 else ", ".join(self.best)
        )
        return [self.case, *texts, best]


def rows(results: Sequence[Result]) -> list[Row]:
    found: dict[tuple[str, str], Row] = {}
    for result in sorted(results, key=lambda r: list(GROUPS).index(r.group)):
        row = found.setdefault((result.group, result.case), Row(result.group, result.case, {}))
        row.results[result.tool] = result
    return list(found.values())


def table(several: Sequence[Row], markdown: bool) -> Iterator[str]:
    heads = ["", *TOOLS, "best"]
    lines = [heads, *(row.cells() for row in several)]
    if markdown:
        yield "| " + " | ".join(heads) + " |"
        yield "| --- " * len(heads) + "|"
        yield from ("| " + " | ".join(cells) + " |" for cells in lines[1:])
        return
    widths = [max(len(cells[i]) for cells in lines) for i in range(len(heads))]
    for cells in lines:
        yield "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


def report(about: dict[str, str], results: Sequence[Result], markdown: bool) -> Iterator[str]:
    found = rows(results)
    for name, group in GROUPS.items():
        several = [row for row in found if row.group == name]
        if several:
            yield f"## {group.title}" if markdown else group.title.upper()
            yield ""
            if markdown:
                yield from (group.about, "")
            yield from table(several, markdown)
            yield ""
    yield "## Aims" if markdown else "AIMS"
    yield ""
    yield from aims(found, quick="--quick" in about["command"])
    yield ""
    yield "## Where bench is behind" if markdown else "WHERE BENCH IS BEHIND"
    yield ""
    yield from behind(found) or ["Nowhere in these rows."]


def aims(found: Sequence[Row], quick: bool) -> Iterator[str]:
    for group, pattern, what, most in AIMS:
        if quick and group == "accuracy":
            yield f"- {what}, at most {most:g}: not judged, the windows of --quick are shorter"
            continue
        mine = [
            (r.score, row.case, r.shown)
            for row in found
            if row.group == group and fnmatch.fnmatchcase(row.case, pattern)
            and (r := row.results.get("bench")) and r.score is not None
        ]  # fmt: skip
        if mine:
            score, case, shown = max(mine)
            verdict = "met" if score <= most else "**missed**"
            yield f"- {what}, at most {most:g}: {verdict}; the worst is {shown} ({case})"


def behind(found: Sequence[Row]) -> list[str]:
    return [
        f"- {GROUPS[row.group].title}, {row.case}: {mine.shown} against "
        + ", ".join(f"{row.results[t].shown} ({t})" for t in row.best)
        for row in found
        if (mine := row.results.get("bench")) and len(row.results) > 1 and "bench" not in row.best
    ]


PAGE = """# Beside other meters

Zeus, CodeCarbon, carbontracker and bench on the same simulated cards and RAPL trees, whose truth
is known: a library that stands in for NVIDIA's, and a tree of files that stands in for the
kernel's. No real hardware is involved: the gain and the registers of a real card are not judged,
only what a tool makes of what it reads.

```
$ {command}
date      {date}
machine   {machine}
load      {load}
versions  {versions}
```

This page is what that command printed; nothing in it is written by hand.

Each tool is used as its documents say, in a process of its own; the tools of a row run side by
side on the same card. The settings: Zeus with `approx_instant_energy`, as it advises for short
windows; CodeCarbon's offline tracker, with tasks for several windows and with `rapl_include_dram`
where memory has a counter; carbontracker with an epoch for a window, its PUE taken out again;
bench with `with bench.meter()`. The truth is taken from just before the opening call to just after
the closing one, or between the two calls, whichever is nearer to what the tool says. *Best* is by
the number alone, without regard to noise.
"""
