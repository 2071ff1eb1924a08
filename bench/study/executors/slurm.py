"""On the nodes of a Slurm cluster, each run alone on a node, submitted by submitit.

A job has a name that only its attempt has: it is found again even if its driver died while it was
being submitted. Slurm is asked about all jobs at once, every few seconds; while it gives no answer,
a job is taken to live.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.child import Progress
from bench.errors import BenchError, MissingExtra, UsageError, near_names
from bench.record import Status
from bench.study.attempt import words
from bench.study.executors import command
from bench.study.executors.local import Executor as Local
from bench.study.executors.local import environment
from bench.study.ledger import GOOD, Attempt
from bench.units import parse_budget

EVERY_S = 5.0  # how often Slurm is asked
ANSWER_S = 30.0  # how long an answer may take
SETTLE_S = 5.0  # a shared folder may show late what a job has written
PAUSES_S = (5.0, 15.0, 45.0)  # between tries to submit, while the controller is busy

ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
}  # fmt: skip
BY_ITSELF = {"DEADLINE", "OUT_OF_MEMORY", "TIMEOUT"}
"""What would come again: made again by the next command, not by this one."""

_FILTERS = ("SQUEUE_", "SCANCEL_", "SACCT_", "SINFO_")
_BUSY = ("timed out", "unable to contact", "refused", "unreachable", "temporarily", "zero bytes")


# --- what is asked -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """Of `--slurm`: what a job asks for beside a whole node, and how many wait or run at once."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    nodelist: str | None = None
    time: int | None = None  # minutes
    gpus: int | None = None  # of the node: it must have so many
    slots: int = 1

    @classmethod
    def of(cls, pairs: Sequence[str]) -> Options:
        """From `NAME=VALUE`, several parted by commas; UsageError for what is none."""
        given: dict[str, Any] = {}
        for pair in (p.strip() for text in pairs for p in re.split(r",(?=\w+=)", text)):
            name, _, value = pair.partition("=")
            known = [f.name for f in fields(cls)]
            if name not in known or not value:
                near = near_names(name, known)
                hint = (
                    f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
                )
                raise UsageError(f"--slurm {pair} is no option of a job", hint)
            given[name] = _number(name, value) if name in _NUMBERS else value
        return cls(**given)

    def parameters(self) -> dict[str, Any]:
        """Submitit's; what is not asked, the cluster decides."""
        named = {
            "partition": self.partition, "account": self.account, "qos": self.qos,
            "constraint": self.constraint, "nodelist": self.nodelist, "gpus_per_node": self.gpus,
        }  # fmt: skip
        return {**{k: v for k, v in named.items() if v is not None}, "time": self.time}


_NUMBERS = ("time", "gpus", "slots")


def _number(name: str, value: str) -> int:
    if name == "time":
        limit_s = parse_budget(value).duration_s
        if limit_s is None:
            raise UsageError(f"--slurm time={value} is no time", "time=90min, time=2h")
        return math.ceil(limit_s / 60)
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"--slurm {name}={value} is no number from 1", f"{name}=4")
    return int(value)


# --- what Slurm says -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A job, as Slurm last said."""

    id: str
    name: str
    state: str
    reason: str = ""

    def __str__(self) -> str:
        reason = "" if self.reason in ("", "None") else f" ({self.reason})"
        return f"Slurm ended job {self.id}: {self.state}{reason}"


class _Silent(Exception):
    """Slurm gave no answer, or no usable one; with its words."""


