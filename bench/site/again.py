"""Whether a training that somebody has made again agrees with what was submitted first (T3), as
`bench verify` says it of runs of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.rank.entry import Entry
from bench.rank.render import plain
from bench.rank.standing import Standing
from bench.record import Record
from bench.site import paths
from bench.site.contents import Contents

if TYPE_CHECKING:
    from bench.verification import Claim


@dataclass(frozen=True)
class Verdict:
    """Of the entry that was made again, by the entry that has made it."""

    told: str  # agrees, disagrees, undecided
    of: str  # the address of the one
    by: str  # and of the other, with its title
    title: str
    lines: tuple[tuple[str, str], ...]

    @property
    def tag(self) -> str:
        """The class that it is shown in."""
        return {"agrees": "measured", "disagrees": "bad"}.get(self.told, "warn")


def verdicts(about: Standing, contents: Contents) -> Iterator[Verdict]:
    """Of an entry by all that have made it again, and by it of the one that it has made again."""
    for folder in about.verified_by:
        if by := contents.standings.get(folder):
            yield _verdict(about, by, contents)
    if about.entry.verifies:
        target = about.folder.parent.parent / about.entry.verifies
        if of := contents.standings.get(target):
            yield _verdict(of, about, contents)


def level(entry: Entry, contents: Contents) -> str:
    """What T3 has come to: who disagrees is heard before who agrees. Empty: nobody has tried."""
    told = {
        _verdict(s, by, contents).told
        for s in entry.submissions for folder in s.verified_by
        if (by := contents.standings.get(folder))
    }  # fmt: skip
    if "disagrees" in told:
        return "T3 disagrees"
    return "T3" if "agrees" in told else "T3 undecided" if told else ""


def _verdict(of: Standing, by: Standing, contents: Contents) -> Verdict:
    from bench import verification

    claimed, found = _claim(of, contents), _records(by, contents)
    if claimed is None:
        told: str = "undecided"
        lines = [("verdict", "undecided: what was made again holds runs of no single training")]
    else:
        held = verification.submitted(claimed, found, len(by.entry.attempts))
        told = held.verdict
        lines = [("made", verification.made_line(held)), *verification.compared_lines(held)]
    return Verdict(
        told, paths.entry(of.place), paths.entry(by.place), plain(by.entry.title),
        tuple((name, plain(text, 400)) for name, text in lines),
    )  # fmt: skip


def _claim(of: Standing, contents: Contents) -> Claim | None:
    from bench import verification

    runs = [
        r for r in _records(of, contents)
        if r.rankable and verification.counts(r) and r.spec.seed_origin == "harness"
    ]  # fmt: skip
    if len({r.entry_key() for r in runs}) != 1:
        return None
    return verification.Claim(of.place, tuple(runs))


def _records(about: Standing, contents: Contents) -> list[Record]:
    return [contents.run_by_id[r].record for r in about.entry.runs if r in contents.run_by_id]
