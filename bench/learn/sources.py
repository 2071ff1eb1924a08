"""Where a task's data comes from: a local folder, the Hub's cache, the Hub, the embedded corpus;
for a card of the user's own first the folder that it lies in.

`resolve` takes the first that has it, and says why those before it were not taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import record
from bench.cards import Card, HubFiles, Kind
from bench.errors import BenchError, UsageError
from bench.learn import corpora, data, files, hub
from bench.learn.data import Resolved, Rows


@dataclass(frozen=True)
class Found:
    """Both splits of a task as one source has them."""

    source: str
    place: str
    train: Rows
    scored: Rows
    parts: dict[str, int] = field(default_factory=dict)  # of scored, in order, and their rows


def resolve(card: Card, data_dir: str | Path | None = None) -> Resolved:
    """The data of a task, from the first source that has it.

    `data_dir` (or else BENCH_DATA): a folder that holds the task's files, or several tasks' under
    `card.local.folder`; or the word `hub` or `embedded`. What is asked for and is not there is a
    UsageError or BenchError. Otherwise: beside the card, if it is not bench's own, then the local
    Hub cache, the Hub, the embedded corpus, as far as the card names them.
    """
    asked = str(data_dir or os.environ.get("BENCH_DATA") or "")
    if asked == "embedded":
        return _resolved(card, _embedded(card))
    if asked == "hub":
        return _first(card, [_hub_cache, _hub])
    if asked:
        return _resolved(card, _local(card, Path(asked).expanduser()))
    own, others = card.beside, card.hub or card.embedded
    if own and (_complete(card, own) or not others):
        return _resolved(card, _local(card, own))
    return _first(card, [_hub_cache, _hub, _embedded])


def scored(card: Card, data_dir: str | Path | None = None) -> Found | None:
    """What `resolve` would score on, where files of this machine have it: nothing is asked of a
    network, no corpus is made up unless it is asked for, and no train rows are read (`train` is
    empty) unless the scored ones are put aside from them."""
    asked = str(data_dir or os.environ.get("BENCH_DATA") or "")
    try:
        if asked == "embedded":
            return _embedded(card)
        if asked not in ("", "hub"):
            return _scored_of(card, *(_complete(card, Path(asked).expanduser()) or _NOWHERE))
        if not asked and card.beside and (there := _complete(card, card.beside)):
            return _scored_of(card, *there)
        if card.hub and (files_of := hub.cached(card.hub)):
            parts = {part: files_of[split] for part, split in _named(card.hub.scored).items()}
            return _scored_of(card, card.hub.repo, [], parts)
        return None
    except BenchError:
        return None


_NOWHERE: tuple[str, list[Path], dict[str, list[Path]]] = ("", [], {})


def _scored_of(card: Card, place: str, train: Sequence[Path], scored: Parts) -> Found | None:
    if scored:
        read = {part: files.read_rows(paths, card) for part, paths in scored.items()}
        return _joined("local", place, Rows([], []), read)
    return _from_files("local", place, train, scored, card) if train else None


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
        f"--data DIR, a folder with {' and '.join(_looked_for(card))}" if card.local else None,
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
    kind: Kind = "words" if card.passages else card.kind  # passages of novels are running text
    train, tune = data.split_tune(found.train, fingerprints["train"], kind)
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
    return Resolved(
        found.source, found.place, train, tune, found.scored, identity, notes, found.parts
    )


def _not_official(card: Card, found: Found, identity: record.Data) -> str:
    """A line that says loudly that this is not the official data, and in what it differs."""
    board = f"results stand on a board of their own ({identity.board()})"
    if found.source == "embedded":
        return f"this is NOT {card.title} but the embedded corpus '{card.embedded}': {board}"
    if card.fingerprints is None:
        return _not_pinned(card, found, board)
    differ = [
        f"{split} has {len(rows):,} rows, fingerprint {identity.fingerprints[split][:8]}, "
        f"instead of {_official_rows(card, split)}{getattr(card.fingerprints, split)[:8]}"
        for split, rows in (("train", found.train), ("scored", found.scored))
        if identity.fingerprints[split] != getattr(card.fingerprints, split)
    ]
    return f"this is NOT the official {card.title}: {'; '.join(differ)}; {board}"


def _not_pinned(card: Card, found: Found, board: str) -> str:
    """Without fingerprints the numbers of rows still tell what is not the official data."""
    rows = {"train": len(found.train), "scored": len(found.scored)}
    official = card.rows.model_dump() if card.rows else rows
    differ = [f"{k} has {n:,} rows instead of {official[k]:,}" for k, n in rows.items()
              if n != official[k]]  # fmt: skip
    if differ:
        return f"this is NOT the official {card.title}: {'; '.join(differ)}; {board}"
    return f"this is NOT known to be {card.title}: fingerprint not pinned; {board}"


def _official_rows(card: Card, split: str) -> str:
    return f"{getattr(card.rows, split):,}, " if card.rows else ""


Parts = dict[str, list[Path]]
"""The files of each part of the scored split, in order; a split without parts has one, ''."""


def _from_files(source: str, place: str, train: Sequence[Path], scored: Parts, card: Card) -> Found:
    read = {part: files.read_rows(paths, card) for part, paths in scored.items()}
    found = _joined(source, place, files.read_rows(train, card), read)
    if card.local and isinstance(card.local.scored, float) and not scored:
        rows, aside = _put_aside(found.train, card.local.scored, card)
        return replace(found, train=rows, scored=aside)
    return found


def _joined(source: str, place: str, train: Rows, scored: Mapping[str, Rows]) -> Found:
    """With the rows of all parts of the scored split in one."""
    together = Rows(
        [texts for rows in scored.values() for texts in rows.inputs],
        [label for rows in scored.values() for label in rows.labels],
    )
    parts = {part: len(rows) for part, rows in scored.items()} if len(scored) > 1 else {}
    return Found(source, place, train, together, parts)


def _put_aside(rows: Rows, share: float, card: Card) -> tuple[Rows, Rows]:
    """The rows to train on and a share to score, as tune is carved from train: what is trained on
    contains none of them, and the texts alone decide, not their order."""
    running = card.kind == "words" or card.passages
    chosen = (
        data.carve_stretches(rows, share) if running
        else data.carve_tune(rows, share, least=1, most=len(rows))
    )  # fmt: skip
    scored = rows.take(chosen)
    if not chosen or (card.kind == "class" and len(set(scored.labels)) < 2):
        raise UsageError(
            f"{card.name}: {len(rows)} rows are too few to put {100 * share:g} % aside to score",
            "local.scored may name a file of its own",
        )
    aside = set(chosen)
    return rows.take(i for i in range(len(rows)) if i not in aside), scored


def _named(scored: str | dict[str, str] | float) -> dict[str, str]:
    """The files of a scored split by part; none where it is a share of train's."""
    if isinstance(scored, float):
        return {}
    return {"": scored} if isinstance(scored, str) else scored


