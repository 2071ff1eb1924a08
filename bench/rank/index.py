"""The runs below some folders without reading every record: an index of what was read before.

It lies in the user's cache, follows from the records alone and may be deleted at any time. Each
question first looks which records have changed. What is answered is what reading them all would
answer (`Direct`), and where no index can be used, that is what is done.

One SQLite file serves all roots. Its journal is the classic one: write-ahead logging must not be
used by several machines at once, and home folders of clusters are shared.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Protocol, TypeVar

import pydantic

from bench import record as records
from bench.rank import board, scan, slim, standing
from bench.rank.board import Filters
from bench.rank.entry import Origin, Run, written_now

Roots = Sequence[tuple[Path, Origin]]
T = TypeVar("T")

WAIT_S = 10.0
"""For another process that writes; then the records are read without the index."""

BATCH = 5000
"""Records that are stored at a time: they stay, should the process be killed."""


CACHE_KB = 200_000
"""Of the file, in memory: its tables are filled in order of path and looked up by others."""


FEW = 10_000
"""Runs of which it is looked what entries they are in; of more it is soon all."""


class Source(Protocol):
    """What can be asked. Runs come as from `board.load`: in its order, each once."""

    def board(self, filters: Filters) -> list[Run]:
        """Runs that `board.build` makes the same cells of as of all there are."""

    def task(self, name: str) -> list[Run]: ...

    def entries(self, keys: Collection[str]) -> list[Run]: ...

    def later(self, run_id: str) -> list[Run]:
        """Those that go on with a run."""

    def tasks(self) -> set[str]: ...

    def broken(self) -> list[str]:
        """One line for each folder whose record can't be read."""

    def submissions(
        self, task: str | None = None, runs: Sequence[Run] | None = None
    ) -> dict[Path, bytes]:
        """Each `entry.json` by its folder; `task` names the folder of the root that it is in. Where
        `runs` are given, others may be left out than those by which they stand or fall."""


def ask(roots: Roots, question: Callable[[Source], T]) -> T:
    """`question(source)`, answered by the index where there can be one."""
    ordered = sorted(roots, key=lambda pair: pair[1] != "results")
    for _ in range(2):  # what was damaged is gone the second time
        try:
            return _ask(_place(), ordered, question)
        except slim.Damaged:
            continue
        except (sqlite3.OperationalError, OSError):  # no place, no room, no turn
            break
    return question(Direct(ordered))


def _place() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "bench" / "runs.sqlite"


def _ask(place: Path, roots: Roots, question: Callable[[Source], T]) -> T:
    place.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(place, timeout=WAIT_S, isolation_level=None)) as connection:
        inode = place.stat().st_ino
        try:
            with _up_to_date(connection, roots) as index:
                return question(index)
        except (sqlite3.OperationalError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.DatabaseError, slim.Damaged) as error:
            _remove(place, inode)
            raise slim.Damaged(str(error)) from None


def _remove(place: Path, inode: int) -> None:
    """Unless another process has put a new one in its place."""
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.exists() and place.stat().st_ino == inode:
            place.unlink()
            place.with_name(f"{place.name}-journal").unlink(missing_ok=True)


