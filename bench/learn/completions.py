"""Rows of sentence completion as running text: a context, and what may follow it."""

from __future__ import annotations

from bench.errors import BenchError
from bench.learn.data import TaskFolder


def read(task: TaskFolder, texts: tuple[str, ...]) -> tuple[str, list[str]]:
    """The context and the choices of one row.

    The inputs follow each other. One whose values stand for words (COPA's question: because, so)
    joins: what comes before it loses its full stop, and a choice after it its capital.
    """
    context, joins = "", False
    for name, text in zip(task.inputs, texts, strict=False):
        joins = name in task.words
        if joins:
            context = f"{context.rstrip(' .!?')} {_words(task, name, text)}"
        else:
            context = f"{context} {text}".strip()
    choices = texts[len(task.inputs) :]
    return context, [_lowered(choice) for choice in choices] if joins else list(choices)


def _words(task: TaskFolder, column: str, value: str) -> str:
    known = task.words[column]
    if value not in known:
        raise BenchError(
            f"{column} is '{value}', for which the card of {task.name} has no words",
            f"it has some for {', '.join(known)}",
        )
    return known[value]


def _lowered(text: str) -> str:
    return text if text.startswith(("I ", "I'")) else text[:1].lower() + text[1:]
