"""The documents of this repository as pages: an index by what a reader wants, and the rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable

from bench.site import page, paths
from bench.site.contents import Contents, Piece
from bench.site.markdown import PICTURES, address, from_markdown, read

__all__ = ["from_markdown", "pieces", "rule_address"]

_FOLDER = files("bench") / "docs"

RULES = "rules"
GROUPS: dict[str, dict[str, str]] = {
    "Start": {
        "measure": "Energy and carbon of any command; with a task, its predictions are ranked.",
        "own-task": "A card beside your files, CSV to Parquet, is a task: no Python.",
        "submit": "From a finished training to a pull request, in one page.",
        "rules": "What counts, what is compared with what, and how ranks come about.",
    },
    "Train": {
        "recipes": "What each way of training does, what was measured of it, and what it charges.",
        "study": "Models times recipes, one metered run at a time, to a table and a plot.",
        "sweep": "Settings tried under the meter, and an entry that carries what trying them took.",
        "parallel": "One training on several devices or machines, each metered once.",
        "slurm": "The runs of a study or sweep as jobs, each with a node of its own.",
        "continue": "Weights and state kept, and a run that goes on step for step.",
    },
    "Measure": {
        "metering": "How readings become joules, how sure these are, and how that was tested.",
        "meters": "What can be read, at which level, and how it is turned on.",
        "peers": "bench, Zeus, CodeCarbon and carbontracker before a truth that is known.",
        "footprint": "What trainings cost: published, planned and made, by open formulas.",
        "extrapolate": "From minutes under the meter to a whole training; how far off that was.",
        "intensity": "What a kWh emitted at the hour in which it was used, where somebody says so.",
        "speed": "How little the training loop wastes, beside the Hugging Face Trainer.",
    },
    "Check and exchange": {
        "checks": "Every rule by its id: what bench check derives again, and its bounds.",
        "verify": "Weights that predict again, and a training that somebody else has made again.",
        "exchange": "Model cards, SCI and CodeCarbon's columns out; other tools' logs in.",
        "scale": "How the board keeps up with ten thousand runs.",
        "site": "How this site is built, served and published, and why it is safe to open.",
    },
    "Tasks, models and data": {
        "real-data": "Nine tasks as they were run here, each beside what was published.",
        "glue": "Its nine tasks: what is asked, what ranks, what chance is.",
        "language": "Perplexity per word, which no tokenizer makes cheap; GPT-2 and BERT.",
        "completion": "Tags, choices and last words, and how each kind of model is asked.",
        "translation": "The Transformer as published, and BLEU as sacreBLEU has it.",
        "elmo": "The model of 2018: what is as published, and what is not.",
        "verdicts": "The made-up reviews that stand in where no data is at hand.",
    },
    "Results": {
        "sst2-study": "What ten recipes save on SST-2, with three seeds each.",
    },
}  # fmt: skip
"""Which documents a reader finds below which word, with what each says. One that is not here comes
last, with its own first sentence."""


@dataclass(frozen=True)
class Document:
    name: str
    title: str
    says: str
    group: str

    @property
    def address(self) -> str:
        return paths.document(self.name)


def rule_address(rule_id: str) -> str:
    """Where a rule of the checks is told: a page and the place in it."""
    return f"{paths.document('checks')}#{rule_id}"


def place(name: str, heading: str) -> str | None:
    """Where a document tells of something below its name; None where it does not."""
    found = re.search(f"^## {re.escape(heading)}$", _text(name), re.MULTILINE)
    return f"{paths.document(name)}#{heading}" if found else None


def pieces(contents: Contents) -> Iterator[Piece]:
    texts = {name: _text(name) for name in names()}
    whole = page.digest(sorted(texts.items()), GROUPS)
    yield Piece((paths.GUIDE,), whole, _index)
    for name, text in texts.items():
        at = paths.document(name)
        key = page.digest(whole, _leads(text, at, contents))
        yield Piece((at,), key, partial(_page, name, at, contents))
    for each in _pictures():
        file = paths.picture(each.name)
        yield Piece((file,), page.digest(each.read_bytes()), partial(_copied, file, each))


def names() -> list[str]:
    """Of all documents, in the order in which they are read."""
    there = {f.name.removesuffix(".md") for f in _FOLDER.iterdir() if f.name.endswith(".md")}
    placed = [name for group in GROUPS.values() for name in group if name in there]
    return [*placed, *sorted(there - set(placed))]


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def _leads(text: str, at: str, contents: Contents) -> list[str | None]:
    """Where its links to results lead: all that a document follows from but its text."""
    return [address(href, at, contents) for href in re.findall(r"[./]*results[\w/+.-]*", text)]


@cache
def documents() -> tuple[Document, ...]:
    return tuple(_document(name) for name in names())


def _document(name: str) -> Document:
    found = read(_text(name), paths.document(name))
    for group, members in GROUPS.items():
        if name in members:
            return Document(name, found.title.striptags(), members[name], group)
    return Document(name, found.title.striptags(), found.first, "More")


# --- pages -------------------------------------------------------------------------------------


def _index() -> Mapping[str, str]:
    groups: dict[str, list[Document]] = {}
    for document in documents():
        groups.setdefault(document.group, []).append(document)
    return {paths.GUIDE: page.render("guide.html", paths.GUIDE, groups=groups)}


def _page(name: str, at: str, contents: Contents) -> Mapping[str, str]:
    every = documents()
    here = next(i for i, document in enumerate(every) if document.name == name)
    text = page.render(
        "document.html", at,
        document=every[here],
        read=read(_text(name), at, contents),
        before=every[here - 1] if here else None,
        after=every[here + 1] if here + 1 < len(every) else None,
    )  # fmt: skip
    return {at: text}


def _pictures() -> list[Traversable]:
    """Those of the documents, which lie beside them."""
    found = [f for f in _FOLDER.iterdir() if f.name.endswith(PICTURES)]
    return sorted(found, key=lambda f: f.name)


def _copied(file: str, source: Traversable) -> Mapping[str, bytes]:
    return {file: source.read_bytes()}
