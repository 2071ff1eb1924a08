"""Commands that make the leaderboard as a site, and show it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    Data,
    PueOption,
    RegionOption,
    Results,
    TaskFolders,
    cards_of,
    roots,
)
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.site.build import Built
    from bench.site.checked import Checked
    from bench.site.contents import Contents

SHOWN = 10  # failures that are told one by one
PLAIN_EVERY_S = 30.0

app = typer.Typer(help="Make the leaderboard as a site of static pages.", no_args_is_help=True)

OwnRuns = Annotated[
    Path | None,
    typer.Option("--runs", metavar="DIR", help="Show runs of your own as well, marked as yours."),
]
NoCheck = Annotated[
    bool, typer.Option("--no-check", help="Show what checks have said before; make none.")
]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Where the site will be (https), for its feed."),
]


@dataclass(frozen=True)
class _Asked:
    """What a site is made of, and where."""

    out: Path
    results: Path
    own: Path | None
    region: str | None
    pue: str | None
    tasks: list[Path]
    data: str | None
    check: bool
    url: str | None

    def arguments(self) -> list[str]:
        """As `bench site build` takes them."""
        options: list[tuple[str, object]] = [
            ("--out", self.out), ("--results", self.results), ("--runs", self.own),
            ("--region", self.region), ("--pue", self.pue), ("--data", self.data),
            ("--url", self.url), *(("--tasks", folder) for folder in self.tasks),
        ]  # fmt: skip
        said = [f"{name}={value}" for name, value in options if value is not None]
        return [*said, *([] if self.check else ["--no-check"])]


@app.command()
def build(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="The site's folder.")
    ] = Path("site"),
    results: Results = None,
    runs: OwnRuns = None,
    region: RegionOption = None,
    pue: PueOption = None,
    tasks: TaskFolders = None,
    data: Data = None,
    no_check: NoCheck = False,
    url: Url = None,
) -> None:
    """Write the pages of all that was submitted; of what was written before, what has changed.

    Exits with 0 where all is well, 3 where a page could not be made and says why.
    """
    built = _build(_asked(out, results, runs, region, pue, tasks, data, no_check, url))
    print(f"open   {out / 'index.html'}")
    raise typer.Exit(3 if built.failed else 0)


@app.command()
def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The site's folder.", show_default=True)
    ] = Path("site"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines look, too.")] = "127.0.0.1",
    no_watch: Annotated[
        bool, typer.Option("--no-watch", help="Build once; don't look for what has changed.")
    ] = False,
    results: Results = None,
    runs: OwnRuns = None,
    region: RegionOption = None,
    pue: PueOption = None,
    tasks: TaskFolders = None,
    data: Data = None,
    no_check: NoCheck = False,
    url: Url = None,
) -> None:
    """Build the site, show it to a browser, and build again what changes. Ctrl-C ends it."""
    from bench.interrupts import Interrupted, interrupts_raise
    from bench.site import build as building
    from bench.site import serve as serving

    building.require()
    asked = _asked(folder, results, runs, region, pue, tasks, data, no_check, url)
    try:
        with interrupts_raise(), serving.bound(folder, host, port) as server:
            _build(asked)
            with serving.answering(server) as address:
                print(f"look   {address}  (Ctrl-C ends it)", flush=True)
                _watch(asked, no_watch)
    except Interrupted:
        print("", file=sys.stderr)


def _watch(asked: _Asked, not_at_all: bool) -> None:
    """Until an interrupt. A build is a process of its own: it forks, and this one has threads."""
    import subprocess

    from bench.site import serve as serving

    while not_at_all:
        time.sleep(3600)
    places = [asked.results, *([asked.own] if asked.own else []), *asked.tasks]
    for _ in serving.changes(places):
        command = [sys.executable, "-P", "-m", "bench", "site", "build", *asked.arguments()]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode in (0, 3):
            print(done.stdout.splitlines()[0], flush=True)
        else:
            print("the site stays as it was until something changes", file=sys.stderr)


# --- building ----------------------------------------------------------------------------------


def _asked(
    out: Path,
    results: Path | None,
    own: Path | None,
    region: str | None,
    pue: str | None,
    tasks: list[Path] | None,
    data: str | None,
    no_check: bool,
    url: str | None,
) -> _Asked:
    """UsageError where it can't be, before anything is read."""
    where = roots(results, Path())[0][0]
    if not where.is_dir():
        raise UsageError(f"there is no folder {where}", "--results names the one with the entries")
    if own and not own.is_dir():
        raise UsageError(f"there is no folder {own}", "--runs names the one with runs of your own")
    if data and data not in ("hub", "embedded") and not Path(data).is_dir():
        raise UsageError(f"there is no folder {data}", "--data names a folder, hub or embedded")
    for kept in (where, own):
        if kept and _is_in(out, kept):
            raise UsageError(f"{out} lies in {kept}, which a site is made of", "--out elsewhere")
    return _Asked(
        out,
        where,
        own,
        region,
        pue,
        tasks or [],
        data,
        not no_check,
        _address(url) if url else None,
    )


