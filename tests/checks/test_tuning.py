"""A journal that somebody has damaged is refused or passes, and nothing breaks."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

from bench.checks import tuning
from bench.record import Record, Tuning
from tests.checks import bundles, tuned
from tests.checks.test_fuzz import ODD, RAW, _change


def stated(text: bytes, like: Tuning) -> Tuning:
    about = {"journal_sha256": hashlib.sha256(text).hexdigest(), "journal_bytes": len(text)}
    return like.model_copy(update=about)


def damaged(lines: list[Any], rng: random.Random) -> bytes:
    text = [json.dumps(line).encode() for line in lines]
    at = rng.randrange(len(text))
    match rng.randrange(5):
        case 0:
            del text[at]
        case 1:
            text[at] = text[at][: rng.randrange(len(text[at]))]
        case 2:
            text[at] = rng.choice(RAW)
        case 3:
            text.insert(at, text[rng.randrange(len(text))])
        case _:
            event = json.loads(text[at])
            for _ in range(rng.choice([1, 3])):
                _change(event, rng)
            text[at] = json.dumps(rng.choice([event, event, event, rng.choice(ODD)])).encode()
    return b"\n".join(text) + b"\n"


def test_damaged_journals_break_nothing(tmp_path: Path) -> None:
    lines = tuned.events()
    plan = tuned.plans(tuned.journal(lines))[0]
    folder = bundles.write_run(plan, tmp_path)
    record = Record.model_validate_json((folder / "record.json").read_bytes())
    assert record.tuning is not None
    whole = tuned.journal(lines)
    assert tuning.problems(whole, record.tuning, record) == []
    rng = random.Random(6)
    refused = 0
    for _ in range(150):
        text = damaged(lines, rng)
        found = tuning.problems(text, stated(text, record.tuning), record)
        assert all(problem.message for problem in found)
        refused += bool(found)
    assert refused > 120