class Direct:
    """Reads every record."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._runs, self._broken = board.load(roots)

    def board(self, filters: Filters) -> list[Run]:
        return self._runs

    def task(self, name: str) -> list[Run]:
        return [run for run in self._runs if run.record.spec.task == name]

    def entries(self, keys: Collection[str]) -> list[Run]:
        return [run for run in self._runs if run.key in keys]

    def later(self, run_id: str) -> list[Run]:
        return [r for r in self._runs if run_id in [part.run_id for part in r.record.parts]]

    def tasks(self) -> set[str]:
        return {run.record.spec.task for run in self._runs}

    def broken(self) -> list[str]:
        return self._broken

    def submissions(
        self, task: str | None = None, runs: Sequence[Run] | None = None
    ) -> dict[Path, bytes]:
        found = {}
        for root, _ in self._roots:
            for path in sorted(root.glob("**/entry.json")):
                inside = path.parent.relative_to(root).parts
                if any(name[0] == "." for name in inside) or task not in (None, *inside[:1]):
                    continue
                if (text := _read(path)) is not None:
                    found[path.parent] = text
        return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


# --- the file ----------------------------------------------------------------------------------

_SCHEMA = """
CREATE TABLE roots (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE folders (path BLOB PRIMARY KEY, stamp INTEGER, files BLOB, folders BLOB) WITHOUT ROWID;
CREATE TABLE facets (
  facet INTEGER PRIMARY KEY, path BLOB, task TEXT, track TEXT, hardware TEXT
);
CREATE TABLE runs (
  path BLOB, stamp INTEGER, complaint TEXT, run_id TEXT, facet INTEGER, model TEXT, recipe TEXT,
  entry TEXT, trial INTEGER, text BLOB
);
CREATE INDEX runs_by_path ON runs (path, stamp, facet);
CREATE INDEX runs_by_id ON runs (run_id);
CREATE INDEX runs_by_facet ON runs (facet, model, recipe);
CREATE INDEX runs_by_entry ON runs (entry);
CREATE INDEX broken ON runs (path, complaint) WHERE complaint IS NOT NULL;
CREATE TABLE parts (path BLOB, part TEXT);
CREATE INDEX parts_by_path ON parts (path);
CREATE INDEX parts_by_part ON parts (part);
CREATE TABLE submissions (path BLOB, stamp INTEGER, about BLOB, text BLOB);
CREATE INDEX speakers ON submissions (path) WHERE about IS NOT NULL;
CREATE INDEX submissions_by_path ON submissions (path, stamp);
"""
_TABLES = {b"record.json": ("runs", "parts"), b"entry.json": ("submissions",)}


def _version() -> int:
    """Of the code that fills the index: what other code has filled is made anew."""
    code = hashlib.sha256(pydantic.VERSION.encode())
    for path in (records.__file__, scan.__file__, slim.__file__, standing.__file__, __file__):
        code.update(Path(path).read_bytes())
    return int.from_bytes(code.digest()[:4], "big") >> 1


def _prepare(connection: sqlite3.Connection) -> None:
    version = _version()
    if _stored_version(connection) == version:
        return
    connection.execute("PRAGMA page_size = 16384")  # several records each, while it is empty
    connection.execute("BEGIN IMMEDIATE")
    if _stored_version(connection) != version:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in tables.fetchall():
            connection.execute(f'DROP TABLE "{name}"')
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("COMMIT")


def _stored_version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


@contextmanager
def _up_to_date(connection: sqlite3.Connection, roots: Roots) -> Iterator[Source]:
    """An index that agrees with the disk, in a transaction that ends after the question.

    Where nothing has changed it only reads. Else what was found is stored, in the transaction
    that answers: then it does not matter what other processes store before and after it.
    """
    connection.execute("PRAGMA synchronous = OFF")  # a loss of power costs a rebuilding, no more
    connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
    _prepare(connection)
    index = _Index(connection, roots)
    connection.execute("BEGIN")
    index.look()
    if index.differs():
        connection.execute("ROLLBACK")
        index.store_many()
        connection.execute("BEGIN IMMEDIATE")
        index.store()
    yield index
    connection.execute("COMMIT")


@dataclass(frozen=True)
class _Root:
    path: Path  # as the user names it
    origin: Origin
    key: scan.Key

    def folder(self, key: scan.Key) -> Path:
        inside = os.fsdecode(scan.path(key[len(self.key) + 1 :])) if key != self.key else "."
        return self.path / inside


class _Index:
    def __init__(self, connection: sqlite3.Connection, roots: Roots) -> None:
        self._sql = connection
        self._withheld: dict[scan.Key, str] = {}  # why the system does not let us read a record
        self._roots = [_Root(path, origin, scan.key(path)) for path, origin in roots]
        values = ", ".join("(?, ?, ?, ?)" for _ in self._roots)
        self._scope = f"WITH scope (rank, origin, low, high) AS (VALUES {values}) "
        self._scopes = [
            value
            for rank, root in enumerate(self._roots)
            for value in (rank, root.origin, *scan.below(root.key))
        ]

    # --- agreeing with the disk

    def look(self) -> None:
        self._disk = scan.Scan()
        for root in self._roots:
            self._disk.add(scan.scan(root.key, self._known(root)))

    def _known(self, root: _Root) -> dict[scan.Key, scan.Folder]:
        rows = self._sql.execute(
            "SELECT path, stamp, files, folders FROM folders WHERE path >= ? AND path < ?",
            scan.below(root.key),
        )
        return {path: scan.Folder(*folder) for path, *folder in rows}

    def differs(self) -> bool:
        files = any(any(self._changes(name)) for name in scan.FILES)
        return files or bool(self._disk.folders or self._disk.gone)

    def _changes(self, name: bytes) -> tuple[list[scan.Key], list[scan.Key]]:
        """Of the files of a name: what is stored and is so no more, and what is to be read."""
        table, disk = _TABLES[name][0], self._disk.files[name].items()
        stored = set()
        for root in self._roots:
            stored |= set(
                self._sql.execute(
                    f"SELECT path, NULLIF(stamp, 0) FROM {table} WHERE path >= ? AND path < ?",
                    scan.below(root.key),
                )
            )
        return sorted({k for k, _ in stored - disk}), sorted({k for k, _ in disk - stored})

    def store_many(self) -> None:
        """Where there is much to read, most of it, some at a time."""
        _, new = self._changes(b"record.json")
        rows = slim.rows(new) if len(new) > BATCH else iter(())
        while batch := list(islice(rows, BATCH)):
            self._sql.execute("BEGIN IMMEDIATE")
            self._store_runs([row.key for row in batch], batch)
            self._sql.execute("COMMIT")

    def store(self) -> None:
        """All that differs still."""
        self._forget_roots()
        gone, new = self._changes(b"record.json")
        self._store_runs(gone, slim.rows(new))
        gone, new = self._changes(b"entry.json")
        self._delete("submissions", gone)
        texts = ((key, _read(Path(os.fsdecode(scan.path(key)), "entry.json"))) for key in new)
        stamps = self._disk.files[b"entry.json"]
        self._sql.executemany(
            "INSERT INTO submissions VALUES (?, ?, ?, ?)",
            ((key, stamps[key], _about(text), text) for key, text in texts if text is not None),
        )
        self._delete("folders", self._disk.gone)
        self._sql.executemany(
            "INSERT OR REPLACE INTO folders VALUES (?, ?, ?, ?)",
            ((key, *folder) for key, folder in self._disk.folders.items()),
        )

    def _forget_roots(self) -> None:
        """Those that are not there any more; and remember these."""
        for (key,) in self._sql.execute("SELECT path FROM roots").fetchall():
            if not os.path.isdir(scan.path(key)):
                for table in ("roots", "folders", "facets", "runs", "parts", "submissions"):
                    self._sql.execute(
                        f"DELETE FROM {table} WHERE path >= ? AND path < ?", scan.below(key)
                    )
        there = [(root.key,) for root in self._roots if os.path.isdir(scan.path(root.key))]
        self._sql.executemany("INSERT OR IGNORE INTO roots VALUES (?)", there)

    def _store_runs(self, gone: Iterable[scan.Key], rows: Iterable[slim.Row]) -> None:
        gone = list(gone)
        self._delete("runs", gone)
        self._delete("parts", gone)
        found = self._sql.execute("SELECT path, task, track, hardware, facet FROM facets")
        facets = {tuple(names): facet for *names, facet in found}
        unused = count(1 + max(facets.values(), default=0))
        stamps = self._disk.files[b"record.json"]
        parts: list[tuple[scan.Key, str]] = []

        def values() -> Iterator[tuple[object, ...]]:
            for row in rows:
                self._withheld.pop(row.key, None)
                if row.complaint is not None and not row.lasting:
                    self._withheld[row.key] = row.complaint
                    continue
                facet = None
                if row.facet is not None:
                    names = (self._root_of(row.key), *row.facet)
                    facet = facets.get(names) or facets.setdefault(names, next(unused))
                parts.extend((row.key, part) for part in row.parts)
                yield (
                    row.key, stamps[row.key], row.complaint, row.run_id, facet, row.model,
                    row.recipe, row.entry, row.trial, row.text,
                )  # fmt: skip

        self._sql.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values())
        self._sql.executemany("INSERT INTO parts VALUES (?, ?)", parts)
        self._sql.executemany(
            "INSERT OR IGNORE INTO facets VALUES (?, ?, ?, ?, ?)",
            ((facet, *names) for names, facet in facets.items()),
        )

    def _root_of(self, key: scan.Key) -> scan.Key:
        return next(root.key for root in self._roots if _holds(root.key, key))

    def _delete(self, table: str, keys: Iterable[scan.Key]) -> None:
        self._sql.executemany(f"DELETE FROM {table} WHERE path = ?", ((key,) for key in keys))

    # --- questions

    def board(self, filters: Filters) -> list[Run]:
        facets = _listed(self._shown(filters))
        goes_on = f"""r.path IN (
          SELECT path FROM parts WHERE part IN (SELECT run_id FROM runs WHERE facet IN ({facets}))
        )"""  # what is a part of another run, `board.build` decides
        return self._runs(f"(r.facet IN ({facets}) OR {goes_on}) AND NOT r.trial")

    def _facets(self, filters: Filters) -> dict[int, tuple[str, str, str]]:
        """Tasks, tracks and hardware that there may be below the roots and that are asked for. Each
        is known by the root that it was first looked for in, which may be within one of these."""
        rows = self._sql.execute("SELECT facet, path, task, track, hardware FROM facets")
        return {
            facet: (task, track, hardware)
            for facet, path, task, track, hardware in rows
            if filters.takes(task, track, hardware)
            and any(_holds(r.key, path) or _holds(path, r.key) for r in self._roots)
        }

    def _shown(self, filters: Filters) -> list[int]:
        """Facets whose cells may have something to show. What is only hidden is ranked, so a model
        or recipe asks for all of the cells that it is in."""
        facets = self._facets(filters)
        if not (filters.model or filters.recipe):
            return list(facets)
        named = self._sql.execute(
            f"SELECT DISTINCT facet, model, recipe FROM runs WHERE facet IN ({_listed(facets)})"
        )
        shown = {_cell(facets[f]) for f, model, recipe in named if filters.names(model, recipe)}
        return [facet for facet, names in facets.items() if _cell(names) in shown]

    def task(self, name: str) -> list[Run]:
        return self._runs(f"r.facet IN ({_listed(self._facets(Filters(task=name)))})")

    def entries(self, keys: Collection[str]) -> list[Run]:
        return self._runs(f"r.entry IN ({', '.join('?' for _ in keys)})", list(keys))

    def later(self, run_id: str) -> list[Run]:
        return self._runs("r.path IN (SELECT path FROM parts WHERE part = ?)", [run_id])

    def tasks(self) -> set[str]:
        rows = self._sql.execute(
            f"{self._scope} SELECT DISTINCT task FROM scope AS s CROSS JOIN runs AS r "
            "ON r.path >= s.low AND r.path < s.high JOIN facets USING (facet)",
            self._scopes,
        )
        return {task for (task,) in rows}

    def broken(self) -> list[str]:
        complaints: dict[tuple[int, scan.Key], str] = {}
        for rank, root in enumerate(self._roots):
            stored = self._sql.execute(
                "SELECT path, complaint FROM runs INDEXED BY broken "
                "WHERE complaint IS NOT NULL AND path >= ? AND path < ?",
                scan.below(root.key),
            )
            complaints |= {(rank, key): complaint for key, complaint in stored}
            complaints |= {
                (rank, key): complaint
                for key, complaint in self._withheld.items()
                if _holds(root.key, key)
            }
        return [
            f"left out: {self._roots[rank].folder(key)}{complaint}"
            for (rank, key), complaint in sorted(complaints.items())
        ]

    def submissions(
        self, task: str | None = None, runs: Sequence[Run] | None = None
    ) -> dict[Path, bytes]:
        below = [r.key if task is None else r.key + b"\0" + os.fsencode(task) for r in self._roots]
        found: dict[scan.Key, bytes] = {}
        if runs is not None and len(runs) <= FEW:
            found = self._those_about(below, {r.folder.parent for r in runs})
        if runs is None or len(runs) > FEW or any(map(standing.holds_copies, found.values())):
            for key in below:
                found |= self._submissions("path >= ? AND path < ?", scan.below(key))
        return {
            root.folder(key): text
            for root in self._roots
            for key, text in found.items()
            if _holds(root.key, key)
        }

    def _those_about(self, below: Sequence[scan.Key], folders: set[Path]) -> dict[scan.Key, bytes]:
        """Those in these folders, those that speak of any, and what they speak of."""
        wanted = {r.key + scan.inside(f, r.path) for r in self._roots for f in folders
                  if f.is_relative_to(r.path)}  # fmt: skip
        spoken: dict[scan.Key, bytes] = {}
        for key in below:
            rows = self._sql.execute(
                "SELECT path, about FROM submissions WHERE about IS NOT NULL "
                "AND path >= ? AND path < ?", scan.below(key),
            )  # fmt: skip
            spoken |= dict(rows.fetchall())
        for speaker, places in spoken.items():
            root = speaker.rsplit(b"\0", 2)[0]
            wanted |= {
                speaker,
                *(root + b"\0" + p.replace(b"/", b"\0") for p in places.split(b"\n")),
            }
        found: dict[scan.Key, bytes] = {}
        keys = iter(sorted(wanted))
        while some := list(islice(keys, 1000)):
            found |= self._submissions(f"path IN ({', '.join('?' for _ in some)})", some)
        return found

    def _submissions(self, where: str, values: Sequence[scan.Key]) -> dict[scan.Key, bytes]:
        sql = f"SELECT path, text FROM submissions WHERE {where} ORDER BY path"
        return dict(self._sql.execute(sql, values).fetchall())

    def _runs(self, where: str, values: Sequence[str] = ()) -> list[Run]:
        rows = self._sql.execute(
            f"{self._scope} SELECT s.rank, r.path, r.entry, r.text FROM runs AS r {_IN_SCOPE} "
            f"WHERE {where} AND {_FIRST}",
            [*self._scopes, *values],
        ).fetchall()
        rows.sort(key=lambda row: row[:2])
        with slim.paused_gc():
            return [
                Run(slim.record(text), root.folder(key), root.origin, entry)
                for rank, key, entry, text in rows
                for root in (self._roots[rank],)
            ]


def _about(text: bytes) -> bytes | None:
    return b"\n".join(standing.named_by(text)) or None


_IN_SCOPE = "CROSS JOIN scope AS s ON r.path >= s.low AND r.path < s.high"
_FIRST = """r.run_id IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM runs AS o CROSS JOIN scope AS t ON o.path >= t.low AND o.path < t.high
  WHERE o.run_id = r.run_id AND (t.rank, o.path) < (s.rank, r.path)
)"""
"""Of runs that lie in several places, the first."""


def _holds(root: scan.Key, key: scan.Key) -> bool:
    low, high = scan.below(root)
    return low <= key < high


def _listed(facets: Iterable[int]) -> str:
    return ", ".join(map(str, facets))


def _cell(names: Sequence[str]) -> tuple[str, str, str]:
    task, track, hardware = names
    return task, track, written_now(hardware)
