"""A task's data: rows, what identifies them, the tune split, and the folder a program learns from.

Nothing here imports torch. Labels of the scored split never enter a task folder.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field, fields
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import record
from bench.cards import Card, Family, Kind
from bench.errors import BenchError, near_names

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

FIELD = "\x1f"
ROW = "\x1e"


@dataclass(frozen=True)
class Rows:
    """Examples in order: a tuple of texts and a class name each. Texts are canonical."""

    inputs: list[tuple[str, ...]]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Iterable[int]) -> Rows:
        indices = list(indices)
        return Rows([self.inputs[i] for i in indices], [self.labels[i] for i in indices])


@dataclass(frozen=True)
class Resolved:
    """A task's data, found: `train` excludes `tune`; `notes` say why other sources were not taken
    and whether this is the official data, a line each."""

    source: str  # local, hub-cache, hub, embedded
    place: str  # for people: a folder, an address, the name of the corpus
    train: Rows
    tune: Rows
    scored: Rows
    identity: record.Data
    notes: list[str] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)  # of scored, in order, and their rows


def canonical(text: str) -> str:
    """NFC, runs of white space to one space, stripped. U+001E and U+001F are white space, so no
    canonical text holds what separates rows and fields."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fingerprint(rows: Rows) -> str:
    """SHA-256 over the rows in order, as the rules define it ("Splits")."""
    pairs = zip(rows.inputs, rows.labels, strict=True)
    return _sha256_of_rows(FIELD.join((*texts, label)) for texts, label in pairs)


def labels_digest(labels: Sequence[str]) -> str:
    """SHA-256 over labels alone, in order."""
    return _sha256_of_rows(labels)


def _sha256_of_rows(rows: Iterable[str]) -> str:
    """Of the rows with ROW between them, which are never all in one text."""
    digest, between = hashlib.sha256(), b""
    for row in rows:
        digest.update(between + row.encode())
        between = ROW.encode()
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# Tune