def _answer(*asked: str) -> str:
    """What a command of Slurm's prints; _Silent when it fails or takes too long. What interrupts
    the driver does not interrupt it, and the user's filters are none of its business."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FILTERS)}
    try:
        done = subprocess.run(
            asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=ANSWER_S, start_new_session=True, env=kept,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _Silent(f"{asked[0]} took longer than {ANSWER_S:g} s") from None
    except OSError as error:
        raise _Silent(f"{asked[0]}: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise _Silent(said[-1] if said else f"{asked[0]} failed")
    return done.stdout


class Queue:
    """This user's jobs, those that have ended lately, too."""

    def __init__(self) -> None:
        self._jobs: dict[str, Seen] | None = None
        self._next_s = 0.0
        self._is_silent = False

    def jobs(self) -> dict[str, Seen] | None:
        """By name and by id; None while Slurm does not say. Asked once in EVERY_S."""
        if time.monotonic() >= self._next_s:
            self._jobs = self._ask()
            self._next_s = time.monotonic() + EVERY_S
        return self._jobs

    def changed(self) -> None:
        """Something was submitted: what was last said is too old."""
        self._jobs, self._next_s = None, 0.0

    def _ask(self) -> dict[str, Seen] | None:
        try:
            lines = _answer("squeue", "--me", "-h", "-t", "all", "-o", "%i|%j|%T|%r").splitlines()
        except _Silent as why:
            if not self._is_silent:
                print(f"warning: Slurm gives no answer ({why}); it is asked again", file=sys.stderr)
            self._is_silent = True
            return None
        self._is_silent = False
        found = [Seen(*line.split("|", 3)) for line in lines if line.count("|") >= 3]
        return {job.name: job for job in found} | {job.id: job for job in found}


def _accounted(job_id: str) -> Seen | None:
    """A job that the queue has forgotten, by the accounting, where there is one."""
    try:
        said = _answer("sacct", "-n", "-P", "-X", "-j", job_id, "-o", "JobName,State")
    except _Silent:
        return None
    name, bar, state = said.strip().rpartition("|")
    word, _, rest = state.partition(" ")
    return Seen(job_id, name, word, rest) if bar else None


# --- the executor --------------------------------------------------------------------------------


