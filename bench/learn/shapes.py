"""The weights of common layers by name, with their shapes: counted without torch."""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]


def dense(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
