"""Writes the site: makes the pieces that have changed, and takes away those that are no more.

The same results give the same bytes: no page says when it was built. What can't be made takes
nothing else down: its page says so, and the next build tries again.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import NamedTuple

import bench
from bench.errors import BenchError, MissingExtra
from bench.rank.render import plain
from bench.site import folder, page
from bench.site.contents import Contents, Piece, unswept
from bench.site.folder import Folder, Made

_FEW = 4  # pieces that are not worth another process
_CHUNK = 16  # that a process makes before it asks for more
_SAVE_EVERY_S = 20.0  # of 10,000 runs it takes most of a second

KINDS = (
    "assets",
    "home",
    "boards",
    "guide",
    "catalogue",
    "entries",
    "changes",
    "downloads",
    "badges",
    "charts",
    "sweeps",
    "footprint",
    "compare",
    "rundata",
    "runs",
)  # fmt: skip
"""Modules of this package, each of which makes a kind of page."""

Tell = Callable[[int, int], None]
"""Is told how many pieces are made, of how many."""


@dataclass(frozen=True)
class Built:
    files: int  # that the site has
    made: int  # pieces that had changed
    written: int  # files whose bytes are others than before
    removed: int
    failed: tuple[str, ...]  # a line for each piece that could not be made


def pieces(contents: Contents, failed: list[str]) -> Iterator[Piece]:
    """All of the site; `failed` gets a line for each kind of page that there can't be more of."""
    for name in KINDS:
        try:
            yield from import_module(f"bench.site.{name}").pieces(contents)
        except Exception as error:
            failed.append(f"pages of {name}: {_said(error, contents.results)}")


def build(
    contents: Contents,
    out: Path,
    tell: Tell = lambda done, of: None,
    wait: Callable[[], None] = lambda: None,
) -> Built:
    """Bring the site in `out` up to date; `wait` is told where another build is at work there.
    UsageError where that is a folder of something else."""
    require()
    with folder.opened(out, _code(), wait) as site:
        failed: list[str] = []
        with unswept():
            every = list(_each_once(pieces(contents, failed), failed))
            todo = [p for p in every if not all(site.knows(file, p.key) for file in p.files)]
            site.expect(file for piece in todo for file in piece.files)
        whole = not failed  # else nobody knows which files are no more
        wanted = {file for piece in every for file in piece.files}
        written, saved_s = 0, time.monotonic()
        with closing(_made(todo, site, contents.results)) as results:
            for number, (piece, result) in enumerate(zip(todo, results, strict=True), 1):
                wanted -= set(piece.files) - set(result.files)
                written += result.changed
                if result.failure:
                    failed.append(result.failure)
                for file, made in result.files.items():
                    site.keep(file, made)
                if time.monotonic() > saved_s + _SAVE_EVERY_S:
                    site.save()
                    saved_s = time.monotonic()
                tell(number, len(todo))
        removed = site.remove_all_but(wanted) if whole else 0
    return Built(len(wanted), len(todo), written, removed, tuple(failed))


def require() -> None:
    """MissingExtra where a site can't be made."""
    if not all(map(util.find_spec, _PACKAGES)):
        raise MissingExtra("a site", "site")


def _each_once(every: Iterable[Piece], failed: list[str]) -> Iterator[Piece]:
    """Of two pieces that would make one file, the first."""
    taken: set[str] = set()
    for piece in every:
        if double := taken.intersection(piece.files):
            failed.append(f"{min(double)}: something else is there already")
        else:
            taken.update(piece.files)
            yield piece


# --- making ------------------------------------------------------------------------------------


class _Result(NamedTuple):
    files: dict[str, Made]
    changed: int  # files
    failure: str | None


class _Work(NamedTuple):
    todo: Sequence[Piece]
    site: Folder
    results: Path


_work: _Work


def _made(todo: Sequence[Piece], site: Folder, results: Path) -> Generator[_Result, None, None]:
    """What became of each piece, in order. Processes are forks: a piece is not copied to them, and
    nothing that has threads is used before."""
    global _work
    _work = _Work(todo, site, results)
    workers = min(len(os.sched_getaffinity(0)), len(todo) // _FEW)
    if workers < 2:
        yield from map(_make, range(len(todo)))
        return
    context = multiprocessing.get_context("fork")
    chunk = max(1, min(_CHUNK, len(todo) // (4 * workers)))
    begin, others = (os.getpid(),), set(multiprocessing.active_children())
    with _frozen(), ProcessPoolExecutor(workers, context, _begin, begin) as pool:
        try:
            yield from pool.map(_make, range(len(todo)), chunksize=chunk)
        except BrokenProcessPool:
            raise BenchError(
                "a process that made pages was killed", "is memory short? what was made is kept"
            ) from None
        except BaseException:  # nobody waits for pages then, and half a file is never there
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


@contextmanager
def _frozen() -> Iterator[None]:
    """What there is by now is no garbage: processes need not look through it, and share it."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _begin(parent: int) -> None:
    """In each process: Ctrl-C is for the parent, which ends them; they end with it, too."""
    import ctypes

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


_PR_SET_PDEATHSIG = 1


def _make(number: int) -> _Result:
    piece = _work.todo[number]
    try:
        made, failure = _content(piece), None
    except Exception as error:
        failure = _said(error, _work.results)
        made = _excuses(piece, failure)
    try:
        return _written(made, piece, failure)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        return _Result({}, 0, f"{piece.files[0]}: {_said(error, _work.results)}")


def _content(piece: Piece) -> Mapping[str, str | bytes]:
    made = piece.make()
    if set(made) != set(piece.files):
        raise AssertionError(f"made {sorted(made)} in place of {sorted(piece.files)}")
    return made


def _written(made: Mapping[str, str | bytes], piece: Piece, failure: str | None) -> _Result:
    found, changed = {}, 0
    for file, content in made.items():
        is_other, size, mtime_ns = _work.site.write(file, content)
        changed += is_other
        found[file] = Made("" if failure else piece.key, size, mtime_ns)
    return _Result(found, changed, f"{piece.files[0]}: {failure}" if failure else None)


def _excuses(piece: Piece, failure: str) -> Mapping[str, str]:
    """In the place of pages that could not be made; nothing in that of other files."""
    files = [file for file in piece.files if file.endswith(".html")]
    return {file: page.render("failed.html", file, why=failure) for file in files}


def _said(error: Exception, results: Path) -> str:
    """In one line, and where nothing of this machine is named: a page says it."""
    text = error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
    for place in (results.absolute(), results.resolve(), results, Path.cwd()):
        text = text.replace(f"{place}/", "")
    return plain(" ".join(text.split()), 300)


# --- what pages follow from --------------------------------------------------------------------


def _code() -> str:
    """Of everything that a page may follow from beside the results."""
    package = Path(bench.__file__).parent
    code = hashlib.sha256(repr([_version(name) for name in _PACKAGES.values()]).encode())
    for path in sorted(package.rglob("*")):
        if path.suffix in _SOURCES and path.is_file():
            code.update(path.read_bytes())
    return code.hexdigest()[:24]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


_SOURCES = {".py", ".html", ".css", ".js", ".svg", ".toml", ".md"}
_PACKAGES = {
    "jinja2": "jinja2", "markdown_it": "markdown-it-py", "altair": "altair",
    "vl_convert": "vl-convert-python",
}  # fmt: skip
