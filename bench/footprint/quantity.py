"""A number with its unit and where it comes from: a source, or a formula over other numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.units import significant


@dataclass(frozen=True)
class Quantity:
    """`uncertainty` is expanded (k = 2), in the same unit; None where it is not known."""

    name: str
    value: float
    unit: str
    formula: str = ""  # in words, over the names of `inputs`
    inputs: tuple[Quantity, ...] = ()
    source: str = ""
    uncertainty: float | None = None

    def __str__(self) -> str:
        return f"{significant(self.value, 4)} {self.unit}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with all that it follows from."""
        found: dict[str, Any] = {"name": self.name, "value": self.value, "unit": self.unit}
        if self.uncertainty is not None:
            found["uncertainty"] = self.uncertainty
        if self.formula:
            found |= {"formula": self.formula, "inputs": [q.as_dict() for q in self.inputs]}
        if self.source:
            found["source"] = self.source
        return found


def given(
    name: str, value: float, unit: str, source: str, uncertainty: float | None = None
) -> Quantity:
    """A number that somebody states or that was measured."""
    return Quantity(name, float(value), unit, source=source, uncertainty=uncertainty)


def derived(
    name: str, unit: str, formula: str, compute: Callable[..., float], *inputs: Quantity
) -> Quantity:
    """`compute` of the inputs' values. Uncertainties of inputs are carried to first order, as of
    independent numbers; an input without one counts as exact."""
    values = [q.value for q in inputs]
    value = compute(*values)
    unsure = [
        (compute(*values[:i], v + q.uncertainty, *values[i + 1 :]) - value) ** 2
        for i, (q, v) in enumerate(zip(inputs, values, strict=True))
        if q.uncertainty is not None
    ]
    return Quantity(
        name, value, unit, formula, inputs, uncertainty=sum(unsure) ** 0.5 if unsure else None
    )


def explained(quantity: Quantity) -> list[str]:
    """The number, its formula, and below it each input in the same way; an input that was said
    before is only named."""
    return list(_explained(quantity, 0, set()))


def _explained(quantity: Quantity, depth: int, said: set[int]) -> Iterator[str]:
    unsure = quantity.uncertainty
    sure = "" if unsure is None else f" ± {significant(unsure, 2)}"
    digits = significant(quantity.value, 6)
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    number = f"{digits}{sure} {quantity.unit}".rstrip()
    line = f"{'  ' * depth}{quantity.name} = {number}"
    if quantity.formula:
        yield f"{line}, by {quantity.formula}"
    else:
        yield f"{line} ({quantity.source})" if quantity.source else line
    if id(quantity) in said:
        return
    said.add(id(quantity))
    for each in quantity.inputs:
        yield from _explained(each, depth + 1, said)