# A local folder


def _local(card: Card, root: Path) -> Found:
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}", "--data DIR, --data hub or --data embedded")
    if there := _complete(card, root):
        return _from_files("local", *there, card)
    looked_for = [
        f"{folder / train} and {', '.join(scored.values())}"
        for folder, train, scored in _layouts(card, root)
    ]
    raise UsageError(
        f"{root} does not hold {card.title}; looked for {'; '.join(looked_for)}",
        _elsewhere(card, root),
    )


def _complete(card: Card, root: Path) -> tuple[str, list[Path], Parts] | None:
    """The folder below `root` that holds all files of a task, and those of train and scored."""
    for folder, train_pattern, patterns in _layouts(card, root):
        train = _files(folder, train_pattern, card)
        scored = {part: _files(folder, pattern, card) for part, pattern in patterns.items()}
        if train and all(scored.values()):
            return f"{folder}{_stands_in(card, train_pattern)}", train, scored
    return None


def _stands_in(card: Card, train: str) -> str:
    """Words to a folder without the official train split, where another one is learned from."""
    official, *others = _trains(card)
    return f", where {train} stands in for {official}" if train in others else ""


def _trains(card: Card) -> list[str]:
    """The patterns of train's files, the official ones first."""
    if card.local is None:
        return [""]
    return [card.local.train] if isinstance(card.local.train, str) else card.local.train


