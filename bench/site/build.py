"""Writes the site: makes the pieces that have changed, and takes away those that are no more.

What was made of what is remembered in the site's folder. The same results give the same bytes:
no page says when it was built.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import bench
from bench.errors import UsageError
from bench.site import assets, boards, home
from bench.site.contents import Contents, Piece

MEMORY = ".bench-site.json"
_FEW = 4  # pieces that are not worth another process
_CHUNK = 16  # that a process makes before it asks for more

Tell = Callable[[int, int], None]
"""Is told how many pieces are made, of how many."""


@dataclass(frozen=True)
class Built:
    files: int  # that the site has
    made: int  # pieces that had changed
    written: int  # files whose bytes are others than before
    removed: int


def pieces(contents: Contents) -> Iterator[Piece]:
    """All of the site."""
    for module in (assets, home, boards):
        yield from module.pieces(contents)


def build(contents: Contents, out: Path, tell: Tell = lambda done, of: None) -> Built:
    """Bring the site in `out` up to date. UsageError where that is a folder of something else."""
    memory = _Memory.of(out)
    every = list(pieces(contents))
    todo = [piece for piece in every if not memory.knows(piece)]
    wanted = {file for piece in every for file in piece.files}
    assert len(wanted) == sum(len(piece.files) for piece in every), "two pieces make one file"
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with closing(_made(todo, out)) as done:
            for number, (piece, changed) in enumerate(zip(todo, done, strict=True), 1):
                memory.keep(piece)
                written += changed
                tell(number, len(todo))
        removed = _remove(out, memory.files() - wanted)
        memory.forget(every)
    finally:  # after Ctrl-C the next build goes on with the rest
        memory.save()
    return Built(len(wanted), len(todo), written, removed)


# --- making ------------------------------------------------------------------------------------

_todo: Sequence[Piece] = ()
_out = Path()


def _made(todo: Sequence[Piece], out: Path) -> Generator[int, None, None]:
    """For each piece, in order, how many files it has changed. Processes are forks: a piece is not
    copied to them, and nothing that has threads is used before."""
    global _todo, _out
    _todo, _out = todo, out
    workers = min(len(os.sched_getaffinity(0)), len(todo) // _FEW)
    if workers < 2:
        yield from map(_make, range(len(todo)))
        return
    context = multiprocessing.get_context("fork")
    chunk = max(1, min(_CHUNK, len(todo) // (4 * workers)))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from pool.map(_make, range(len(todo)), chunksize=chunk)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _make(number: int) -> int:
    piece = _todo[number]
    made = piece.make()
    assert set(made) == set(piece.files), piece.files
    return sum(_write(_out / file, content) for file, content in made.items())


def _write(path: Path, content: str | bytes) -> bool:
    """Whether the file was another, or none; whole or not at all."""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        if path.read_bytes() == data:
            return False
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)
    return True


def _remove(out: Path, files: Iterable[str]) -> int:
    """Files that an earlier build has made, and folders that are empty then."""
    gone = 0
    for file in files:
        path = out / file
        path.unlink(missing_ok=True)
        gone += 1
        for folder in list(path.parents)[: file.count("/")]:
            if not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
    return gone


# --- what was made of what ---------------------------------------------------------------------


class _Memory:
    def __init__(self, path: Path, known: dict[str, Any]) -> None:
        self._path = path
        self._code = _code()
        self._known: dict[str, str] = known.get("files", {})
        if known.get("code") != self._code:  # still known to be ours, and to be removed some day
            self._known = dict.fromkeys(self._known, "")

    @classmethod
    def of(cls, out: Path) -> _Memory:
        path = out / MEMORY
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is no folder", "--out DIR names the site's")
        if not path.is_file():
            if out.is_dir() and any(out.iterdir()):
                raise UsageError(
                    f"{out} holds something else than a site", "--out names a new folder"
                )
            return cls(path, {})
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
        return cls(path, known if isinstance(known, dict) else {})

    def knows(self, piece: Piece) -> bool:
        return all(
            self._known.get(file) == piece.key and (self._path.parent / file).is_file()
            for file in piece.files
        )

    def keep(self, piece: Piece) -> None:
        self._known |= dict.fromkeys(piece.files, piece.key)

    def files(self) -> set[str]:
        return set(self._known)

    def forget(self, every: Iterable[Piece]) -> None:
        """All but these."""
        kept = set(chain.from_iterable(piece.files for piece in every))
        self._known = {file: key for file, key in self._known.items() if file in kept}

    def save(self) -> None:
        text = json.dumps({"code": self._code, "files": self._known}, indent=0, sort_keys=True)
        _write(self._path, text + "\n")


def _code() -> str:
    """Of everything that a page may follow from beside the results."""
    package = Path(bench.__file__).parent
    code = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in _SOURCES and path.is_file():
            code.update(path.read_bytes())
    return code.hexdigest()[:24]


_SOURCES = {".py", ".html", ".css", ".js", ".svg", ".toml", ".md"}