def carve_tune(train: Rows, share: float = 0.025, least: int = 200, most: int = 2000) -> list[int]:
    """The indices of the rows of `train` that are tuned on; the others are trained on.

    About `share` of the rows, between `least` and `most`, never more than a fifth. A row is tuned
    on only if no text that is trained on contains it: its rank is the highest hash among the
    outermost texts that contain it (itself, when none does), and the rows of lowest rank are
    taken, equal ranks together. So phrases of one sentence stay together, with no chain of shared
    phrases that would tie everything to everything, and the choice depends on the texts alone,
    not on their order. Of a row with several texts the longest counts.

    What remains on SST-2 (1,682 of 67,349 rows): no tune row lies in a train row, by construction;
    2 % of the tune rows contain a train row of four words or more, and 5 % of those of five words
    or more share five in a row with a train row, against 11 % of the official scored rows.
    """
    ranks = _ranks([_words(max(texts, key=len)) for texts in train.inputs])
    wanted = min(max(round(share * len(ranks)), least), most, len(ranks) // 5)
    if wanted == 0:
        return []
    ordered = sorted(ranks)
    second = next((rank for rank in ordered if rank > ordered[0]), ordered[0])
    bound = max(ordered[wanted], second)  # at least those of lowest rank, however many
    return [i for i, rank in enumerate(ranks) if rank < bound]


def carve_stretches(train: Rows, share: float = 0.025, length: int = 50) -> list[int]:
    """The indices of the rows that are tuned on where rows are lines of running text: whole
    stretches of `length` lines, those of the lowest hashes, about `share` of all and one at least.
    So what is left on both sides keeps its context, but where a stretch begins or ends."""
    starts = range(0, len(train), length)
    texts = (train.inputs[start : start + length] for start in starts)
    ranked = sorted(
        (_sha256(ROW.join(FIELD.join(t) for t in text)), i) for i, text in enumerate(texts)
    )
    chosen = sorted(i for _, i in ranked[: max(1, round(share * len(ranked)))])
    return [row for i in chosen for row in range(len(train))[i * length : (i + 1) * length]]


def split_tune(train: Rows, train_fingerprint: str, kind: Kind) -> tuple[Rows, Rows]:
    """`train` without its tune rows, and these. Which they are is remembered in the user's cache:
    finding them is most of the work of preparing data."""
    key = f"{train_fingerprint} {kind}"
    carve = carve_stretches if kind == "words" else carve_tune
    tuned = _remembered(key, lambda: carve(train))
    chosen = set(tuned)
    return train.take(i for i in range(len(train)) if i not in chosen), train.take(tuned)


def _remembered(key: str, compute: Callable[[], list[int]]) -> list[int]:
    """`compute()`, or what it gave when it was last called for this key by this code.

    A damaged file is made again; a cache that can't be written is done without.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    path = Path(root) / "bench" / f"tune-{_sha256(key + code)[:32]}.json"
    try:
        digest, indices = json.loads(path.read_bytes())
        if digest == _sha256(json.dumps(indices)):
            return indices
    except (OSError, ValueError, TypeError):
        pass
    indices = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        record.write_file(path, json.dumps([_sha256(json.dumps(indices)), indices]) + "\n")
    except OSError:
        pass
    return indices


def _words(text: str) -> list[str]:
    """The words of a text in lower case; the whole text if it has none."""
    return re.findall(r"\w+", text.lower()) or [text]


def _ranks(texts: list[list[str]]) -> list[int]:
    """For each text the highest hash among the outermost texts that contain it word for word.

    Near linear: at each word of an outermost text only those lengths are tried that some text
    which begins with the same three words has.
    """
    characters: dict[str, str] = {}  # a word as one character: a run of words is a slice
    coded = ["".join([characters.setdefault(w, _character(characters)) for w in t]) for t in texts]
    words_of = dict(zip(coded, texts, strict=True))
    longest_first = sorted(words_of, key=len, reverse=True)
    lengths: dict[str, set[int]] = {}
    for text in longest_first:
        lengths.setdefault(text[:3], set()).add(len(text))
    rank = dict.fromkeys(coded, -1)
    for text in longest_first:
        if rank[text] >= 0:
            continue  # a longer text contains it, and has marked what it contains
        digest = hashlib.sha256(" ".join(words_of[text]).encode()).digest()
        own = int.from_bytes(digest[:8], "big")
        for start in range(len(text)):
            for head in (1, 2, 3):
                for length in lengths.get(text[start : start + head], ()):
                    part = text[start : start + length]
                    if rank.get(part, own) < own:
                        rank[part] = own
    return [rank[text] for text in coded]


def _character(characters: dict[str, str]) -> str:
    return chr(0x10000 + len(characters) % 0x100000)


# The folder that a program learns from


@dataclass(frozen=True)
class TaskFolder:
    """What a learning program may know of a task. `scored` are inputs alone, in order of id."""

    name: str
    version: int
    family: Family
    kind: Kind  # of labels and predictions
    inputs: list[str]  # names of the columns
    choices: list[str]  # names of further columns, one of which is right
    words: dict[str, dict[str, str]]  # input column -> value -> the words that stand for it
    classes: list[str]
    metric: str
    train: Rows
    tune: Rows
    scored: list[tuple[str, ...]]
    positive: str | None = None  # the class that F1 is of

    @property
    def columns(self) -> list[str]:
        return [*self.inputs, *self.choices]


def write_task_folder(resolved: Resolved, card: Card, folder: Path) -> None:
    """Write `task.json`, `train.jsonl`, `tune.jsonl` (input columns and `label`) and
    `scored.jsonl` (`id` from 0 and input columns; no label)."""
    folder.mkdir(parents=True, exist_ok=True)
    task = {
        "name": card.name,
        "version": card.version,
        "family": card.family,
        "kind": card.kind,
        "inputs": card.inputs,
        "choices": card.columns[len(card.inputs) :],
        "words": card.words,
        "classes": card.classes,
        "metric": card.metric.name,
        "positive": card.metric.positive,
        "rows": resolved.identity.rows,
    }
    record.write_file(folder / "task.json", json.dumps(task, indent=1) + "\n")
    for split, rows in (("train", resolved.train), ("tune", resolved.tune)):
        columns = [*card.columns, "label"]
        values = ((*texts, label) for texts, label in zip(rows.inputs, rows.labels, strict=True))
        _write_jsonl(folder / f"{split}.jsonl", columns, values)
    scored = ((i, *texts) for i, texts in enumerate(resolved.scored.inputs))
    _write_jsonl(folder / "scored.jsonl", ["id", *card.columns], scored)


def _write_jsonl(path: Path, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(encode(dict(zip(columns, row, strict=True))) + "\n" for row in rows)


def read_task_folder(folder: Path) -> TaskFolder:
    """What `write_task_folder` wrote; BenchError when it is not there or not whole."""
    try:
        task = json.loads((folder / "task.json").read_bytes())
        columns = [*task["inputs"], *task["choices"]]
        train, tune = (
            Rows(*_columns(folder / f"{split}.jsonl", columns, "label"))
            for split in ("train", "tune")
        )
        scored, ids = _columns(folder / "scored.jsonl", columns, "id")
        found = {"train": len(train), "tune": len(tune), "scored": len(ids)}
        for split, n in task["rows"].items():
            if found[split] != n:
                raise BenchError(f"{folder / split}.jsonl has {found[split]} of {n} rows")
        facts = {f.name: task[f.name] for f in fields(TaskFolder) if f.name in task}
        return TaskFolder(**facts, train=train, tune=tune, scored=scored)
    except FileNotFoundError as error:
        raise BenchError(f"{folder} is not a task's folder: no {error.filename}") from None
    except (ValueError, KeyError) as error:
        raise BenchError(f"{folder} is damaged: {error}") from None


_AT_ONCE = 10_000  # lines: a call of json for each would take three times as long


def _columns(path: Path, columns: list[str], last: str) -> tuple[list[tuple[str, ...]], list[Any]]:
    """The texts of each row, and its value of another column."""
    texts, values = [], []
    with path.open(encoding="utf-8", newline="\n") as file:
        while lines := list(islice(file, _AT_ONCE)):
            for row in json.loads(f"[{','.join(lines)}]"):
                texts.append(tuple(row[c] for c in columns))
                values.append(row[last])
    return texts, values


# What it predicts


@dataclass(frozen=True)
class Predictions:
    """What is predicted of each row in order of id (names of classes, tags or texts; numbers, or
    nats for language modelling), and one score a class, when the program gave them. Where there are
    no classes, scores are what it likes: of two directions the nats of each."""

    labels: list[str] | list[float]
    scores: list[list[float]] | None

    def write(self, path: Path) -> None:
        """Write Parquet with the columns id, prediction and, where known, scores (float32)."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        labels: list[Any] = self.labels
        of_texts = bool(labels) and isinstance(labels[0], str)
        columns = {
            "id": _numbers(np.arange(len(labels))),
            "prediction": _texts(labels) if of_texts else _numbers(np.asarray(labels)),
        }
        if self.scores is not None:
            ends = _ends(self.scores)
            flat = np.fromiter(chain.from_iterable(self.scores), np.float32, ends[-1])
            columns["scores"] = pa.ListArray.from_arrays(_numbers(ends), _numbers(flat))
        pq.write_table(pa.table(columns), path, compression="zstd")


# Arrays from their bytes: of a list pyarrow asks whether it is one of pandas', which it imports for
# that: half a second of every run.


def _numbers(values: np.ndarray) -> pyarrow.Array:
    import pyarrow as pa

    type_ = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])