def _is_in(one: Path, other: Path) -> bool:
    return one.resolve().is_relative_to(other.resolve())


def _address(url: str) -> str:
    import re

    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~/-]*)?", url):
        raise UsageError(f"--url {url} is no https address", "--url https://example.org/bench/")
    return url


def _build(asked: _Asked) -> Built:
    from bench.site import build as building
    from bench.site import folder

    building.require()
    folder.check(asked.out)
    contents = _contents(asked)
    for line in contents.broken:
        print(f"warning: {line}", file=sys.stderr)
    with _Count("made {} of {} pages") as tell:
        built = building.build(contents, asked.out, tell, _waits)
    _tell_failed(built.failed)
    print(
        f"{asked.out}: {built.files:,} files, {built.written:,} changed, {built.removed:,} removed"
    )
    return built


def _waits() -> None:
    print("another build is at work in this folder; this one waits", file=sys.stderr, flush=True)


def _contents(asked: _Asked) -> Contents:
    from bench.power import carbon
    from bench.site import contents

    scenario = carbon.asked(asked.region, asked.pue)
    return contents.read(
        asked.results,
        lambda runs: cards_of((r.record for r in runs), asked.tasks),
        scenario,
        lambda folders: _checks(asked, folders),
        asked.own,
        asked.url,
    )


def _checks(asked: _Asked, folders: Sequence[Path]) -> Mapping[str, Checked]:
    from bench.checks.setting import Setting
    from bench.site import checked

    setting = Setting(asked.results, asked.data, asked.tasks)
    memory = asked.out / checked.NAME
    if not asked.check:
        return checked.kept(folders, memory, setting)
    with _Count("checked {} of {} entries") as tell:
        return checked.checked(folders, memory, setting, tell)


def _tell_failed(failed: Sequence[str]) -> None:
    for line in failed[:SHOWN]:
        print(f"warning: {line}", file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"warning: and {len(failed) - SHOWN:,} more", file=sys.stderr)
    if failed:
        pages = "a page" if len(failed) == 1 else f"{len(failed):,} pages"
        print(f"warning: {pages} could not be made, and say so; all else is there", file=sys.stderr)


class _Count:
    """Tells how far something is: a line that changes, or, where nobody looks on, now and then a
    plain one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._looking = sys.stderr.isatty()
        self._next_s = time.monotonic() + (0 if self._looking else PLAIN_EVERY_S)

    def __enter__(self) -> Callable[[int, int], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._looking:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _tell(self, done: int, of: int) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (0.1 if self._looking else PLAIN_EVERY_S)
        said = self._text.format(f"{done:,}", f"{of:,}")
        print(f"\r{said}" if self._looking else said, end="" if self._looking else "\n",
              file=sys.stderr, flush=True)  # fmt: skip
