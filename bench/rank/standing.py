"""What was submitted, as it stands: whose it is, and what others have said of it since."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from bench import submission
from bench.rank.entry import Run
from bench.submission import EntryFile


@dataclass(frozen=True)
class Standing:
    """An entry that was submitted. `verified_by` are entries that trained it again (T3),
    `reevaluated_by` those that say what its weights predicted again (T2)."""

    folder: Path
    entry: EntryFile
    superseded_by: Path | None = None
    retracted_by: Path | None = None
    verified_by: tuple[Path, ...] = ()
    reevaluated_by: tuple[Path, ...] = ()

    @property
    def place(self) -> str:
        return submission.place(self.folder)

    @property
    def stands(self) -> bool:
        return self.superseded_by is None and self.retracted_by is None


Standings = Mapping[Path, Standing]

_SPEAKS = re.compile(rb'"(?:retracts|supersedes|verifies|reevaluates)"\s*:\s*"([^"\\]*)"')
"""Of another entry: few do, and thousands need not be parsed."""

_COPIES = re.compile(rb'"charged"\s*:\s*\[\s*"')


def named_by(text: bytes) -> list[bytes]:
    """The entries, as task/name, that the text of an `entry.json` may speak of."""
    return _SPEAKS.findall(text)


def holds_copies(text: bytes) -> bool:
    """Whether it may have runs that were submitted elsewhere."""
    return _COPIES.search(text) is not None


def of(files: Mapping[Path, bytes], runs: Iterable[Run]) -> dict[Path, Standing]:
    """By folder, from the text of each `entry.json` that these runs came with or that speaks of
    another; one that can't be read says nothing. What was itself retracted no longer speaks."""
    asked = {run.folder.parent for run in runs}
    found = _read(files, (f for f, text in files.items() if f in asked or _SPEAKS.search(text)))
    found |= _read(files, [f for f in _shadowed(files, found) if f not in found])
    for speaker in list(found.values()):
        if target := _named(found, speaker.entry.retracts, speaker):
            found[target.folder] = replace(target, retracted_by=speaker.folder)
    for speaker in [s for s in found.values() if s.retracted_by is None]:
        if target := _named(found, speaker.entry.supersedes, speaker):
            found[target.folder] = replace(target, superseded_by=speaker.folder)
        if target := _named(found, speaker.entry.verifies, speaker):
            names = (*target.verified_by, speaker.folder)
            found[target.folder] = replace(target, verified_by=names)
        if target := _named(found, speaker.entry.reevaluates, speaker):
            names = (*target.reevaluated_by, speaker.folder)
            found[target.folder] = replace(target, reevaluated_by=names)
    return found


def _read(files: Mapping[Path, bytes], folders: Iterable[Path]) -> dict[Path, Standing]:
    found = {}
    for folder in folders:
        with suppress(ValidationError):
            found[folder] = Standing(folder, EntryFile.model_validate_json(files[folder]))
    return found


def _shadowed(files: Mapping[Path, bytes], found: Mapping[Path, Standing]) -> Iterator[Path]:
    """Entries whose runs may all be known by a copy that lies elsewhere: of a run that is in
    several entries only one is shown."""
    for speaker in found.values():
        if speaker.entry.supersedes:
            yield from {speaker.folder.parent.parent / speaker.entry.supersedes} & files.keys()
    if copies := sorted({run for s in found.values() for run in s.entry.charged}):
        any_of_them = re.compile("|".join(copies).encode())
        yield from (folder for folder, text in files.items() if any_of_them.search(text))


def _named(found: Mapping[Path, Standing], place: str | None, speaker: Standing) -> Standing | None:
    """The entry called so, below the same root."""
    target = found.get(speaker.folder.parent.parent / place) if place else None
    return target if target and target.folder != speaker.folder else None


def standing(runs: Iterable[Run], standings: Standings) -> list[Run]:
    """The runs less those of entries that do not stand, and less copies of teachers and earlier
    parts, unless they were submitted themselves. A run that a correction has taken over lies there
    from now on."""
    found = []
    owners: Mapping[Path, Standing] | None = None
    for run in runs:
        about = standings.get(run.folder.parent)
        if about is None:  # of the user's own
            found.append(run)
            continue
        stands = _last(about, standings)
        if stands is None or run.folder.name not in stands.entry.runs:
            owners = _owners(standings) if owners is None else owners
            stands = owners.get(about.folder.parent.parent / run.folder.name)
        if stands is about:
            found.append(run)
        elif stands:
            found.append(replace(run, folder=stands.folder / run.folder.name))
    return found


def fallen(run: Run, standings: Standings) -> str | None:
    """Why a run is on no board, by what was said of its entry since; None where it is on one, was
    never submitted (nor is the copy of a teacher), or lies in a correction by now."""
    about = standings.get(run.folder.parent)
    if about is None or run.folder.name not in about.entry.runs or standing([run], standings):
        return None
    heir = _last(about, standings)
    by = about.retracted_by or (heir.folder if heir else about.superseded_by)
    assert by is not None
    said = standings[by].entry.reason or "no reason is given"
    how = "took it back" if about.retracted_by else "corrects it, and leaves this run out"
    return f"it is on no board: of {about.place}, {submission.place(by)} {how} ({said})"


def _owners(standings: Standings) -> dict[Path, Standing]:
    """Root and run -> an entry that stands and has submitted it."""
    return {
        s.folder.parent.parent / run: s
        for s in standings.values()
        if s.stands
        for run in s.entry.runs
    }


def _last(about: Standing, standings: Standings) -> Standing | None:
    """The entry, or what has superseded it in the end; None where that is taken back."""
    seen = set()
    while not about.stands and about.folder not in seen:
        seen.add(about.folder)
        heir = standings.get(about.superseded_by) if about.superseded_by else None
        if about.retracted_by or heir is None:
            return None
        about = heir
    return about if about.stands else None