class Executor:
    """Attempts are jobs; `attempts/JOB-N.slurm` has a job's id."""

    here = False

    def __init__(self, pairs: Sequence[str] = ()) -> None:
        self._options = Options.of(pairs)
        self.slots = self._options.slots
        _check(self._options)
        self._queue = Queue()
        self._local = Local()  # a driver before this one may have used it
        self._told: set[str] = set()  # attempts that were asked to end
        self._to_stop: list[Attempt] = []
        self._stop_at_s = 0.0
        self._gone_since_s: dict[str, float] = {}
        self._waits: dict[str, str] = {}

    def start(self, attempt: Attempt) -> None:
        attempt.words.touch()  # or a shared folder may not show it for a while
        job_id = self._submitted(attempt)
        scratch = _file(attempt).with_suffix(".slurm-partial")
        scratch.write_text(json.dumps({"job": job_id}))
        scratch.replace(_file(attempt))

    def lives(self, attempt: Attempt) -> bool:
        self._send_stops()
        ended = words(attempt).get("ended")
        if ended and ended["status"] in GOOD:
            return False
        jobs = self._queue.jobs()
        if jobs is None:
            return True
        job_id = _kept(attempt)
        seen = jobs.get(job_id or "") or jobs.get(_name(attempt))
        if seen and seen.state not in ENDED:
            self._tell_waiting(attempt, seen, jobs)
            return True
        if not (seen or job_id) and self._local.lives(attempt):
            return True
        if not ended and (seen or job_id) and self._may_yet_show(attempt):
            return True
        if attempt.name not in self._told:
            _write_down(attempt, seen, job_id)
        return False

    def stop(self, attempt: Attempt) -> None:
        self._told.add(attempt.name)
        if self._id(attempt):
            self._to_stop.append(attempt)
        else:
            self._local.stop(attempt)

    def _submitted(self, attempt: Attempt) -> str:
        """The id of a new job. BenchError when Slurm refuses it."""
        for pause_s in (*PAUSES_S, None):
            try:
                with _unset(_hidden(self._options)):
                    return _submit(attempt, self._options)
            except _Silent as why:
                if pause_s is None or not any(word in str(why).lower() for word in _BUSY):
                    raise BenchError(f"Slurm takes no job: {why}", "see --slurm") from None
            finally:
                self._queue.changed()
            time.sleep(pause_s)
            if seen := (self._queue.jobs() or {}).get(_name(attempt)):  # it was taken all the same
                return seen.id
        raise AssertionError

    def _send_stops(self) -> None:
        """Ask what was told to end, all at once: a run that has begun as by Ctrl-C; what has not
        is cancelled."""
        if not self._to_stop or time.monotonic() < self._stop_at_s:
            return
        begun = [a for a in self._to_stop if "began" in words(a)]
        queued = [a for a in self._to_stop if a not in begun]
        try:
            for attempts, how in ((queued, ()), (begun, ("--full", "--signal=INT"))):
                if ids := [i for i in map(self._id, attempts) if i]:
                    _answer("scancel", "--quiet", *how, *ids)
                self._to_stop = [a for a in self._to_stop if a not in attempts]
        except _Silent as why:
            print(f"warning: Slurm ends no job ({why}); it is asked again", file=sys.stderr)
            self._stop_at_s = time.monotonic() + EVERY_S

    def _id(self, attempt: Attempt) -> str | None:
        seen = (self._queue.jobs() or {}).get(_name(attempt))
        return _kept(attempt) or (seen.id if seen else None)

    def _may_yet_show(self, attempt: Attempt) -> bool:
        since_s = self._gone_since_s.setdefault(attempt.name, time.monotonic())
        return time.monotonic() - since_s < SETTLE_S

    def _tell_waiting(self, attempt: Attempt, seen: Seen, jobs: Mapping[str, Seen]) -> None:
        """In the place of its progress, which it has none of yet: how many wait, and for what."""
        if seen.state != "PENDING" or "began" in words(attempt):
            return
        own = {j.id: j for j in jobs.values() if j.name.endswith(_tag(attempt.ledger))}
        waiting = [job for job in own.values() if job.state == "PENDING"]
        reasons = sorted({job.reason for job in waiting} - {"", "None"})
        n = len(waiting)
        text = f"{n} {'job waits' if n == 1 else 'jobs wait'} in Slurm's queue"
        text += f" ({', '.join(reasons)})" if reasons else ""
        if self._waits.get(attempt.name) != text:
            self._waits[attempt.name] = text
            scratch = attempt.progress.with_suffix(".waiting")
            scratch.write_text(json.dumps(asdict(Progress(phase="waits", text=text))))
            scratch.replace(attempt.progress)


def _check(options: Options) -> None:
    """Whether jobs can be submitted, to nodes that are given whole."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise MissingExtra("--executor slurm", "slurm") from None
    for tool in ("sbatch", "squeue", "scancel", "sinfo"):
        if shutil.which(tool) is None:
            raise BenchError(
                f"there is no Slurm here: {tool} is not found",
                "log in to a machine that submits jobs, or leave out --executor slurm",
            )
    try:
        lines = _answer("sinfo", "-h", "-o", "%P|%h").splitlines()
    except _Silent as why:
        raise BenchError(f"Slurm gives no answer: {why}", "does `sinfo` work?") from None
    shares = dict(line.split("|", 1) for line in lines if "|" in line)
    default = [name for name in shares if name.endswith("*")]
    asked = options.partition or os.environ.get("SBATCH_PARTITION") or ",".join(default)
    for name in filter(None, asked.split(",")):
        how = shares.get(name, shares.get(f"{name}*"))
        if how is None:
            known = ", ".join(sorted(p.rstrip("*") for p in shares))
            raise UsageError(f"Slurm has no partition '{name}'", f"it has {known}")
        if how.startswith("FORCE"):
            raise UsageError(
                f"the partition '{name.rstrip('*')}' shares its nodes whatever a job asks for "
                "(OverSubscribe=FORCE): others would be in a run's energy",
                "--slurm partition=... names one that gives whole nodes",
            )


def _submit(attempt: Attempt, options: Options) -> str:
    """The new job's id. _Silent, with the words of sbatch, when there is none."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    submits = SlurmExecutor(folder=attempt.ledger.absolute() / "slurm")
    further = {"output": str(attempt.log.absolute()).replace("%", "%%"), "no-requeue": True,
               "signal": "CONT@1"}  # in the place of submitit's, which ends a program  # fmt: skip
    if options.reservation:
        further["reservation"] = options.reservation
    submits.update_parameters(
        **options.parameters(), job_name=_name(attempt), nodes=1, exclusive=True, mem="0",
        setup=_setup(), stderr_to_stdout=True, use_srun=False, wckey=None,
        additional_parameters=further,
    )  # fmt: skip
    argv = command(attempt)
    try:
        return str(submits.submit(os.execv, argv[0], argv).job_id)  # the job becomes the attempt
    except (FailedJobError, FailedSubmissionError) as error:
        said = str(error).strip().splitlines() or ["sbatch failed"]
        raise _Silent(said[-1].removeprefix("sbatch: error: ")) from None


