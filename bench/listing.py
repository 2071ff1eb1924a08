"""What there is, as a person reads it: tasks with what they cost, models, recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bench.cards import Card, MetricFacts
from bench.rank import notation, score
from bench.rank.costs import Cost
from bench.rank.render import plain
from bench.record import Data
from bench.show import Lines, grid, labelled, table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

FEW = 12  # classes that are named one by one


# --- tasks ---------------------------------------------------------------------------------------


def tasks(cards: Iterable[Card]) -> Table:
    """All tasks, below the names of their families."""
    rows: list[tuple[str, ...]] = []
    by_family = sorted(cards, key=lambda c: (_FAMILIES.index(c.family), c.name))
    for family, members in groupby(by_family, key=lambda c: c.family):
        rows.append((family,))
        rows += [
            (c.name, _title(c), notation.of(c.metric.name).title, *_row_counts(c)) for c in members
        ]
    return table(["task", "title", "metric", "train", "scored"], rows)


_FAMILIES = (
    "classification", "regression", "tagging", "completion", "translation", "language-modelling"
)  # fmt: skip


def _title(card: Card) -> str:
    marks = [*(["not ranked"] if _why_unranked(card) else []), *(["yours"] if card.beside else [])]
    return f"{card.title} ({', '.join(marks)})" if marks else card.title


def _row_counts(card: Card) -> tuple[str, str]:
    return (f"{card.rows.train:,}", f"{card.rows.scored:,}") if card.rows else ("", "")


def card_lines(card: Card, folders: Sequence[str] = ()) -> Lines:
    """One task in full; `folders` are those given with --tasks."""
    said = [("task", f"{card.name}: {card.title}, version {card.version}")]
    said += labelled("", [card.description] if card.description else [])
    said.append(("family", card.family))
    said += _read_and_told(card)
    said += labelled("metric", _metric_lines(card))
    said += labelled("tiers", _tiers(card))
    if card.published:
        published = [f"{name} {value:g}" for name, value in card.published.items()]
        said.append(("published", ", ".join(published) + " (as printed)"))
    if card.rows:
        said.append(("rows", f"{card.rows.train:,} to train on, {card.rows.scored:,} scored"))
    said += labelled("data", _places(card))
    said.append(("fingerprint", _fingerprint(card)))
    said.append(("licence", card.licence))
    said += labelled("citation", [card.citation] if card.citation else [])
    options = "".join(f" --tasks {folder}" for folder in folders if card.beside)
    said.append(("run it", f"bench run --task {card.name}{options}"))
    return said


def _read_and_told(card: Card) -> Lines:
    """What a model reads, and what it is to tell."""
    said = [("reads", ", ".join(card.inputs))]
    if card.choices:
        choices = card.choices if isinstance(card.choices, str) else ", ".join(card.choices)
        return [*said, ("tells", f"which is right of {choices}")]
    classes = ", ".join(card.classes[:FEW])
    if len(card.classes) > FEW:
        classes += f", … ({len(card.classes)} in all)"
    tells = {
        "class": classes, "tags": f"for each token one of {classes}", "number": "a number",
        "text": "a text", "words": "each next word",
    }  # fmt: skip
    return [*said, ("tells", tells[card.kind])]


def _metric_lines(card: Card) -> list[str]:
    said = [_metric(card.metric)]
    if card.metric.also:
        also = ", ".join(notation.of(name).title for name in card.metric.also)
        said.append(f"also shown, never ranked: {also}")
    said += [f"{objective} models: {_metric(facts)}" for objective, facts in card.metrics.items()]
    return said


_COMPUTED = {
    "majority": "the largest class's share",
    "unigram": "what the words' own frequencies give",
}
"""Chance that is computed of the scored split."""


def _metric(facts: MetricFacts) -> str:
    shown = notation.of(facts.name)
    if isinstance(facts.chance, str):
        lower, chance = facts.chance == "unigram", _COMPUTED[facts.chance]
    else:
        lower, chance = facts.best < facts.chance, shown.text(facts.chance)
    linear = ", skill by its logarithm" if facts.scale == "log" else ""
    better = "less" if lower else "more"
    best = shown.text(facts.best)
    return f"{shown.title}, {better} is better; chance: {chance}, best: {best}{linear}"


def _why_unranked(card: Card) -> str | None:
    return card.unranked or (None if card.reference else "the card names no reference score")


def _tiers(card: Card) -> list[str]:
    ref, facts = card.reference, card.metric
    if (why := _why_unranked(card)) or ref is None:
        return [f"none, shown and not ranked: {why}"]
    shown = notation.of(facts.name)
    said = [f"from {ref.model} at {shown.text(ref.value)} ({ref.source})"]
    if ref.reason:
        said.append(ref.reason)
    if isinstance(facts.chance, str):
        shares = ", ".join(f"{tier} {100 * share:.0f} %" for tier, share in score.TIERS.items())
        return [*said, f"{shares} of its skill over chance"]
    asked = score.thresholds(ref, facts.chance, facts.best, facts.scale)
    sign = "≥" if facts.best > facts.chance else "≤"
    values = {
        t: score.metric_at(s, facts.chance, facts.best, facts.scale) for t, s in asked.items()
    }
    return [*said, ", ".join(f"{t} {sign} {shown.text(v)}" for t, v in values.items())]


def _places(card: Card) -> list[str]:
    """Where its data may come from."""
    said = []
    if card.local:
        train, scored = card.local.train, card.local.scored
        files = [train if isinstance(train, str) else train[0]]
        if isinstance(scored, float):
            files.append(f"{100 * scored:g} % of it put aside to score")
        else:
            files += [scored] if isinstance(scored, str) else scored.values()
        where = f"below {card.beside}, or --data DIR" if card.beside else "--data DIR"
        folder = "" if card.local.folder == "." else f"{card.local.folder}/"
        said.append(f"{where}: {', '.join(folder + f for f in files)} ({card.local.format})")
    if card.hub:
        said.append(f"the Hub: {card.hub.repo}, {card.hub.config}, at {card.hub.revision[:12]}")
    if card.embedded:
        said.append(f"--data embedded: the corpus '{card.embedded}', made up, without network")
    return said


def _fingerprint(card: Card) -> str:
    pinned = card.fingerprints
    if pinned is None:
        return "not pinned: each set of rows has a board of its own"
    return f"train {pinned.train[:12]}, scored {pinned.scored[:12]}"


def cost_table(found: Sequence[Cost]) -> Group:
    """What runs cost, machine by machine."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    if not found:
        return Group(Text("\nNo results of it yet: what it costs is not known."))
    parts: list[Any] = [Text("\nWhat a run cost (medians)", "bold")]
    for place, group in groupby(found, key=lambda c: c.place):
        parts.append(Text(plain(place), "yellow" if place.startswith("ESTIMATED") else ""))
        parts.append(
            Padding(grid([(plain(c.name, 40), c.text) for c in group]), (0, 0, 0, 2), expand=False)
        )
    return Group(*parts)


def task_facts(card: Card, found: Sequence[Cost] | None = None) -> dict[str, Any]:
    """A card with what follows from it and, where asked for, what runs cost, for JSON."""
    priced = {} if found is None else {"costs": [asdict(cost) for cost in found]}
    return {
        **card.model_dump(mode="json"),
        "kind": card.kind,
        "columns": card.columns,
        "classes": card.classes,
        "why_unranked": _why_unranked(card),
        **priced,
    }


def fingerprint_block(data: Data) -> str:
    """What a card says of its data, ready to paste."""
    rows, prints = data.rows, data.fingerprints
    return (
        f"[rows]\ntrain = {rows['train'] + rows['tune']}\nscored = {rows['scored']}\n\n"
        f'[fingerprints]\ntrain = "{prints["train"]}"\nscored = "{prints["scored"]}"\n'
        f'labels = "{data.labels_sha256}"\n'
    )


# --- models and recipes --------------------------------------------------------------------------


def models(described: Sequence[dict[str, Any]], families: Mapping[str, Sequence[str]]) -> Group:
    """All models by kind, and below the `families` of tasks that each kind can do."""
    from rich.console import Group

    rows: list[tuple[str, ...]] = []
    ordered = sorted(described, key=lambda d: (d["kind"], d["track"] != "scratch", d["parameters"]))
    for kind, members in groupby(ordered, key=lambda d: d["kind"]):
        rows.append((kind,))
        rows += [(d["name"], d["track"], _millions(d["parameters"]), d["about"]) for d in members]
    kinds = [(kind, f"for {', '.join(can)}") for kind, can in sorted(families.items())]
    return Group(table(["model", "track", "size", "what it is"], rows), grid(kinds))


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:,.1f} M"


def recipes(described: list[dict[str, Any]]) -> Table:
    rows = [(d["name"], d["summary"], d["charges"]) for d in described]
    return table(["recipe", "what it does", "charged"], rows)


def facts_lines(facts: dict[str, Any]) -> Lines:
    """A described model or recipe, one line a fact; settings have a line each."""
    said: list[tuple[str, str]] = []
    for key, value in facts.items():
        lines = _fact_lines(value)
        said += [(key if i == 0 else "", line) for i, line in enumerate(lines)]
    return said


def _fact_lines(value: Any) -> list[str]:
    match value:
        case None | [] | {}:
            return []
        case [dict(), *_]:  # the settings of a recipe
            return [f"{v['name']} = {_default(v['default'])}  {v['about']}" for v in value]
        case list() | tuple():
            return [", ".join(map(str, value))]
        case dict():
            return [f"{k} = {v}" for k, v in value.items()]
        case bool() | str() | float():
            return [str(value)]
        case int():
            return [f"{value:,}"]
    return [str(value)]


def _default(value: Any) -> str:
    return "the model's own" if value is None else str(value)