def _elsewhere(card: Card, root: Path) -> str:
    """Where else a card's data may be taken from."""
    hints = ["--data DIR names another folder"]
    if card.beside and card.beside.resolve() != root.resolve():
        hints.append("without --data and BENCH_DATA the card's own is looked in")
    if card.hub:
        hints.append("--data hub takes the Hub's data")
    if card.embedded:
        hints.append("--data embedded the embedded corpus")
    return "; ".join(hints)


def _layouts(card: Card, root: Path) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Where the files may be: the folder, the pattern of train's files, and those of scored's.
    What stands in for train comes last."""
    official, *others = _trains(card)
    yield from _written(card, root, [official])
    if card.hub:
        name = card.local.folder if card.local else card.name
        scored = {part: f"{s}-*.parquet" for part, s in _named(card.hub.scored).items()}
        for folder in dict.fromkeys((root / name, root / card.hub.config, root)):
            yield folder, f"{card.hub.train}-*.parquet", scored
    yield from _written(card, root, others)


def _written(
    card: Card, root: Path, trains: Sequence[str]
) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """The layouts of the card's local files, with each pattern of train's."""
    if local := card.local:
        for train in trains:
            for folder in dict.fromkeys(
                (root / local.folder, root / Path(local.folder).name, root)
            ):
                yield folder, train, _named(local.scored)


def _files(folder: Path, pattern: str, card: Card) -> list[Path]:
    """The files of one split: in parallel files one a column, or else its shards."""
    if "{column}" not in pattern:
        return hub.shards(folder, pattern)
    assert card.labels is not None
    names = [c.rpartition(".")[2] for c in (*card.columns, card.labels.column)]
    paths = [folder / pattern.format(column=name) for name in names]
    return paths if all(path.is_file() for path in paths) else []


def _looked_for(card: Card) -> list[str]:
    assert card.local is not None
    return [_trains(card)[0], *_named(card.local.scored).values()]


# The Hub


def _hub_cache(card: Card) -> Found:
    files_of = hub.cached(_on_hub(card))
    if not files_of:
        assert card.hub is not None
        raise BenchError(f"the Hub's local cache has no {card.hub.repo} at the pinned revision")
    return _from_hub("hub-cache", str(files_of[_on_hub(card).train][0].parent), files_of, card)


def _hub(card: Card) -> Found:
    facts = _on_hub(card)
    place = f"{hub.endpoint()}/datasets/{facts.repo} at {facts.revision[:8]}"
    return _from_hub("hub", place, hub.download(facts), card)


def _from_hub(source: str, place: str, files_of: dict[str, list[Path]], card: Card) -> Found:
    facts = _on_hub(card)
    scored = {part: files_of[split] for part, split in _named(facts.scored).items()}
    return _from_files(source, place, files_of[facts.train], scored, card)


def _on_hub(card: Card) -> HubFiles:
    if card.hub is None:
        raise BenchError(f"the card of {card.title} names no data on the Hub")
    return card.hub


# The embedded corpus


def _embedded(card: Card) -> Found:
    if card.embedded is None:
        raise BenchError(f"no embedded corpus stands in for {card.title}")
    train, scored = corpora.load(card.embedded)
    return Found("embedded", f"the embedded corpus '{card.embedded}'", train, scored)