def _texts(values: list[str]) -> pyarrow.Array:
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends, data = pa.py_buffer(_ends(encoded)), pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(values), ends, data)


def _ends(values: Sequence[Sized]) -> np.ndarray:
    """Where each begins, and the last ends, when they stand one after the other."""
    import numpy as np

    return np.cumsum([0, *map(len, values)], dtype=np.int32)


def read_predictions(folder: Path, n: int, kind: Kind, classes: Sequence[str]) -> Predictions:
    """The predictions for `n` scored rows that a learning program left in `folder`.

    One of `predictions.parquet`, `.jsonl` or `.csv` with the columns `id` (0 to n-1, in any order),
    `prediction` (a class name, a number, tags joined by spaces, a text, or nats) and, if the
    program likes, `scores` (a number for each class, or what it likes where there are none; a JSON
    list in CSV). BenchError says what is wrong with it.
    """
    path, rows = _prediction_rows(folder)
    by_id: dict[int, dict[str, Any]] = {}
    for row in rows:
        i = _checked_id(path, row, n)
        if i in by_id:
            raise BenchError(f"{path}: id {i} is predicted twice")
        row["prediction"] = _checked_prediction(path, i, row, kind, classes)
        by_id[i] = row
    if len(by_id) < n:
        missing = next(i for i in range(n) if i not in by_id)
        raise BenchError(f"{path}: {n - len(by_id)} of {n} ids are missing, the first is {missing}")
    labels = [by_id[i]["prediction"] for i in range(n)]
    scores = [by_id[i].get("scores") for i in range(n)]
    if all(s is None for s in scores):
        return Predictions(labels, None)
    return Predictions(labels, [_checked_scores(path, i, s, classes) for i, s in enumerate(scores)])


