"""Runs the command line as a user does; and a small data set to run it on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import cli


@dataclass
class Said:
    code: int
    out: str
    err: str


class Command:
    """`bench(...)` in this process, in a folder of its own."""

    def __init__(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capfd, self._monkeypatch = capfd, monkeypatch

    def __call__(self, *arguments: object) -> Said:
        self._monkeypatch.setattr("sys.argv", ["bench", *map(str, arguments)])
        self._capfd.readouterr()
        try:
            cli.main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code or 0
        said = self._capfd.readouterr()
        assert isinstance(code, int)
        return Said(code, said.out, said.err)


GOOD = ["splendid", "moving", "witty", "tender"]
BAD = ["dreary", "clumsy", "hollow", "tedious"]
RATHER = ["a", "truly", "quite", "rather"]
THING = ["film", "plot", "cast", "score", "script"]


def write_reviews(folder: Path, train: int = 400, scored: int = 60) -> Path:
    """GLUE files of a task that is learned in seconds; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(7)
    for name, rows in (("train.tsv", train), ("dev.tsv", scored)):
        lines = ["sentence\tlabel"]
        for i in range(rows):
            word = chance.choice(GOOD if i % 2 else BAD)
            lines.append(
                f"{chance.choice(RATHER)} {word} {chance.choice(THING)} number {i}\t{i % 2}"
            )
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder
