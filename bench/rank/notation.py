"""How the values of each metric are written for people: one table."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.units import significant


@dataclass(frozen=True)
class Notation:
    """`times` what is stored is printed, with so many `decimals`, or digits where they are None."""

    title: str
    unit: str = ""
    times: float = 1.0
    decimals: int | None = None

    def number(self, value: float) -> str:
        """Without the unit."""
        value *= self.times
        return significant(value, 4) if self.decimals is None else f"{value:,.{self.decimals}f}"

    def text(self, value: float) -> str:
        """With the unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def difference(self, value: float) -> str:
        """With its sign; shares and correlations in points."""
        points = " points" if self.unit else ""
        decimals = None if self.decimals is None else self.decimals + 1
        shown = replace(self, decimals=decimals).number(abs(value))
        return f"{'-' if value < 0 else '+'}{shown}{points}"

    @property
    def heading(self) -> str:
        return f"{self.title} {self.unit}".rstrip()


def _percent(title: str) -> Notation:
    return Notation(title, "%", 100.0, 1)


def _of_100(title: str) -> Notation:
    return Notation(title, times=100.0, decimals=1)


_TABLE = {
    "accuracy": _percent("accuracy"),
    "f1": _percent("F1"),
    "macro_f1": _percent("macro F1"),
    "span_f1": _percent("span F1"),
    "span_precision": _percent("span precision"),
    "span_recall": _percent("span recall"),
    "mcc": _percent("MCC"),
    "pearson": _percent("Pearson"),
    "spearman": _percent("Spearman"),
    "bleu": _of_100("BLEU"),
    "chrf": _of_100("chrF"),
    "perplexity": Notation("perplexity"),
    "bidirectional_perplexity": Notation("bidirectional perplexity"),
    "pseudo_perplexity": Notation("pseudo-perplexity"),
}


def of(metric: str) -> Notation:
    """The notation of a metric, or of that of a part ('accuracy, mismatched'); plain numbers
    where the table does not have it."""
    name, comma, part = metric.partition(",")
    known = _TABLE.get(name) or Notation(name)
    return replace(known, title=known.title + comma + part)


def named(metric: str, value: float) -> str:
    """A metric's title and value: 'F1 88.1 %'."""
    notation = of(metric)
    return f"{notation.title} {notation.text(value)}"


def is_known(metric: str) -> bool:
    return metric in _TABLE
