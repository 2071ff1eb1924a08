"""A first card for a user's own files: what can be seen in them, to be read and mended."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.learn import files
from bench.learn.files import Table

LABELS = ("label", "labels", "class", "category", "topic", "target", "sentiment", "intent")
NUMBERS = ("score", "rating", "stars", "similarity", "value", "y")
SCORED = ("test", "dev", "valid", "validation", "eval")
MOST_CLASSES = 200
FEW = 20
"""Different numbers above which they are taken for values and not for classes."""


def write(train: Path, name: str | None = None) -> Path:
    """Write a card beside the file of training examples; its path. UsageError where there is one,
    or where the files don't say what they are."""
    if not train.is_file():
        raise UsageError(f"there is no file {train}", "--new names the file of training examples")
    path = train.parent / f"{name or _name(train)}.toml"
    if path.exists():
        raise UsageError(f"{path} is there already", "give another name: bench tasks NAME --new …")
    path.write_text(card(train), encoding="utf-8")
    return path


def card(train: Path) -> str:
    """The text of a card for a file of training examples and that of scored ones beside it."""
    table = files.open_table(train)
    label = _label(table)
    inputs = [c for c in table.columns if c != label and _is_text(table.columns[c])]
    if not inputs:
        raise UsageError(f"{train}: no column of texts; it has {_names(table)}")
    values = list(table.columns[label])
    return "\n".join([
        *_family(values, inputs, label, train),
        "",
        "[local]  # beside this card",
        f"format = {_quoted(train.suffix[1:])}",
        f"train = {_quoted(train.name)}",
        _scored(train),
        "",
    ])  # fmt: skip


def _family(values: list[Any], inputs: list[str], label: str, train: Path) -> list[str]:
    """Classes, or numbers where there are many different ones."""
    numbers = [_number(v) for v in values]
    all_numbers = all(n is not None for n in numbers)
    regression = all_numbers and (len(set(numbers)) > FEW or _are_measured(values))
    classes = sorted({str(v) for v in values})
    if not regression and not 2 <= len(classes) <= min(MOST_CLASSES, len(values) // 2):
        raise UsageError(
            f"{train}: {label} has {len(classes)} different values in {len(values)} rows, "
            "neither classes nor numbers", "name the label's column 'label'",
        )  # fmt: skip
    metric, chance = ("pearson", "0.0") if regression else ("accuracy", '"majority"')
    return [
        f'family = "{"regression" if regression else "classification"}"',
        f"inputs = {_list(inputs)}  # what a model reads",
        "",
        "[labels]",
        f"column = {_quoted(label)}",
        *([] if regression else [f"classes = {_list(classes)}"]),
        "",
        "[metric]",
        f'name = "{metric}"',
        f"chance = {chance}  # what guessing reaches",
    ]


def _label(table: Table) -> str:
    """The column of labels: by its name, or else the last whose values come again and again, or
    are numbers with decimals."""
    by_name = {name.lower(): name for name in table.columns}
    for known in (*LABELS, *NUMBERS):
        if known in by_name:
            return by_name[known]
    for name in reversed(table.columns):
        values = [str(v) for v in table.columns[name]]
        again = 2 <= len(set(values)) <= min(MOST_CLASSES, len(values) // 5)
        if again or _are_measured(table.columns[name]):
            return name
    raise UsageError(
        f"{table.path}: no column looks like labels; it has {_names(table)}",
        "name it 'label' (a class) or 'score' (a number)",
    )


def _is_text(values: Sequence[Any]) -> bool:
    """Texts of words: not numbers, dates or what tells rows apart."""
    texts = [v for v in values if isinstance(v, str)]
    if len(texts) < len(values):
        return False
    return sum(" " in text.strip() for text in texts) >= len(texts) / 2


def _are_measured(values: Sequence[Any]) -> bool:
    """Numbers, and not all of them whole."""
    numbers = [_number(v) for v in values]
    return None not in numbers and any(n != int(n) for n in numbers if n)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None


def _name(train: Path) -> str:
    """The file's name, or its folder's where it says but 'train'."""
    stem = train.stem.split("-")[0].lower()
    return train.absolute().parent.name if stem == "train" else train.stem


def _scored(train: Path) -> str:
    """The file of scored examples beside that of training ones, or a share of these."""
    if "train" in train.stem:
        for part in SCORED:
            path = train.with_name(train.name.replace("train", part))
            if path.is_file():
                return f"scored = {_quoted(path.name)}  # its labels are kept from what is trained"
    return "scored = 0.1  # the share of rows that is put aside; or the name of a file of its own"


def _names(table: Table) -> str:
    return ", ".join(map(repr, table.columns))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"
