"""What a submission says of itself: `entry.json` beside the runs, under a closed schema."""

# ruff: noqa: RUF012  (pydantic copies defaults)
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from bench import record as records
from bench.errors import BenchError, first_fault
from bench.record import Closed, Record, Status

SCHEMA = 1
NAME, MANIFEST = "entry.json", "manifest.json"
RUN_ID = re.compile(r"[0-9a-f]{16}")
ENTRY_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,79}")
"""Of a folder: what is the same on every file system and in every address."""

Kind = Literal["runs", "retraction", "reevaluation"]
PLACE = re.compile(r"[a-z0-9_-]{1,40}/[a-z0-9][a-z0-9._+-]{0,79}")
"""An entry by task and folder: sst2/all-minilm-l6-baseline."""
Place = Annotated[str, Field(pattern=f"^{PLACE.pattern}$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Upstream(Closed):
    """Energy that others spent before: pretraining, a teacher from elsewhere. It ranks nothing."""

    what: Text
    checkpoint_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    energy_kwh: Annotated[float, Field(ge=0)] | None  # None: nobody has published it
    source: Annotated[str, Field(min_length=1, max_length=500)]
    uses: Annotated[int, Field(ge=1)] = 1  # trainings that it is spread over


class Attempt(Closed):
    """A start with a drawn seed, whatever became of it."""

    run_id: Id
    started_at: Text
    seed: int
    status: Status


class Reevaluated(Closed):
    """What weights of another entry scored when somebody else let them predict (T2)."""

    run_id: Id
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    metric: float
    same_share: Annotated[float, Field(ge=0, le=1)]  # of predictions, as those submitted
    rows: int


class EntryFile(Closed):
    """`runs` and `attempts` are empty where it is no submission of runs."""

    schema_version: Literal[1] = 1
    edition: Text
    bench_version: Text
    submitted_at: Text  # UTC, ISO 8601
    kind: Kind = "runs"
    task: Text
    title: Text
    authors: Annotated[list[Text], Field(min_length=1, max_length=100)]
    track: Literal["scratch", "finetune", "open"] | None = None
    description: Annotated[str, Field(max_length=4000)] = ""
    links: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=20)] = []
    runs: list[Id] = []
    charged: list[Id] = []  # teachers and earlier parts that these are charged for: here as well
    attempts: list[Attempt] = []
    upstream: list[Upstream] = []
    supersedes: Place | None = None
    verifies: Place | None = None  # these runs train again what that entry says (T3)
    retracts: Place | None = None
    reevaluates: Place | None = None
    reevaluated: list[Reevaluated] = []
    reason: Annotated[str, Field(max_length=1000)] = ""  # of a retraction, or what was corrected

    @field_validator("links")
    @classmethod
    def _https(cls, links: list[str]) -> list[str]:
        for link in links:
            if not re.fullmatch(r"https://[!-~]+", link):
                raise ValueError(f"{link[:80]!r} is no https address")
        return links

    @model_validator(mode="after")
    def _whole(self) -> EntryFile:
        """Each kind says what it is about, and nothing that belongs to another."""
        if self.kind == "runs" and (not self.runs or self.track is None):
            raise ValueError("a submission of runs names its runs and its track")
        if self.kind != "runs" and (self.runs or self.attempts or self.supersedes or self.verifies):
            raise ValueError(f"a {self.kind} has no runs")
        about = {"retraction": self.retracts, "reevaluation": self.reevaluates}
        for kind, place in about.items():
            if (self.kind == kind) != (place is not None):
                raise ValueError(
                    f"a {kind} names the entry that it is about, and nothing else does"
                )
        if self.kind == "retraction" and not self.reason:
            raise ValueError("a retraction has a reason")
        if (self.kind == "reevaluation") != bool(self.reevaluated):
            raise ValueError("a reevaluation says what it found of each run, and nothing else does")
        return self


def read(folder: Path) -> EntryFile:
    """The `entry.json` of an entry's folder; BenchError when it can't be read."""
    path = folder / NAME
    try:
        return EntryFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BenchError(f"{folder} holds no {NAME}", "`bench submit` makes entries") from None
    except ValidationError as error:
        raise BenchError(f"{path}: {first_fault(error)}") from None


def write(entry: EntryFile, folder: Path) -> None:
    """Write `entry.json`, then `manifest.json` with the SHA-256 of every file below the folder."""
    records.write_file(folder / NAME, entry.model_dump_json(indent=1) + "\n")
    digests = {
        path.relative_to(folder).as_posix(): records.file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    records.write_file(folder / MANIFEST, json.dumps(digests, indent=1) + "\n")


def attempt(record: Record) -> Attempt:
    return Attempt(
        run_id=record.run_id, started_at=record.started_at, seed=record.spec.seed,
        status=record.status,
    )  # fmt: skip


def place(folder: Path) -> str:
    """Of an entry's folder: its task and name."""
    return f"{folder.parent.name}/{folder.name}"


def folders(root: Path) -> Iterator[Path]:
    """The entries below a root, whatever they hold, in order of name; none that is hidden, which
    nobody has finished."""
    found = sorted(p.parent for p in root.glob(f"*/*/{NAME}"))
    yield from (f for f in found if not f.name.startswith(".") and f.parent.name[0] != ".")
