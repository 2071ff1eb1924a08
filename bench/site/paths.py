"""Where each page of the site is: one table. Paths are below the site's folder, '/' between."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import quote

HOME = "index.html"
COMPARE = "compare.html"
TASKS = "tasks.html"
RECIPES = "recipes.html"
RULES = "rules.html"
FOOTPRINT = "footprint.html"
CHANGES = "changes.html"
GUIDE = "guide.html"
DOWNLOADS = "downloads.html"
FEED = "feed.xml"
RUN_LIST = "runs/index.js"  # all runs, for the page that compares some


def board(task: str) -> str:
    """The page of a task: its cells."""
    return f"boards/{slug(task)}.html"


def front(task: str) -> str:
    """What makes the plot of a task live."""
    return f"boards/{slug(task)}.plot.js"


def cell(task: str, name: str) -> str:
    """The page of one cell, where its task's page can't show all of it."""
    return f"boards/{slug(task)}/{slug(name)}.html"


def entry(place: str) -> str:
    """Of a submitted entry, `task/name`."""
    return f"entries/{_two(place)}.html"


def run(run_id: str) -> str:
    return f"runs/{slug(run_id)}.html"


def run_data(run_id: str) -> str:
    """What the page that compares runs reads of one."""
    return f"runs/{slug(run_id)}.js"


def sweep(place: str) -> str:
    """Of the sweep that chose the settings of an entry."""
    return f"sweeps/{_two(place)}.html"


def document(name: str) -> str:
    """Of `bench/docs/<name>.md`."""
    return RULES if name == "rules" else f"guide/{slug(name)}.html"


def picture(name: str) -> str:
    """Of a document: a file that lies beside it."""
    return f"guide/{slug(name)}"


def month(name: str) -> str:
    """Of the changes of a month, or of a part of one: 2026-11, 2026-11-2."""
    return f"changes/{slug(name)}.html"


def badge(place: str) -> str:
    return f"badges/{_two(place)}.svg"


def file(place: str, *inside: str) -> str:
    """A file of an entry as it was submitted."""
    return "/".join(["files", _two(place), *map(slug, inside)])


def download(name: str) -> str:
    return f"downloads/{name}"


def asset(name: str) -> str:
    return f"assets/{name}"


@lru_cache(1 << 16)  # of 10,000 runs most are asked for fifty times
def slug(name: str) -> str:
    """A name that is safe in an address and on every file system; another for every name."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name) and not name.endswith("."):
        return name
    kept = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-")
    return f"{kept}~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def _two(place: str) -> str:
    task, _, name = place.partition("/")
    return f"{slug(task)}/{slug(name)}"


def relative(at: str, to: str) -> str:
    """The address of `to`, with its fragment, as a page at `at` says it."""
    path, mark, fragment = to.partition("#")
    if not path:
        return to
    return _quoted(path, at.rpartition("/")[0]) + mark + fragment


@lru_cache(1 << 14)  # every page has the same masthead
def _quoted(path: str, folder: str) -> str:
    """As `posixpath.relpath`, which allows for what is no page, in ten times the time."""
    here, there = folder.split("/") if folder else [], path.rstrip("/").split("/")
    same = 0
    while same < min(len(here), len(there) - 1) and here[same] == there[same]:
        same += 1
    return quote("../" * (len(here) - same) + "/".join(there[same:]), safe="/.+~-_")