def _setup() -> list[str]:
    """What the job's shell does first: it outlives what asks the run to end, or Slurm would kill
    the run at once; and the way to this bench."""
    wanted = environment()
    return [
        "trap : TERM INT",
        f"export PYTHONPATH={shlex.quote(wanted['PYTHONPATH'])}",
        *(f"unset {name}" for name in sorted(os.environ.keys() - wanted.keys())),
    ]


def _hidden(options: Options) -> list[str]:
    """Variables of sbatch that would win over what is asked here."""
    given = {
        "PARTITION": options.partition, "ACCOUNT": options.account, "QOS": options.qos,
        "CONSTRAINT": options.constraint, "RESERVATION": options.reservation,
        "TIMELIMIT": options.time, "GPUS_PER_NODE": options.gpus,
    }  # fmt: skip
    ours = ["EXCLUSIVE", "JOB_NAME", "MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU", "OUTPUT",
            "ERROR", "OPEN_MODE", "SIGNAL", "REQUEUE", "NO_REQUEUE", "ARRAY_INX"]  # fmt: skip
    return [f"SBATCH_{name}" for name in [*ours, *(k for k, v in given.items() if v is not None)]]


@contextmanager
def _unset(names: Sequence[str]) -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


# --- what is kept --------------------------------------------------------------------------------


def _name(attempt: Attempt) -> str:
    """Of its job: no other attempt's, of whatever ledger."""
    return f"bench-{attempt.name}-{_tag(attempt.ledger)}"


def _tag(ledger: Path) -> str:
    return hashlib.sha256(os.fsencode(ledger.resolve())).hexdigest()[:8]


def _file(attempt: Attempt) -> Path:
    return attempt.words.with_suffix(".slurm")


def _kept(attempt: Attempt) -> str | None:
    """The id of its job, if it was written down."""
    try:
        return str(json.loads(_file(attempt).read_bytes())["job"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_down(attempt: Attempt, seen: Seen | None, job_id: str | None) -> None:
    """What Slurm says of a job that did not end well, among its attempt's words."""
    if seen and seen.state == "CANCELLED":
        seen = replace(seen, reason="")  # the queue keeps why it waited
    elif seen is None and job_id is not None:
        seen = _accounted(job_id)
    if seen:
        why = str(seen)
    elif job_id is None:
        why = "its job was never submitted to Slurm"
    else:
        why = f"Slurm knows its job {job_id} no more"
    status: Status | None = "failed" if seen and seen.state in BY_ITSELF else None
    line = json.dumps({"event": "killed", "why": why, "status": status}).encode()
    torn = not (b"\n" + attempt.words.read_bytes()).endswith(b"\n")
    with attempt.words.open("ab", buffering=0) as file:
        file.write(b"\n" * torn + line + b"\n")
        os.fsync(file)
