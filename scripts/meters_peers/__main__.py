"""Compares bench's meter with its peers on simulated cards and RAPL trees whose truth is known.

A row is one case. Its tools run side by side, each in a process of its own, on the same simulated
hardware and clock (one after another with --apart, and wherever a cost is measured). Every result
is a line of JSON in the file of --to as soon as it is there; --from prints such a file again.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cases import PEERS, QUICK, ROOT, TOOLS, Case, cases
from stage import Stage
from table import PAGE, report

from results import GROUPS, Result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, shorter windows")
    parser.add_argument("--only", help="cases as `group/name`, with * and ?; else all")
    parser.add_argument("--tools", default=",".join(TOOLS), help="some of %(default)s")
    parser.add_argument("--apart", action="store_true", help="never two tools at the same time")
    parser.add_argument("--markdown", action="store_true", help="print the page of the docs")
    parser.add_argument("--keep", type=Path, help="a new folder for all that the tools leave")
    parser.add_argument("--to", type=Path, default=ROOT / "build/meters.jsonl")
    parser.add_argument("--from", dest="stored", type=Path, help="print what --to has kept")
    given = parser.parse_args()
    if given.stored:
        about, *lines = map(json.loads, given.stored.read_text().splitlines())
        results = [Result(**line) for line in lines]
    else:
        about = facts(given)
        results = list(measure(about, given))
    if given.markdown:
        print(PAGE.format(**about))
    else:
        print("".join(f"{name}: {text}\n" for name, text in about.items()))
    print("\n".join(report(about, results, given.markdown)))


def measure(about: dict[str, str], given: argparse.Namespace) -> Iterator[Result]:
    tools = given.tools.split(",")
    if absent := [p for p in PEERS if p in tools and _version(p) == _ABSENT]:
        sys.exit(f"not installed here: {', '.join(absent)}; rm -r .venv-meters, and call it again")
    given.to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, given.to.open("w") as kept:
        stage = Stage(given.keep or Path(scratch), given.apart)
        print(json.dumps(about), file=kept, flush=True)
        patterns = [given.only] if given.only else QUICK if given.quick else ["*"]
        for case in chosen(cases(given.quick), patterns, tools):
            print(f"{case.group}/{case.name} ...", file=sys.stderr, flush=True)
            for result in GROUPS[case.group].run(stage, case):
                print(f"  {result.tool:14} {result.shown}", file=sys.stderr, flush=True)
                print(json.dumps(vars(result)), file=kept, flush=True)
                yield result


def chosen(found: Sequence[Case], patterns: Sequence[str], tools: Sequence[str]) -> list[Case]:
    """Those that match, and the cases that a chosen fault is compared with."""
    found = [
        replace(case, tools=some)
        for case in found
        if (some := tuple(t for t in case.tools if t.partition("-")[0] in tools))
    ]
    named = [
        case
        for case in found
        if any(fnmatch.fnmatchcase(f"{case.group}/{case.name}", p) for p in patterns)
    ]
    beside = {c.beside for c in named}
    return [c for c in found if c in named or (c.group == "accuracy" and c.name in beside)]


def facts(given: argparse.Namespace) -> dict[str, str]:
    from bench.power import machine

    options = [f"--{name}" for name in ("quick", "apart") if getattr(given, name)]
    options += [f"--only '{given.only}'"] if given.only else []
    options += [f"--tools {given.tools}"] if given.tools != ",".join(TOOLS) else []
    load = os.getloadavg()[0]
    python = ".".join(map(str, sys.version_info[:3]))
    bench = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
                           capture_output=True, text=True, check=False).stdout.strip()  # fmt: skip
    return {
        "command": " ".join(["scripts/meters", *options, "--markdown"]),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{machine.cpu_name()}, {machine.processors()} processors",
        "load": f"{load:.1f}" + (_BUSY if load > 0.5 else ""),
        "versions": f"bench {version('wattbench')} ({bench or 'no git'}), Python {python}, "
        + ", ".join(f"{peer} {_version(peer)}" for peer in PEERS),
    }


_ABSENT = "not installed"
_BUSY = " (not idle: times are noise, and Zeus's helpers may miss their own limit of 10 s)"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _ABSENT


if __name__ == "__main__":
    main()