def _prediction_rows(folder: Path) -> tuple[Path, Iterator[dict[str, Any]]]:
    found = [p for name in _READERS if (p := folder / f"predictions{name}").is_file()]
    if not found:
        raise BenchError(
            f"the program left no predictions in {folder}",
            f"it must write one of {', '.join(f'predictions{s}' for s in _READERS)}",
        )
    if len(found) > 1:
        raise BenchError(f"{folder} holds {' and '.join(p.name for p in found)}", "leave only one")
    return found[0], _READERS[found[0].suffix](found[0])


def _parquet_predictions(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise BenchError(f"{path} is not Parquet: {_first_line(error)}") from None
    yield from table.to_pylist()


def _jsonl_predictions(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BenchError(f"{path}:{number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise BenchError(f"{path}:{number} is not a JSON object")
        yield row


def _csv_predictions(path: Path) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(_text(path).splitlines())
    try:
        for row in reader:
            yield _csv_row(f"{path}:{reader.line_num}", row)
    except csv.Error as error:  # such as a quote that is never closed
        raise BenchError(f"{path}:{reader.line_num} is not CSV: {error}") from None


def _csv_row(where: str, row: dict[str, Any]) -> dict[str, Any]:
    try:
        row["id"] = int(row.get("id") or "")
        row["scores"] = json.loads(row["scores"]) if row.get("scores") else None
    except (ValueError, RecursionError):
        raise BenchError(
            f"{where}: id or scores can't be read: {dict(row)}",
            "columns id,prediction and, if you like, scores as a JSON list",
        ) from None
    return row


_READERS = {
    ".parquet": _parquet_predictions,
    ".jsonl": _jsonl_predictions,
    ".csv": _csv_predictions,
}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} is not UTF-8: {error}") from None


def _checked_id(path: Path, row: dict[str, Any], n: int) -> int:
    i = row.get("id")
    if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < n:
        raise BenchError(f"{path}: id {i!r} is not a whole number from 0 to {n - 1}")
    return i


def _checked_prediction(
    path: Path, i: int, row: dict[str, Any], kind: Kind, classes: Sequence[str]
) -> str | float:
    """The prediction of one row in canonical form."""
    value = row.get("prediction")
    if kind == "class" and value not in classes:
        raise _unknown_class(path, i, row, classes)
    if kind in ("number", "words"):
        return _checked_number(path, i, value, 0.0 if kind == "words" else -math.inf)
    if not isinstance(value, str):
        raise BenchError(f"{path}: the prediction for id {i} is {value!r}, which is not a text")
    if kind == "tags" and (unknown := set(value.split()) - set(classes)):
        raise _unknown_class(path, i, {"prediction": min(unknown)}, classes)
    return value if kind == "class" else canonical(value)


def _checked_number(path: Path, i: int, value: Any, least: float) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < least:
        wanted = "a finite number" + (f" of at least {least:g}" if least == 0 else "")
        raise BenchError(f"{path}: the prediction for id {i} is {value!r}, not {wanted}")
    return number


def _unknown_class(path: Path, i: int, row: dict[str, Any], classes: Sequence[str]) -> BenchError:
    if "prediction" not in row:
        return BenchError(f"{path}: no column 'prediction'; it has {', '.join(map(str, row))}")
    near = near_names(str(row["prediction"]), classes)
    return BenchError(
        f"{path}: the prediction for id {i} is {row['prediction']!r}, not a class of the task",
        f"did you mean '{near[0]}'?" if near else f"by name: {', '.join(classes)}",
    )


def _checked_scores(path: Path, i: int, scores: Any, classes: Sequence[str]) -> list[float]:
    try:
        checked = [float(s) for s in scores]
    except (TypeError, ValueError, OverflowError):
        checked = []
    wanted = f"one finite number for each of {', '.join(classes)}" if classes else "finite numbers"
    count = len(classes) or max(1, len(checked))
    if len(checked) != count or not all(map(math.isfinite, checked)):
        raise BenchError(
            f"{path}: the scores for id {i} are {scores!r}",
            f"{wanted}, for every id or for none",
        )
    return checked


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
