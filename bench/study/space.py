"""What a sweep may set: choices and ranges of a recipe's settings, read from text.

`learning_rate=1e-5..1e-3:log,epochs=1|2|3,batch_size=16..64:int`
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.errors import UsageError, near_names

EXAMPLE = "--space learning_rate=1e-5..1e-3:log,epochs=1|2|3,batch_size=16..64:int"
DIGITS = 4
"""Of a number that is drawn: what is printed is what was run."""


@dataclass(frozen=True)
class Choice:
    """One of some values, as typed."""

    values: tuple[str, ...]

    def at(self, share: float) -> str:
        """The value that so much of the whole lies before; of a share in [0, 1) that is drawn
        evenly, each is as likely."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; by their logarithm, if `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, share: float) -> str:
        """As of a choice."""
        half = 0.5 if self.whole else 0.0  # so that both ends are as likely as what lies between
        a, b = self.low - half, self.high + half
        value = math.exp(math.log(a) + share * math.log(b / a)) if self.log else a + share * (b - a)
        return self.text(value)

    def text(self, value: float) -> str:
        """A number as a setting has it: in its range, with few digits."""
        if self.whole:
            return str(min(max(round(value), int(self.low)), int(self.high)))
        rounded = float(f"{value:.{DIGITS}g}")
        return f"{min(max(rounded, self.low), self.high):.12g}"

    def spread(self, count: int) -> Choice:
        """So many values from end to end, evenly apart."""
        shares = [i / (count - 1) for i in range(count)]
        ratio = self.high / self.low if self.log else 1.0
        values = [
            self.low * ratio**s if self.log else self.low + s * (self.high - self.low)
            for s in shares
        ]
        return Choice(tuple(dict.fromkeys(map(self.text, values))))


Space = Mapping[str, Choice | Range]
"""By setting."""


def size(space: Space) -> int | None:
    """How many combinations there are; None without end."""
    count = 1
    for dimension in space.values():
        if isinstance(dimension, Choice):
            count *= len(dimension.values)
        elif dimension.whole:
            count *= int(dimension.high) - int(dimension.low) + 1
        else:
            return None
    return count


def parse(text: str, kinds: Mapping[str, str], recipe: str) -> Space:
    """The space as typed. `kinds` names the type of each setting that the recipe has: int, float,
    str, bool. UsageError for what is none."""
    space: dict[str, Choice | Range] = {}
    for item in text.split(","):
        name, equals, values = (part.strip() for part in item.partition("="))
        if not (name and equals and values):
            raise UsageError(f"--space '{item.strip()}' names no values", EXAMPLE)
        if name not in kinds:
            near = near_names(name, kinds)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(kinds)}"
            raise UsageError(f"the recipe '{recipe}' has no setting '{name}'", hint)
        if name in space:
            raise UsageError(f"--space names {name} twice", EXAMPLE)
        space[name] = _dimension(name, values, kinds[name])
    return space


def _dimension(name: str, text: str, kind: str) -> Choice | Range:
    if ".." in text:
        return _range(name, text, kind)
    values = tuple(value.strip() for value in text.split("|"))
    if not all(values) or len(set(values)) < len(values):
        raise UsageError(f"{name}={text}: a choice has different values", f"{name}=1|2|3")
    if len(values) == 1:
        raise UsageError(f"{name}={text}: one value is no choice", f"--set {name}={text}")
    return Choice(values)


def _range(name: str, text: str, kind: str) -> Choice | Range:
    asked, *options = text.split(":")
    if kind not in ("int", "float"):
        raise UsageError(f"{name}={text}: it is no number", f"its values, as in {name}=a|b")
    try:
        low, high = map(float, asked.split(".."))
    except ValueError:
        raise UsageError(f"{name}={text}: no range", f"LOW..HIGH, as in {name}=16..64") from None
    counts = [int(option) for option in options if option.isdecimal()]
    others = [option for option in options if not option.isdecimal()]
    if len(counts) > 1 or any(n < 2 for n in counts) or not {"log", "int"}.issuperset(others):
        raise UsageError(
            f"{name}={text}: a range is followed by :log, :int, or the number of its values",
            f"{name}={asked}:log",
        )
    found = Range(low, high, "log" in others, kind == "int" or "int" in others)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"{name}={text}: no range: its first number is the smaller one")
    if found.whole and not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{name}={text}: not whole numbers")
    if found.log and (low <= 0 or (found.whole and low < 1)):
        raise UsageError(f"{name}={text}: a logarithm needs numbers above 0")
    return found.spread(counts[0]) if counts else found


def ends(dimension: Choice | Range) -> tuple[str, ...]:
    """Values that show whether all of a dimension can be set."""
    if isinstance(dimension, Choice):
        return dimension.values
    return dimension.text(dimension.low), dimension.text(dimension.high)
