"""Where a task's data comes from: a local folder, the Hub's cache, the Hub, the embedded corpus.

`resolve` takes the first that has it, and says why those before it were not taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import record
from bench.cards import Card
from bench.errors import BenchError, UsageError
from bench.learn import data, embedded, files, hub
from bench.learn.data import Resolved, Rows


@dataclass(frozen=True)
class Found:
    """Both splits of a task as one source has them."""

    source: str
    place: str
    train: Rows
    scored: Rows


def resolve(card: Card, data_dir: str | Path | None = None) -> Resolved:
    """The data of a task, from the first source that has it.

    `data_dir` (or else BENCH_DATA): a folder that holds the task's files, or several tasks' under
    `card.local.folder`; or the word `hub` or `embedded`. What is asked for and is not there is a
    UsageError or BenchError. Otherwise: the local Hub cache, the Hub, the embedded corpus.
    """
    asked = str(data_dir or os.environ.get("BENCH_DATA") or "")
    if asked == "embedded":
        return _resolved(card, _embedded(card))
    if asked == "hub":
        return _first(card, [_hub_cache, _hub])
    if asked:
        return _resolved(card, _local(card, Path(asked).expanduser()))
    return _first(card, [_hub_cache, _hub, _embedded])


def _first(card: Card, sources: Sequence[Callable[[Card], Found]]) -> Resolved:
    notes: list[str] = []
    for source in sources:
        try:
            resolved = _resolved(card, source(card))
        except BenchError as error:
            notes.append(f"{error.message} ({error.hint})" if error.hint else error.message)
        else:
            return replace(resolved, notes=[*notes, *resolved.notes])
    raise BenchError(
        f"no data for {card.name}: {'; '.join(notes)}",
        f"--data DIR, a folder with {card.local.train} and {card.local.scored}",
    )


def _resolved(card: Card, found: Found) -> Resolved:
    fingerprints = {
        "train": data.fingerprint(found.train),
        "scored": data.fingerprint(found.scored),
    }
    labels = data.labels_digest(found.scored.labels)
    official = card.fingerprints is not None and card.fingerprints.model_dump() == {
        **fingerprints,
        "labels": labels,
    }
    train, tune = data.split_tune(found.train, fingerprints["train"])
    if not tune.labels:
        raise UsageError(
            f"{found.place}: train has too few rows that differ to keep some apart for tuning"
        )
    identity = record.Data(
        source=found.source,
        official=official,
        fingerprints=fingerprints,
        labels_sha256=labels,
        rows={"train": len(train), "tune": len(tune), "scored": len(found.scored)},
    )
    notes = [] if official else [_not_official(card, found, identity)]
    return Resolved(found.source, found.place, train, tune, found.scored, identity, notes)


def _not_official(card: Card, found: Found, identity: record.Data) -> str:
    """A line that says loudly that this is not the official data, and in what it differs."""
    board = f"results stand on a board of their own ({identity.board()})"
    if found.source == "embedded":
        return f"this is NOT {card.title} but the embedded corpus '{card.embedded}': {board}"
    if card.fingerprints is None:
        return f"this is NOT known to be {card.title}, whose card pins no fingerprints: {board}"
    differ = [
        f"{split} has {len(rows):,} rows, fingerprint {identity.fingerprints[split][:8]}, "
        f"instead of {getattr(card.rows, split):,}, {getattr(card.fingerprints, split)[:8]}"
        for split, rows in (("train", found.train), ("scored", found.scored))
        if identity.fingerprints[split] != getattr(card.fingerprints, split)
    ]
    return f"this is NOT the official {card.title}: {'; '.join(differ)}; {board}"


def _from_files(
    source: str, place: str, train: Sequence[Path], scored: Sequence[Path], card: Card
) -> Found:
    return Found(source, place, files.read_rows(train, card), files.read_rows(scored, card))


# A local folder


def _local(card: Card, root: Path) -> Found:
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}", "--data DIR, --data hub or --data embedded")
    looked_for: list[str] = []
    for folder, *patterns in _layouts(card, root):
        train, scored = (hub.shards(folder, pattern) for pattern in patterns)
        if train and scored:
            return _from_files("local", str(folder), train, scored, card)
        looked_for.append(f"{folder / patterns[0]} and {patterns[1]}")
    raise UsageError(
        f"{root} does not hold {card.title}; looked for {', '.join(looked_for)}",
        "--data hub takes the Hub's data, --data embedded the embedded corpus",
    )


def _layouts(card: Card, root: Path) -> Iterator[tuple[Path, str, str]]:
    """Where the files may be: the folder, and the file names of train and scored as patterns."""
    for folder in (root / card.local.folder, root / Path(card.local.folder).name, root):
        yield folder, card.local.train, card.local.scored
    for folder in (root / card.local.folder, root / card.hub.config, root):
        yield folder, f"{card.hub.train}-*.parquet", f"{card.hub.scored}-*.parquet"


# The Hub


def _hub_cache(card: Card) -> Found:
    found = hub.cached(card.hub)
    if not found:
        raise BenchError(f"the Hub's local cache has no {card.hub.repo} at the pinned revision")
    return _from_files("hub-cache", str(found[0][0].parent), *found, card)


def _hub(card: Card) -> Found:
    place = f"{hub.endpoint()}/datasets/{card.hub.repo} at {card.hub.revision[:8]}"
    return _from_files("hub", place, *hub.download(card.hub), card)


# The embedded corpus


def _embedded(card: Card) -> Found:
    if card.embedded != embedded.NAME:
        raise BenchError(f"no embedded corpus stands in for {card.title}")
    train, scored = embedded.corpus()
    return Found("embedded", f"the embedded corpus '{embedded.NAME}'", train, scored)
