"""What a pull request would do to `results/`: new entries, and nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bench import record as records
from bench import submission
from bench.checks import Found, Problem, Report, rule, rules, verdicts
from bench.checks.bundle import Surroundings
from bench.errors import UsageError

_SAID_AT_MOST = 20


class Proposal:
    """`proposed` is `results/` as it would be, `present` as it is."""

    where = "results"
    counts = True

    def __init__(self, proposed: Path, present: Path) -> None:
        for folder in (proposed, present):
            if not folder.is_dir():
                raise UsageError(f"there is no folder {folder}", "two states of results/")
        self.proposed, self.present = proposed, present

    def added(self) -> list[Path]:
        """The folders that would be new entries, in order of name."""
        return [f for f in _entries(self.proposed) if not os.path.lexists(self._now(f))]

    def report(self, around: Surroundings) -> Report:
        mine = next(r for r in rules() if r.id == _ID)
        return Report(self.where, self.proposed, tuple(verdicts(mine, self, around)))

    def fault(self, name: str) -> None:
        return None

    def violations(self) -> Iterator[str]:
        new = {f.relative_to(self.proposed) for f in self.added()}
        then, now = _tree(self.proposed, new), _tree(self.present, set())
        for path in sorted({*then, *now}):
            if path not in then:
                yield f"{path} would be gone"
            elif path not in now:
                yield f"{path} would be new, and is no entry's"
            elif then[path] != now[path] or not self._same(path):
                yield f"{path} would be changed"

    def _same(self, path: str) -> bool:
        there, here = self.proposed / path, self.present / path
        return records.file_sha256(there) == records.file_sha256(here)

    def _now(self, folder: Path) -> Path:
        return self.present / folder.relative_to(self.proposed)


_ID = "H9"


@rule(
    _ID, "append-only", "results/ only grows: nothing that stands in it is changed.",
    scope="tree",
)  # fmt: skip
def append_only(proposal: Proposal, around: Surroundings) -> Found:
    for number, said in enumerate(proposal.violations()):
        if number == _SAID_AT_MOST:
            yield Problem("and more")
            return
        yield Problem(said)


def _entries(root: Path) -> list[Path]:
    """Folders two below the root that may be entries by their name."""
    return [
        entry
        for task in sorted(root.iterdir())
        if task.is_dir() and not task.is_symlink() and not task.name.startswith(".")
        for entry in sorted(task.iterdir())
        if entry.is_dir() and not entry.is_symlink() and submission.ENTRY_NAME.fullmatch(entry.name)
    ]


def _tree(root: Path, left_out: set[Path]) -> dict[str, tuple[int, int]]:
    """Every file, link or other thing below the root -> its kind and size."""
    found = {}
    for folder, names, files in os.walk(root):
        here = Path(folder).relative_to(root)
        names[:] = [n for n in names if here / n not in left_out]
        for name in [*files, *(n for n in names if (Path(folder) / n).is_symlink())]:
            about = (Path(folder) / name).lstat()
            found[(here / name).as_posix()] = (stat.S_IFMT(about.st_mode), about.st_size)
    return found
